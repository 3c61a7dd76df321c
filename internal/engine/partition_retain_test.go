package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/internal/vfs"
)

// TestMaxBytesBoundsAllPartitions writes to one partition and then to another: with a bound, the segments of the
// first go, and of the second none.
func TestMaxBytesBoundsAllPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(vfs.MemOptions{Now: time.Now})
		e := open(t, testOptions(mem))
		createParted(t, e, "t", false, map[string]string{"log.max-bytes": "1MiB"})
		write := func(country string, from int64) {
			t.Helper()
			for batch := range int64(9) {
				rows := make([]partedRow, 100)
				for i := range rows {
					rows[i] = partedRow{country, from + 100*batch + int64(i), strings.Repeat("x", 1000)}
				}
				putParted(t, e, "t", rows...)
				pass(time.Second)
			}
		}
		rowsOf := func(country string) int64 {
			t.Helper()
			states, err := e.Partitions(name(t, "t"), PartitionValues{"country": country})
			if err != nil || len(states) != 1 {
				t.Fatalf("%d partitions %s, %v", len(states), country, err)
			}
			return states[0].Rows
		}
		write("DE", 0)
		e.Maintain(t.Context())
		if rowsOf("DE") != 900 {
			t.Errorf("%d rows are left below the bound, want 900", rowsOf("DE"))
		}
		// Also where nobody has used the older partition since the start.
		closeEngine(t, e)
		e = open(t, testOptions(mem))
		defer func() { closeEngine(t, e) }()
		write("FR", 1000)
		e.Maintain(t.Context())
		old, young := rowsOf("DE"), rowsOf("FR")
		if old > 150 || young < 750 {
			t.Errorf("%d old rows and %d young ones are left, want nearly all of the young ones", old, young)
		}
		if err := e.dropAfterTTL(t); err != nil {
			t.Fatal(err)
		}
		if rowsOf("DE")+rowsOf("FR") != 0 {
			t.Errorf("%d rows are left behind log.ttl", rowsOf("DE")+rowsOf("FR"))
		}
		putParted(t, e, "t", partedRow{"DE", 1, "new"})
		wantParted(t, e, "t", []partedRow{{"DE", 1, "new"}})
	})
}

// dropAfterTTL lets the time of all rows pass.
func (e *Engine) dropAfterTTL(t *testing.T) error {
	t.Helper()
	if _, err := e.SetOptions(t.Context(), name(t, "t"), Expect{}, map[string]string{"log.ttl": "1h"}); err != nil {
		return err
	}
	pass(2 * time.Hour)
	e.Maintain(t.Context())
	return nil
}
