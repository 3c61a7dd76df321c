package streams

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// writeSegment writes a sealed segment of a few small batches, with its index, and gives the extents
// after each of them.
func writeSegment(t testing.TB, fs vfs.FS) []Extent {
	t.Helper()
	b := mustOpen(t, nothing(), testOptions(fs))
	var extents []Extent
	for i, rows := range []int64{2, 1, 0, 9} {
		from := b.Next()
		run := Run{Rows: rows, Time: 1000 * int64(i), Producer: []string{"p", ""}[i%2], Hash: uint64(i)}
		b.Append(makeBatch(t, from, from+rows), []Run{run})
		extents = append(extents, mustWrite(t, b))
	}
	segments := b.list()
	s := segments[0]
	x := segmentIndex{id: s.id, end: s.size, next: s.next, chain: s.chain, entries: s.entries}
	if err := b.keepIndex(s, &x); err != nil {
		t.Fatal(err)
	}
	return extents
}

// TestSegmentsAreArrowStreams reads a segment with an Arrow library.
func TestSegmentsAreArrowStreams(t *testing.T) {
	fs := newFS(t)
	extents := writeSegment(t, fs)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	content := fileBytes(t, fs, extents[0].Segment.Path())
	reader, err := ipc.NewReader(bytes.NewReader(content), ipc.WithAllocator(mem))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	metadata := reader.Schema().Metadata()
	for key, want := range map[string]string{
		"owner": "tests", "headrace.user.headrace.mine": "kept", keyFormat: "1", keyTable: "web.clicks",
		keyTableID: testTableID, keyBaseOffset: "0", keyPrimaryKey: "[]", keyBucketKey: `["n"]`,
	} {
		if got, _ := metadata.GetValue(key); got != want {
			t.Errorf("metadata %s is %q, want %q", key, got, want)
		}
	}
	next := int64(0)
	for reader.Next() {
		record := reader.RecordBatch()
		numbers, texts := record.Column(0).(*array.Int64), record.Column(1).(*array.String)
		for i := range int(record.NumRows()) {
			n, text, valid := value(next)
			if numbers.Value(i) != n || texts.IsValid(i) != valid || valid && texts.Value(i) != text {
				t.Errorf("row %d is %v, %v", next, numbers.Value(i), texts.ValueStr(i))
			}
			next++
		}
	}
	if err := reader.Err(); err != nil && err != io.EOF {
		t.Error(err)
	}
	if next != 12 {
		t.Errorf("%d rows, want 12", next)
	}
}

