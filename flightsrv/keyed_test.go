package flightsrv

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// createKeyed makes a table of testSchema with the key id; more is added to the request.
func (s *testServer) createKeyed(t testing.TB, table, more string) {
	t.Helper()
	s.create(t, table, `,"primary_key":["id"]`+more)
}

var keySchema = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)

// keys makes a batch of keys.
func keys(ids ...int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, keySchema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues(ids, nil)
	return b.NewRecordBatch()
}

// texts makes a batch of rows with one text.
func texts(text string, ids ...int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
	defer b.Release()
	for _, id := range ids {
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(text)
	}
	return b.NewRecordBatch()
}

// putBy sends batches of one schema with a command.
func (s *testServer) putBy(ctx context.Context, t testing.TB, command string, batches ...arrow.RecordBatch) ([]ackJSON, error) {
	t.Helper()
	p := s.openPut(ctx, t, commandOf(command), batches[0].Schema())
	for _, batch := range batches {
		if err := p.writer.Write(batch); err != nil {
			break // the acknowledgements tell why
		}
	}
	return p.finish()
}

// table reads a ticket into lines of text, one a row: the values of the columns with spaces between.
// Marks are lines too.
func (s *testServer) table(t testing.TB, ticket string) []string {
	t.Helper()
	stream, err := s.client.DoGet(t.Context(), &flight.Ticket{Ticket: []byte(ticket)})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		t.Fatalf("%s: %v", ticket, err)
	}
	defer reader.Release()
	var lines []string
	for reader.Next() {
		lines = append(lines, linesOf(reader.RecordBatch())...)
		var meta struct {
			Mark     string   `json:"mark"`
			Position position `json:"position"`
		}
		if strings.HasPrefix(string(reader.LatestAppMetadata()), `{"mark"`) {
			if err := decodeJSON(reader.LatestAppMetadata(), "the mark", &meta); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, "mark "+meta.Mark)
		}
	}
	if err := reader.Err(); err != nil {
		t.Fatalf("%s: %v", ticket, err)
	}
	return lines
}

func linesOf(batch arrow.RecordBatch) []string {
	lines := make([]string, batch.NumRows())
	for row := range lines {
		values := make([]string, batch.NumCols())
		for i, column := range batch.Columns() {
			values[i] = column.ValueStr(row)
		}
		lines[row] = strings.Join(values, " ")
	}
	return lines
}

// state is the state of a table of testSchema, sorted.
func (s *testServer) state(t testing.TB, table string) string {
	t.Helper()
	lines := s.table(t, `{"scan":{"table":"`+table+`"}}`)
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func TestPutModes(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "log", "")
	s.createKeyed(t, "u", `,"buckets":2`)
	s.put(t, "u", texts("a", 1, 2), texts("b", 2, 3)) // a path
	for _, c := range []struct {
		command string
		batch   arrow.RecordBatch
		state   string
		code    codes.Code
		want    string
	}{
		{`{"put":{"table":"u"}}`, texts("c", 3), "1 a; 2 b; 3 c", codes.OK, ""},
		{`{"put":{"table":"u","mode":"upsert"}}`, texts("d", 4), "1 a; 2 b; 3 c; 4 d", codes.OK, ""},
		{`{"put":{"table":"u","mode":"delete"}}`, keys(1, 9), "2 b; 3 c; 4 d", codes.OK, ""},
		{`{"put":{"table":"u","mode":"upsert","columns":["id","text"]}}`, texts("e", 2), "2 e; 3 c; 4 d", codes.OK, ""},
		{`{"put":{"table":"u","mode":"upsert","columns":["id"]}}`, keys(2, 5), "2 e; 3 c; 4 d; 5 (null)", codes.OK, ""},
		{`{"put":{"table":"u","mode":"upsert","columns":["text"]}}`, keys(2), "2 e; 3 c; 4 d; 5 (null)", codes.InvalidArgument, ""},
		{`{"put":{"table":"u","mode":"upsert","columns":["id","nope"]}}`, keys(2), "2 e; 3 c; 4 d; 5 (null)", codes.InvalidArgument, "nope"},
		{`{"put":{"table":"u","mode":"append"}}`, texts("x", 1), "2 e; 3 c; 4 d; 5 (null)", codes.InvalidArgument, "BAD_REQUEST"},
		{`{"put":{"table":"u","mode":"delete","columns":["id"]}}`, keys(1), "2 e; 3 c; 4 d; 5 (null)", codes.InvalidArgument, "columns"},
		{`{"put":{"table":"u","mode":"insert"}}`, keys(1), "2 e; 3 c; 4 d; 5 (null)", codes.InvalidArgument, "append, upsert, delete"},
		{`{"put":{"table":"log","mode":"upsert"}}`, texts("x", 1), "", codes.InvalidArgument, "BAD_REQUEST"},
		{`{"put":{"table":"log","mode":"delete"}}`, keys(1), "", codes.InvalidArgument, "BAD_REQUEST"},
		{`{"put":{"table":"log","mode":"append"}}`, texts("x", 1), "1 x", codes.OK, ""},
	} {
		_, err := s.putBy(t.Context(), t, c.command, c.batch)
		if status.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s %s", c.command, err, c.code, c.want)
		}
		table := "u"
		if strings.Contains(c.command, `"log"`) {
			table = "log"
		}
		if got := s.state(t, table); got != c.state {
			t.Errorf("%s: state %q, want %q", c.command, got, c.state)
		}
	}
}

