package engine

import (
	"runtime"

	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
)

// newRowCache makes the cache of rows that were looked up; nil where there is to be none.
func newRowCache(size int64) (*pkstore.RowCache, error) {
	if size < 0 {
		return nil, nil
	}
	memory, release, err := vfs.NewMemory(size)
	if err != nil {
		return nil, err
	}
	cache, err := pkstore.NewRowCache(memory)
	if err != nil {
		release()
		return nil, err
	}
	// A lookup may still end when the engine is closed.
	runtime.AddCleanup(cache, func(release func()) { release() }, release)
	return cache, nil
}
