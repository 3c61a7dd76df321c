package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	c := terminal{t: t, uri: "grpc://127.0.0.1:1"}
	for _, line := range []string{
		"scan", "scan t u", "nonsense", "scan t --nonsense", "scan t --limit x", "scan t --limit -1", "scan t --at x",
		"scan t --view changes", "scan t --from never", "scan t --to tomorrow", "scan t --follow --to now", "scan t --follow --limit 1",
		"scan t -o xml", "scan t -f -o parquet --output x.parquet", "put t", "put t -", "put t x.doc", "put t x.csv --mode insert", "put t x.csv --mode upsert --delete",
		"put t x.csv --delete --create", "lookup t",
		"put t x.csv --durability always", "put t x.csv --delimiter ab", "create t", "create t --columns a", "alter t", "alter t --set x",
		"create t --columns 'a int8' --like x.csv", "drop t", "truncate t", "truncate t --before x", "flush --level never",
		"tables a b", "status x", "token --name a:b", "serve --log-level loud", "serve --listen nowhere", "serve x", "config print x",
		"tables --server http://h", "groups a b c", "groups --drop", "groups t --reset latest", "groups t g --drop", "groups t g --reset soon", "tables --server grpc://h --tls-ca x", "check",
	} {
		code, out, errs := c.run(strings.Fields(line)...)
		if code != exitUsage || out != "" || !strings.HasPrefix(errs, "error: ") && !strings.HasPrefix(errs, "BAD_REQUEST: ") {
			t.Errorf("headrace %s: exit code %d, output %q, errors %q", line, code, out, errs)
		}
	}
}

func TestWithoutAServer(t *testing.T) {
	address := freeAddress(t)
	c := terminal{t: t, uri: "grpc://" + address}
	for _, line := range []string{"tables", "scan t", "describe t", "status", "put t - --format csv"} {
		code, _, errs := c.run(strings.Fields(line)...)
		if want := "nothing answers at grpc://" + address + "; start one: headrace serve"; code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("headrace %s: exit code %d, errors %q", line, code, errs)
		}
	}
	for line, want := range map[string]string{
		"version": "headrace dev (go", "token": "hrt_", "config print": "listen: 127.0.0.1:8815", "completion bash": "# bash completion",
		"help": "Start a server:", "": "Start a server:", "serve --help": "--segment-bytes", "config": "print",
	} {
		if code, out, errs := c.run(strings.Fields(line)...); code != exitDone || !strings.Contains(out, want) {
			t.Errorf("headrace %s: exit code %d, output %q, errors %q", line, code, out, errs)
		}
	}
	if code, _, errs := c.run("check", filepath.Join(t.TempDir(), "none")); code != exitFailed || !strings.Contains(errs, "no such file") {
		t.Errorf("check of nothing: exit code %d, errors %q", code, errs)
	}
}

func TestTablesFromMakingToDropping(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	if code, _, errs := c.run("describe", "web.clicks"); code != exitFailed || !strings.HasPrefix(errs, "DATABASE_NOT_FOUND: ") && !strings.HasPrefix(errs, "TABLE_NOT_FOUND: ") {
		t.Errorf("a missing table: exit code %d, errors %q", code, errs)
	}
	c.must("create", "web.clicks", "--columns", "id int64 not null, tags list<item: string>", "--set", "log.ttl=7d", "--buckets", "2", "--comment", "what was clicked")
	if code, _, errs := c.run("create", "web.clicks", "--columns", "id int64"); code != exitFailed || !strings.HasPrefix(errs, "TABLE_ALREADY_EXISTS: ") {
		t.Errorf("a second table: exit code %d, errors %q", code, errs)
	}
	described := c.must("describe", "web.clicks")
	for _, want := range []string{"web.clicks", "what was clicked", "log.ttl", "7d", "list<item: string>", "BUCKET"} {
		if !strings.Contains(described, want) {
			t.Errorf("described without %q:\n%s", want, described)
		}
	}
	var description tableDescription
	if err := json.Unmarshal([]byte(c.must("describe", "web.clicks", "--json")), &description); err != nil || description.BucketCount != 2 {
		t.Errorf("described as %+v, %v", description, err)
	}
	c.must("alter", "web.clicks", "--set", "log.ttl=30d", "--set", "log.durability=os")
	if out := c.must("options", "web.clicks"); !strings.Contains(out, "30d") {
		t.Errorf("options are %s", out)
	}
	if code, _, errs := c.run("alter", "web.clicks", "--set", "log.tll=1d"); code != exitFailed || !strings.Contains(errs, "Did you mean log.ttl?") {
		t.Errorf("an unknown option: exit code %d, errors %q", code, errs)
	}
	if out := c.must("options"); !strings.Contains(out, "plan.max-pin") {
		t.Errorf("options are %s", out)
	}
}

