package pkstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"path"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// Limits of ColdOptions.MemoryBytes.
const (
	ColdMemoryBytesMin = 8 << 20
	ColdMemoryBytesMax = 1 << 30
)

// ColdOptions say where and how a Cold keeps its rows.
type ColdOptions struct {
	// Dir is the folder, as the operating system knows it. It belongs to the store alone and is made
	// where it is missing.
	Dir string
	// FS and Path name the same folder. Through them the store looks at its tables before it opens them,
	// and before each write whether the folder is still there and has room. A nil FS leaves that out.
	FS   vfs.FS
	Path string
	// MemoryBytes is how much is collected in memory before it becomes a file, and what a table costs at
	// least. Default 16 MiB, ColdMemoryBytesMin..ColdMemoryBytesMax. With more there is less compaction.
	MemoryBytes int64
	// CommitRows bounds the rows of one commit to the disk. Default 1,000, at most 10,000. The disk takes a commit
	// in one go, and writers of logs that need it at that moment wait.
	CommitRows int
	// Logger gets what the library below says. nil: nothing.
	Logger *slog.Logger
	// Fatal catches what the library would end the process with; see FatalCatcher. nil: it does so.
	Fatal *FatalCatcher
}

const coldCommitRowsDefault, coldCommitRowsMax = 1000, 10_000

func (o *ColdOptions) validate() error {
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 16 << 20
	}
	if o.CommitRows == 0 {
		o.CommitRows = coldCommitRowsDefault
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("no Dir is given"))
	}
	if o.MemoryBytes < ColdMemoryBytesMin || o.MemoryBytes > ColdMemoryBytesMax {
		faults = append(faults, fmt.Errorf("MemoryBytes is %d, want %d..%d",
			o.MemoryBytes, ColdMemoryBytesMin, ColdMemoryBytesMax))
	}
	if o.CommitRows < 1 || o.CommitRows > coldCommitRowsMax {
		faults = append(faults, fmt.Errorf("CommitRows is %d, want 1..%d", o.CommitRows, coldCommitRowsMax))
	}
	if len(faults) > 0 {
		return fmt.Errorf("options of a cold store: %w", errors.Join(faults...))
	}
	return nil
}

// Cold keeps the newest rows of keys whose segments are retired: one Badger directory a table, for all
// of its buckets. Retire moves rows in; a ColdSnapshot reads what was retired before it was taken.
//
// Badger's entries, with integers big-endian so that they sort:
//
//	key                                           value
//	00                                            01, KeyEncodingVersion
//	01  partition uint32  bucket uint32           the bucket's ColdState: 4 uint64
//	02  partition uint32  bucket uint32  key      the row, as the caller encodes it; 4 bytes little-endian:
//	                                              CRC-32C of Badger's key and of the row
//
// Each Retire writes all its entries at one timestamp of Badger, one above all that were there before.
// It becomes visible with the state that its last commit writes: a bucket is read at the timestamp of
// its state, so that what a Retire left that did not end is not seen, and older versions are kept as
// long as a snapshot or such a state needs them. A deletion is Badger's own.
//
// Damage: Badger's files are checked whole when the store opens, which fails if they are not what was
// written, and by Verify. A row whose sum is wrong is model.Corrupt.
//
// All commits are synced before Retire returns. All methods may be called by many goroutines; those of
// Retire wait for one another.
//
// Badger ends the process in some cases; see FatalCatcher for what is done about it.
type Cold struct {
	options ColdOptions
	db      *badger.DB
	failure failure

	retiring sync.Mutex // held by Retire; before guard

	// guard guards what follows.
	guard    sync.Mutex
	closed   bool
	readers  sync.WaitGroup
	last     uint64 // the highest timestamp that was given out
	states   map[ColdBucket]ColdState
	pinned   map[uint64]int // snapshots by timestamp
	finished uint64         // the highest timestamp of a Retire that ended
}

// ColdBucket names a bucket of a table.
type ColdBucket struct{ Partition, Bucket uint32 }

// ColdState says what the store has of a bucket.
type ColdState struct {
	// Boundary: the newest rows of all keys that were written below this offset of the bucket's log, and
	// not again since, are here.
	Boundary int64
	// Commit is the commit number of the last Retire that ended. 0: there was none.
	Commit uint64

	stamp uint64 // Badger's timestamp of that Retire
	begun uint64 // the first timestamp of those behind it that did not end; 0: there is none
}

