package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// textOf writes a batch as text: the rows in lines, the columns with their names.
func textOf(record arrow.RecordBatch) string {
	var text strings.Builder
	for row := range int(record.NumRows()) {
		for i, field := range record.Schema().Fields() {
			value := record.Column(i).ValueStr(row)
			if record.Column(i).IsNull(row) {
				value = "-"
			}
			fmt.Fprintf(&text, "%s=%s ", field.Name, value)
		}
		text.WriteString("\n")
	}
	return text.String()
}

// TestLookupForms asks in every form for the same keys: two that are there, one that is not, one that
// is null, and one twice.
func TestLookupForms(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	for buckets := int32(1); buckets <= 4; buckets += 3 {
		table := fmt.Sprint("t", buckets)
		createKeyed(t, e, table, buckets, nil)
		upsert(t, e, table, keyedRow{0, "zero", 0}, keyedRow{1, "a", 10}, keyedRow{2, noText, 20})
		schema := arrow.NewSchema([]arrow.Field{
			{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		}, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		b.Field(0).(*array.StringBuilder).AppendValues([]string{"v", "w", "x", "y", "z"}, nil)
		b.Field(1).(*array.Int64Builder).AppendValues([]int64{2, 9, 0, 1, 2}, []bool{true, true, false, true, true})
		record := b.NewRecordBatch()
		header, body := recordMessage(t, record)
		for _, test := range []struct {
			what    string
			request LookupRequest
			want    string
		}{
			{
				"all columns", LookupRequest{},
				"id=2 text=- number=20 \nid=- text=- number=- \nid=- text=- number=- \nid=1 text=a number=10 \nid=2 text=- number=20 \n",
			},
			{"inner", LookupRequest{Inner: true, Columns: []string{"number"}}, "number=20 \nnumber=10 \nnumber=20 \n"},
			{
				"inner, carried", LookupRequest{Inner: true, Carry: true, Columns: []string{"text"}},
				"note=v id=2 text=- \nnote=y id=1 text=a \nnote=z id=2 text=- \n",
			},
			{
				"carried, with a prefix and found", LookupRequest{Carry: true, Prefix: "u_", Columns: []string{"id"}, Found: "there"},
				"note=v id=2 u_id=2 there=true \nnote=w id=9 u_id=- there=false \nnote=x id=- u_id=- there=false \n" +
					"note=y id=1 u_id=1 there=true \nnote=z id=2 u_id=2 there=true \n",
			},
			{"no columns, found", LookupRequest{Columns: []string{}, Found: "f"}, "f=true \nf=false \nf=false \nf=true \nf=true \n"},
			{"no columns, carried", LookupRequest{Columns: []string{}, Carry: true, Inner: true}, "note=v id=2 \nnote=y id=1 \nnote=z id=2 \n"},
		} {
			test.request.Schema = arrowipc.EncodeSchema(schema)
			l := openLookup(t, e, table, test.request)
			for range 2 { // a stream answers more than once
				records, parts, err := l.ask(t.Context(), header, body)
				if err != nil || len(records) != 1 {
					t.Fatalf("%s: %d parts, error %v", test.what, len(records), err)
				}
				if got := textOf(records[0]); got != test.want {
					t.Errorf("%s:\n%s want\n%s", test.what, got, test.want)
				}
				for bucket, offset := range parts[0].AsOf {
					if offset > 3 || bucket >= buckets {
						t.Errorf("%s: as of %v", test.what, parts[0].AsOf)
					}
				}
			}
		}
		record.Release()
		b.Release()
	}
}

// TestRefusedLookups opens lookups that a table does not have, and sends what is no batch of them.
func TestRefusedLookups(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	createTable(t, e, CreateTable{Name: name(t, "log")})
	key := arrowipc.EncodeSchema(keyedFields("id"))
	for _, test := range []struct {
		what, table string
		request     LookupRequest
		want        model.Reason
	}{
		{"a log table", "log", LookupRequest{}, model.BadRequest},
		{"no table", "none", LookupRequest{}, model.TableNotFound},
		{"an unknown column", "t", LookupRequest{Columns: []string{"x"}}, model.ColumnNotFound},
		{"the stored change column", "t", LookupRequest{Columns: []string{model.ChangeColumn}}, model.ColumnNotFound},
		{"by another column", "t", LookupRequest{By: []string{"text"}}, model.BadRequest},
		{"no key column", "t", LookupRequest{Schema: arrowipc.EncodeSchema(keyedFields("text"))}, model.SchemaMismatch},
		{"a key that is text", "t", LookupRequest{Schema: arrowipc.EncodeSchema(idAs(arrow.BinaryTypes.String))}, model.SchemaMismatch},
		{"two columns id", "t", LookupRequest{Carry: true}, model.BadRequest},
		{"two columns text", "t", LookupRequest{Found: "text"}, model.BadRequest},
		{"a column twice", "t", LookupRequest{Columns: []string{"id", "id"}}, model.BadRequest},
		{"a bucket that is not there", "t", LookupRequest{MinOffsets: model.Offsets{2: 1}}, model.BadRequest},
		{"a damaged schema", "t", LookupRequest{Schema: []byte{1, 2, 3}}, model.BadRequest},
	} {
		if test.request.Table = name(t, test.table); test.request.Schema == nil {
			test.request.Schema = key
		}
		if _, err := e.OpenLookup(t.Context(), test.request); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.what, err, test.want)
		}
	}
	l := openLookup(t, e, "t", LookupRequest{})
	header, body := keyedMessage(t, keyedFields("id"), rowsOfKeys(1, 2, 3))
	body[0] = body[0][:8]
	if _, _, err := l.ask(t.Context(), header, body); model.AsError(err) == nil || model.AsError(err).Reason == model.Internal {
		t.Errorf("a batch that is cut: error %v, want one for the client", err)
	}
}