func TestRenameDropUndrop(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "web.clicks", "--columns", "id int64")
	c.must("rename", "web.clicks", "web.visits")
	if out := c.must("tables", "web.*", "--json"); !strings.Contains(out, `"table":"web.visits","rows":0,`) {
		t.Errorf("tables are %s", out)
	}
	if code, _, _ := c.run("drop", "web.visits"); code != exitUsage {
		t.Errorf("drop without an answer: exit code %d", code)
	}
	asked := terminal{t: t, uri: c.uri, answers: true, stdin: "n\n"}
	if code, _, errs := asked.run("drop", "web.visits"); code != exitFailed || !strings.Contains(errs, "Drop the table web.visits? [y/N]") {
		t.Errorf("drop with the answer no: exit code %d, errors %q", code, errs)
	}
	asked.stdin = "y\n"
	asked.must("drop", "web.visits")
	if out := c.must("tables"); out != "" {
		t.Errorf("tables are %s", out)
	}
	c.must("undrop", "web.visits")
	c.must("drop", "web.visits", "--yes")
	c.must("drop", "web.visits", "--yes", "--missing-ok")
	c.must("flush")
	if out := c.must("status"); !strings.Contains(out, "log_tables") {
		t.Errorf("the status is %s", out)
	}
}

// writeCSV writes a file of rows and gives its path.
func writeCSV(t *testing.T, rows int) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("id,name\n")
	for i := range rows {
		fmt.Fprintf(&text, "%d,name-%d\n", i, i%7)
	}
	path := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPutAndScan(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	const rows = 40_000
	path := writeCSV(t, rows)
	if code, _, errs := c.run("put", "web.rows", path); code != exitFailed || !strings.Contains(errs, "--create") {
		t.Errorf("without a table: exit code %d, errors %q", code, errs)
	}
	var result struct {
		Rows       int64           `json:"rows"`
		Batches    int64           `json:"batches"`
		Skipped    int64           `json:"skipped_batches"`
		Durability string          `json:"durability"`
		Position   map[int32]int64 `json:"position"`
	}
	put := func(args ...string) {
		t.Helper()
		result.Skipped = 0 // left out where there are none
		if err := json.Unmarshal([]byte(c.must(append([]string{"put", "web.rows", path, "--json"}, args...)...)), &result); err != nil {
			t.Fatal(err)
		}
	}
	put("--create", "--producer", "p")
	if result.Rows != rows || result.Position[0] != rows || result.Durability != "fsync" || result.Batches != 3 {
		t.Errorf("put gave %+v", result)
	}
	put("--producer", "p")
	if result.Rows != 0 || result.Skipped != 3 {
		t.Errorf("the same put again gave %+v", result)
	}
	if got := strings.Count(c.must("scan", "web.rows"), "\n"); got != rows {
		t.Errorf("scan gave %d lines", got)
	}
	got := c.must("scan", "web.rows", "--columns", "name,id", "--from", `{"0":39998}`, "--limit", "1", "--system-columns", "-o", "csv")
	if !strings.HasPrefix(got, "name,id,_bucket,_offset,_timestamp\nname-0,39998,0,39998,20") {
		t.Errorf("scan gave %s", got)
	}
	if got := c.must("scan", "web.rows", "--limit", "2", "-o", "table"); !strings.Contains(got, "id  name  \n") && !strings.Contains(got, "id  name\n") {
		t.Errorf("scan gave %s", got)
	}
	if code, _, errs := c.run("scan", "web.rows", "--columns", "nope"); code != exitFailed || !strings.HasPrefix(errs, "COLUMN_NOT_FOUND: ") {
		t.Errorf("an unknown column: exit code %d, errors %q", code, errs)
	}
	if got := c.must("scan", "web.rows", "--from", "latest"); got != "" {
		t.Errorf("nothing is new, but scan gave %s", got)
	}
}

func TestCopies(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("put", "web.rows", writeCSV(t, 20_000), "--create")
	parquet := filepath.Join(t.TempDir(), "out.parquet")
	c.must("scan", "web.rows", "--output", parquet)
	c.must("put", "copy", parquet, "--create")
	if a, b := c.must("scan", "web.rows"), c.must("scan", "copy"); a != b {
		t.Error("a copy through Parquet differs")
	}
	stdin := terminal{t: t, uri: c.uri, stdin: c.must("scan", "web.rows", "-o", "arrow", "--limit", "100")}
	stdin.must("put", "copy2", "-", "--format", "arrow", "--create")
	if got := strings.Count(c.must("scan", "copy2"), "\n"); got != 100 {
		t.Errorf("a copy through a pipe has %d rows", got)
	}
	c.must("truncate", "copy2", "--yes")
	if got := c.must("scan", "copy2"); got != "" {
		t.Errorf("truncated, but scan gave %s", got)
	}
}

func TestPutGoesOnBehindWhatIsStored(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	const first, all = 2 * sourceRows, 2*sourceRows + 5000
	c.must("put", "t", writeCSV(t, first), "--create", "--producer", "p")
	if got := c.must("put", "t", writeCSV(t, all), "--producer", "p", "--json"); !strings.Contains(got, `"rows":5000,"batches":1,"skipped_batches":2,`) {
		t.Errorf("put gave %s", got)
	}
	var want strings.Builder
	for id := range all {
		fmt.Fprintf(&want, "%d\n", id)
	}
	if got := c.must("scan", "t", "--columns", "id", "-o", "csv"); got != "id\n"+want.String() {
		t.Errorf("%d lines are there, or they are in another order", strings.Count(got, "\n"))
	}
	if got := c.must("__complete", "scan", ""); !strings.HasPrefix(got, "default.t\n") {
		t.Errorf("the shell is told %s", got)
	}
}

