package flightsrv

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/engine"
)

// setClock shows the time that a test sets.
type setClock struct{ now atomic.Int64 }

func (c *setClock) Now() time.Time                       { return time.Unix(0, c.now.Load()) }
func (c *setClock) After(time.Duration) <-chan time.Time { return nil }
func (c *setClock) pass(d time.Duration)                 { c.now.Add(int64(d)) }

// bucketsOf gives the offsets and sizes of a table's buckets.
func (s *testServer) bucketsOf(t *testing.T, table string) []bucketStats {
	t.Helper()
	return parse[tableStatistics](t, s.must(t, "TableStats", fmt.Sprintf(`{"table":%q}`, table))).Buckets
}

// trimmed wants a read from an offset to fail, and to name the first offset that is left.
func (s *testServer) trimmed(t *testing.T, table string, from, earliest int64) {
	t.Helper()
	err := s.follow(t.Context(), fmt.Appendf(nil, `{"scan":{"table":%q,"from":{"offsets":{"0":%d}}}}`, table, from), func(chunk) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "OFFSET_TRIMMED: ") || !strings.Contains(err.Error(), fmt.Sprintf(" %d", earliest)) {
		t.Errorf("%s from %d: %v, want OFFSET_TRIMMED with %d", table, from, err, earliest)
	}
	got := ids(s.get(t, fmt.Sprintf(`{"scan":{"table":%q,"from":{"offsets":{"0":%d}}}}`, table, earliest)))
	if end := s.bucketsOf(t, table)[0].End; !isRange(got, earliest, end) {
		t.Errorf("%s from %d: %d rows, want those up to %d", table, earliest, len(got), end)
	}
	if from > 0 {
		s.trimmed(t, table, from-1, earliest)
	}
}

// TestRetentionByAge lets rows expire, a segment at a time, to the microsecond.
func TestRetentionByAge(t *testing.T) {
	clock := &setClock{}
	clock.now.Store(time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC).UnixNano())
	s := startServerWith(t, func(o *engine.Options) { o.Clock, o.SegmentBytes = clock, 64<<10 }, nil)
	s.create(t, "t", `,"options":{"log.ttl":"1h","local.ttl":"30m"}`)
	// Three segments and a half: each batch fills one, at a time of its own.
	const rowsEach = 2000
	for i := range int64(4) {
		s.put(t, "t", rows(i*rowsEach, rowsEach))
		clock.pass(10 * time.Minute)
	}
	start := func() int64 { return s.bucketsOf(t, "t")[0].Start }
	retain := func(want int64) {
		t.Helper()
		s.engine.Maintain(t.Context())
		if got := start(); got != want {
			t.Errorf("the table begins at %d, want %d", got, want)
		}
	}
	retain(0)
	clock.pass(20 * time.Minute) // the first batch is an hour old
	retain(0)
	clock.pass(time.Microsecond)
	retain(rowsEach)
	s.trimmed(t, "t", 5, rowsEach)
	clock.pass(10*time.Minute - time.Microsecond)
	retain(rowsEach)
	clock.pass(time.Microsecond)
	retain(2 * rowsEach)
	s.must(t, "AlterTable", `{"table":"t","changes":[{"set_option":{"name":"log.ttl","value":"51m"}},{"set_option":{"name":"local.ttl","value":"51m"}}]}`)
	retain(2 * rowsEach)
	s.must(t, "AlterTable", `{"table":"t","changes":[{"set_option":{"name":"log.ttl","value":"49m"}},{"set_option":{"name":"local.ttl","value":""}}]}`)
	retain(3 * rowsEach)
	s.trimmed(t, "t", 1, 3*rowsEach)
	// All of it.
	clock.pass(time.Hour)
	retain(4 * rowsEach)
	s.put(t, "t", rows(4*rowsEach, 10))
	s.trimmed(t, "t", 2, 4*rowsEach)
	if _, err := s.action(t.Context(), "AlterTable", `{"table":"t","changes":[{"set_option":{"name":"local.ttl","value":"50m"}}]}`); err == nil ||
		!strings.Contains(err.Error(), "local.ttl is 50m, longer than log.ttl, 49m") {
		t.Errorf("error %v", err)
	}
}

// TestRetentionBySize bounds a table: as much goes as is too much, in whole segments.
func TestRetentionBySize(t *testing.T) {
	s := startServerWith(t, func(o *engine.Options) { o.SegmentBytes = 256 << 10 }, nil)
	s.create(t, "t", `,"options":{"log.max-bytes":"1MiB"}`)
	const rowsEach = 1000
	written := int64(0)
	for range 80 {
		s.put(t, "t", rows(written, rowsEach))
		written += rowsEach
	}
	before := s.bucketsOf(t, "t")[0]
	s.engine.Maintain(t.Context())
	after := s.bucketsOf(t, "t")[0]
	if before.Bytes < 3<<19 || before.Start != 0 || after.Bytes > 1<<20 || after.Bytes < 1<<20-256<<10 || after.Start == 0 || after.End != written {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	s.trimmed(t, "t", 3, after.Start)
	// Compression makes room: the same rows are kept longer.
	s.create(t, "c", `,"options":{"log.max-bytes":"1MiB","log.compression":"zstd"}`)
	for from := int64(0); from < written; from += rowsEach {
		s.put(t, "c", rows(from, rowsEach))
		s.engine.Maintain(t.Context())
	}
	if packed := s.bucketsOf(t, "c")[0]; packed.Start != 0 || packed.RawBytes < 3<<19 || packed.Bytes > 1<<20 {
		t.Errorf("compressed %+v", packed)
	}
}
