package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// partitionsFile is the ledger of a table's partitions, in the table's folder.
const partitionsFile = "partitions.ledger"

// partitionRecord is a record of the ledger: a partition that was made, one that was dropped, or the numbers
// that come next, at the beginning of a ledger that was written anew. One member is set.
type partitionRecord struct {
	Made    *madeRecord `json:"made,omitempty"`
	Dropped int64       `json:"dropped,omitempty"`
	Next    *nextRecord `json:"next,omitempty"`
}

// madeRecord describes a partition. Key is the key encoding of its values, see arrowipc.RowHasher.
type madeRecord struct {
	ID      int64     `json:"id"`
	Key     []byte    `json:"key"`
	Buckets []int32   `json:"buckets"`
	Created time.Time `json:"created"`
}

type nextRecord struct {
	ID     int64 `json:"id"`
	Bucket int32 `json:"bucket"`
}

func recordOfPartition(x *partition) partitionRecord {
	return partitionRecord{Made: &madeRecord{ID: x.id, Key: []byte(x.key), Buckets: x.numbers(), Created: x.created}}
}

// openPartitions reads the ledger of a table's partitions from its folder, before the table is served.
func (t *table) openPartitions() error {
	p := t.partitions
	if p == nil {
		return nil
	}
	files := t.engine.options.FS
	if _, err := files.Stat(t.dir() + "/" + partitionsFile); errors.Is(err, fs.ErrNotExist) {
		return model.Errorf(model.Corrupt, "the table's folder lacks the file %s", partitionsFile).
			WithRemedy("headrace check --rebuild-catalog makes it anew")
	}
	hasher, err := p.hasher()
	if err != nil {
		return err
	}
	made := map[int64]*partition{}
	l, err := openLedger(files, t.dir(), partitionsFile, func(content []byte) error {
		var record partitionRecord
		if err := json.Unmarshal(content, &record); err != nil {
			return fmt.Errorf("%w: %w", model.Corrupt, err)
		}
		switch {
		case record.Next != nil:
			p.nextID, p.nextBucket = max(p.nextID, record.Next.ID), max(p.nextBucket, record.Next.Bucket)
		case record.Made != nil && len(record.Made.Buckets) > 0:
			x := &partition{key: string(record.Made.Key), id: record.Made.ID, created: record.Made.Created}
			x.list.Store(&record.Made.Buckets)
			var err error
			if x.values, err = hasher.CutKey([]byte(x.key)); err != nil {
				return fmt.Errorf("%w: partition %d: %w", model.Corrupt, x.id, err)
			}
			made[x.id] = x
			p.nextID, p.nextBucket = max(p.nextID, x.id+1), max(p.nextBucket, slices.Max(record.Made.Buckets)+1)
		default:
			delete(made, record.Dropped)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.ledger = l
	if err := t.growPartitions(made); err != nil {
		return errors.Join(err, l.close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = p.order[:0]
	clear(p.byKey)
	clear(p.byBucket)
	for _, x := range made {
		p.add(x)
	}
	slices.SortFunc(p.order, byID)
	return nil
}

// writeLedger puts records into the ledger, durably. One that an earlier error has left in the dark is
// written anew first, from what the table has. It is for the committer.
func (p *partitions) writeLedger(records ...partitionRecord) error {
	const recordsMax = 10_000 // an append has a bound in bytes
	if p.ledger.broken != nil || p.ledger.records > ledgerSlack+2*p.count() {
		if err := p.ledger.rewrite(p.ledgerContent()); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(records, recordsMax) {
		encoded := make([][]byte, len(chunk))
		for i, record := range chunk {
			var err error
			if encoded[i], err = json.Marshal(record); err != nil {
				return fmt.Errorf("encode a record of partitions: %w", err)
			}
		}
		if err := p.ledger.append(encoded...); err != nil {
			return err
		}
	}
	return nil
}

// ledgerContent gives the records of a ledger that has what there is.
func (p *partitions) ledgerContent() iter.Seq[[]byte] {
	p.mu.RLock()
	list, next := slices.Clone(p.order), nextRecord{p.nextID, p.nextBucket}
	p.mu.RUnlock()
	return ledgerOf(list, next)
}

func ledgerOf(list []*partition, next nextRecord) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		encoded, err := json.Marshal(partitionRecord{Next: &next})
		if err != nil || !yield(encoded) {
			return
		}
		for _, x := range list {
			if encoded, err = json.Marshal(recordOfPartition(x)); err != nil || !yield(encoded) {
				return
			}
		}
	}
}

// makeLedger makes the ledger of a new table in a folder that nobody knows yet.
func (e *Engine) makeLedger(dir string) error {
	l, err := openLedger(e.options.FS, dir, partitionsFile, func([]byte) error { return nil })
	if err != nil {
		return err
	}
	return errors.Join(l.rewrite(ledgerOf(nil, nextRecord{1, model.HomeBucket + 1})), l.close())
}

// closeLedger closes the ledger of a table that is served no more.
func (t *table) closeLedger() error {
	if t.partitions == nil || t.partitions.ledger == nil {
		return nil
	}
	return t.partitions.ledger.close()
}
