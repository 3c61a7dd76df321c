package streams

import (
	"fmt"
	"runtime/debug"

	"github.com/headrace/headrace/internal/vfs"
)

// guarded runs work that reads mapped memory. Where the disk cannot give a page, the kernel signals
// a fault; it becomes an error with vfs.ErrUnreadable in its chain.
func guarded(work func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if failure := recover(); failure != nil {
			fault, ok := failure.(interface{ Addr() uintptr })
			if !ok {
				panic(failure) // a fault of the program's own
			}
			err = fmt.Errorf("%w: fault at address %#x", vfs.ErrUnreadable, fault.Addr())
		}
	}()
	return work()
}

// pageBytes is the smallest page of any machine: what is in memory comes and goes in whole pages.
const pageBytes = 4096

// mappedReader fetches bytes of a mapping, brought into memory before anybody touches them.
type mappedReader struct {
	mapping *vfs.Mapping
	pool    *ReadPool
	// from and to are the pages that are in memory.
	from, to int64
}

// bytes is a fetch.
func (r *mappedReader) bytes(position, n int64) ([]byte, error) {
	mapped := r.mapping.Bytes()
	if position < 0 || n < 0 || position > int64(len(mapped))-n {
		return nil, errTorn
	}
	if position < r.from || position+n > r.to {
		if err := r.pool.populate(r.mapping, position, n); err != nil {
			return nil, err
		}
		r.from, r.to = position/pageBytes*pageBytes, (position+n+pageBytes-1)/pageBytes*pageBytes
	}
	return mapped[position : position+n : position+n], nil
}
