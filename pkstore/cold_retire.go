package pkstore

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"github.com/headrace/headrace/internal/model"
)

// ColdRow is the newest row of a key, or a deletion of it. Its bytes are copied.
type ColdRow struct {
	// Key is the key in the key encoding.
	Key []byte
	// Value is the row, as the reader of the store will decode it; of a deletion it is not looked at.
	Value   []byte
	Deleted bool
}

// ColdRetire is what a Retire does.
type ColdRetire struct {
	Bucket ColdBucket
	// Commit is the number of the commit of the log that wrote the last of the rows, above 0. It rises
	// with each Retire of a bucket.
	Commit uint64
	// Boundary is the offset below which all rows of the bucket are in the store afterwards.
	Boundary int64
}

// Room that must be free on the disk besides a commit, in ColdOptions.MemoryBytes: a memory table on its
// way to the disk, its successor's log of twice the size, and as much again for compaction.
const coldRoom = 6

// coldEntryBytes is what an entry takes besides key and value, at most.
const coldEntryBytes = 128

// Retire moves rows in, in commits of at most ColdOptions.CommitRows, and then the boundary. Once it
// has returned, all of it is durable. Where it fails, or is cut off, nothing of it can be seen; it may be
// repeated, with the same rows. A Retire whose commit number is not above that of the last one that
// ended does nothing: rows that are older than what is there are never taken.
//
// Of several rows of one key the last counts. A disk without room is model.DiskFull, found before
// anything is written, and no failure of the store.
func (c *Cold) Retire(ctx context.Context, retire ColdRetire, rows iter.Seq2[ColdRow, error]) error {
	c.retiring.Lock()
	defer c.retiring.Unlock()
	if err := c.enter(); err != nil {
		return err
	}
	defer c.readers.Done()
	state := c.State(retire.Bucket)
	switch {
	case retire.Commit == 0:
		return errors.New("retiring rows: the commit number is 0")
	case retire.Commit <= state.Commit:
		return nil
	case retire.Boundary < state.Boundary:
		return fmt.Errorf("retiring rows of bucket %+v: the boundary %d is below %d, where it is",
			retire.Bucket, retire.Boundary, state.Boundary)
	}
	stamp := c.next()
	if state.begun == 0 {
		state.begun = stamp
	}
	mover := &coldMover{cold: c, retire: retire, stamp: stamp, state: state}
	if err := mover.move(ctx, rows); err != nil {
		return err
	}
	mover.state = ColdState{Boundary: retire.Boundary, Commit: retire.Commit, stamp: stamp}
	return mover.commit(ctx)
}

// coldMover is one Retire.
type coldMover struct {
	cold   *Cold
	retire ColdRetire
	stamp  uint64
	// state is what the next commit writes.
	state ColdState

	rows    []coldEntry
	arena   []byte
	written bool // state is on the disk
}

// coldEntry is a row of the next commit, in the arena.
type coldEntry struct {
	key, value int // where they end; each begins where the one before ends
	deleted    bool
}

// commitBytes bounds a commit, so that it is far below the share of MemoryBytes that Badger takes in
// one transaction: 15 %.
func (m *coldMover) commitBytes() int { return int(m.cold.options.MemoryBytes / 16) }

func (m *coldMover) move(ctx context.Context, rows iter.Seq2[ColdRow, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		size := len(m.arena) + len(row.Key) + len(row.Value) + (len(m.rows)+1)*coldEntryBytes
		if len(m.rows) > 0 && (size > m.commitBytes() || len(m.rows) == m.cold.options.CommitRows) {
			if err := m.commit(ctx); err != nil {
				return err
			}
		}
		m.add(row)
	}
	return nil
}

func (m *coldMover) add(row ColdRow) {
	from := len(m.arena)
	m.arena = m.retire.Bucket.appendPrefix(m.arena, coldRowKey)
	m.arena = append(m.arena, row.Key...)
	entry := coldEntry{key: len(m.arena), deleted: row.Deleted}
	if !row.Deleted {
		m.arena = append(m.arena, row.Value...)
		m.arena = appendColdSum(m.arena, m.arena[from:entry.key], m.arena[entry.key:])
	}
	entry.value = len(m.arena)
	m.rows = append(m.rows, entry)
}

// commit writes the rows that were added, and the state where it has changed.
func (m *coldMover) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := m.cold
	if err := c.checkRoom(int64(len(m.arena) + len(m.rows)*coldEntryBytes)); err != nil {
		return err
	}
	last := m.state.begun == 0
	err := c.protect("retiring rows", func() error {
		return c.commit(m.stamp, func(txn *badger.Txn) error {
			if m.written && !last {
				return m.write(txn)
			}
			key := m.retire.Bucket.appendPrefix(nil, coldStateKey)
			return errors.Join(txn.Set(key, appendColdState(nil, m.state)), m.write(txn))
		})
	})
	if err != nil {
		return err
	}
	m.written, m.rows = true, m.rows[:0]
	m.arena = make([]byte, 0, cap(m.arena)) // Badger keeps the bytes until they are flushed
	c.guard.Lock()
	defer c.guard.Unlock()
	c.states[m.retire.Bucket] = m.state
	if last {
		c.finished = m.stamp
		c.discard()
	}
	return nil
}

func (m *coldMover) write(txn *badger.Txn) error {
	from := 0
	for _, entry := range m.rows {
		key, value := m.arena[from:entry.key:entry.key], m.arena[entry.key:entry.value:entry.value]
		from = entry.value
		var err error
		if entry.deleted {
			err = txn.Delete(key)
		} else {
			err = txn.Set(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// commit runs one transaction at a timestamp and waits until it is durable. An error of the commit
// itself fails the store: what is on the disk is not known, and Badger would end the process at the next.
// A commit that is on its way cannot be called back.
func (c *Cold) commit(stamp uint64, write func(*badger.Txn) error) error {
	txn := c.db.NewTransactionAt(stamp, true)
	defer txn.Discard()
	if err := write(txn); err != nil {
		return err
	}
	done := make(chan error, 1)
	if err := txn.CommitAt(stamp, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		if err != nil {
			c.failure.fail(fmt.Errorf("committing: %w", err))
		}
		return err
	case <-c.failure.failed:
		return c.failure.cause()
	}
}

// checkRoom looks whether the folder is there and the disk has room for a commit. Badger writes through
// mapped files: without room the system would end the process.
func (c *Cold) checkRoom(bytes int64) error {
	if c.options.FS == nil {
		return nil
	}
	if _, err := c.options.FS.Stat(c.manifest()); err != nil {
		c.failure.fail(fmt.Errorf("looking for the folder: %w", err))
		return c.failure.cause()
	}
	free, _, err := c.options.FS.Space()
	if err != nil {
		return fmt.Errorf("asking for free space: %w", err)
	}
	if want := bytes + coldRoom*c.options.MemoryBytes; free < want {
		return model.Errorf(model.DiskFull,
			"%d bytes are free on the disk, moving rows of old segments needs %d", free, want).
			WithRemedy("Free space on the disk, or give it more")
	}
	return nil
}
