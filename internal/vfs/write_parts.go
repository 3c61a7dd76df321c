package vfs

import "io"

// vectorsMax is how many parts Linux takes in one write (UIO_MAXIOV).
const vectorsMax = 1024

// writeParts writes the parts one behind the other by calls of write, which takes a position and at
// most vectorsMax parts, and gives how many bytes it wrote. That may be fewer than it was given: a
// disk that is nearly full, a signal, or more than 2 GiB at once.
func writeParts(parts [][]byte, position int64, write func([][]byte, int64) (int, error)) error {
	var rest [1][]byte
	for {
		for len(parts) > 0 && len(parts[0]) == 0 {
			parts = parts[1:]
		}
		if len(parts) == 0 {
			return nil
		}
		n, err := write(parts[:min(len(parts), vectorsMax)], position)
		if err != nil {
			return err
		}
		if n <= 0 {
			return io.ErrShortWrite
		}
		position += int64(n)
		for len(parts) > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n == 0 {
			continue
		}
		// What is left of a part goes by itself: parts is the caller's and not to be changed.
		rest[0] = parts[0][n:]
		parts = parts[1:]
		if err := writeParts(rest[:], position, write); err != nil {
			return err
		}
		position += int64(len(rest[0]))
	}
}
