package pkstore

import (
	"errors"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// compactTo compacts the store in o.Dir so that of the versions up to a timestamp the newest is left, and
// gives what key a of bucket 1 is at another.
func compactTo(t *testing.T, c *Cold, discard, at uint64) string {
	t.Helper()
	closeCold(t, c)
	options := c.badgerOptions()
	options.CompactL0OnClose = true
	db, err := badger.OpenManaged(options)
	if err != nil {
		t.Fatal(err)
	}
	db.SetDiscardTs(discard)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = badger.OpenManaged(options); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	txn := db.NewTransactionAt(at, false)
	defer txn.Discard()
	item, err := txn.Get(append(ColdBucket{Bucket: 1}.appendPrefix(nil, coldRowKey), 'a'))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	stored, err := item.ValueCopy(nil)
	if err != nil {
		t.Fatal(err)
	}
	value, err := checkColdSum(item.Key(), stored)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func TestCompactionKeepsWhatIsPinned(t *testing.T) {
	for _, pinned := range []bool{true, false} {
		c := openCold(t, ColdOptions{Dir: t.TempDir()})
		retire(t, c, 1, 1, map[string]string{"a": "old"})
		s := pin(t, c, 1)
		retire(t, c, 1, 2, map[string]string{"a": "new"})
		oldest := c.oldest()
		s.Release()
		want := "old"
		if !pinned { // shows that compaction drops what it may
			oldest, want = c.oldest(), ""
		}
		if got := compactTo(t, c, oldest, s.state.stamp); got != want {
			t.Errorf("pinned is %v: the old row is %q, want %q", pinned, got, want)
		}
	}
}

func TestCompactionKeepsWhatAnUnfinishedRetireWouldReplace(t *testing.T) {
	c := openCold(t, ColdOptions{Dir: t.TempDir(), CommitRows: 1})
	retire(t, c, 1, 1, map[string]string{"a": "old"})
	cut := func(yield func(ColdRow, error) bool) {
		_ = yield(ColdRow{Key: []byte("a"), Value: []byte("half")}, nil) &&
			yield(ColdRow{Key: []byte("b"), Value: []byte("half")}, nil) && yield(ColdRow{}, errCut)
	}
	move := ColdRetire{Bucket: ColdBucket{Bucket: 1}, Commit: 2, Boundary: 20}
	if err := c.Retire(t.Context(), move, cut); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	retire(t, c, 2, 3, map[string]string{"a": "another bucket"})
	stamp := c.State(ColdBucket{Bucket: 1}).stamp
	if c.finished <= c.State(ColdBucket{Bucket: 1}).begun {
		t.Fatal("the other bucket ended before the Retire that was cut off began")
	}
	if got := compactTo(t, c, c.oldest(), stamp); got != "old" {
		t.Errorf("the row is %q, want %q", got, "old")
	}
}
