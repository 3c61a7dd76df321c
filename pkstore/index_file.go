package pkstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/headrace/headrace/internal/model"
)

// The file of an index; the package comment has its format.
const (
	indexMagic   = "HRKI"
	indexVersion = 2

	indexHeadBytes  = 96
	shardHeadBytes  = 16
	chunkHeadBytes  = 16
	chunkBytes      = chunkWords * 8
	indexSumAt      = 8
	shardSlotsLimit = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendIndex appends the index and the live rows as published now, in the form that LoadIndex takes.
// Writes go on meanwhile: what they touch first is copied.
func (b *Bucket) AppendIndex(dst []byte) []byte {
	b.publishing.Lock()
	keys, commit, share := b.index.keys.Load(), uint64(0), b.current().options.Share
	shards, live, log := b.index.freeze(), b.live.freeze(), b.log.Load()
	if r := b.retired.Load(); r != nil {
		commit = r.commit
	}
	b.publishing.Unlock()
	begin, size, chunks := len(dst), indexHeadBytes, 0
	for _, s := range shards {
		size += shardHeadBytes + 8*len(s.slots)
	}
	for i := range live.chunks {
		if live.chunks[i].bits != nil {
			chunks++
			size += chunkHeadBytes + chunkBytes
		}
	}
	dst = append(make([]byte, 0, begin+size), dst...)
	dst = append(dst, indexMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, indexVersion)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(shards)))
	for _, number := range []int64{log.start, log.end, keys, int64(chunks), int64(size)} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(number))
	}
	dst = binary.LittleEndian.AppendUint64(dst, b.keyFingerprint())
	dst = binary.LittleEndian.AppendUint64(dst, commit)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(live.count))
	dst = binary.LittleEndian.AppendUint32(dst, share.Index)
	dst = binary.LittleEndian.AppendUint32(dst, share.Of)
	dst = append(dst, make([]byte, 8)...)
	for _, s := range shards {
		dst = appendShard(dst, s)
	}
	for i, c := range live.chunks {
		if c.bits != nil {
			dst = appendChunk(dst, live.first+int64(i), c)
		}
	}
	sum := crc32.Checksum(dst[begin:], castagnoli)
	binary.LittleEndian.PutUint32(dst[begin+indexSumAt:], sum)
	return dst
}

func appendShard(dst []byte, s *shard) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(s.depth))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s.slots)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(s.keys))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(s.used))
	for _, slot := range s.slots {
		dst = binary.LittleEndian.AppendUint64(dst, slot)
	}
	return dst
}

func appendChunk(dst []byte, number int64, c liveChunk) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(number))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.count))
	for _, word := range c.bits {
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return dst
}

// keyFingerprint tells indexes of other keys apart: xxh3-64 of the names and types of the key columns,
// each behind its length.
func (b *Bucket) keyFingerprint() uint64 {
	var text []byte
	for _, column := range b.current().options.Key {
		field := b.current().options.Layout.Schema().Field(column)
		for _, part := range []string{field.Name, field.Type.String()} {
			text = binary.AppendUvarint(text, uint64(len(part)))
			text = append(text, part...)
		}
	}
	return xxh3.Hash(text)
}

// LoadIndex makes what AppendIndex gave the state of a new bucket, and gives the range of offsets that
// it stands for. Attach must follow. It fails with model.Corrupt where src is damaged or belongs to
// another key; the bucket is then still new, and the log must be replayed.
func (b *Bucket) LoadIndex(src []byte) (start, end int64, err error) {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	l, err := b.readIndex(src)
	if err != nil {
		return 0, 0, model.Errorf(model.Corrupt, "the file of an index is not usable: %v", err).WithCause(err)
	}
	b.sequence.Add(1)
	defer b.sequence.Add(1)
	b.index.load(l.shards, l.keys)
	b.live = l.live
	b.loaded, b.loadedCommit = &publishedLog{schema: b.current(), start: l.start, end: l.end}, l.commit
	return l.start, l.end, nil
}

