package pkstore

import (
	"sync"
	"sync/atomic"
	"weak"

	"github.com/headrace/headrace/internal/arrowipc"
)

// Stored is a batch of the log as it is stored. The view must stay valid as long as the Stored, or
// Keep, can be reached: whoever makes it lets the garbage collector release the memory behind it.
type Stored struct {
	// Base is the offset of the first row.
	Base int64
	// View reads the batch, in the layout of the log. Key and change columns are in memory and
	// verified.
	View *arrowipc.View
	// Check brings the other columns into memory and verifies them. The bucket calls it before it
	// reads them for the first time, and again only after it failed; it may be called by several
	// goroutines for different batches. nil: there is nothing to do.
	Check func() error
	// Whole gives a view with all columns, once Check has succeeded, where View lacks some: those whose
	// values have to be converted. Whoever reads them keeps it for as long as that takes. nil: View has all.
	Whole func() (*arrowipc.View, error)
	// Keep is held as long as the bucket holds the batch.
	Keep any
}

// end is the offset behind the last row.
func (s Stored) end() int64 { return s.Base + s.View.Rows() }

// storedBatch is a Stored that remembers whether it was checked.
type storedBatch struct {
	Stored
	// offsets are those of the rows of a batch that is not of the log; nil: they follow Base.
	offsets  []int64
	checked  atomic.Bool
	checking sync.Mutex
	// converted is what Whole gave, for as long as somebody uses it; guarded by checking.
	converted weak.Pointer[arrowipc.View]
}

func newStoredBatch(s Stored) *storedBatch {
	b := &storedBatch{Stored: s}
	b.checked.Store(s.Check == nil)
	return b
}

// offset is that of a row.
func (b *storedBatch) offset(row int32) int64 {
	if b.offsets != nil {
		return b.offsets[row]
	}
	return b.Base + int64(row)
}

// whole gives a view all of whose columns can be read.
func (b *storedBatch) whole() (*arrowipc.View, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	if b.Whole == nil {
		return b.View, nil
	}
	b.checking.Lock()
	defer b.checking.Unlock()
	if view := b.converted.Value(); view != nil {
		return view, nil
	}
	view, err := b.Whole()
	if err == nil {
		b.converted = weak.Make(view)
	}
	return view, err
}

// check sees to it that all columns can be read.
func (b *storedBatch) check() error {
	if b.checked.Load() {
		return nil
	}
	b.checking.Lock()
	defer b.checking.Unlock()
	if b.checked.Load() {
		return nil
	}
	err := b.Check()
	if err == nil {
		b.checked.Store(true)
	}
	return err
}