func TestPutOfWrongRowsStoresNothingOfThem(t *testing.T) {
	c := terminal{t: t, uri: startServer(t), stdin: `{"id":1}` + "\n" + `{"id":null}`}
	c.must("create", "t", "--columns", "id int64 not null")
	code, _, errs := c.run("put", "t", "-", "--format", "jsonl")
	if code != exitFailed || !strings.HasPrefix(errs, "SCHEMA_MISMATCH: ") {
		t.Errorf("exit code %d, errors %q", code, errs)
	}
	if got := c.must("scan", "t"); got != "" {
		t.Errorf("scan gave %s", got)
	}
}

func TestPositionFileGoesOnWhereItStopped(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	path := filepath.Join(t.TempDir(), "position")
	c.must("create", "t", "--columns", "id int64", "--buckets", "2")
	put := func(id int) {
		t.Helper()
		c.stdin = fmt.Sprintf(`{"id":%d}`, id)
		c.must("put", "t", "-", "--format", "jsonl")
	}
	put(1)
	if got := c.must("scan", "t", "--position-file", path, "--from", "latest"); got != "" {
		t.Errorf("from the end: got %s", got)
	}
	for id := 2; id < 5; id++ {
		put(id)
		if got, want := c.must("scan", "t", "--position-file", path), fmt.Sprintf(`{"id":%d}`+"\n", id); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := c.must("scan", "t", "--position-file", path); got != "" {
		t.Errorf("nothing is new, but scan gave %s", got)
	}
}

func TestAClosedPipeIsNoFailure(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("put", "t", writeCSV(t, 20_000), "--create")
	var errs strings.Builder
	p := &program{stdin: strings.NewReader(""), stdout: &brokenPipe{left: 1000}, stderr: &errs, server: c.uri}
	if code := p.run(t.Context(), []string{"scan", "t", "--server", c.uri}); code != exitDone || errs.Len() > 0 {
		t.Errorf("exit code %d, errors %q", code, errs.String())
	}
}

func TestPartitionsFromMakingToDropping(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "web.visits", "--columns", "country string, share double, id int64", "--partition-by", "country,share")
	c.must("partitions", "web.visits", "--create", "country=DE,share=0.5")
	c.must("partitions", "web.visits", "--create", "country=FR,share=2")
	c.must("partitions", "web.visits", "--create", "country=FR,share=2", "--exist-ok")
	path := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(path, []byte("country,share,id\nDE,0.5,1\nIT,1.5,2\nDE,0.5,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must("put", "web.visits", path)
	out := c.must("partitions", "web.visits")
	for _, want := range []string{"country=DE, share=0.5", "country=FR, share=2", "country=IT, share=1.5"} {
		if !strings.Contains(out, want) {
			t.Errorf("the partitions lack %q:\n%s", want, out)
		}
	}
	if out := c.must("partitions", "web.visits", "country=DE", "--json"); !strings.Contains(out, `"rows":2`) || strings.Count(out, "\n") != 1 {
		t.Errorf("one partition is %s", out)
	}
	if out := c.must("scan", "web.visits", "--partition", "country=DE", "--partition", "country=IT,share=1.5", "-o", "csv"); strings.Count(out, "\n") != 4 {
		t.Errorf("two partitions have\n%s", out)
	}
	if out := c.must("describe", "web.visits"); !strings.Contains(out, "partitioned by") || !strings.Contains(out, "country=IT, share=1.5") {
		t.Errorf("described as\n%s", out)
	}
	if code, _, _ := c.run("partitions", "web.visits", "--drop", "country=DE"); code != exitUsage {
		t.Errorf("drop without an answer: exit code %d", code)
	}
	c.must("partitions", "web.visits", "--drop", "country=DE", "--yes")
	if code, _, errs := c.run("partitions", "web.visits", "--drop", "country=DE", "--yes"); code != exitFailed || !strings.HasPrefix(errs, "PARTITION_NOT_FOUND: ") {
		t.Errorf("drop again: exit code %d, errors %q", code, errs)
	}
	c.must("partitions", "web.visits", "--drop", "country=DE", "--yes", "--missing-ok")
	if out := c.must("scan", "web.visits", "-o", "csv"); strings.Count(out, "\n") != 2 {
		t.Errorf("what is left is\n%s", out)
	}
	for _, line := range []string{"partitions web.visits x", "partitions web.visits --create x", "partitions web.visits --create a=1 --drop a=1"} {
		if code, _, _ := c.run(strings.Fields(line)...); code != exitUsage {
			t.Errorf("headrace %s: exit code %d", line, code)
		}
	}
}
