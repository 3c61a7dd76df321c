package pkstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// fetchReplaced reads the retired rows that changes replace, by their offsets, for who takes their columns out of
// secondary indexes. The keys are read in the rows that the changes made. publishing is held.
func (b *Bucket) fetchReplaced(rows *pendingRows, changes []keyChange) error {
	rows.replaced = nil
	retired := b.retired.Load()
	if retired == nil {
		return nil
	}
	schema := rows.log.schema
	f, err := schema.fetcher()
	if err != nil {
		return err
	}
	defer schema.fetchers.Put(f)
	var offsets []int64
	for i := range changes {
		c := &changes[i]
		if c.before < 0 || c.before >= rows.log.start {
			continue
		}
		at, err := rows.at(c.newest)
		if err != nil {
			return err
		}
		var ok bool
		if f.arena, ok = b.cold.appendRetiredKey(f.arena, c.hash, schema.keys, at.View, at.Row); !ok {
			return fmt.Errorf("the key at offset %d is null", c.newest)
		}
		f.ends, offsets = append(f.ends, len(f.arena)), append(offsets, c.before)
	}
	if len(offsets) == 0 {
		return nil
	}
	from := 0
	for _, end := range f.ends {
		f.keys = append(f.keys, f.arena[from:end])
		from = end
	}
	if err := retired.reader.Get(f.keys, func(i int, value []byte) error {
		if offset, _, _, err := readRetired(value); err != nil || offset != offsets[i] {
			return err
		}
		return f.take(value)
	}); err != nil {
		return fmt.Errorf("reading rows from below the log: %w", err)
	}
	batch, _, err := f.finish()
	if err != nil {
		return err
	}
	rows.replaced = make(map[int64]arrowipc.Pick, len(batch.offsets))
	for i, offset := range batch.offsets {
		rows.replaced[offset] = arrowipc.Pick{View: batch.View, Row: int32(i)}
	}
	return nil
}

// retiredMatches are the rows from below the log that a lookup by a secondary index may find.
type retiredMatches struct {
	schema        *bucketSchema
	columns, keys *arrowipc.RowHasher
	entries       []uint64 // those of the candidates of a key, reused
	// absent are the entries that no row in the index accounts for, ascending by their key, each once.
	absent []uint64
	// rows are what the store has of them: those of absent[i] end at ends[i]. live says which of them were live
	// at the moment of the lookup.
	rows []found
	ends []int
	live []bool
}

// matchSnapshot finds the candidates of all keys as of one moment, and gives the log of then. Rows from
// below the log are read between two looks, as in resolveSnapshot.
func (b *Bucket) matchSnapshot(m *matcher, x *secondaryIndex, k *Keys) (log *publishedLog, err error) {
	var r *retiredMatches
	for range lookupTries {
		log, rows := b.matchGlance(m, x, k, nil)
		if rows == nil {
			return log, nil
		}
		if r == nil || r.schema != log.schema {
			if r, err = newRetiredMatches(x, log.schema); err != nil {
				return nil, err
			}
		}
		if err := r.findAbsent(m); err != nil {
			return nil, err
		}
		if len(r.absent) == 0 {
			return log, nil
		}
		if err := r.read(rows); err != nil {
			return nil, err
		}
		log, again := b.matchGlance(m, x, k, func(now *retiredRows) { r.check(now) })
		if again != rows || log.schema != r.schema {
			continue
		}
		have := slices.Clone(r.absent)
		if err := r.findAbsent(m); err != nil {
			return nil, err
		}
		if lost := slices.ContainsFunc(r.absent, func(e uint64) bool { return !slices.Contains(have, e) }); lost {
			continue
		}
		r.absent = have
		r.merge(m)
		return log, nil
	}
	return b.matchHeld(m, x, k)
}

// matchHeld is matchSnapshot while Publish waits.
func (b *Bucket) matchHeld(m *matcher, x *secondaryIndex, k *Keys) (*publishedLog, error) {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	log, rows := b.log.Load(), b.retired.Load()
	m.collect(x.root.Load(), k)
	m.resolve(b.index.directory.Load(), log, k)
	if rows == nil {
		return log, nil
	}
	r, err := newRetiredMatches(x, log.schema)
	if err != nil {
		return nil, err
	}
	if err := r.findAbsent(m); err != nil {
		return nil, err
	}
	if err := r.read(rows); err != nil {
		return nil, err
	}
	r.check(rows)
	r.merge(m)
	return log, nil
}

