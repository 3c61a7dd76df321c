package streams

import "github.com/headrace/headrace/internal/model"

// LoadAlone is Load for buffers that stand alone, in ascending order, such as one column of many: nothing is
// read ahead of them, as the next batch may not be wanted.
func (s *Stored) LoadAlone(buffers []int) error {
	for _, i := range buffers {
		if i < 0 || i >= len(s.Batch.Buffers) {
			return model.Errorf(model.Internal, "buffer %d of a batch of %d buffers was asked for", i, len(s.Batch.Buffers))
		}
	}
	if len(buffers) == 0 {
		return nil
	}
	body := s.head.bodyPosition()
	from, to := int64(0), int64(0)
	load := func() error {
		if to == 0 {
			return nil
		}
		return s.damaged(body, s.segment.bucket.options.Reads.populateAlone(s.mapping, body+from, to-from))
	}
	for _, i := range buffers {
		span := s.Batch.Buffers[i]
		if span.Length == 0 {
			continue
		}
		if to == 0 || span.Offset < from || span.Offset > aligned(to) {
			if err := load(); err != nil {
				return err
			}
			from = span.Offset
		}
		to = span.Offset + span.Length
	}
	if err := load(); err != nil {
		return err
	}
	for _, i := range buffers {
		if err := s.check(i); err != nil {
			return err
		}
	}
	return nil
}
