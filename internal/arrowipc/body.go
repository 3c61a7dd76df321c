package arrowipc

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Bodies are pooled by size: four sizes to each doubling, so that at most a fifth is unused.
const (
	bodyShiftMin = 10 // the smallest pooled body has 1 KiB
	bodyShiftMax = 24 // a body above 16 MiB is not pooled
	bodyClasses  = (bodyShiftMax-bodyShiftMin)*4 + 1
)

// bodies holds the first bytes of unused bodies, by class. It is a cache that the garbage collector
// may empty at any time.
var bodies [bodyClasses]sync.Pool

// alignment is what every buffer in a body is aligned to, relative to the body's first byte. Go's
// allocator gives blocks of these sizes at addresses that are multiples of it too.
const alignment = 64

func aligned(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// bodyClass gives the class whose bodies hold n bytes, and their size; class -1 is not pooled.
func bodyClass(n int) (class, size int) {
	if n <= 1<<bodyShiftMin {
		return 0, 1 << bodyShiftMin
	}
	if n > 1<<bodyShiftMax {
		return -1, n
	}
	shift := bits.Len(uint(n-1)) - 1 // 1<<shift < n <= 2<<shift
	quarter := (n - 1 - 1<<shift) >> (shift - 2)
	return (shift-bodyShiftMin)*4 + quarter + 1, 1<<shift + (quarter+1)<<(shift-2)
}

// newBody gives n bytes of any content.
func newBody(n int) []byte {
	class, size := bodyClass(n)
	if class < 0 {
		return make([]byte, n)
	}
	if first, ok := bodies[class].Get().(*byte); ok {
		return unsafe.Slice(first, size)[:n]
	}
	return make([]byte, size)[:n]
}

// recycleBody takes back what newBody gave.
func recycleBody(body []byte) {
	class, size := bodyClass(cap(body))
	if class >= 0 && size == cap(body) {
		bodies[class].Put(unsafe.SliceData(body))
	}
}
