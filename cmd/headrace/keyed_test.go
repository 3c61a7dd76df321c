package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeFile writes a file of the test and gives its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyedTablesFromTheCommandLine(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	users := writeFile(t, "users.csv", "user_id,name,age\n1,ada,36\n2,bob,41\n")
	c.must("put", "web.users", users, "--create", "--primary-key", "user_id", "--buckets", "2")
	state := func() string {
		lines := strings.Split(strings.TrimSpace(c.must("scan", "web.users", "-o", "csv")), "\n")[1:]
		if len(lines) == 2 && lines[0] > lines[1] {
			lines[0], lines[1] = lines[1], lines[0]
		}
		return strings.Join(lines, ";")
	}
	if got := state(); got != "1,ada,36;2,bob,41" {
		t.Fatalf("state %q", got)
	}
	c.must("put", "web.users", writeFile(t, "more.csv", "user_id,name,age\n2,bo,42\n"))
	c.must("put", "web.users", writeFile(t, "ages.jsonl", `{"user_id":1,"age":37}`), "--columns", "user_id,age")
	if got := state(); got != "1,ada,37;2,bo,42" {
		t.Errorf("after the updates: %q", got)
	}
	for _, x := range []struct {
		args      []string
		out, errs string
	}{
		{[]string{"lookup", "web.users", "2", "1", "--columns", "name", "-o", "csv"}, "name\nbo\nada\n", ""},
		{[]string{"lookup", "web.users", "1", "9"}, `{"user_id":1,"name":"ada","age":37}` + "\n", "1 of 2 keys have a row"},
		{[]string{"lookup", "web.users", "--by", "user_id", "2", "-o", "json"}, `{"user_id":2,"name":"bo","age":42}` + "\n", ""},
	} {
		code, out, errs := c.run(x.args...)
		if code != exitDone || out != x.out || !strings.Contains(errs, x.errs) {
			t.Errorf("%v: exit code %d, output %q, errors %q", x.args, code, out, errs)
		}
	}
	keyed := c
	keyed.stdin = "2\n\n1\n"
	if out := keyed.must("lookup", "web.users", "-", "--columns", "age", "-o", "csv"); out != "age\n42\n37\n" {
		t.Errorf("keys from the input: %q", out)
	}
	c.must("put", "web.users", users, "--delete")
	if got := state(); got != "" {
		t.Errorf("after the deletion: %q", got)
	}
	described := c.must("describe", "web.users")
	for _, want := range []string{"primary key", "user_id", "changes"} {
		if !strings.Contains(described, want) {
			t.Errorf("no %q in\n%s", want, described)
		}
	}
	if code, _, errs := c.run("lookup", "web.users", "1"); code != exitFailed || !strings.Contains(errs, "no row has any of these keys") {
		t.Errorf("no row: exit code %d, errors %q", code, errs)
	}
}

func TestKeyedTablesRefuse(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "u", "--columns", "country string, id int32, v double", "--primary-key", "country,id")
	c.must("create", "log", "--columns", "id int64")
	rows := writeFile(t, "rows.csv", "country,id,v\nDE,1,0.5\n\"F,R\",2,1.5\n")
	c.must("put", "u", rows)
	if out := c.must("lookup", "u", `"F,R",2`, "DE,1", "--columns", "v", "-o", "csv"); out != "v\n1.5\n0.5\n" {
		t.Errorf("a key of two columns: %q", out)
	}
	half := writeFile(t, "half.csv", "country,id\nDE,1\n")
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"lookup", "u", "DE"}, exitUsage, "has 1 values, want 2: country,id"},
		{[]string{"lookup", "u", "DE,x"}, exitUsage, `"x" is not a value of id, which is int32`},
		{[]string{"lookup", "u", "DE,1", "--columns", "nope"}, exitFailed, "COLUMN_NOT_FOUND"},
		{[]string{"lookup", "u", "DE,1", "--by", "nope"}, exitFailed, "no column"},
		{[]string{"lookup", "log", "1"}, exitFailed, "has no primary key"},
		{[]string{"lookup", "none", "1"}, exitFailed, "TABLE_NOT_FOUND"},
		{[]string{"put", "u", half}, exitFailed, "SCHEMA_MISMATCH"},
		{[]string{"put", "u", rows, "--mode", "append"}, exitFailed, "primary key"},
		{[]string{"put", "log", half, "--delete"}, exitFailed, "has no primary key"},
		{[]string{"put", "u", rows, "--columns", "v"}, exitFailed, "SCHEMA_MISMATCH"},
		{[]string{"scan", "u", "--from", "latest"}, exitFailed, "BAD_REQUEST"},
		{[]string{"scan", "u", "--follow"}, exitFailed, "rows+changelog"},
		{[]string{"scan", "log", "--view", "changelog"}, exitFailed, "BAD_REQUEST"},
		{[]string{"scan", "u", "--position-file", filepath.Join(t.TempDir(), "p")}, exitUsage, "--view changelog"},
		{[]string{"create", "v", "--columns", "id int64", "--primary-key", "nope"}, exitFailed, "nope"},
	} {
		if code, out, errs := c.run(x.args...); code != x.code || out != "" || !strings.Contains(errs, x.want) {
			t.Errorf("%v: exit code %d, output %q, errors %q; want %d, %s", x.args, code, out, errs, x.code, x.want)
		}
	}
}

