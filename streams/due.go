package streams

// Due gives the offset below which all rows may go, as Retain would find it: a segment's first. Pins do not
// count. Where the segment that is written to holds nothing that stays, the next append begins another one, as
// with Retain.
func (b *Bucket) Due(r Retention) (before int64, err error) {
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	if err := b.closed(); err != nil {
		return 0, err
	}
	n, err := b.due(r)
	segments := b.list()
	if len(segments) == 0 {
		return b.Start(), err
	}
	return segments[max(0, min(n, len(segments)-1))].name.Base, err
}
