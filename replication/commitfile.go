package replication

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/headrace/headrace/internal/vfs"
)

// Options of a CommitFile. The zero value of each field means its default.
type Options struct {
	// FS holds the files. Required.
	FS vfs.FS
	// Dir is the folder of the two files. Default "commit".
	Dir string
	// BytesMax is the size at which the other file is begun, in bytes. Default 16 MiB, at least 4 KiB.
	// A larger file makes checkpoints rarer and a restart longer: it is read as a whole then.
	BytesMax int64
}

func (o Options) withDefaults() Options {
	if o.Dir == "" {
		o.Dir = "commit"
	}
	if o.BytesMax == 0 {
		o.BytesMax = 16 << 20
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if o.FS == nil {
		errs = append(errs, errors.New("FS is missing"))
	}
	if o.BytesMax < 4<<10 {
		errs = append(errs, fmt.Errorf("BytesMax is %d, want at least 4096", o.BytesMax))
	}
	if len(errs) > 0 {
		return fmt.Errorf("commit file options: %w", errors.Join(errs...))
	}
	return nil
}

// CommitFile is the sequence of a node that runs alone. See the package comment for the format and
// for who may call what.
type CommitFile struct {
	options Options
	files   [2]vfs.File // nil until used
	active  int
	next    record // generation, position and sequence of the next record
	buffer  []byte // reused
}

// OpenCommitFile reads the commit file of a node and tells what it says. Nothing is changed on disk
// by it: the caller decides which of Recovered.Unsynced count, and then calls Checkpoint, which must
// be the first call.
func OpenCommitFile(options Options) (*CommitFile, *Recovered, error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, nil, err
	}
	var contents [2][]byte
	for i := range contents {
		content, err := readFile(options.FS, options.file(i))
		if err != nil {
			return nil, nil, fmt.Errorf("open commit file: %w", err)
		}
		contents[i] = content
	}
	recovered, active, generation := recoverContents(contents)
	c := &CommitFile{options: options, active: active}
	c.next.generation = generation
	c.next.sequence = recovered.Sequence + 1
	return c, recovered, nil
}

func (o Options) file(i int) string { return fmt.Sprintf("%s/commit-%d", o.Dir, i) }

// Checkpoint begins the other file with the extents of every segment that may still grow, and
// returns once that is durable. Everything that was appended before must be durable already, in the
// segments: the pieces of the file in use do not count any more.
func (c *CommitFile) Checkpoint(extents []Extent) error {
	other := 1 - c.active
	r := record{
		kind: kindCheckpoint, generation: c.next.generation + 1,
		sequence: c.next.sequence, synced: c.next.sequence - 1, extents: extents,
	}
	// The file in use comes back later, when the disk may be full: it gets its blocks while there is
	// room for them.
	if err := c.prepare(c.active, r.size()); err != nil && !errors.Is(err, vfs.ErrDiskFull) {
		return fmt.Errorf("checkpoint of the commit file: %w", err)
	}
	if err := c.prepare(other, r.size()); err != nil {
		return fmt.Errorf("checkpoint of the commit file: %w", err)
	}
	c.buffer = appendRecord(c.buffer[:0], &r)
	file := c.files[other]
	if err := file.WriteAt([][]byte{c.buffer}, 0); err != nil {
		return fmt.Errorf("checkpoint of the commit file: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("checkpoint of the commit file: %w", err)
	}
	c.active = other
	c.next = record{generation: r.generation, position: r.size(), sequence: r.sequence + 1}
	return nil
}

// prepare opens or makes file i, with written blocks for a checkpoint of that size and what follows.
// On a full disk a file that the checkpoint fits into will do.
func (c *CommitFile) prepare(i int, checkpoint int64) error {
	if c.files[i] == nil {
		if err := c.options.FS.MkdirAll(c.options.Dir); err != nil {
			return err
		}
		if err := c.options.FS.SyncDir(path.Dir(c.options.Dir)); err != nil {
			return err
		}
		file, err := c.options.FS.Open(c.options.file(i))
		if errors.Is(err, fs.ErrNotExist) {
			file, err = c.options.FS.Create(c.options.file(i))
		}
		if err != nil {
			return err
		}
		c.files[i] = file
	}
	size, err := c.files[i].Size()
	if err != nil {
		return err
	}
	want := padded(checkpoint + c.options.BytesMax)
	if size >= want {
		return nil
	}
	const chunk = 1 << 20
	zeros := make([]byte, chunk)
	for at := size; at < want; at += chunk {
		err := c.files[i].WriteAt([][]byte{zeros[:min(chunk, want-at)]}, at)
		if errors.Is(err, vfs.ErrDiskFull) && size >= checkpoint {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := c.files[i].Sync(); err != nil {
		return err
	}
	return c.options.FS.SyncDir(c.options.Dir)
}

// Append writes the record of one group, with the pieces of its segments that are to be durable with
// it, and gives its sequence. CanCarry must hold for each of them. synced is the highest sequence that
// is known to be durable with all that it names. The record is durable after the next Sync.
//
// After an error the file must not be used any more, but for vfs.ErrDiskFull, which changes nothing.
func (c *CommitFile) Append(extents []Extent, pieces []Piece, synced int64) (sequence int64, err error) {
	return c.append(record{kind: kindGroup, extents: extents, pieces: pieces, synced: synced})
}

// Mark writes a record that only says what is durable, so that damage behind a pause is told from a
// torn tail. It is durable after the next Sync. Everything that was appended before must be durable in
// the segments already, as for a Checkpoint.
func (c *CommitFile) Mark(synced int64) error {
	_, err := c.append(record{kind: kindMark, synced: synced})
	return err
}

func (c *CommitFile) append(r record) (int64, error) {
	r.generation, r.position, r.sequence = c.next.generation, c.next.position, c.next.sequence
	c.buffer = appendRecord(c.buffer[:0], &r)
	if err := c.files[c.active].WriteAt([][]byte{c.buffer}, r.position); err != nil {
		return 0, fmt.Errorf("append to the commit file: %w", err)
	}
	c.next.position += r.size()
	c.next.sequence++
	return r.sequence, nil
}

// Full tells that a record of that many extents and these pieces would not fit: time for a Checkpoint.
func (c *CommitFile) Full(extents int, pieces []Piece) bool {
	size, err := c.files[c.active].Size()
	return err != nil || c.next.position+recordSize(extents, pieces) > size
}

// File is the file in use, to be synced after an Append.
func (c *CommitFile) File() vfs.File { return c.files[c.active] }

// Close closes the files. It does not sync.
func (c *CommitFile) Close() error {
	var errs []error
	for _, file := range c.files {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

func readFile(files vfs.FS, name string) ([]byte, error) {
	file, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	content := make([]byte, size)
	if size > 0 {
		if _, err := file.ReadAt(content, 0); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return content, file.Close()
}
