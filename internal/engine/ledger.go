package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

const (
	ledgerMagic   = "HRLEDGER"
	ledgerVersion = 1
	ledgerHead    = 16 // bytes of the head of a ledger
	entryHead     = 8  // bytes of the head of an entry

	// entryBytesMax bounds the records of one append, with their lengths. The highest byte of an
	// entry's length is so always zero, which no JSON text holds: what a record says is never taken
	// for an entry.
	entryBytesMax = 1<<24 - 1
)

// ledger is a file of records, appended durably: the catalog's answer to what changes too often for a
// file of its own. What the records mean, JSON texts, is the caller's; it is told of all of them in
// their order when the ledger is opened.
//
// The file is made by the first append, under its name only when it is whole. An append is one write
// and one sync. After a crash an append that was not acknowledged is there whole or not at all; all
// others are there. An entry that does not verify is the torn end of the newest append if none that does
// stands behind it, and is cut off; otherwise it is damage.
//
// Format, version 1. Integers are little-endian, checksums are CRC-32C (Castagnoli).
//
//	ledger
//	   0  8  magic "HRLEDGER"
//	   8  4  version, 1
//	  12  4  checksum of the bytes before
//	  16  …  entries, one an append
//
//	entry
//	   0  4  n: length of its records in bytes, 4 to 2^24-1
//	   4  4  checksum of the entry's position in the file (8 bytes), of n, and of the records
//	   8  n  records: each its length (4 bytes), then its bytes, at least one
//
// It is for one goroutine at a time.
type ledger struct {
	files     vfs.FS
	dir, name string
	file      vfs.File // nil until there is one, and once it is broken
	end       int64    // where the next entry begins
	records   int      // in the file
	broken    error    // why nothing can be appended, until a rewrite
	buffer    []byte   // reused
}

// openLedger reads the ledger of that name in a folder and gives each of its records in order; each may
// keep it. A ledger that is not there has no records. What a crash has torn is cut off, and what is left
// is durable when it returns. model.Corrupt is in the chain of the error where the file is damaged.
func openLedger(files vfs.FS, dir, name string, each func(record []byte) error) (*ledger, error) {
	l := &ledger{files: files, dir: dir, name: name}
	content, err := readFile(files, l.path())
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", l.path(), err)
	}
	read, err := parseLedger(content, each)
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", l.path(), err)
	}
	if err := l.settle(content, read); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", l.path(), err)
	}
	return l, nil
}

func (l *ledger) path() string { return join(l.dir, l.name) }

// settle opens the file for appends, cuts off what is torn, and makes the newest entry durable: it is
// the only one whose sync may never have succeeded. Its bytes are written once more, because what a
// failed sync has left in the page cache no later sync writes.
func (l *ledger) settle(content []byte, read ledgerRead) error {
	file, err := l.files.Open(l.path())
	if err != nil {
		return err
	}
	if read.end < int64(len(content)) {
		err = file.Truncate(read.end)
	}
	if err == nil {
		err = file.WriteAt([][]byte{content[read.newest:read.end]}, read.newest)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = l.files.SyncDir(l.dir)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.end, l.records = file, read.end, read.records
	return nil
}

// append adds records, all or none, and returns once they are durable. After an error they may be there
// or not when the ledger is opened again, and nothing more can be appended to it before a rewrite.
func (l *ledger) append(records ...[]byte) error {
	if l.broken != nil {
		return l.broken
	}
	if len(records) == 0 {
		return nil
	}
	if l.file == nil {
		return l.rewrite(func(yield func([]byte) bool) { yieldAll(records, yield) })
	}
	entry, err := appendEntry(l.buffer[:0], l.end, records)
	if err != nil {
		return fmt.Errorf("append to ledger %s: %w", l.path(), err)
	}
	l.buffer = entry
	err = l.file.WriteAt([][]byte{entry}, l.end)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return l.give(fmt.Errorf("append to ledger %s: %w", l.path(), err))
	}
	l.end += int64(len(entry))
	l.records += len(records)
	return nil
}

func yieldAll(records [][]byte, yield func([]byte) bool) {
	for _, record := range records {
		if !yield(record) {
			return
		}
	}
}

// give gives the file up: what it holds on disk is unknown.
func (l *ledger) give(cause error) error {
	l.broken = cause
	if l.file != nil {
		l.broken = errors.Join(cause, l.file.Close())
		l.file = nil
	}
	return l.broken
}

// rewrite replaces what the ledger holds, durably and atomically: after a crash the old records are
// there or the new ones. It also mends a ledger that an append has left broken. It is worth its sync
// when records that mean nothing any more outnumber the others.
func (l *ledger) rewrite(records iter.Seq[[]byte]) error {
	content := ledgerHeadBytes()
	count := 0
	for record := range records {
		var err error
		if content, err = appendEntry(content, int64(len(content)), [][]byte{record}); err != nil {
			return fmt.Errorf("rewrite ledger %s: %w", l.path(), err)
		}
		count++
	}
	err := replaceFile(l.files, l.path()+".new", l.path(), content)
	if err == nil {
		err = l.files.SyncDir(l.dir)
	}
	if err != nil {
		return l.give(fmt.Errorf("rewrite ledger %s: %w", l.path(), err))
	}
	file, err := l.files.Open(l.path())
	if err != nil {
		return l.give(fmt.Errorf("rewrite ledger %s: %w", l.path(), err))
	}
	if l.file != nil {
		err = l.file.Close()
	}
	l.file, l.end, l.records, l.broken = file, int64(len(content)), count, nil
	if err != nil {
		return fmt.Errorf("rewrite ledger %s: close the old file: %w", l.path(), err)
	}
	return nil
}

