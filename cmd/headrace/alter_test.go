package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAlterOnTheCommandLine makes every change of columns, all of a call or none.
func TestAlterOnTheCommandLine(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "t", "--columns", "id int64 not null, a int8 not null, s struct<x: int8, y: string>, old string")
	c.must("put", "t", writeFile(t, "t.jsonl", `{"id":1,"a":2,"s":{"x":3,"y":"z"},"old":"o"}`+"\n"), "--quiet")
	c.must("alter", "t", "--expect-version", "1", "--buckets", "2", "--set", "log.ttl=9d", "--drop-column", "old",
		"--rename-column", "s.x=w", "--set-type", "a=int32", "--set-nullable", "a",
		"--add-column", "n string default new first", "--add-column", "m int8", "--move-column", "id last", "--move-column", "m first",
		"--set-comment", "a=how many", "--set-metadata", "a=unit=m = n", "--set-metadata", "s.w=k=1,2", "--set-metadata", "a=", "--set-metadata", "a=b=")
	if out, want := c.must("scan", "t"), `{"m":null,"n":"new","a":2,"s":{"w":3,"y":"z"},"id":1}`; strings.TrimSpace(out) != want {
		t.Errorf("the rows are %s, want %s", out, want)
	}
	var described struct {
		SchemaVersion int               `json:"schema_version"`
		BucketCount   int               `json:"bucket_count"`
		Options       map[string]string `json:"options"`
		Columns       []struct {
			Name, Type, Comment string
			Nullable            bool
			Metadata            map[string]string
		}
	}
	describe := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(c.must("describe", "t", "--json")), &described); err != nil {
			t.Fatal(err)
		}
	}
	describe()
	a := described.Columns[2]
	if described.SchemaVersion != 2 || described.BucketCount != 2 || described.Options["log.ttl"] != "9d" ||
		a.Type != "int32" || !a.Nullable || a.Comment != "how many" || len(a.Metadata) != 2 || a.Metadata["unit"] != "m = n" {
		t.Errorf("described as %+v", described)
	}
	c.must("alter", "t", "--set-metadata", "a=")
	described.Columns = nil
	if describe(); len(described.Columns[2].Metadata) != 0 {
		t.Errorf("described as %+v", described)
	}
	for _, wrong := range []string{
		"--set-metadata a", "--set-metadata a=b", "--set-metadata a==c", "--set-metadata =b=c", "--expect-version 0 --drop-column a", "--expect-version 3",
		"--move-column a", "--move-column a=last", "--set-comment s.w=x",
	} {
		if code, _, errs := c.run(append([]string{"alter", "t"}, strings.Fields(wrong)...)...); code != exitUsage {
			t.Errorf("alter %s: exit %d: %s", wrong, code, errs)
		}
	}
	for wrong, want := range map[string]string{
		"--expect-version 2 --drop-column a": "SCHEMA_CHANGED", "--set-metadata b=c=d": "COLUMN_NOT_FOUND",
		"--buckets 3 --drop-column a": "BAD_REQUEST", "--set-metadata id=PARQUET:field_id=1 --drop-column none": "COLUMN_NOT_FOUND",
	} {
		if code, _, errs := c.run(append([]string{"alter", "t"}, strings.Fields(wrong)...)...); code != exitFailed || !strings.HasPrefix(errs, want) {
			t.Errorf("alter %s: exit %d: %s", wrong, code, errs)
		}
	}
	version := described.SchemaVersion
	if describe(); described.SchemaVersion != version {
		t.Errorf("changes that were refused made version %d of %d", described.SchemaVersion, version)
	}
}