// Attach gives a bucket that LoadIndex filled the batches of the log that the index stands for, all of
// them in order. It reads nothing of them.
func (b *Bucket) Attach(stored []Stored) error {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	log, err := (&publishedLog{schema: b.current()}).extend(stored)
	switch {
	case err != nil:
		return fmt.Errorf("attaching the log to an index: %w", err)
	case b.loaded == nil:
		return fmt.Errorf("attaching the log to an index: none was loaded")
	case b.loadedCommit > 0 && b.retired.Load() == nil:
		return fmt.Errorf("attaching the log to an index: it was made with retired rows, and no store was given")
	case len(stored) == 0 && b.loaded.start == b.loaded.end:
	case log.start != b.loaded.start || log.end != b.loaded.end:
		return fmt.Errorf("attaching the log to an index: it has the offsets %d..%d, want %d..%d",
			log.start, log.end, b.loaded.start, b.loaded.end)
	}
	if len(stored) == 0 {
		log = &publishedLog{schema: b.current(), start: b.loaded.start, end: b.loaded.end, bases: []int64{b.loaded.end}}
	}
	b.loaded = nil
	b.writer.end = log.end
	b.log.Store(log)
	return nil
}

// indexFile is what a file holds.
type indexFile struct {
	start, end, keys int64
	commit           uint64
	shards           []*shard
	live             liveRows
}

// indexReader takes numbers from the front of a file whose checksum was right.
type indexReader struct {
	src   []byte
	short bool
}

func (r *indexReader) take(n int) []byte {
	if r.short = r.short || n > len(r.src); r.short {
		return make([]byte, min(n, indexHeadBytes))
	}
	taken := r.src[:n]
	r.src = r.src[n:]
	return taken
}

func (r *indexReader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *indexReader) int64() int64   { return int64(binary.LittleEndian.Uint64(r.take(8))) }

// words fills dst; it leaves it as it is where there are too few bytes.
func (r *indexReader) words(dst []uint64) {
	if raw := r.take(8 * len(dst)); !r.short {
		for i := range dst {
			dst[i] = binary.LittleEndian.Uint64(raw[8*i:])
		}
	}
}

// readIndex checks a file and reads it.
func (b *Bucket) readIndex(src []byte) (*indexFile, error) {
	if len(src) < indexHeadBytes || string(src[:4]) != indexMagic {
		return nil, fmt.Errorf("its %d bytes do not begin as one", len(src))
	}
	if version := binary.LittleEndian.Uint32(src[4:]); version != indexVersion {
		return nil, fmt.Errorf("it has the version %d, want %d", version, indexVersion)
	}
	sum := crc32.Update(crc32.Checksum(src[:indexSumAt], castagnoli), castagnoli, make([]byte, 4))
	sum = crc32.Update(sum, castagnoli, src[indexSumAt+4:])
	if want := binary.LittleEndian.Uint32(src[indexSumAt:]); sum != want {
		return nil, fmt.Errorf("it has the checksum %08x, want %08x", sum, want)
	}
	r := &indexReader{src: src[indexSumAt+4:]}
	shards := int(r.uint32())
	l := &indexFile{start: r.int64(), end: r.int64(), keys: r.int64()}
	chunks, size, fingerprint := r.int64(), r.int64(), uint64(r.int64())
	l.commit = uint64(r.int64())
	count := r.int64()
	index, of := r.uint32(), r.uint32()
	r.take(8)
	switch {
	case size != int64(len(src)):
		return nil, fmt.Errorf("it has %d bytes, want %d", len(src), size)
	case fingerprint != b.keyFingerprint():
		return nil, fmt.Errorf("it is of a table with another key")
	case !b.current().options.Share.is(index, of):
		return nil, fmt.Errorf("it is of share %d of %d, want %d of %d", index, of, b.current().options.Share.Index, b.current().options.Share.Of)
	case l.start < 0 || l.end < l.start || l.end-l.start > windowRows:
		return nil, fmt.Errorf("it stands for the offsets %d..%d", l.start, l.end)
	}
	if err := l.readShards(r, shards); err != nil {
		return nil, err
	}
	if err := l.readLive(r, chunks, count); err != nil {
		return nil, err
	}
	if r.short || len(r.src) > 0 {
		return nil, fmt.Errorf("its parts do not fill its %d bytes", size)
	}
	return l, nil
}

