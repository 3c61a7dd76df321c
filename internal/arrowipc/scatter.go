package arrowipc

import "hash/crc32"

// scattered reads a body that came in parts. Reading in ascending order is cheap.
type scattered struct {
	parts [][]byte
	size  int64
	part  int   // where the last read ended
	start int64 // of that part
}

func newScattered(parts [][]byte) scattered {
	s := scattered{parts: parts}
	for _, part := range parts {
		s.size += int64(len(part))
	}
	return s
}

// at gives bytes from position on, as many as lie together and max at most. The position must be
// inside.
func (s *scattered) at(position, max int64) []byte {
	if position < s.start {
		s.part, s.start = 0, 0
	}
	for position >= s.start+int64(len(s.parts[s.part])) {
		s.start += int64(len(s.parts[s.part]))
		s.part++
	}
	piece := s.parts[s.part][position-s.start:]
	return piece[:min(int64(len(piece)), max)]
}

// join copies all to dst, which has the room.
func (s *scattered) join(dst []byte) {
	for _, part := range s.parts {
		dst = dst[copy(dst, part):]
	}
}

// addFrom appends a buffer that lies in body.
func (w *bodyWriter) addFrom(body *scattered, span Span) {
	start, sum := w.position, uint32(0)
	for done := int64(0); done < span.Length; {
		piece := body.at(span.Offset+done, min(span.Length-done, sumStride))
		target := w.batch.Body[w.position : w.position+int64(len(piece))]
		copy(target, piece)
		sum = crc32.Update(sum, castagnoli, target)
		w.position += int64(len(piece))
		done += int64(len(piece))
	}
	w.close(start, sum)
}
