package flightsrv

import "testing"

func TestBufferPool(t *testing.T) {
	var pool bufferPool
	for _, n := range []int{0, 1, 255, 256, 257, 16 << 10, 1<<bufferShiftMax - 1, 1 << bufferShiftMax, 1<<bufferShiftMax + 1, 9 << 20} {
		buffer := pool.Get(n)
		if len(*buffer) != n {
			t.Fatalf("asked for %d bytes, got %d", n, len(*buffer))
		}
		*buffer = (*buffer)[:n/2] // as users do that read less
		pool.Put(buffer)
		if again := pool.Get(n); len(*again) != n {
			t.Errorf("asked for %d bytes again, got %d", n, len(*again))
		}
	}
	foreign := make([]byte, 1000)
	pool.Put(&foreign) // of no class
	for n := 900; n <= 1024; n++ {
		if buffer := pool.Get(n); len(*buffer) != n || cap(*buffer) < n {
			t.Fatalf("asked for %d bytes, got %d of %d", n, len(*buffer), cap(*buffer))
		}
	}
}