const (
	coldFormatVersion = 1
	coldStateBytes    = 32
	coldPrefixBytes   = 9

	coldFormatKey = 0
	coldStateKey  = 1
	coldRowKey    = 2
)

// ErrColdClosed says that the store was closed.
var ErrColdClosed = errors.New("the cold store is closed")

// OpenCold opens the store in a folder, and makes it where there is none. The caller closes it.
func OpenCold(o ColdOptions) (*Cold, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Cold{options: o, states: map[ColdBucket]ColdState{}, pinned: map[uint64]int{}}
	c.failure.init(o.Logger)
	if o.Fatal != nil {
		o.Fatal.add(&c.failure)
	}
	err := c.protect("opening", func() error {
		if err := c.checkTables(); err != nil {
			return err
		}
		db, err := badger.OpenManaged(c.badgerOptions())
		if err != nil {
			return err
		}
		c.db = db
		return c.load()
	})
	if err == nil {
		return c, nil
	}
	if c.db != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.forget()
	return nil, err
}

// coldInlineMax is the size from which on a row is kept outside Badger's tree, in its value log, whose
// space is given back only with the table. It is also far below what one transaction can hold.
const coldInlineMax = 1 << 20

func (c *Cold) badgerOptions() badger.Options {
	o := badger.DefaultOptions(c.options.Dir)
	o.Logger = &coldLogger{log: c.options.Logger, failure: &c.failure}
	o.SyncWrites = true
	o.DetectConflicts = false
	o.MetricsEnabled = false
	o.Compression = options.None
	o.BlockCacheSize = 0
	// Checked block by block, a damaged block would be skipped in silence, by lookups, scans and
	// compaction alike. Checked at opening, the store does not open.
	o.ChecksumVerificationMode = options.OnTableRead
	o.ValueThreshold = coldInlineMax
	o.ValueLogFileSize = 256 << 20
	o.MemTableSize = c.options.MemoryBytes
	o.NumMemtables = 2
	o.NumCompactors = 2
	return o
}

// load reads the states of all buckets, and checks the version of the format.
func (c *Cold) load() error {
	c.last = c.db.MaxVersion()
	txn := c.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	item, err := txn.Get([]byte{coldFormatKey})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return c.commit(c.next(), func(txn *badger.Txn) error {
			return txn.Set([]byte{coldFormatKey}, []byte{coldFormatVersion, KeyEncodingVersion})
		})
	case err != nil:
		return err
	}
	version, err := item.ValueCopy(nil)
	if err != nil {
		return err
	}
	if len(version) != 2 || version[0] != coldFormatVersion || version[1] != KeyEncodingVersion {
		return fmt.Errorf("the cold store has format %x, want %x",
			version, []byte{coldFormatVersion, KeyEncodingVersion})
	}
	iterator := txn.NewIterator(badger.IteratorOptions{PrefetchValues: false, Prefix: []byte{coldStateKey}})
	defer iterator.Close()
	for iterator.Rewind(); iterator.Valid(); iterator.Next() {
		if err := iterator.Item().Value(func(value []byte) error {
			return c.loadState(iterator.Item().Key(), value)
		}); err != nil {
			return err
		}
	}
	c.discard()
	return nil
}

func (c *Cold) loadState(key, value []byte) error {
	if len(key) != coldPrefixBytes || len(value) != coldStateBytes {
		return fmt.Errorf("the state of bucket %x has %d bytes, want %d", key, len(value), coldStateBytes)
	}
	bucket := ColdBucket{binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint32(key[5:])}
	state := ColdState{
		Boundary: int64(binary.BigEndian.Uint64(value)),
		Commit:   binary.BigEndian.Uint64(value[8:]),
		stamp:    binary.BigEndian.Uint64(value[16:]),
		begun:    binary.BigEndian.Uint64(value[24:]),
	}
	if state.Boundary < 0 || state.stamp > c.last || state.begun > c.last {
		return fmt.Errorf("the state of bucket %x is not valid: %+v", key, state)
	}
	c.states[bucket] = state
	c.finished = max(c.finished, state.stamp)
	return nil
}