func TestViews(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1, 2))
	s.put(t, "u", texts("b", 2))
	if _, err := s.putBy(t.Context(), t, `{"put":{"table":"u","mode":"delete"}}`, keys(1)); err != nil {
		t.Fatal(err)
	}
	for fields, want := range map[string][]string{
		``:                              {"2 b"},
		`,"view":"rows"`:                {"2 b"},
		`,"columns":["text"],"limit":1`: {"b"},
		`,"view":"changelog"`:           {"1 a", "2 a", "2 a", "2 b", "1 a"},
		`,"view":"changelog","columns":["id"],"from":{"0":3}`: {"2", "1"},
		`,"view":"rows+changelog"`:                            {"2 b", "mark state_complete"},
	} {
		if got := s.table(t, `{"scan":{"table":"u"`+fields+`}}`); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", fields, got, want)
		}
	}
	chunks := s.get(t, `{"scan":{"table":"u","view":"changelog","system_columns":true}}`)
	if got := fmt.Sprint(chunks[0].fields); got != "[id text _bucket _offset _timestamp _change_type]" {
		t.Errorf("columns %s", got)
	}
	changes := s.table(t, `{"scan":{"table":"u","view":"changelog","columns":["id"],"system_columns":true}}`)
	for i, want := range []string{"+I", "+I", "-U", "+U", "-D"} {
		if got := changes[i]; !strings.HasSuffix(got, " "+want) {
			t.Errorf("change %d: %s, want %s", i, got, want)
		}
	}
	pairs := s.table(t, `{"scan":{"table":"u","view":"before-after"}}`)
	if len(pairs) != 4 || !strings.HasPrefix(pairs[2], "+U ") || !strings.Contains(pairs[2], `"a"`) || !strings.Contains(pairs[2], `"b"`) {
		t.Errorf("before-after: %q", pairs)
	}
	for _, c := range []struct{ fields, want string }{
		{`,"view":"all"`, "rows, changelog, rows+changelog, before-after"},
		{`,"from":"latest"`, "BAD_REQUEST"}, {`,"to":"never"`, "BAD_REQUEST"}, {`,"view":"rows","from":{"0":1}`, "BAD_REQUEST"},
	} {
		err := s.follow(t.Context(), []byte(`{"scan":{"table":"u"`+c.fields+`}}`), func(chunk) bool { return true })
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.fields, err, c.want)
		}
	}
}

// The state, and from exactly there the changes.
func TestFollowAKeyedTable(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1, 2))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := s.client.DoGet(ctx, &flight.Ticket{Ticket: []byte(`{"scan":{"table":"u","view":"rows+changelog","to":"never"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	var lines []string
	for len(lines) < 5 && reader.Next() {
		lines = append(lines, linesOf(reader.RecordBatch())...)
		if strings.Contains(string(reader.LatestAppMetadata()), `"mark":"state_complete"`) {
			lines = append(lines, "mark")
			s.put(t, "u", texts("b", 2))
		}
	}
	if want := []string{"1 a", "2 a", "mark", "2 a", "2 b"}; !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

// exchanger is an open DoExchange stream.
type exchanger struct {
	stream flight.FlightService_DoExchangeClient
	writer *flight.Writer
	reader *flight.Reader
}

// openLookup opens a stream of lookups; the descriptor goes with the schema.
func (s *testServer) openLookup(ctx context.Context, t testing.TB, command string, schema *arrow.Schema) *exchanger {
	t.Helper()
	stream, err := s.client.DoExchange(ctx)
	if err != nil {
		t.Fatal(err)
	}
	x := &exchanger{stream: stream, writer: flight.NewRecordWriter(stream, ipc.WithSchema(schema))}
	x.writer.SetFlightDescriptor(commandOf(command))
	return x
}

// answerJSON is the app_metadata of a part of an answer.
type answerJSON struct {
	Seq  integer            `json:"seq"`
	Part integer            `json:"part"`
	Last bool               `json:"last"`
	AsOf map[string]integer `json:"as_of"`
}

// next receives one part.
func (x *exchanger) next() (lines []string, meta answerJSON, err error) {
	if x.reader == nil {
		if x.reader, err = flight.NewRecordReader(x.stream); err != nil {
			return nil, meta, err
		}
	}
	if !x.reader.Next() {
		if err = x.reader.Err(); err == nil {
			err = errStreamEnded
		}
		return nil, meta, err
	}
	err = decodeJSON(x.reader.LatestAppMetadata(), "the answer's metadata", &meta)
	return linesOf(x.reader.RecordBatch()), meta, err
}

// ask sends one batch and receives its answer.
func (x *exchanger) ask(batch arrow.RecordBatch) ([]string, answerJSON, error) {
	if err := x.writer.Write(batch); err != nil {
		_, _, err = x.next() // tells why
		return nil, answerJSON{}, err
	}
	return x.next()
}

// A FlightInfo of a state counts its rows, and its tickets give them, whatever is written meanwhile.
func TestPlansOfAState(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", `,"buckets":2`)
	s.put(t, "u", texts("a", 1, 2, 3))
	s.put(t, "u", texts("b", 3))
	info, err := s.client.GetFlightInfo(t.Context(), pathOf("u"))
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, "u", texts("c", 1, 2, 3, 4))
	var lines []string
	for _, endpoint := range info.Endpoint {
		lines = append(lines, s.table(t, string(endpoint.Ticket.Ticket))...)
	}
	slices.Sort(lines)
	if !slices.Equal(lines, []string{"1 a", "2 a", "3 b"}) || info.TotalRecords != 3 || len(info.Endpoint) != 2 {
		t.Errorf("%q, %d records, %d endpoints", lines, info.TotalRecords, len(info.Endpoint))
	}
}