// TestLookupWaitsForOffsets asks for a state that is not there yet.
func TestLookupWaitsForOffsets(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 1, nil)
	upsert(t, e, "t", keyedRow{1, "a", 1})
	l := openLookup(t, e, "t", LookupRequest{MinOffsets: model.Offsets{0: 3}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	header, body := keyedMessage(t, keyedFields("id"), rowsOfKeys(1))
	if _, _, err := l.ask(ctx, header, body); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	answered := make(chan keyedRow)
	go func() {
		rows, _ := l.rows(1)
		answered <- rows[0]
	}()
	select {
	case row := <-answered:
		t.Fatalf("%+v is answered before the state is there", row)
	default:
	}
	ack := upsert(t, e, "t", keyedRow{1, "b", 2})
	if got := <-answered; got != (keyedRow{1, "b", 2}) || ack.Offsets[0].To != 3 {
		t.Errorf("found %+v, acknowledged %+v", got, ack)
	}
	own := openLookup(t, e, "t", LookupRequest{MinOffsets: model.Offsets{0: 1 << 40}})
	dropped := make(chan error)
	go func() {
		_, _, err := own.ask(context.Background(), header, body)
		dropped <- err
	}()
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; model.AsError(err).Reason == model.Internal {
		t.Errorf("the table is dropped: error %v", err)
	}
}

// TestLargeAnswers looks up rows that do not fit one message, in the order of the keys.
func TestLargeAnswers(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	for buckets := int32(1); buckets <= 3; buckets += 2 {
		table := fmt.Sprint("t", buckets)
		createKeyed(t, e, table, buckets, nil)
		rows := numbered(0, 1000, strings.Repeat("y", 10_000))
		upsert(t, e, table, rows...)
		ids := make([]int64, len(rows))
		for i := range ids {
			ids[i] = int64(i*7) % int64(len(ids))
		}
		l := openLookup(t, e, table, LookupRequest{})
		header, body := keyedMessage(t, keyedFields("id"), rowsOfKeys(ids...))
		records, parts, err := l.ask(t.Context(), header, body)
		if err != nil || len(parts) < 3 {
			t.Fatalf("%d parts, error %v; want more than 2", len(parts), err)
		}
		at := 0
		for i, record := range records {
			if n := len(parts[i].Message.Header) + bytesOf(parts[i].Message.Body); n > messageBytesDefault+64<<10 {
				t.Errorf("part %d has %d bytes", i, n)
			}
			for _, c := range cellsOf(t, record) {
				if c.row != rows[ids[at]] {
					t.Fatalf("row %d is %d, want %d", at, c.row.id, ids[at])
				}
				at++
			}
		}
		if at != len(ids) {
			t.Errorf("%d rows, want %d", at, len(ids))
		}
	}
}

func bytesOf(parts [][]byte) (n int) {
	for _, part := range parts {
		n += len(part)
	}
	return n
}

// TestKeysInOtherForms looks up string keys that come as dictionary, large string or view, and
// compressed.
func TestKeysInOtherForms(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	fields := []arrow.Field{
		{Name: "b", Type: arrow.BinaryTypes.String}, {Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "a", Type: arrow.PrimitiveTypes.Int32},
	}
	schema := arrow.NewSchema(fields, nil)
	createTable(t, e, CreateTable{
		Name: name(t, "t"), Schema: schema, PrimaryKey: []string{"a", "b"}, BucketKey: []string{"a"}, Buckets: 3,
	})
	put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schema)})
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range 200 {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("key number %d", i%20))
		b.Field(1).(*array.Int64Builder).Append(int64(i))
		b.Field(2).(*array.Int32Builder).Append(int32(i / 20))
	}
	header, body := recordMessage(t, b.NewRecordBatch())
	pending, err := put.Send(t.Context(), header, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	if <-pending.Done(); pending.err != nil {
		t.Fatal(pending.err)
	}
	for _, test := range []struct {
		form  string
		codec arrowipc.Codec
		text  arrow.DataType
	}{
		{"string", arrowipc.NoCodec, arrow.BinaryTypes.String},
		{"large string", arrowipc.NoCodec, arrow.BinaryTypes.LargeString},
		{"string view", arrowipc.NoCodec, arrow.BinaryTypes.StringView},
		{"compressed with zstd", arrowipc.ZSTD, arrow.BinaryTypes.String},
		{"compressed with lz4, large string", arrowipc.LZ4, arrow.BinaryTypes.LargeString},
	} {
		keys := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int32}, {Name: "b", Type: test.text}}, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, keys)
		var want []int64
		for i := 210; i >= 0; i -= 3 {
			b.Field(0).(*array.Int32Builder).Append(int32(i / 20))
			if err := b.Field(1).AppendValueFromString(fmt.Sprintf("key number %d", i%20)); err != nil {
				t.Fatal(err)
			}
			want = append(want, int64(i))
		}
		record := b.NewRecordBatch()
		layout, err := arrowipc.NewLayout(keys)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := arrowipc.FromRecord(layout, record)
		if err == nil && test.codec != arrowipc.NoCodec {
			batch, err = arrowipc.Compress(batch, test.codec, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, by := range [][]string{nil, {"b", "a"}} {
			l := openLookup(t, e, "t", LookupRequest{Schema: arrowipc.EncodeSchema(keys), Columns: []string{"value"}, By: by})
			records, _, err := l.ask(t.Context(), batch.Message(0), [][]byte{batch.Body})
			if err != nil {
				t.Fatalf("%s: %v", test.form, err)
			}
			values := records[0].Column(0).(*array.Int64)
			for i, w := range want {
				if found := values.IsValid(i); found != (w < 200) || found && values.Value(i) != w {
					t.Fatalf("%s: key %d finds %s", test.form, w, values.ValueStr(i))
				}
			}
		}
	}
}