func TestScansOfChanges(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "u", "--columns", "id int64, v int64", "--primary-key", "id")
	put := func(text string, args ...string) {
		c.must(append([]string{"put", "u", writeFile(t, "rows.csv", text)}, args...)...)
	}
	put("id,v\n1,10\n2,20\n")
	put("id,v\n1,11\n")
	changes := func(args ...string) string {
		out := c.must(append([]string{"scan", "u", "--columns", "id", "-o", "csv"}, args...)...)
		var short []string
		for line := range strings.Lines(out) {
			cells := strings.Split(strings.TrimSpace(line), ",")
			short = append(short, cells[0]+cells[len(cells)-1])
		}
		return strings.Join(short, " ")
	}
	if got := changes("--view", "changelog"); got != "id_change_type 1+I 2+I 1-U 1+U" {
		t.Errorf("changelog: %s", got)
	}
	if got := changes("--view", "rows+changelog"); got != "id_change_type 2+I 1+I" {
		t.Errorf("rows and changelog: %s", got)
	}
	saved := filepath.Join(t.TempDir(), "position")
	if got := changes("--view", "changelog", "--position-file", saved); got != "id_change_type 1+I 2+I 1-U 1+U" {
		t.Errorf("with a position: %s", got)
	}
	put("id\n2\n", "--delete")
	if got := changes("--view", "changelog", "--position-file", saved); got != "id_change_type 2-D" {
		t.Errorf("from the position: %s", got)
	}
}

// The rows that there are, and then what comes, in one stream that goes on.
func TestFollowRowsAndChanges(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "u", "--columns", "id int64, v int64", "--primary-key", "id")
	c.must("put", "u", writeFile(t, "rows.csv", "id,v\n1,10\n"))
	p := startProcess(t, []string{"HEADRACE_URI=" + c.uri}, "scan", "u", "--view", "rows+changelog", "--follow", "-o", "jsonl")
	var lines []string
	take := func() {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the scan has ended after %q: %s", lines, p.errs.String())
			}
			lines = append(lines, line)
		case <-time.After(30 * time.Second):
			t.Fatalf("no line behind %q", lines)
		}
	}
	take()
	c.must("put", "u", writeFile(t, "rows.csv", "id,v\n1,11\n"))
	take()
	take()
	for i, want := range []string{"+I", "-U", "+U"} {
		if !strings.Contains(lines[i], `"_change_type":"`+want+`"`) {
			t.Errorf("line %d: %s, want %s", i, lines[i], want)
		}
	}
}

// TestIndexesOnTheCommandLine makes an index, looks up by it, and drops it.
func TestIndexesOnTheCommandLine(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "u", "--columns", "id int64, email string", "--primary-key", "id")
	c.must("put", "u", writeFile(t, "u.csv", "id,email\n1,a@x\n2,b@x\n3,a@x\n"), "--quiet")
	c.must("alter", "u", "--create-index", "by_email=email", "--quiet")
	for {
		code, out, errs := c.run("lookup", "u", "a@x", "--by", "email", "--columns", "id", "-o", "csv")
		if code == exitDone {
			if out != "id\n1\n3\n" {
				t.Errorf("got %q", out)
			}
			break
		}
		if !strings.Contains(errs, "INDEX_NOT_READY") {
			t.Fatalf("exit %d: %s", code, errs)
		}
	}
	if out := c.must("describe", "u"); !strings.Contains(out, "by_email  email    3") || !strings.Contains(out, "ready") {
		t.Errorf("the description is\n%s", out)
	}
	c.must("alter", "u", "--drop-index", "by_email", "--quiet")
	for _, wrong := range [][]string{{}, {"--create-index", "x"}, {"--create-index", "=email"}} {
		if code, _, errs := c.run(append([]string{"alter", "u"}, wrong...)...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", wrong, code, errs)
		}
	}
}
