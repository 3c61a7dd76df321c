package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// The file tables/<table>/keys-<bucket>.index spares a start the keys of a bucket's log. It is made at
// a clean stop and now and then before, and used only if the log still is what it was made of.
//
//	 0  4  magic "HRKB"
//	 4  4  chain: the checksum of the batch that ends where the index does, which vouches for all
//	       batches before it
//	 8  8  zero
//	16     what pkstore.Bucket.AppendIndex gives, which has a checksum of its own
const (
	indexFileMagic = "HRKB"
	indexFileHead  = 16
)

func (b *bucket) indexFile() string { return indexFileOf(b.number) }

func indexFileOf(bucket int32) string { return fmt.Sprintf("keys-%d.index", bucket) }

// indexChanges is how many rows a log must have got behind the index file for a new one to be worth it,
// and indexShare the least part of the keys.
const (
	indexChanges = 1 << 20
	indexShare   = 4
)

// saveIndexes writes the index files that are worth it; at the end, all that are not up to date.
func (e *Engine) saveIndexes(atEnd bool) {
	for _, t := range e.catalog.all() {
		if t.keyed == nil || e.failed() != nil {
			continue
		}
		e.saveTableIndexes(t, atEnd)
	}
}

func (e *Engine) saveTableIndexes(t *table, atEnd bool) {
	t.keyed.upkeep.Lock()
	defer t.keyed.upkeep.Unlock()
	for _, b := range t.opened() {
		behind := b.keyed.End() - b.indexed
		if behind == 0 || !atEnd && b.indexed >= 0 && behind < max(indexChanges, b.keyed.Stats().Keys/indexShare) {
			continue
		}
		if err := b.saveIndex(); err != nil && t.err() == nil {
			e.options.Logger.Warn("write the index of keys", "table", t.definition.Load().Name, "bucket", b.number, "error", err)
		}
	}
}

func (b *bucket) saveIndex() error {
	head := make([]byte, indexFileHead)
	copy(head, indexFileMagic)
	content := b.keyed.AppendIndex(head)
	_, end, err := pkstore.IndexRange(content[indexFileHead:])
	if err != nil || end == b.historyStart() {
		return err
	}
	last := pkstore.Stored{}
	err = b.eachStored(b.table.schema.Load(), end-1, end, func(stored pkstore.Stored) error {
		last = stored
		return nil
	})
	if err != nil {
		return err
	}
	if last.View == nil || last.Base+last.View.Rows() != end {
		return fmt.Errorf("no batch of the log ends at offset %d", end)
	}
	binary.LittleEndian.PutUint32(content[4:], last.Keep.(*streams.Stored).Chain())
	dir := b.table.dir()
	if err := replaceFile(b.table.engine.options.FS, join(dir, b.indexFile()+".new"), join(dir, b.indexFile()), content); err != nil {
		return err
	}
	b.indexed = end
	return nil
}

// loadIndex makes a bucket's state from its index file; false where that does not fit.
func (t *table) loadIndex(b *bucket, cold pkstore.ColdStore) bool {
	store, err := t.tryIndex(b, cold)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.engine.options.Logger.Warn("the index of keys cannot be used, the log is read instead",
				"table", t.definition.Load().Name, "bucket", b.number, "error", err)
		}
		return false
	}
	b.keyed, b.indexed = store, store.End()
	return true
}

var errIndexUnfit = errors.New("the log is not the one that it was made of")

func (t *table) tryIndex(b *bucket, cold pkstore.ColdStore) (*pkstore.Bucket, error) {
	content, err := readFile(t.engine.options.FS, join(t.dir(), b.indexFile()))
	if err != nil {
		return nil, err
	}
	if len(content) < indexFileHead || string(content[:4]) != indexFileMagic {
		return nil, model.Errorf(model.Corrupt, "it does not begin with %q", indexFileMagic)
	}
	store, err := b.newState()
	if err != nil {
		return nil, err
	}
	start, end, err := store.LoadIndex(content[indexFileHead:])
	if err != nil {
		return nil, err
	}
	if start < b.historyStart() || end > b.End() {
		return nil, fmt.Errorf("%w: it has the offsets %d to %d, the log %d to %d", errIndexUnfit, start, end, b.historyStart(), b.End())
	}
	if err := b.useCold(store, cold); err != nil {
		return nil, err
	}
	chain := binary.LittleEndian.Uint32(content[4:])
	var stored []pkstore.Stored
	err = b.eachStored(b.schema, start, end, func(kept pkstore.Stored) error {
		stored = append(stored, kept)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n := len(stored); n > 0 && stored[n-1].Keep.(*streams.Stored).Chain() != chain {
		return nil, errIndexUnfit
	}
	return store, store.Attach(stored)
}
