package vfs

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeMapping maps bytes that are just there.
func fakeMapping(bytes []byte, unmap func()) *Mapping {
	return NewMapping(bytes, func(int64, int64) error { return nil }, unmap)
}

func TestMappingsFindWhatHoldsASlice(t *testing.T) {
	memory := make([]byte, 300)
	registry := NewMappings()
	unmapped := 0
	low := fakeMapping(memory[0:100:100], func() { unmapped++ })
	high := fakeMapping(memory[200:300], func() { unmapped++ })
	over := fakeMapping(memory[200:250:250], func() { unmapped++ }) // as two mappings of a Mem file
	for _, mapping := range []*Mapping{high, over, low, low} {
		registry.Add(mapping)
	}
	NewMappings().Add(low) // has its registry already
	registry.Add(fakeMapping(nil, nil))
	if registry.Len() != 3 {
		t.Fatalf("%d mappings, want 3", registry.Len())
	}
	cases := []struct {
		name  string
		slice []byte
		want  []*Mapping
	}{
		{"the whole", memory[0:100], []*Mapping{low}},
		{"the first byte", memory[0:1], []*Mapping{low}},
		{"the last byte", memory[99:100], []*Mapping{low}},
		{"empty", memory[50:50], nil},
		{"nil", nil, nil},
		{"across the end", memory[99:101], nil},
		{"between", memory[100:200], nil},
		{"across the beginning", memory[199:201], nil},
		{"in two mappings", memory[200:250], []*Mapping{high, over}},
		{"in the longer of two", memory[249:251], []*Mapping{high}},
		{"elsewhere", make([]byte, 10), nil},
	}
	for _, c := range cases {
		got, ok := registry.Retain(c.slice)
		if ok != (len(c.want) > 0) {
			t.Errorf("%s: found %t", c.name, ok)
		}
		if !ok {
			continue
		}
		if got != c.want[0] && got != c.want[len(c.want)-1] {
			t.Errorf("%s: another mapping", c.name)
		}
		got.Release()
	}

	held, _ := registry.Retain(memory[10:20])
	low.Release()
	if unmapped != 0 || registry.Len() != 3 {
		t.Fatal("unmapped while it was held")
	}
	held.Release()
	if _, ok := registry.Retain(memory[10:20]); ok || unmapped != 1 || registry.Len() != 2 {
		t.Error("the mapping is still there after its last Release")
	}
	over.Release()
	high.Release()
	if unmapped != 3 || registry.Len() != 0 {
		t.Errorf("%d unmapped, %d known at the end; want 3, 0", unmapped, registry.Len())
	}
}

// Owners add and release mappings of the same addresses over and over; readers look slices up and
// use them. No reader may ever hold a mapping that is unmapped, and none may be unmapped twice.
func TestMappingsRetainRacesWithTheLastRelease(t *testing.T) {
	const slots, size, rounds = 4, 64, 2000
	memory := make([]byte, slots*size)
	registry := NewMappings()
	var mapped [slots]atomic.Bool
	var found atomic.Int64
	stop := make(chan struct{})
	var owners, readers sync.WaitGroup
	for slot := range slots {
		bytes := memory[slot*size : (slot+1)*size : (slot+1)*size]
		owners.Go(func() {
			for range rounds {
				// A reader may hold the one before: a real mmap gives no address out twice.
				for !mapped[slot].CompareAndSwap(false, true) {
					runtime.Gosched()
				}
				mapping := fakeMapping(bytes, func() {
					if !mapped[slot].CompareAndSwap(true, false) {
						t.Error("unmapped twice")
					}
				})
				registry.Add(mapping)
				mapping.Release()
			}
		})
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mapping, ok := registry.Retain(bytes[size/2:])
				if !ok {
					continue
				}
				found.Add(1)
				if !mapped[slot].Load() {
					t.Error("holds a mapping that is unmapped")
				}
				mapping.Release()
			}
		})
	}
	owners.Wait()
	close(stop)
	readers.Wait()
	if registry.Len() != 0 {
		t.Errorf("%d mappings are left", registry.Len())
	}
	t.Logf("%d lookups met a mapping", found.Load())
}

func TestMappingsFindMappedFiles(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		registry := NewMappings()
		file := put(t, fsys, "a", "some bytes")
		mapping := must(file.Map(1 << 16))(t)
		registry.Add(mapping)
		slice := mapping.Bytes()[5:10]
		got, ok := registry.Retain(slice)
		if !ok || got != mapping {
			t.Fatal("the mapping is not found")
		}
		mapping.Release()
		check(t, file.Close())
		check(t, fsys.Remove("a"))
		if string(slice) != "bytes" {
			t.Errorf("got %q", slice)
		}
		got.Release()
		if registry.Len() != 0 {
			t.Error("the mapping is still known")
		}
	})
}

func BenchmarkMappingsRetain(b *testing.B) {
	const count, size = 2000, 4096
	memory := make([]byte, count*size)
	registry := NewMappings()
	for i := range count {
		registry.Add(fakeMapping(memory[i*size:(i+1)*size:(i+1)*size], func() {}))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		at := i * 7919 % count * size
		mapping, ok := registry.Retain(memory[at+100 : at+200])
		if !ok {
			b.Fatal("not found")
		}
		mapping.Release()
		i++
	}
}