func TestMetadataOfIndexes(t *testing.T) {
	table := testTable()
	table.PrimaryKey = []string{"n"}
	table.Indexes = []model.Index{{Name: "by_text", Columns: []string{"text"}}, {Name: "by_both", Columns: []string{"text", "n"}}}
	metadata, err := (&segmentHead{table: table}).metadata()
	if err != nil {
		t.Fatal(err)
	}
	head := &segmentHead{}
	if err := head.parseMetadata(arrow.NewSchema(table.LogSchema().Fields(), &metadata)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(head.table.Indexes, table.Indexes) {
		t.Errorf("indexes %+v, want %+v", head.table.Indexes, table.Indexes)
	}
}

func TestReadSegmentTable(t *testing.T) {
	fs := newFS(t)
	extents := writeSegment(t, fs)
	got, _, err := ReadSegmentTable(testOptions(fs), extents[0].Segment.Path())
	if err != nil {
		t.Fatal(err)
	}
	want := testTable()
	if !got.Schema.Equal(want.Schema) {
		t.Errorf("schema %v, want %v", got.Schema, want.Schema)
	}
	if !reflect.DeepEqual(got.Schema.Metadata().ToMap(), want.Schema.Metadata().ToMap()) {
		t.Errorf("metadata %v, want %v", got.Schema.Metadata(), want.Schema.Metadata())
	}
	got.Schema, want.Schema = nil, nil
	want.PrimaryKey = []string{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("table %+v, want %+v", got, want)
	}
}

// TestEveryFlippedBitIsFound flips each bit of a segment, padding included: CheckSegment names the
// damage and the rows of the batch, whether the end is known from the caller or from the index,
// VerifyExtent refuses the extent, and no reader gets a row that is not right.
func TestEveryFlippedBitIsFound(t *testing.T) {
	fs := newFS(t)
	extents := writeSegment(t, fs)
	last := extents[len(extents)-1]
	path := last.Segment.Path()
	content := fileBytes(t, fs, path)
	size := int64(len(content))
	parts := append([]Extent{{End: prefixBytes + int64(binary.LittleEndian.Uint32(content[4:]))}}, extents...)
	options := testOptions(fs)
	for position := range size {
		bit := uint(position) % 8
		flipBit(t, fs, path, position, bit)
		checkFinding(t, options, -1, parts, position)
		checkFinding(t, options, last.Next, parts, position)
		if err := VerifyExtent(options, Extent{Segment: last.Segment}, last); err == nil {
			t.Errorf("byte %d: VerifyExtent finds nothing", position)
		}
		if position%7 == 0 {
			readDamaged(t, options, last, position)
		}
		flipBit(t, fs, path, position, bit)
	}
	if err := CheckSegment(options, path, -1, func(f Finding) { t.Errorf("%+v", f) }); err != nil {
		t.Fatal(err)
	}
}

// checkFinding wants CheckSegment to name the rows of the batch that a flipped bit lies in; no rows
// for the schema message, which parts begins with, and for a batch without rows.
func checkFinding(t *testing.T, options Options, end int64, parts []Extent, position int64) {
	t.Helper()
	path := parts[len(parts)-1].Segment.Path()
	first, last := int64(-1), int64(-1)
	for i, part := range parts[1:] {
		if before := parts[i]; before.End <= position && position < part.End && before.Next < part.Next {
			first, last = before.Next, part.Next-1
		}
	}
	var found []Finding
	if err := CheckSegment(options, path, end, func(f Finding) { found = append(found, f) }); err != nil {
		t.Fatalf("byte %d: %v", position, err)
	}
	for _, f := range found {
		if f.Path == path && f.Position <= position && f.FirstOffset == first && f.LastOffset == last {
			return
		}
	}
	t.Errorf("byte %d: got %+v, want rows %d to %d", position, found, first, last)
}

// readDamaged opens a segment with a flipped bit: every row that is given must be right.
func readDamaged(t *testing.T, options Options, at Extent, position int64) {
	t.Helper()
	copied := options.FS.(*vfs.Mem).Kill()
	options.FS = copied
	b, err := OpenBucket(testTable(), 0, &at, options)
	if err != nil {
		t.Fatalf("byte %d: %v", position, err)
	}
	defer func() { _ = b.Close(nil) }()
	for from := int64(0); from < b.End(); {
		c, err := b.Cursor(from)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.Next(b.End())
		if err == nil {
			if err = stored.Verify(nil); err == nil {
				checkRows(t, stored)
				from = stored.Base + stored.Rows
			}
		}
		c.Close()
		if err != nil {
			last, ok := lostUpTo(err)
			if !ok {
				t.Fatalf("byte %d: %v", position, err)
			}
			from = last + 1
		}
	}
}

// TestEveryPrefixIsFound cuts a segment at each byte.
func TestEveryPrefixIsFound(t *testing.T) {
	fs := newFS(t)
	extents := writeSegment(t, fs)
	last := extents[len(extents)-1]
	path := last.Segment.Path()
	content := fileBytes(t, fs, path)
	options := testOptions(fs)
	for size := len(content) - 1; size >= 0; size-- {
		setFile(t, fs, path, content[:size])
		if err := VerifyExtent(options, Extent{Segment: last.Segment}, last); err == nil {
			t.Fatalf("%d of %d bytes: VerifyExtent finds nothing", size, len(content))
		}
		findings := 0
		if err := CheckSegment(options, path, -1, func(Finding) { findings++ }); err != nil {
			t.Fatal(err)
		}
		// The index tells of what is missing at the end of a batch.
		if findings == 0 {
			t.Fatalf("%d of %d bytes: CheckSegment finds nothing", size, len(content))
		}
	}
}

func TestVerifyExtent(t *testing.T) {
	fs := newFS(t)
	extents := writeSegment(t, fs)
	options := testOptions(fs)
	zero := Extent{Segment: extents[0].Segment}
	from := append([]Extent{zero}, extents...)
	for i, a := range from {
		for j, b := range from[1:] {
			err := VerifyExtent(options, a, b)
			if whole := j+1 >= i; whole != (err == nil) {
				t.Errorf("from %d to %d: %v", i, j+1, err)
			}
		}
	}
	good := extents[1]
	for name, change := range map[string]func(from, to *Extent){
		"another chain before":   func(from, _ *Extent) { from.Chain++ },
		"another offset before":  func(from, _ *Extent) { from.Next++ },
		"another place before":   func(from, _ *Extent) { from.End += alignment },
		"another chain":          func(_, to *Extent) { to.Chain++ },
		"another offset":         func(_, to *Extent) { to.Next++ },
		"an earlier offset":      func(_, to *Extent) { to.Next-- },
		"another place":          func(_, to *Extent) { to.End += alignment },
		"an earlier place":       func(_, to *Extent) { to.End -= alignment },
		"beyond the file":        func(_, to *Extent) { to.End += 1 << 20 },
		"another bucket":         func(from, to *Extent) { from.Segment.Bucket++; to.Segment.Bucket++ },
		"extents of two buckets": func(_, to *Extent) { to.Segment.Bucket++ },
		"missing":                func(from, to *Extent) { from.Segment.Base++; to.Segment.Base++ },
	} {
		from, to := extents[0], good
		change(&from, &to)
		if err := VerifyExtent(options, from, to); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestSegmentBytesAsValues stores the bytes of a segment as values of another one. What looks like a
// batch within a value must not be taken for one, also when what is before it is damaged.
func TestSegmentBytesAsValues(t *testing.T) {
	fs := newFS(t)
	inner := fileBytes(t, fs, writeSegment(t, fs)[0].Segment.Path())
	fs = newFS(t)
	options := testOptions(fs)
	options.SegmentBytes = 1 << 20
	b := mustOpen(t, nothing(), options)
	schema := b.layout.Load().Schema()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	// At every alignment that a value can have.
	for shift := range 8 {
		builder.Field(0).(*array.Int64Builder).Append(int64(shift))
		builder.Field(1).(*array.StringBuilder).Append(strings.Repeat("x", 8*shift) + string(inner))
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	for range 2 {
		batch, err := arrowipc.FromRecord(testLayout, record)
		if err != nil {
			t.Fatal(err)
		}
		b.Append(batch, []Run{{Rows: record.NumRows(), Time: 1}})
		mustWrite(t, b)
	}
	at, _ := b.Extent()
	entries := b.list()[0].entries
	flipBit(t, fs, at.Segment.Path(), entries[0].position+40, 3)
	damaged := mustOpen(t, &at, options)
	segments := damaged.list()
	if s := segments[0]; len(s.entries) != 1 || len(s.damage) != 1 || s.damage[0].to != 8 {
		t.Errorf("entries %+v and damage %+v, want the second batch and rows 0 to 7", s.entries, s.damage)
	}
	findings := 0
	if err := CheckSegment(options, at.Segment.Path(), -1, func(Finding) { findings++ }); err != nil || findings != 1 {
		t.Errorf("%d findings and error %v, want 1", findings, err)
	}
}

// TestWideBatch stores all that the format leaves to a batch: views with data buffers, compressed
// buffers, a body whose length is not a multiple of 64, many runs.
func TestWideBatch(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "view", Type: arrow.BinaryTypes.StringView, Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int16), Nullable: true},
	}, nil)
	layout, err := arrowipc.NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for i := range 100 {
		builder.Field(0).(*array.StringViewBuilder).Append(strings.Repeat("v", i))
		list := builder.Field(1).(*array.ListBuilder)
		list.Append(i%3 != 0)
		list.ValueBuilder().(*array.Int16Builder).Append(int16(i))
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	table := testTable()
	table.Schema, table.BucketKey, table.FieldIDs = schema, nil, []int32{1, 2}
	fs := newFS(t)
	options := testOptions(fs)
	b, err := OpenBucket(table, 0, nothing(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(nil) }()
	for _, codec := range []arrowipc.Codec{arrowipc.NoCodec, arrowipc.LZ4, arrowipc.ZSTD} {
		batch, err := arrowipc.FromRecord(layout, record)
		if err != nil {
			t.Fatal(err)
		}
		if codec != arrowipc.NoCodec {
			if batch, err = arrowipc.Compress(batch, codec, 1); err != nil {
				t.Fatal(err)
			}
		}
		runs := make([]Run, 50)
		for i := range runs {
			runs[i] = Run{RowStart: 2 * int64(i), Rows: 2, Time: int64(i), Producer: fmt.Sprint("p", i%5), Hash: uint64(i)}
		}
		for i := range runs {
			runs[i].Time = 1000*int64(codec) + int64(i)
		}
		b.Append(batch, runs)
	}
	mustWrite(t, b)
	c, err := b.Cursor(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		stored, err := c.Next(300)
		if err != nil {
			t.Fatal(err)
		}
		if err := stored.Verify(nil); err != nil {
			t.Fatal(err)
		}
		got, err := stored.Batch.Record(memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		if !array.RecordEqual(got, record) {
			t.Errorf("rows from %d on are %v", stored.Base, got)
		}
		got.Release()
		runs, err := stored.Runs()
		if err != nil || len(runs) != 50 || runs[49].Producer != "p4" || runs[49].Hash != 49 || runs[49].RowStart != 98 {
			t.Errorf("runs %+v, error %v", runs, err)
		}
	}
	if err := CheckSegment(options, b.segmentName(0).Path(), -1, func(f Finding) { t.Errorf("%+v", f) }); err != nil {
		t.Fatal(err)
	}
}

// FuzzReadHead feeds arbitrary bytes: no panic, and nothing is read beyond what is there.
func FuzzReadHead(f *testing.F) {
	fs := newFS(f)
	extents := writeSegment(f, fs)
	content := fileBytes(f, fs, extents[0].Segment.Path())
	size := prefixBytes + int64(binary.LittleEndian.Uint32(content[4:]))
	f.Add(content[size:], size)
	f.Fuzz(func(t *testing.T, src []byte, position int64) {
		get := func(at, n int64) ([]byte, error) {
			if at -= position; at < 0 || n < 0 || at > int64(len(src))-n {
				return nil, errTorn
			}
			return src[at : at+n : at+n], nil
		}
		for _, verify := range []bool{true, false} {
			h, err := readHead(get, position, verify)
			if err != nil {
				continue
			}
			_ = h.time()
			_, _ = h.decodeRuns()
			for i := range h.buffers {
				_ = h.bufferSum(i)
			}
			if body := src[h.headerAt():]; h.size() <= int64(len(src)) {
				var batch arrowipc.Batch
				if arrowipc.ParseMessage(testLayout, h.message(), body[:h.header+h.body], h.header, &batch) == nil &&
					len(batch.Buffers) == h.buffers {
					_ = checkBuffers(&h, &batch)
				}
			}
		}
	})
}

// FuzzSegmentHead feeds arbitrary bytes as the beginning of a segment.
func FuzzSegmentHead(f *testing.F) {
	fs := newFS(f)
	extents := writeSegment(f, fs)
	f.Add(fileBytes(f, fs, extents[0].Segment.Path())[:2048])
	f.Fuzz(func(_ *testing.T, src []byte) {
		_, _ = readSegmentHead(func(at, n int64) ([]byte, error) {
			if at < 0 || n < 0 || at > int64(len(src))-n {
				return nil, errTorn
			}
			return src[at : at+n : at+n], nil
		})
	})
}

// FuzzDecodeIndex feeds arbitrary bytes: what is accepted encodes back to itself.
func FuzzDecodeIndex(f *testing.F) {
	f.Add(encodeIndex(&segmentIndex{end: 7, entries: []entry{{offset: 1, rows: 2}}}))
	f.Fuzz(func(t *testing.T, src []byte) {
		x, err := decodeIndex(bytes.Clone(src))
		if err != nil {
			return
		}
		// The bytes that version 1 leaves at zero are not kept.
		if back := encodeIndex(x); len(back) != len(src) {
			t.Errorf("%d bytes encode back to %d", len(src), len(back))
		}
	})
}
