package engine

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestLargeColumnsAreAdded adds vectors to rows of a few bytes: as nulls, they would take 1,000 times as much as the
// batch that lacks them.
func TestLargeColumnsAreAdded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 280 MB of addresses, which the race detector turns into memory")
	}
	const rows = 35_000
	texts := make([]string, rows)
	for id := range texts {
		texts[id] = fmt.Sprintf(`{"id":%d}`, id)
	}
	for _, codec := range []string{"none", "zstd:1"} {
		for _, key := range []string{"", "id"} {
			if key != "" && codec != "none" {
				continue // there is no such option
			}
			t.Run("key "+key+" codec "+codec, func(t *testing.T) {
				options := testOptions(vfs.NewMem(vfs.MemOptions{}))
				e := open(t, options)
				createText(t, e, "t", "id int64 not null", key, map[string]string{"log.compression": codec})
				old := mustOpen(t, e, "t", "id int64 not null", PutRequest{})
				old.mustWrite("[" + strings.Join(texts, ",") + "]")
				alter(t, e, "t", model.AddColumn{Path: columnPath{"v"}, Field: fieldOfText(t, "v fixed_size_list<item: float>[2000]")},
					model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n string"), Default: "new"})
				if key == "" {
					if _, err := old.write(nil, "["+strings.Join(texts, ",")+"]"); !errors.Is(err, model.SchemaChanged) {
						t.Errorf("a batch that becomes too large: %v", err)
					}
				}
				old = mustOpen(t, e, "t", "id int64 not null", PutRequest{})
				old.mustWrite(`[{"id":35000}]`)
				e.Maintain(t.Context())
				for _, at := range []string{"at once", "behind a restart"} {
					checkLargeColumns(t, e, at, rows+1)
					if key != "" {
						checkLargeLookup(t, e, at)
					}
					closeEngine(t, e)
					e = open(t, options)
				}
				closeEngine(t, e)
			})
		}
	}
}

// checkLargeColumns reads rows with v, and without it.
func checkLargeColumns(t *testing.T, e *Engine, at string, rows int64) {
	t.Helper()
	count := func(scan Scan) (n int64) {
		t.Helper()
		scan.Table = name(t, "t")
		r, err := e.Scan(t.Context(), scan)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			chunk, err := r.Next(t.Context())
			if errors.Is(err, io.EOF) {
				return n
			}
			if err != nil {
				t.Fatalf("%s: behind %d rows: %v", at, n, err)
			}
			size := len(chunk.Message.Header)
			for _, part := range chunk.Message.Body {
				size += len(part)
			}
			if size > 5<<20 {
				t.Fatalf("%s: a message of %d bytes", at, size)
			}
			n += chunk.Rows
		}
	}
	sets := [][]string{{"id"}, {"n", "id"}, {"v"}, nil}
	if e.catalog.lookup(name(t, "t")).keyed != nil { // where rows are gathered one by one
		sets = sets[:3]
	}
	for _, columns := range sets {
		if n := count(Scan{Columns: columns}); n != rows {
			t.Errorf("%s: %d rows of %q, want %d", at, n, columns, rows)
		}
	}
	part := Scan{Columns: []string{"id", "n"}, From: offsetBound(10), To: offsetBound(rows - 10)}
	if e.catalog.lookup(name(t, "t")).keyed != nil {
		part.View = ViewChangelog
	}
	if n := count(part); n != rows-20 {
		t.Errorf("%s: %d rows of a part, want %d", at, n, rows-20)
	}
	scan := Scan{Table: name(t, "t"), Filter: condition(t, "id >= 34999 and n = 'new'")}
	sameJSON(t, at, openJSONReader(t, e, scan).all(), `[{"id":34999,"v":null,"n":"new"},{"id":35000,"v":null,"n":"new"}]`)
}

func checkLargeLookup(t *testing.T, e *Engine, at string) {
	t.Helper()
	id := schemaOfText(t, "id int64")
	l, err := e.OpenLookup(t.Context(), LookupRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(id)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := lookupJSON(t, l, id, `[{"id":7},{"id":35000}]`)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, at, got, `[{"id":7,"v":null,"n":"new"},{"id":35000,"v":null,"n":"new"}]`)
}

// TestLargeDefaultsAreRefused bounds what a default takes in rows that are there.
func TestLargeDefaultsAreRefused(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createText(t, e, "t", "id int64 not null, s struct<a: int8>", "", nil)
	for _, test := range []struct {
		path   columnPath
		column string
		value  any
		fits   bool
	}{
		{columnPath{"x"}, "x string", strings.Repeat("x", 40), true},
		{columnPath{"y"}, "y string", strings.Repeat("x", 80), false},
		{columnPath{"s", "y"}, "y string", strings.Repeat("x", 80), false},
		{columnPath{"z"}, "z struct<v: fixed_size_list<item: float>[100]>", map[string]any{}, false},
	} {
		change := model.AddColumn{Path: test.path, Field: fieldOfText(t, test.column), Default: test.value}
		_, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, ChangeColumns{[]model.ColumnChange{change}})
		if test.fits != (err == nil) || err != nil && !errors.Is(err, model.BadRequest) {
			t.Errorf("%s with %v: %v", test.column, test.value, err)
		}
	}
}
