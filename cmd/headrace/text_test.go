package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/model"
)

func TestFormatCountAndBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := formatCount(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 123_456_789: "123 MB", 99_960_000: "100 MB", 2e15: "2.0 PB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%v: got %s, want %s", n, got, want)
		}
	}
	got := formatProgress(tally{rows: 2000, bytes: 4_000_000, share: 0.5}, 2*time.Second)
	if want := "[============>           ]  50%  2,000 rows  1,000 rows/s  2.0 MB/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := formatProgress(tally{share: 1}, time.Second); !strings.HasPrefix(got, "["+strings.Repeat("=", barWidth)+"] 100%") {
		t.Errorf("got %q", got)
	}
}

func TestParseURI(t *testing.T) {
	for uri, want := range map[string]string{
		"grpc://127.0.0.1:8815": "127.0.0.1:8815 false", "grpc+tls://db.example:443": "db.example:443 true",
		"localhost:9": "localhost:9 false", "grpc://[::1]": "[::1]:8815 false", "grpcs://h/": "h:8815 true",
	} {
		address, secure, err := parseURI(uri)
		if got := fmt.Sprint(address, " ", secure); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", uri, got, err, want)
		}
	}
	for _, uri := range []string{"http://h:1", "grpc://", "grpc://u:p@h", "grpc://h/path", "grpc://h:x"} {
		if _, _, err := parseURI(uri); err == nil {
			t.Errorf("%s gives no error", uri)
		}
	}
}

func TestParseBound(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]any{
		"latest": "latest", "2026-11-21T09:00:00+01:00": timeBound{now.Add(-4 * time.Hour)}, "90m": timeBound{now.Add(-90 * time.Minute)},
	} {
		if got, err := parseBound("from", text, now, "earliest", "latest"); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"table_id":"T","offsets":{"0":17}}`: "{T map[0:17]}", `{"3":17}`: "{ map[3:17]}",
	} {
		if got, err := parseBound("from", text, now); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"never", "", "{", `{"offsets":null}`, `{"a":1}`, "yesterday", "0"} {
		_, err := parseBound("from", text, now, "earliest")
		if _, usage := errors.AsType[usageError](err); !usage {
			t.Errorf("%s: got %v, want a usage error", text, err)
		}
	}
}

func TestPositionFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	if p, err := readPositionFile(path); p != nil || err != nil {
		t.Errorf("a missing file: got %v, %v", p, err)
	}
	want := position{TableID: "T", Offsets: map[int32]int64{0: 5, 11: 7}}
	if err := writePositionFile(path, want, true); err != nil {
		t.Fatal(err)
	}
	if p, err := readPositionFile(path); err != nil || fmt.Sprint(*p) != fmt.Sprint(want) {
		t.Errorf("got %v, %v", p, err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPositionFile(path); err == nil {
		t.Error("an empty file gives no error")
	}
	if err := writePositionFile(filepath.Join(path, "below"), want, false); err == nil {
		t.Error("a path below a file gives no error")
	}
}

// everyType is a batch with one row of values and one of nulls, of many types.
func everyType(t *testing.T) arrow.RecordBatch {
	t.Helper()
	columns, err := model.ParseColumns(`b bool, i int8, u uint64, f double, h float, d decimal128(5, 2), s string, lv large_string,
		bin binary, fb fixed_size_binary[2], at timestamp[us, tz=UTC], naive timestamp[ms], day date32, tod time64[us], took duration[s],
		l list<item: int32>, fl fixed_size_list<item: string>[2], st struct<a: int64, b: list<item: string>>, m map<string, int64>, n null`)
	if err != nil {
		t.Fatal(err)
	}
	schema, _, _, err := model.SchemaFromColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	text := `[{"b":true,"i":-1,"u":18446744073709551615,"f":1e300,"h":0.1,"d":"-1.50","s":"a\"ü,\n","lv":"x","bin":"AAE=","fb":"AAE=",
		"at":"2026-11-21T08:00:00.5Z","naive":"2026-11-21T08:00:00","day":"2026-11-21","tod":"08:00:00.25","took":60,"l":[1,null],
		"fl":["a",null],"st":{"a":1,"b":["x"]},"m":[{"key":"k","value":2}],"n":null},{}]`
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestOutputs(t *testing.T) {
	batch := everyType(t)
	defer batch.Release()
	for format, want := range map[string]string{
		"jsonl": `{"b":true,"i":-1,"u":18446744073709551615,"f":1e+300,"h":0.1,"d":"-1.50","s":"a\"ü,\n","lv":"x","bin":"AAE=","fb":"AAE=",` +
			`"at":"2026-11-21T08:00:00.5Z","naive":"2026-11-21T08:00:00","day":"2026-11-21","tod":"08:00:00.25","took":60,"l":[1,null],` +
			`"fl":["a",null],"st":{"a":1,"b":["x"]},"m":[{"key":"k","value":2}],"n":null}` + "\n" +
			`{"b":null,"i":null,"u":null,"f":null,"h":null,"d":null,"s":null,"lv":null,"bin":null,"fb":null,"at":null,"naive":null,` +
			`"day":null,"tod":null,"took":null,"l":null,"fl":null,"st":null,"m":null,"n":null}` + "\n",
		"csv": "b,i,u,f,h,d,s,lv,bin,fb,at,naive,day,tod,took,l,fl,st,m,n\n" +
			"true,-1,18446744073709551615,1e+300,0.1,-1.50,\"a\"\"ü,\n\",x,AAE=,AAE=,2026-11-21T08:00:00.5Z,2026-11-21T08:00:00,2026-11-21," +
			"08:00:00.25,60,\"[1,null]\",\"[\"\"a\"\",null]\",\"{\"\"a\"\":1,\"\"b\"\":[\"\"x\"\"]}\",\"[{\"\"key\"\":\"\"k\"\",\"\"value\"\":2}]\",\n" +
			strings.Repeat(",", 19) + "\n",
	} {
		var out strings.Builder
		writer, err := newRowWriter(format, &out, batch.Schema())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writer.Write(batch), writer.Close()); err != nil || out.String() != want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", format, err, out.String(), want)
		}
	}
}

func TestTableOutput(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema,
		strings.NewReader(`[{"id":12345,"name":"a\tb"},{"id":null,"name":"`+strings.Repeat("x", 50)+`"}]`))
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	var out strings.Builder
	writer, err := newRowWriter("table", &out, schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writer.Write(batch), writer.Close()); err != nil {
		t.Fatal(err)
	}
	want := "   id  name\n─────  " + strings.Repeat("─", 40) + "\n12345  a·b\n null  " + strings.Repeat("x", 39) + "…\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestWhatUsersSeeOfErrors(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		err  error
		want string
		code int
	}{
		"from the server": {remoteError(ctx, "u", status.Error(codes.NotFound, "TABLE_NOT_FOUND: no t. Make it.")), "TABLE_NOT_FOUND: no t. Make it.\n", exitFailed},
		"no server": {
			remoteError(ctx, "grpc://h:1", status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`)),
			"error: nothing answers at grpc://h:1; start one: headrace serve (connection refused)\n", exitFailed,
		},
		"other":       {remoteError(ctx, "u", status.Error(codes.Internal, "x")), "error: Internal: x\n", exitFailed},
		"usage":       {usagef("say it"), "error: say it\nTry headrace help, or --help behind a command.\n", exitUsage},
		"closed pipe": {fmt.Errorf("write: %w", syscall.EPIPE), "", exitDone},
		"interrupt":   {errors.Join(errInterrupted, errors.New("x")), "", exitInterrupted},
		"reported":    {errReported, "", exitFailed},
		"none":        {nil, "", exitDone},
	} {
		var out strings.Builder
		p := program{stderr: &out}
		if code := p.finish(c.err); code != c.code || out.String() != c.want {
			t.Errorf("%s: got %d, %q, want %d, %q", name, code, out.String(), c.code, c.want)
		}
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errInterrupted)
	if err := remoteError(ended, "u", status.Error(codes.Canceled, "x")); !errors.Is(err, errInterrupted) {
		t.Errorf("a call that was interrupted: got %v", err)
	}
	if !hasReason(remoteError(ctx, "u", status.Error(codes.NotFound, "TABLE_NOT_FOUND: x.")), "TABLE_NOT_FOUND") {
		t.Error("the reason is not found")
	}
}

