package pkstore

import (
	"fmt"

	"github.com/headrace/headrace/internal/model"
)

// Replay takes in a batch of the log as it is found at start-up, in the order of the offsets, and
// publishes it. It reads the key and change columns only, and those of secondary
// indexes that were added before. For the writer, before anything is applied.
func (b *Bucket) Replay(s Stored) error {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	log, err := b.log.Load().extend([]Stored{s})
	if err != nil {
		return fmt.Errorf("replaying the log of a keyed bucket: %w", err)
	}
	w := &b.writer
	if s.View.Rows() == 0 {
		return nil
	}
	if w.hashes, err = w.hasher.Hash(s.View.Batch(), w.hashes[:0]); err != nil {
		return fmt.Errorf("replaying the log of a keyed bucket: %w", err)
	}
	routes, err := w.shared.of(s.View, w.hashes)
	if err != nil {
		return fmt.Errorf("replaying the log of a keyed bucket: %w", err)
	}
	// Rows that only show what an update replaced change nothing.
	w.rows, w.kinds, w.stated = w.rows[:0], w.kinds[:0], w.stated[:0]
	for row, hash := range w.hashes {
		if !w.shared.share.owns(routes[row]) {
			continue
		}
		kind := s.View.Value(b.current().change, int32(row))
		if len(kind) != 1 || kind[0] > byte(model.ChangeDelete) {
			return model.Errorf(model.Corrupt, "the row at offset %d has an unknown kind of change", s.Base+int64(row))
		}
		if model.ChangeType(kind[0]) != model.ChangeUpdateBefore {
			w.rows, w.kinds, w.stated = append(w.rows, int32(row)), append(w.kinds, kind[0]), append(w.stated, hash)
		}
	}
	w.end = log.end
	if err := b.findReplayed(s, log); err != nil {
		return fmt.Errorf("replaying the log of a keyed bucket: %w", err)
	}
	if err := b.commit(log, w.changes); err != nil {
		return fmt.Errorf("replaying the log of a keyed bucket: %w", err)
	}
	return nil
}

// findReplayed fills changes with what the rows of a batch in w.rows, of the kinds in w.kinds, leave
// of their keys.
func (b *Bucket) findReplayed(s Stored, log *publishedLog) error {
	w := &b.writer
	w.repeated.find(w.stated, func(x, y int32) bool {
		return b.current().keys.Equal(s.View, w.rows[x], b.current().keys, s.View, w.rows[y])
	})
	w.changes = w.changes[:0]
	firsts := w.rows[:0] // never ahead of what is read
	for i, first := range w.repeated.first {
		row := w.rows[i]
		newest, deleted := s.Base+int64(row), model.ChangeType(w.kinds[i]) == model.ChangeDelete
		if int(first) != i {
			last := &w.changes[w.places[first]]
			last.newest, last.deleted = newest, deleted
			w.places = append(w.places, -1)
			continue
		}
		w.places = append(w.places, int32(len(firsts)))
		w.changes = append(w.changes, keyChange{hash: w.stated[i], newest: newest, deleted: deleted})
		firsts = append(firsts, row)
	}
	w.places = w.places[:0]
	keys := Keys{View: s.View, Columns: b.current().keys, Hashes: w.hashes, Rows: firsts}
	w.resolver.resolve(b, log, &keys)
	defer w.resolver.forget()
	if err := b.addReplaced(s, &keys); err != nil {
		return err
	}
	for i, f := range w.resolver.found {
		w.changes[i].before = f.offset()
	}
	return nil
}

// addReplaced adds to what was found in the index the rows below the log that changes replace. A key that is
// inserted has none.
func (b *Bucket) addReplaced(s Stored, keys *Keys) error {
	w, rows := &b.writer, b.retired.Load()
	if rows == nil {
		return nil
	}
	w.resolver.missing = w.resolver.missing[:0]
	for i, f := range w.resolver.found {
		if kind := s.View.Value(b.current().change, keys.row(i)); f.batch == nil && model.ChangeType(kind[0]) != model.ChangeInsert {
			w.resolver.missing = append(w.resolver.missing, int32(i))
		}
	}
	if len(w.resolver.missing) == 0 {
		return nil
	}
	var err error
	if w.resolver.retired, _, err = b.fetch(b.current(), rows, keys, w.resolver.missing, w.resolver.retired[:0]); err != nil {
		return fmt.Errorf("reading rows from below the log: %w", err)
	}
	w.resolver.adopt(rows)
	return nil
}