// matchGlance finds the candidates that the index leads to as of one moment; also is called at it.
func (b *Bucket) matchGlance(m *matcher, x *secondaryIndex, k *Keys, also func(*retiredRows)) (log *publishedLog, rows *retiredRows) {
	for range lookupTries {
		before := b.sequence.Load()
		if before&1 == 1 {
			b.awaitPublish()
			continue
		}
		log = b.log.Load()
		m.collect(x.root.Load(), k)
		m.resolve(b.index.directory.Load(), log, k)
		if rows = b.retired.Load(); rows != nil && also != nil {
			also(rows)
		}
		if b.sequence.Load() == before {
			return log, rows
		}
	}
	// There is no quiet moment. A few keys are looked up while Publish waits, many in a state of the
	// index that stays as it is.
	b.publishing.Lock()
	log = b.log.Load()
	m.collect(x.root.Load(), k)
	if rows = b.retired.Load(); rows != nil && also != nil {
		also(rows)
	}
	if len(m.entries) <= matchesHeld {
		defer b.publishing.Unlock()
		m.resolve(b.index.directory.Load(), log, k)
		return log, rows
	}
	directory := b.index.frozenDirectory()
	b.publishing.Unlock()
	m.resolve(directory, log, k)
	return log, rows
}

func newRetiredMatches(x *secondaryIndex, s *bucketSchema) (*retiredMatches, error) {
	r := &retiredMatches{schema: s}
	var err error
	r.columns, r.keys, err = s.hashers(x.shape(s).at)
	return r, err
}

// findAbsent notes the entries that no candidate accounts for.
func (r *retiredMatches) findAbsent(m *matcher) error {
	r.absent = r.absent[:0]
	begin, first := 0, 0
	for i, end := range m.ends {
		r.entries = r.entries[:0]
		for _, f := range m.found[first:m.bounds[i]] {
			view, err := f.batch.whole()
			if err != nil {
				return fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
			}
			if columns, null := r.columns.HashRow(view, f.row); !null {
				key, _ := r.keys.HashRow(view, f.row)
				r.entries = append(r.entries, entryOf(columns, key))
			}
		}
		slices.Sort(r.entries)
		have := r.entries
		for _, entry := range m.entries[begin:end] {
			for len(have) > 0 && have[0] < entry {
				have = have[1:]
			}
			if len(have) > 0 && have[0] == entry {
				have = have[1:]
			} else {
				r.absent = append(r.absent, entry)
			}
		}
		begin, first = end, m.bounds[i]
	}
	slices.Sort(r.absent)
	r.absent = slices.Compact(r.absent)
	return nil
}

// read reads the rows that the absent entries lead to.
func (r *retiredMatches) read(rows *retiredRows) error {
	f, err := r.schema.fetcher()
	if err != nil {
		return err
	}
	defer r.schema.fetchers.Put(f)
	r.rows, r.ends = r.rows[:0], r.ends[:0]
	for _, entry := range r.absent {
		for row, err := range rows.reader.Rows(binary.BigEndian.AppendUint32(nil, uint32(entry)), nil) {
			if err != nil {
				return err
			}
			offset, _, _, err := readRetired(row.Value)
			if err != nil {
				return err
			}
			if !rows.live.has(offset) {
				continue
			}
			if err := f.take(row.Value); err != nil {
				return err
			}
		}
		r.ends = append(r.ends, len(f.offsets))
	}
	if len(f.offsets) == 0 {
		return nil
	}
	batch, _, err := f.finish()
	if err != nil {
		return err
	}
	for row := range batch.offsets {
		r.rows = append(r.rows, found{batch, int32(row)})
	}
	return nil
}

// check notes which of the rows are live.
func (r *retiredMatches) check(rows *retiredRows) {
	r.live = r.live[:0]
	for _, f := range r.rows {
		r.live = append(r.live, rows.live.has(f.offset()))
	}
}

// merge adds the live rows to the candidates of the keys whose entries lead to them.
func (r *retiredMatches) merge(m *matcher) {
	merged := make([]found, 0, len(m.found)+len(r.rows))
	begin, first := 0, 0
	for i, end := range m.ends {
		candidates := m.found[first:m.bounds[i]]
		merged = append(merged, candidates...)
		last := uint64(0)
		for j, entry := range m.entries[begin:end] {
			at, absent := slices.BinarySearch(r.absent, entry)
			if !absent || j > 0 && entry == last {
				continue
			}
			last = entry
			from := 0
			if at > 0 {
				from = r.ends[at-1]
			}
			for n := from; n < r.ends[at]; n++ {
				row := r.rows[n]
				if r.live[n] && !slices.ContainsFunc(candidates, func(f found) bool { return f.offset() == row.offset() }) {
					merged = append(merged, row)
				}
			}
		}
		begin, first = end, m.bounds[i]
		m.bounds[i] = len(merged)
	}
	m.found = merged
}
