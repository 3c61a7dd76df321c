package engine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

func TestCreateTableRefuses(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "web.clicks")})
	other := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int8}}, nil)
	for _, tc := range []struct {
		what    string
		request CreateTable
		reason  model.Reason
	}{
		{"the same name", CreateTable{Name: name(t, "web.clicks"), Schema: testSchema}, model.TableAlreadyExists},
		{"a name that differs in case", CreateTable{Name: name(t, "web.Clicks"), Schema: testSchema, ExistOK: true}, model.TableAlreadyExists},
		{"a database that differs in case", CreateTable{Name: name(t, "Web.x"), Schema: testSchema}, model.DatabaseAlreadyExists},
		{"another definition", CreateTable{Name: name(t, "web.clicks"), Schema: other, ExistOK: true}, model.TableAlreadyExists},
		{"no schema", CreateTable{Name: name(t, "x")}, model.BadRequest},
		{"too many buckets", CreateTable{Name: name(t, "x"), Schema: testSchema, Buckets: 1 << 20}, model.BadRequest},
		{"a bucket key that is no column", CreateTable{Name: name(t, "x"), Schema: testSchema, BucketKey: []string{"y"}}, model.ColumnNotFound},
		{"an unknown option", CreateTable{Name: name(t, "x"), Schema: testSchema, Options: map[string]string{"log.tll": "1d"}}, model.BadRequest},
		{"a primary key that is no column", CreateTable{Name: name(t, "x"), Schema: testSchema, PrimaryKey: []string{"y"}}, model.ColumnNotFound},
		{
			"a bucket key that is no prefix of the primary key",
			CreateTable{Name: name(t, "x"), Schema: testSchema, PrimaryKey: []string{"id", "text"}, BucketKey: []string{"text"}}, model.BadRequest,
		},
		{
			"a log table with an option of primary-key tables",
			CreateTable{Name: name(t, "x"), Schema: testSchema, Options: map[string]string{"merge.engine": "last-row"}}, model.BadRequest,
		},
	} {
		if _, err := e.CreateTable(t.Context(), tc.request); !errors.Is(err, tc.reason) {
			t.Errorf("%s: error %v, want %v", tc.what, err, tc.reason)
		}
	}
	if _, err := e.CreateTable(t.Context(), CreateTable{Name: name(t, "web.clicks"), Schema: testSchema, ExistOK: true}); err != nil {
		t.Errorf("the same definition with exist_ok: %v", err)
	}
	if tables, err := e.Tables(""); err != nil || len(tables) != 1 {
		t.Errorf("%d tables, %v; want 1: what was refused is not there", len(tables), err)
	}
}

// TestDropAndUndrop drops a table, makes another of the name, and brings the first one back.
func TestDropAndUndrop(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := filled(t, mem, 300)
	defer func() { closeEngine(t, e) }()
	first, _ := e.Table(name(t, "t"))
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	if err := e.DropTable(t.Context(), name(t, "t"), false); !errors.Is(err, model.TableNotFound) {
		t.Errorf("error %v, want %v", err, model.TableNotFound)
	}
	if err := e.DropTable(t.Context(), name(t, "t"), true); err != nil {
		t.Error(err)
	}
	second := createTable(t, e, CreateTable{Name: name(t, "t")})
	if rows := readAll(t, e, "t"); len(rows) != 0 {
		t.Errorf("%d rows in the new table", len(rows))
	}
	if _, err := e.UndropTable(t.Context(), name(t, "t")); !errors.Is(err, model.TableAlreadyExists) {
		t.Errorf("error %v, want %v", err, model.TableAlreadyExists)
	}
	if _, err := e.RenameTable(t.Context(), name(t, "t"), name(t, "web.other")); err != nil {
		t.Fatal(err)
	}
	back, err := e.UndropTable(t.Context(), name(t, "t"))
	if err != nil || back.ID != first.ID || back.ID == second.ID {
		t.Fatalf("undrop: %+v, %v; want table %s", back, err, first.ID)
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(300, 100, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also after a power cut
		if rows := readAll(t, e, "t"); len(rows) != 400 {
			t.Fatalf("%d rows, want 400", len(rows))
		}
		if _, err := e.Table(name(t, "web.other")); err != nil {
			t.Error(err)
		}
		crashed := mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
		closeEngine(t, e)
		mem = crashed
		e = open(t, testOptions(mem))
	}
}

// TestTrashIsCleared drops a table and waits for longer than the grace time.
func TestTrashIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(vfs.MemOptions{Now: time.Now})
		e := filled(t, mem, 100)
		defer closeEngine(t, e)
		if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
			t.Fatal(err)
		}
		pass(23 * time.Hour)
		if names, err := mem.List(trashDir); err != nil || len(names) != 1 {
			t.Fatalf("the trash holds %v, %v; want the table", names, err)
		}
		pass(3 * time.Hour)
		if names, err := mem.List(trashDir); err != nil || len(names) != 0 {
			t.Errorf("the trash holds %v, %v; want nothing", names, err)
		}
	})
}

