package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestFieldsOfOldRows reads fields of structs, compressed and not, of rows that were written before the columns
// were changed: where the struct is as it was, and where it has another field.
func TestFieldsOfOldRows(t *testing.T) {
	const size = 300
	top := []model.ColumnChange{
		model.RenameColumn{Path: columnPath{"a"}, To: "z"}, model.MoveColumn{Path: columnPath{"z"}, Place: model.Place{First: true}},
		model.AddColumn{Path: columnPath{"k"}, Field: fieldOfText(t, "k string"), Default: "new"},
	}
	below := append(slices.Clone(top), model.AddColumn{Path: columnPath{"z", "b", "m"}, Field: fieldOfText(t, "m int32"), Default: 7.0, Place: model.Place{First: true}})
	for what, changes := range map[string][]model.ColumnChange{"the same struct": top, "another struct": below} {
		for _, stored := range []arrowipc.Codec{arrowipc.NoCodec, arrowipc.LZ4, arrowipc.ZSTD} {
			e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
			createTable(t, e, CreateTable{Name: name(t, "log"), Schema: nestedSchema})
			createTable(t, e, CreateTable{Name: name(t, "keyed"), Schema: nestedSchema, PrimaryKey: []string{"id"}})
			for _, table := range []string{"log", "keyed"} {
				putNested(t, e, table, stored, nestedRecord(0, size))
				alter(t, e, table, changes...)
			}
			scans := []Scan{
				{Table: name(t, "log")}, {Table: name(t, "keyed")}, {Table: name(t, "keyed"), View: ViewChangelog},
				{Table: name(t, "log"), From: offsets(model.Offsets{0: 7})}, {Table: name(t, "log"), MessageBytes: 4 << 10},
			}
			for i, scan := range scans {
				for scan.Compression = range CompressionZSTD + 1 {
					checkOldFields(t, e, fmt.Sprintf("%s, stored %d, scan %d, compression %d", what, stored, i, scan.Compression), scan, size, len(changes) > len(top))
				}
			}
			closeEngine(t, e)
		}
	}
}

// checkOldFields reads rows of nestedRecord behind the changes.
func checkOldFields(t *testing.T, e *Engine, what string, scan Scan, size int64, below bool) {
	t.Helper()
	scan.Columns, scan.Paths = []string{"z", "id", "k"}, [][]string{{"b", "n"}, nil, nil}
	if below {
		scan.Columns, scan.Paths = append(scan.Columns, "z"), append(scan.Paths, []string{"b", "m"})
	}
	var want []string
	for id := scan.From.Position.Offsets[0]; id < size; id++ {
		row := fmt.Sprintf("z.b.n=%s id=%d k=new", nestedCell(id), id)
		if below && (id%5 == 0 || id%3 == 0) {
			row += " z.b.m=(null)"
		} else if below {
			row += " z.b.m=7"
		}
		want = append(want, row)
	}
	if rows, _ := readFields(t, e, scan); !slices.Equal(rows, want) {
		t.Errorf("%s: got %d rows, %q…, want %d, %q…", what, len(rows), rows[:min(3, len(rows))], len(want), want[:3])
	}
}

// TestOldSegmentsAreCompressed changes columns between rows of a table whose segments are compressed later: each
// keeps its schema.
func TestOldSegmentsAreCompressed(t *testing.T) {
	files := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(files)
	e := open(t, options)
	createTable(t, e, CreateTable{Name: name(t, "t"), Schema: nestedSchema, Options: map[string]string{"log.compression": "zstd:1"}})
	for i := range int64(20) {
		putNested(t, e, "t", arrowipc.NoCodec, nestedRecord(10*i, 10))
	}
	alter(t, e, "t", model.RenameColumn{Path: columnPath{"a"}, To: "z"}, model.AddColumn{Path: columnPath{"k"}, Field: fieldOfText(t, "k string"), Default: "new"},
		model.AddColumn{Path: columnPath{"z", "b", "m"}, Field: fieldOfText(t, "m int32"), Default: 7.0})
	old := mustOpen(t, e, "t", "id int64 not null", PutRequest{})
	old.mustWrite(`[{"id":200}]`) // seals the segment of the old schema
	e.Maintain(t.Context())
	b := testBucket(t, e, "t")
	if stats := b.Measure(); stats.RawBytes <= stats.Bytes {
		t.Errorf("nothing was compressed: %+v", stats)
	}
	check := func(what string) {
		t.Helper()
		to := Bound{Kind: BoundOffsets, Position: model.Position{Offsets: model.Offsets{0: 200}}}
		for compression := range CompressionZSTD + 1 {
			checkOldFields(t, e, what, Scan{Table: name(t, "t"), To: to, Compression: compression}, 200, true)
		}
	}
	check("compressed")
	closeEngine(t, e)
	checkUndamaged(t, "closed", files)
	e = open(t, options)
	defer closeEngine(t, e)
	check("behind a restart")
}

func testBucket(t *testing.T, e *Engine, table string) *bucket {
	t.Helper()
	found, err := e.table(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	b, err := found.bucket(0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStatisticsOfOldRows passes over batches by what is known of them in the present schema.
func TestStatisticsOfOldRows(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createText(t, e, "t", "id int64 not null, a int8", "", nil)
	mustOpen(t, e, "t", "id int64 not null, a int8", PutRequest{}).mustWrite(`[{"id":1,"a":5}]`)
	alter(t, e, "t", model.MoveColumn{Path: columnPath{"a"}, Place: model.Place{First: true}}, model.SetType{Path: columnPath{"a"}, Type: arrow.PrimitiveTypes.Int32},
		model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n int64"), Default: 3.0})
	mustOpen(t, e, "t", "a int32, id int64 not null, n int64", PutRequest{}).mustWrite(`[{"a":500,"id":2,"n":4}]`)
	b := testBucket(t, e, "t")
	schema := b.table.schema.Load()
	for _, test := range []struct {
		column int
		width  int
		value  uint64
		want   []int64
	}{
		{0, 4, 500, []int64{1}}, {0, 4, 5, []int64{0}}, {0, 4, 501, nil}, {1, 8, 1, []int64{0}}, {1, 8, 2, []int64{1}}, {2, 8, 3, []int64{0}}, {2, 8, 4, []int64{1}}, {2, 8, 5, nil},
	} {
		c, err := b.Cursor(0)
		if err != nil {
			t.Fatal(err)
		}
		value := binary.LittleEndian.AppendUint64(nil, test.value)[:test.width]
		c.Skip = schema.skipper(func(_ int32, s *arrowipc.Statistics) bool {
			column := s.Columns[test.column]
			return column.Min != nil && !slices.Equal(column.Min, value)
		})
		var got []int64
		for {
			stored, err := c.Next(b.End())
			if err != nil {
				t.Fatal(err)
			}
			if stored == nil {
				break
			}
			got = append(got, stored.Base)
		}
		c.Close()
		if !slices.Equal(got, test.want) {
			t.Errorf("column %d, %d: got the batches at %d, want %d", test.column, test.value, got, test.want)
		}
	}
}