func appendColdState(dst []byte, s ColdState) []byte {
	for _, word := range []uint64{uint64(s.Boundary), s.Commit, s.stamp, s.begun} {
		dst = binary.BigEndian.AppendUint64(dst, word)
	}
	return dst
}

// appendPrefix appends what the keys of a bucket begin with.
func (b ColdBucket) appendPrefix(dst []byte, kind byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, b.Partition)
	return binary.BigEndian.AppendUint32(dst, b.Bucket)
}

// next gives a timestamp above all others.
func (c *Cold) next() uint64 {
	c.guard.Lock()
	defer c.guard.Unlock()
	c.last++
	return c.last
}

// discard lets Badger drop versions that nothing needs any more. The caller holds guard, or has the
// store to itself.
func (c *Cold) discard() { c.db.SetDiscardTs(c.oldest()) }

// oldest is the timestamp of which, and of those below, only the newest version of each key is needed.
func (c *Cold) oldest() uint64 {
	oldest := c.finished
	for stamp := range c.pinned {
		oldest = min(oldest, stamp)
	}
	for _, state := range c.states {
		if state.begun > 0 {
			oldest = min(oldest, state.begun-1)
		}
	}
	return oldest
}

// State says what the store has of a bucket.
func (c *Cold) State(bucket ColdBucket) ColdState {
	c.guard.Lock()
	defer c.guard.Unlock()
	return c.states[bucket]
}

// Boundary is the offset below which a bucket's rows are here: the Boundary of its State.
func (c *Cold) Boundary(bucket ColdBucket) int64 { return c.State(bucket).Boundary }

// Verify reads all files and compares them with their sums.
func (c *Cold) Verify() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.readers.Done()
	return c.protect("verifying", c.db.VerifyChecksum)
}

// coldSumBytes is what stands behind a row.
const coldSumBytes = 4

// coldCastagnoli is the table of the sums of rows. It is never written.
var coldCastagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendColdSum appends the sum of a key and a row to the row.
func appendColdSum(row, key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, coldCastagnoli), coldCastagnoli, value)
	return binary.LittleEndian.AppendUint32(row, sum)
}

// checkColdSum gives the row without its sum.
func checkColdSum(key, stored []byte) ([]byte, error) {
	if n := len(stored) - coldSumBytes; n >= 0 {
		sum := crc32.Update(crc32.Checksum(key, coldCastagnoli), coldCastagnoli, stored[:n])
		if sum == binary.LittleEndian.Uint32(stored[n:]) {
			return stored[:n:n], nil
		}
	}
	return nil, model.Errorf(model.Corrupt, "the row of key %x in the store of retired rows is damaged", key)
}

// Failed is closed when the store has failed for good: Err has the cause, all calls return it, and
// nothing is written any more. The process should shut down.
func (c *Cold) Failed() <-chan struct{} { return c.failure.failed }

// Err is why the store has failed; nil: it has not.
func (c *Cold) Err() error { return c.failure.cause() }

// Close waits for calls that run, and closes the store. Snapshots fail from then on. A store that
// has failed is left as it is: what it holds of the system goes with the process. Close may be called
// again.
func (c *Cold) Close() error {
	c.guard.Lock()
	closed := c.closed
	c.closed = true
	c.guard.Unlock()
	if closed {
		return nil
	}
	defer c.forget()
	c.retiring.Lock()
	defer c.retiring.Unlock()
	if err := c.failure.cause(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { // left behind only where the library hangs because it fails now
		c.readers.Wait()
		done <- c.protect("closing", c.db.Close)
	}()
	select {
	case err := <-done:
		return err
	case <-c.failure.failed:
		return c.failure.cause()
	}
}

func (c *Cold) forget() {
	if c.options.Fatal != nil {
		c.options.Fatal.remove(&c.failure)
	}
}

// enter counts a reader in, who must call readers.Done.
func (c *Cold) enter() error {
	c.guard.Lock()
	defer c.guard.Unlock()
	if c.closed {
		return ErrColdClosed
	}
	if err := c.failure.cause(); err != nil {
		return err
	}
	c.readers.Add(1)
	return nil
}

// manifest is a file that is there as long as the store is.
func (c *Cold) manifest() string { return path.Join(c.options.Path, badger.ManifestFilename) }