// readShards reads the shards, which must cover all hashes.
func (l *indexFile) readShards(r *indexReader, n int) error {
	const all = 1 << windowBits
	covered, keys := 0, int64(0)
	for range n {
		depth, slots := r.uint32(), r.uint32()
		s := &shard{depth: uint8(depth), keys: int(r.uint32()), used: int(r.uint32())}
		if depth > depthMax || slots < shardSlotsMin || slots > shardSlotsLimit || int64(slots)*8 > int64(len(r.src)) || r.short {
			return fmt.Errorf("a shard has the depth %d and %d slots", depth, slots)
		}
		s.slots = make([]uint64, slots)
		r.words(s.slots)
		if covered >= all || covered&(all>>depth-1) != 0 || !s.sound(uint64(covered)>>(windowBits-depth)) {
			return fmt.Errorf("shard %d is not sound", len(l.shards))
		}
		covered += all >> depth
		keys += int64(s.keys)
		l.shards = append(l.shards, s)
	}
	if covered != all || keys != l.keys {
		return fmt.Errorf("its shards have %d keys, want %d", keys, l.keys)
	}
	return nil
}

// sound says that the slots are counted right, belong to the hashes that begin with prefix, and leave
// room.
func (s *shard) sound(prefix uint64) bool {
	keys, used := 0, 0
	for _, slot := range s.slots {
		switch {
		case slot == 0:
			continue
		case slot&occupied != 0:
			if slot<<1>>(64-s.depth) != prefix {
				return false
			}
			keys++
		case slot != tombstone:
			return false
		}
		used++
	}
	return keys == s.keys && used == s.used && used < len(s.slots)
}

// readLive reads the chunks of live rows; there is one for each key, also for those that were retired.
func (l *indexFile) readLive(r *indexReader, chunks, count int64) error {
	start := l.start
	if l.commit > 0 {
		start = 0
	}
	for range chunks {
		number, count := r.int64(), r.int64()
		first := number << chunkShift
		if r.short || number < start>>chunkShift || number < l.live.next() || number > l.end>>chunkShift {
			return fmt.Errorf("chunk %d of live rows is out of place", number)
		}
		c := liveChunk{bits: new([chunkWords]uint64), count: int32(count)}
		r.words(c.bits[:])
		counted := int64(0)
		for _, word := range c.bits {
			counted += int64(bits.OnesCount64(word))
		}
		l.live.place(number, c)
		inside := l.live.frozen().countRange(max(first, start), min(first+chunkRows, l.end))
		if counted != count || count == 0 || inside != count {
			return fmt.Errorf("chunk %d of live rows has %d rows, %d in the log, want %d", number, counted, inside, count)
		}
		l.live.count += count
	}
	// Where retirement was under way, keys may have left the index and their rows be in the log still.
	inLog := l.live.frozen().countRange(l.start, l.end)
	if l.live.count != count || l.keys > inLog || l.commit == 0 && l.keys != count {
		return fmt.Errorf("it has %d live rows, %d in the log, want %d, and %d keys", l.live.count, inLog, count, l.keys)
	}
	return nil
}

// load makes shards that cover all hashes the content of the index.
func (x *index) load(shards []*shard, keys int64) {
	depth := uint8(0)
	for _, s := range shards {
		depth = max(depth, s.depth)
	}
	d := newShardDirectory(depth)
	entry := 0
	x.size.Store(0)
	for _, s := range shards {
		s.epoch = x.epoch
		for range 1 << (depth - s.depth) {
			d.shards[entry].Store(s)
			entry++
		}
		x.size.Add(s.bytes())
	}
	x.size.Add(directoryEntryBytes * int64(len(d.shards)))
	x.directory.Store(d)
	x.keys.Store(keys)
}

// IndexRange gives the range of offsets that what AppendIndex gave stands for.
func IndexRange(src []byte) (start, end int64, err error) {
	if len(src) < indexHeadBytes || string(src[:len(indexMagic)]) != indexMagic {
		return 0, 0, model.Errorf(model.Corrupt, "the file of an index has no head")
	}
	return int64(binary.LittleEndian.Uint64(src[16:])), int64(binary.LittleEndian.Uint64(src[24:])), nil
}