// close closes the file; everything in it is durable already.
func (l *ledger) close() error {
	l.broken = fmt.Errorf("ledger %s is closed", l.path())
	file := l.file
	l.file = nil
	if file == nil {
		return nil
	}
	return file.Close()
}

func ledgerHeadBytes() []byte {
	head := binary.LittleEndian.AppendUint32([]byte(ledgerMagic), ledgerVersion)
	return binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
}

// appendEntry appends the entry that holds records and begins at that position of the file.
func appendEntry(to []byte, position int64, records [][]byte) ([]byte, error) {
	begin := len(to)
	to = append(to, make([]byte, entryHead)...)
	for _, record := range records {
		if len(record) == 0 {
			return nil, errors.New("the record is empty")
		}
		to = binary.LittleEndian.AppendUint32(to, uint32(len(record)))
		to = append(to, record...)
	}
	entry := to[begin:]
	length := len(entry) - entryHead
	if length > entryBytesMax {
		return nil, fmt.Errorf("the records have %d bytes, want at most %d", length, entryBytesMax)
	}
	binary.LittleEndian.PutUint32(entry, uint32(length))
	binary.LittleEndian.PutUint32(entry[4:], entrySum(entry, position))
	return to, nil
}

// entrySum gives the checksum of an entry at that position of the file.
func entrySum(entry []byte, position int64) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(position))
	sum := crc32.Checksum(at[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, entry[:4])
	return crc32.Update(sum, castagnoli, entry[entryHead:])
}

// ledgerRead is what reading a ledger has found.
type ledgerRead struct {
	newest  int64 // where the newest entry begins; the end of the head if there is none
	end     int64 // behind the newest entry
	records int
}

// parseLedger reads a ledger and gives each record. What stands behind the end that it finds is torn.
func parseLedger(content []byte, each func(record []byte) error) (ledgerRead, error) {
	read := ledgerRead{newest: ledgerHead, end: ledgerHead}
	if err := checkLedgerHead(content); err != nil {
		return read, err
	}
	for read.end < int64(len(content)) {
		records, ok := entryAt(content, read.end)
		if !ok {
			return read, checkTorn(content, read.end)
		}
		read.newest = read.end
		read.end += entryHead + int64(len(records))
		for len(records) > 0 {
			record, rest, err := cutRecord(records)
			if err == nil {
				err = each(record)
			}
			if err != nil {
				return read, fmt.Errorf("record %d: %w", read.records, err)
			}
			records = rest
			read.records++
		}
	}
	return read, nil
}

func checkLedgerHead(content []byte) error {
	if len(content) < ledgerHead || string(content[:8]) != ledgerMagic ||
		binary.LittleEndian.Uint32(content[12:]) != crc32.Checksum(content[:12], castagnoli) {
		return fmt.Errorf("%w: the file does not begin as a ledger does", model.Corrupt)
	}
	if version := binary.LittleEndian.Uint32(content[8:]); version != ledgerVersion {
		return fmt.Errorf("the ledger has format version %d, want %d: it was written by a newer version of the server", version, ledgerVersion)
	}
	return nil
}

// entryAt gives the records of the entry at that position, if one is there.
func entryAt(content []byte, position int64) (records []byte, ok bool) {
	entry := content[position:]
	if len(entry) < entryHead {
		return nil, false
	}
	length := int64(binary.LittleEndian.Uint32(entry))
	if length < 4 || length > entryBytesMax || length > int64(len(entry))-entryHead {
		return nil, false
	}
	entry = entry[:entryHead+length]
	return entry[entryHead:], binary.LittleEndian.Uint32(entry[4:]) == entrySum(entry, position)
}

// checkTorn says whether what begins at that position is damage: an append that was torn is the newest
// one, so that no entry stands behind it.
func checkTorn(content []byte, position int64) error {
	for behind := position + 1; behind+entryHead < int64(len(content)); behind++ {
		if _, ok := entryAt(content, behind); ok {
			return fmt.Errorf("%w: the bytes from %d to %d are no entry", model.Corrupt, position, behind)
		}
	}
	return nil
}

// cutRecord takes the first record off.
func cutRecord(records []byte) (record, rest []byte, err error) {
	if len(records) < 4 {
		return nil, nil, fmt.Errorf("%w: %d bytes are left, want a record", model.Corrupt, len(records))
	}
	length := int64(binary.LittleEndian.Uint32(records))
	records = records[4:]
	if length == 0 || length > int64(len(records)) {
		return nil, nil, fmt.Errorf("%w: %d bytes, of %d that are left", model.Corrupt, length, len(records))
	}
	return records[:length:length], records[length:], nil
}
