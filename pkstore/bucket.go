package pkstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
)

// Bucket is the keyed state of one bucket: it makes changelog rows of requests, and finds the newest
// row of a key in the log.
type Bucket struct {
	// schema is what the writer writes. That of the published log is the same, but for readers of the log
	// that was published before.
	schema atomic.Pointer[bucketSchema]
	writer writer

	index index
	log   atomic.Pointer[publishedLog]
	// retired are the rows below the log; nil: there never were any. It is replaced before keys leave the
	// index: who does not find a key there reads it after that.
	retired atomic.Pointer[retiredRows]
	cold    cold
	// sequence is odd while Publish changes the index, and grows with every such change.
	sequence atomic.Uint64

	// publishing is held while the published state changes. Lookups take it only where they find no
	// quiet moment otherwise.
	publishing sync.Mutex
	live       liveRows
	secondary  secondaryIndexes
	loaded     *publishedLog // the range of an index that waits for Attach
	// loadedCommit is the commit of the store of retired rows that the index was made with; 0: none.
	loadedCommit uint64

	// mu guards what Apply and Publish share. Readers never take it. It comes after publishing.
	mu       sync.Mutex
	pending  pendingKeys
	batches  []pendingBatch // in order of their offsets
	applying bool           // bodies of pending batches are being read
	finished []*arrowipc.Batch
}

// pendingBatch is a batch that Apply gave and whose rows are not published.
type pendingBatch struct {
	base, end int64
	view      *arrowipc.View
	batch     *arrowipc.Batch
}

// NewBucket gives a bucket without rows. The error names all faults of the options.
func NewBucket(o Options) (*Bucket, error) {
	s, err := newBucketSchema(o.withDefaults())
	if err != nil {
		return nil, err
	}
	b := &Bucket{}
	b.schema.Store(s)
	if err := b.writer.open(s.options); err != nil {
		return nil, err
	}
	b.index.reset()
	b.log.Store(&publishedLog{schema: s})
	return b, nil
}

// Publish makes pending changes below end, the end of a change, the state that readers see; stored are
// the batches of the log from the last such end up to this one. It may run in another goroutine than
// Apply and Abandon, and is called in the order of the offsets. After an error the bucket must not be
// used any more.
func (b *Bucket) Publish(end int64, stored []Stored) error {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	log, err := b.log.Load().extend(stored)
	if err != nil {
		return fmt.Errorf("publishing rows of a keyed bucket: %w", err)
	}
	if log.end != end && len(log.batches) > 0 {
		return fmt.Errorf("publishing rows of a keyed bucket up to offset %d: the batches end at %d", end, log.end)
	}
	b.mu.Lock()
	changes := b.pending.below(end)
	b.mu.Unlock()
	if err := b.commit(log, changes); err != nil {
		return fmt.Errorf("publishing rows of a keyed bucket up to offset %d: %w", end, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending.drop(len(changes))
	n := 0
	for n < len(b.batches) && b.batches[n].end <= end {
		b.finished = append(b.finished, b.batches[n].batch)
		n++
	}
	b.batches = b.batches[n:]
	if !b.applying {
		b.release()
	}
	return nil
}

var errIndexDiffers = errors.New("the index does not have the row that a key had")

// commit makes log the published one, and takes changes into the indexes and the bitmap of live rows.
// publishing is held.
func (b *Bucket) commit(log *publishedLog, changes []keyChange) error {
	if err := b.noteSecondary(log, changes); err != nil {
		return err
	}
	b.sequence.Add(1)
	defer b.sequence.Add(1)
	// The log first: what the index points to can be read.
	b.log.Store(log)
	b.showSecondary()
	boundary := int64(0)
	if r := b.retired.Load(); r != nil {
		boundary = r.boundary
	}
	for i := range changes {
		c := &changes[i]
		after := c.after()
		if !b.index.update(c.hash, c.before, after) {
			if c.before >= boundary {
				return errIndexDiffers
			}
			b.index.update(c.hash, noRow, after) // the key was retired
		}
		if c.before >= 0 {
			b.live.clear(c.before)
		}
		if after >= 0 {
			b.live.set(after)
		}
	}
	return nil
}

// release gives back the bodies of batches that were published. mu is held.
func (b *Bucket) release() {
	for _, batch := range b.finished {
		batch.Release()
	}
	clear(b.finished)
	b.finished = b.finished[:0]
}

// Abandon forgets the pending changes at and behind an offset. For the writer.
func (b *Bucket) Abandon(from int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending.abandon(from)
	for n := len(b.batches); n > 0 && b.batches[n-1].base >= from; n-- {
		b.batches[n-1].batch.Release()
		b.batches = b.batches[:n-1]
	}
	b.writer.end = min(b.writer.end, from)
}

// End is the offset behind the last published row; 0 where there never was one.
func (b *Bucket) End() int64 { return b.log.Load().end }

// Stats are figures of a bucket.
type Stats struct {
	// Keys is the number of keys that have a row, RetiredKeys how many of them are not in the index.
	Keys, RetiredKeys int64
	// Boundary is the offset below which rows are retired; 0: none are.
	Boundary int64
	// Start and End are the offsets of the first row that is kept and behind the last published one.
	Start, End int64
	// IndexBytes is the memory of the index, LiveBytes that of the bitmap of live rows.
	IndexBytes, LiveBytes int64
	// SecondaryBytes is the memory of the secondary indexes; IndexStats has it by index.
	SecondaryBytes int64
	// PendingKeys counts the changes of keys that are not published.
	PendingKeys int64
	// OverBudget says that the index takes more than Options.IndexBytes.
	OverBudget bool
}

// Stats gives the figures as they are now.
func (b *Bucket) Stats() Stats {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log.Load()
	s := Stats{
		Keys: b.live.count, Start: log.start, End: log.end, IndexBytes: b.index.size.Load(),
		LiveBytes: b.live.bytes(), PendingKeys: int64(b.pending.pending()),
	}
	s.RetiredKeys = s.Keys - b.index.keys.Load()
	if r := b.retired.Load(); r != nil {
		s.Boundary = r.boundary
	}
	for _, x := range b.secondary.all() {
		s.SecondaryBytes += x.bytes.Load()
	}
	bound := b.current().options.IndexBytes
	s.OverBudget = bound > 0 && s.IndexBytes > bound
	return s
}