func TestMemoryBytes(t *testing.T) {
	files := map[string]string{"/proc/meminfo": "MemTotal:  2048 kB\nMemFree: 1 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}
	read := func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	if got := memoryBytes(read); got != 2<<20 {
		t.Errorf("the machine's: got %d", got)
	}
	files["/sys/fs/cgroup/memory.max"] = "1048576\n"
	if got := memoryBytes(read); got != 1<<20 {
		t.Errorf("the group's: got %d", got)
	}
	clear(files)
	if got := memoryBytes(read); got != 0 {
		t.Errorf("unknown: got %d", got)
	}
}

func TestRowCacheBytes(t *testing.T) {
	for _, test := range []struct{ set, memory, want int64 }{
		{0, 0, 64 << 20}, {0, 1 << 30, 64 << 20}, {0, 16 << 30, 1 << 30}, {0, 1 << 40, 8 << 30}, {-1, 16 << 30, -1}, {5 << 20, 16 << 30, 5 << 20},
	} {
		if got := rowCacheBytes(test.set, test.memory); got != test.want {
			t.Errorf("%d set, %d of memory: got %d, want %d", test.set, test.memory, got, test.want)
		}
	}
}

func TestRecutGivesTheSamePartsOfAllRows(t *testing.T) {
	builder := array.NewStringBuilder(memory.DefaultAllocator)
	defer builder.Release()
	for i := range 50_000 {
		builder.Append(strings.Repeat("x", i%200))
	}
	column := builder.NewArray()
	defer column.Release()
	batch := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{column}, int64(column.Len()))
	defer batch.Release()
	cut := func() (parts []int64) {
		err := recut(batch, func(part arrow.RecordBatch) error {
			parts = append(parts, part.NumRows())
			part.Release()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return parts
	}
	parts := cut()
	total := int64(0)
	for i, rows := range parts {
		total += rows
		if i < len(parts)-1 && rows%cutRows != 0 {
			t.Errorf("part %d has %d rows", i, rows)
		}
	}
	if total != batch.NumRows() || len(parts) != 3 {
		t.Errorf("parts of %v rows", parts)
	}
	if again := cut(); fmt.Sprint(again) != fmt.Sprint(parts) {
		t.Errorf("got %v, then %v", parts, again)
	}
	if err := recut(batch, func(part arrow.RecordBatch) error { part.Release(); return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("the error of yield is %v", err)
	}
}