// TestDictionaryKeys looks up keys in the two messages of a dictionary and a batch.
func TestDictionaryKeys(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	schema := arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.BinaryTypes.String}, {Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)
	createTable(t, e, CreateTable{Name: name(t, "t"), Schema: schema, PrimaryKey: []string{"k"}, Buckets: 2})
	put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schema)})
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.StringBuilder).AppendValues([]string{"x", "y"}, nil)
	b.Field(1).(*array.Int64Builder).AppendValues([]int64{1, 2}, nil)
	header, body := recordMessage(t, b.NewRecordBatch())
	pending, err := put.Send(t.Context(), header, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-pending.Done()
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	keys := arrow.NewSchema([]arrow.Field{{Name: "k", Type: dictionary, Nullable: true}}, nil)
	d := array.NewRecordBuilder(memory.DefaultAllocator, keys)
	builder := d.Field(0).(*array.BinaryDictionaryBuilder)
	for _, k := range []string{"y", "nowhere", "x", "y"} {
		if err := builder.AppendString(k); err != nil {
			t.Fatal(err)
		}
	}
	builder.AppendNull()
	messages := streamOf(t, d.NewRecordBatch())
	l := openLookup(t, e, "t", LookupRequest{Schema: messages[0].Header, Columns: []string{"v"}, Carry: true})
	text := ""
	for _, m := range messages[1:] {
		for part, err := range l.lookup.Answer(t.Context(), KeyMessage{Header: m.Header, Body: [][]byte{m.Body}}) {
			if err != nil {
				t.Fatal(err)
			}
			record := decodeRecord(t, l.lookup.SchemaMessage(), part.Message)
			text += textOf(record)
		}
	}
	if want := "k=y v=2 \nk=nowhere v=- \nk=x v=1 \nk=y v=2 \nk=- v=- \n"; text != want {
		t.Errorf("got\n%s want\n%s", text, want)
	}
}

// TestLookupsAreAsOfAnOffset compares what lookups say of the state that they show with the changelog.
func TestLookupsAreAsOfAnOffset(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	defer func() {
		if s := e.Status().RowCache; s.Hits < s.Misses {
			t.Errorf("more than half of the rows were looked up for the first time: %+v", s)
		}
	}()
	l := openLookup(t, e, "t", LookupRequest{})
	ids := []int64{0, 1, 2, 3, 4, 5, 6, 7}
	for i := range int64(20) {
		upsert(t, e, "t", keyedRow{i % 8, "", i}, keyedRow{i % 3, "", i})
		deleteKeys(t, e, "t", i%5)
		rows, part := l.rows(ids...)
		state := keyedState{}
		for _, c := range mustRead(t, e, "t", ViewChangelog) {
			if c.offset < part.AsOf[c.bucket] && c.kind != "-U" {
				state.fold(t, []cell{c}, model.ImageNew)
			}
		}
		found := keyedState{}
		for _, row := range rows {
			if row != (keyedRow{0, noText, noNumber}) {
				found[row.id] = row
			}
		}
		if !maps.Equal(found, state) {
			t.Fatalf("as of %v, found %v, the changelog has %v", part.AsOf, slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(state)))
		}
	}
}