// TestTruncate removes rows from the front; the start survives a restart.
func TestTruncate(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := filled(t, mem, 300)
	if _, err := e.TruncateTable(t.Context(), name(t, "t"), &model.Position{Offsets: model.Offsets{0: 150}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		rows := readAll(t, e, "t")
		if len(rows) != 150 || rows[0].offset != 150 {
			t.Fatalf("%d rows, want 150 from offset 150", len(rows))
		}
		closeEngine(t, e)
		e = open(t, testOptions(mem))
	}
	if _, err := e.TruncateTable(t.Context(), name(t, "t"), nil); err != nil {
		t.Fatal(err)
	}
	if rows := readAll(t, e, "t"); len(rows) != 0 {
		t.Errorf("%d rows, want none", len(rows))
	}
	closeEngine(t, e)
}

// TestDatabases makes and drops databases.
func TestDatabases(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "web.clicks")})
	for _, tc := range []struct {
		what   string
		do     func() error
		reason error
	}{
		{"make one that is there", func() error { return e.CreateDatabase(t.Context(), "web", false) }, model.DatabaseAlreadyExists},
		{"make one that is there, which is fine", func() error { return e.CreateDatabase(t.Context(), "web", true) }, nil},
		{"make one", func() error { return e.CreateDatabase(t.Context(), "lab", false) }, nil},
		{"a name that is none", func() error { return e.CreateDatabase(t.Context(), "a/b", false) }, model.BadRequest},
		{"drop one with tables", func() error { return e.DropDatabase(t.Context(), "web", false, false) }, model.DatabaseNotEmpty},
		{"drop it with its tables", func() error { return e.DropDatabase(t.Context(), "web", true, false) }, nil},
		{"drop it again", func() error { return e.DropDatabase(t.Context(), "web", true, false) }, model.DatabaseNotFound},
		{"drop the default", func() error { return e.DropDatabase(t.Context(), "default", true, false) }, model.BadRequest},
	} {
		if err := tc.do(); !errors.Is(err, tc.reason) || (err != nil) != (tc.reason != nil) {
			t.Errorf("%s: error %v, want %v", tc.what, err, tc.reason)
		}
	}
	if got := e.Databases(); len(got) != 2 {
		t.Errorf("databases %v, want default and lab", got)
	}
}

// TestLostCommitFile removes the commit file: everything that the checksums cover is still there.
func TestLostCommitFile(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	closeEngine(t, filled(t, mem, 3000))
	if err := mem.RemoveAll(commitDir); err != nil {
		t.Fatal(err)
	}
	e := open(t, testOptions(mem))
	defer closeEngine(t, e)
	if rows := readAll(t, e, "t"); len(rows) != 3000 {
		t.Errorf("%d rows, want 3000", len(rows))
	}
}

// TestCheckAndRebuild damages the catalog and a segment.
func TestCheckAndRebuild(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := filled(t, mem, 1000)
	table, _ := e.Table(name(t, "t"))
	closeEngine(t, e)
	check := func(rebuild bool) (findings []Finding, checked Checked) {
		t.Helper()
		checked, err := Check(mem, rebuild, func(f Finding) { findings = append(findings, f) })
		if err != nil {
			t.Fatal(err)
		}
		return findings, checked
	}
	if findings, checked := check(false); len(findings) > 0 || checked.Segments == 0 {
		t.Fatalf("%+v in a whole folder of %+v", findings, checked)
	}
	if err := mem.Remove(tablesDir + "/" + table.ID + "/" + tableFile); err != nil {
		t.Fatal(err)
	}
	if findings, _ := check(false); len(findings) != 1 {
		t.Fatalf("%+v, want the missing definition", findings)
	}
	if findings, checked := check(true); len(findings) > 0 || checked.Rebuilt != 1 {
		t.Fatalf("%+v, %+v; want one definition made anew", findings, checked)
	}
	e = open(t, testOptions(mem))
	if rows := readAll(t, e, "t"); len(rows) != 1000 {
		t.Errorf("%d rows, want 1000", len(rows))
	}
	again, err := e.Table(name(t, "t"))
	if err != nil || again.ID != table.ID || !again.Schema.Equal(table.Schema) || again.Buckets != table.Buckets {
		t.Errorf("%+v, %v; want %+v", again, err, table)
	}
	closeEngine(t, e)
	segment := tablesDir + "/" + table.ID + "/0/00000000000000000000.arrow"
	file, err := mem.Open(segment)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	damaged := []byte{0}
	if _, err := file.ReadAt(damaged, size/2); err != nil {
		t.Fatal(err)
	}
	damaged[0] ^= 4
	if err := file.WriteAt([][]byte{damaged}, size/2); err != nil {
		t.Fatal(err)
	}
	findings, _ := check(false)
	if len(findings) != 1 || findings[0].Path != segment || findings[0].LastOffset < 0 {
		t.Errorf("%+v, want one in %s with its rows", findings, segment)
	}
}
