package pkstore

import (
	"fmt"
	"slices"
	"sync"
)

// Part is what one bucket gets when a bucket is divided.
type Part struct {
	// Options are those of the bucket from then on. What differs from those before may be Share, Number, Step and
	// IndexBytes.
	Options Options
	// Cold is the store of its retired rows, and Name what they are under there; nil: there is none yet.
	Cold ColdStore
	Name ColdBucket
}

// Division makes several buckets of one: each gets its share of the keys, and the history of all of them up to the
// end of the log stays what it is. Nothing is written. The steps are
//
//	Divide   beside readers and writers: reads the keys
//	Prepare  while nothing is pending or published any more: makes indexes and bitmaps
//	Apply    makes the bucket its own part, and gives the others
//	Close    in any case
//
// From Divide to Close no rows are retired. A Division belongs to one goroutine at a time.
type Division struct {
	bucket  *Bucket
	divided []Share
	parts   []Part
	close   func()
	hasher  *shareHasher

	seen   int64                // rows of the log below it have their share noted
	shares []*liveRows          // by part but the first: the offsets of its rows
	byHash map[uint64]*liveRows // by Share.Index

	made   []dividedPart
	schema *bucketSchema // of the bucket, with the options of the first part
}

// dividedPart is what Prepare has made for one part.
type dividedPart struct {
	shards []*shard
	keys   int64
	live   liveRows
	reader ColdReader // nil: there are no retired rows
	bucket *Bucket    // nil for the first part, which is the bucket itself
}

// Divide begins a division by shares of the keys, the first of which is the bucket's own. It waits for a Retire that
// runs.
func (b *Bucket) Divide(shares []Share) (*Division, error) {
	b.cold.moving.Lock()
	d := &Division{bucket: b, divided: shares, close: sync.OnceFunc(b.cold.moving.Unlock), byHash: map[uint64]*liveRows{}}
	err := d.begin()
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("dividing a keyed bucket: %w", err)
	}
	return d, nil
}

func (d *Division) begin() error {
	b := d.bucket
	o, share := &b.current().options, d.divided[0]
	var err error
	if d.hasher, err = newShareHasher(o.Layout, o.Key, share); err != nil {
		return err
	}
	for i, own := range d.divided {
		if own.Of != share.Of || own.Of == 0 || !slices.Equal(own.Columns, share.Columns) {
			return fmt.Errorf("part %d has the share %+v, the first one %+v", i, own, share)
		}
		if i > 0 {
			d.shares = append(d.shares, &liveRows{})
			d.byHash[uint64(own.Index)] = d.shares[i-1]
		}
	}
	s := b.Snapshot()
	for live, err := range s.Batches() {
		if err != nil {
			return err
		}
		if err := d.note(live); err != nil {
			return err
		}
	}
	d.seen = s.log.end
	return nil
}

// note takes down whose the live rows of a batch are.
func (d *Division) note(live Live) error {
	hasher, of := d.hasher.hasher, uint64(d.hasher.share.Of)
	for row := range live.All() {
		hash, _ := hasher.HashRow(live.View, row)
		if share := d.byHash[hash%of]; share != nil {
			share.set(live.Offset(row))
		}
	}
	return nil
}

// Close ends a division, whether or not it was applied. It may be called again.
func (d *Division) Close() {
	for _, made := range d.made {
		if made.reader != nil {
			made.reader.Release()
		}
	}
	d.made = nil
	d.close()
}

// Prepare makes what Apply puts in place. Everything that was applied to the bucket has been published, and
// nothing is applied until Apply or Close. There is a part for each share. For the writer.
func (d *Division) Prepare(parts []Part) error {
	d.parts = parts
	for i := range parts {
		d.parts[i].Options.Share = d.divided[i]
	}
	if err := d.prepare(); err != nil {
		return fmt.Errorf("dividing a keyed bucket: %w", err)
	}
	return nil
}

func (d *Division) prepare() error {
	b := d.bucket
	b.publishing.Lock()
	shards, live, log, retired := b.index.freeze(), b.live.freeze(), b.log.Load(), b.retired.Load()
	b.publishing.Unlock()
	if n := b.Stats().PendingKeys; n > 0 {
		return fmt.Errorf("%d changes are pending", n)
	}
	rest := Snapshot{bucket: b, log: log.from(d.seen), live: live}
	for batch, err := range rest.Batches() {
		if err == nil {
			err = d.note(batch)
		}
		if err != nil {
			return err
		}
	}
	d.seen = log.end
	options, own := log.schema.options, d.parts[0].Options
	options.Share, options.Number, options.Step, options.IndexBytes = own.Share, own.Number, own.Step, own.IndexBytes
	var err error
	if d.schema, err = newBucketSchema(options); err != nil {
		return err
	}
	lives := live.divide(d.shares)
	divided := divideShards(shards, len(d.parts), func(slot uint64) int {
		offset := slotOffset(slot, log.start)
		for i := range lives[1:] {
			if lives[i+1].frozen().has(offset) {
				return i + 1
			}
		}
		return 0
	})
	for i, part := range d.parts {
		made := dividedPart{shards: divided[i], live: lives[i]}
		for _, s := range made.shards {
			made.keys += int64(s.keys)
		}
		var err error
		if retired != nil {
			made.reader, err = part.Cold.Reader(part.Name)
		}
		if err == nil && i > 0 {
			made.bucket, err = b.newPart(part, log)
		}
		d.made = append(d.made, made)
		if err != nil {
			return err
		}
	}
	return nil
}

// newPart makes a bucket with the log of this one and none of its rows.
func (b *Bucket) newPart(part Part, log *publishedLog) (*Bucket, error) {
	child, err := NewBucket(part.Options)
	if err != nil {
		return nil, err
	}
	// Both go on with logs of their own behind it.
	own := *log
	own.schema = child.current()
	own.bases, own.batches, own.pages = slices.Clip(log.bases), slices.Clip(log.batches), slices.Clip(log.pages)
	child.log.Store(&own)
	child.writer.end = log.end
	if part.Cold == nil {
		return child, nil
	}
	return child, child.setCold(part.Cold, part.Name)
}

// Apply makes the bucket its part of the division, and gives the buckets of the others, in their order. Behind it
// lookups in the bucket find its own keys alone. It does not fail, and takes no time that depends on the number of
// keys. Prepare has succeeded. For the writer.
func (d *Division) Apply() []*Bucket {
	b := d.bucket
	var children []*Bucket
	b.publishing.Lock()
	defer b.publishing.Unlock()
	for i, made := range d.made {
		if i > 0 {
			made.bucket.secondary.inherit(&b.secondary, made.bucket.current())
			made.bucket.take(made)
			children = append(children, made.bucket)
		}
	}
	log := *b.log.Load()
	log.schema = d.schema
	b.schema.Store(d.schema)
	b.log.Store(&log)
	b.writer.shared = d.hasher
	if b.cold.store != nil {
		b.cold.store = d.parts[0].Cold
	}
	b.take(d.made[0])
	d.made = nil
	return children
}

// take puts in place what was made for the bucket. publishing is held, or nobody else has the bucket yet.
func (b *Bucket) take(made dividedPart) {
	b.sequence.Add(1)
	b.index.load(made.shards, made.keys)
	b.live = made.live
	b.sequence.Add(1)
	if made.reader != nil {
		b.showRetired(made.reader)
	}
}

// from gives the log without the batches that end at or below an offset, for walking over it.
func (l *publishedLog) from(offset int64) *publishedLog {
	n := 0
	for n < len(l.batches) && l.bases[n+1] <= offset {
		n++
	}
	return &publishedLog{schema: l.schema, start: l.start, end: l.end, batches: l.batches[n:]}
}

// divide gives the live rows that are in none of the shares, and then those of each.
func (f frozenRows) divide(shares []*liveRows) []liveRows {
	lives := make([]liveRows, 1+len(shares))
	for i, c := range f.chunks {
		if c.bits == nil {
			continue
		}
		number := f.first + int64(i)
		rest := *c.bits
		for j, share := range shares {
			own := share.frozen().chunk(number)
			if own == nil {
				continue
			}
			both := new([chunkWords]uint64)
			for w := range both {
				both[w] = c.bits[w] & own[w]
				rest[w] &^= own[w]
			}
			lives[1+j].placeCounted(number, both)
		}
		lives[0].placeCounted(number, &rest)
	}
	return lives
}

// chunk gives the bits of a chunk; nil where none is set.
func (f frozenRows) chunk(number int64) *[chunkWords]uint64 {
	if i := number - f.first; i >= 0 && i < int64(len(f.chunks)) {
		return f.chunks[i].bits
	}
	return nil
}

// divideShards parts the keys of the shards of an index; part says of a slot where it goes.
func divideShards(shards []*shard, parts int, part func(slot uint64) int) [][]*shard {
	divided := make([][]*shard, parts)
	var places []int32
	for _, s := range shards {
		counts := make([]int, parts)
		places = places[:0]
		for _, slot := range s.slots {
			place := -1
			if slot&occupied != 0 {
				place = part(slot)
				counts[place]++
			}
			places = append(places, int32(place))
		}
		for i := range parts {
			fresh := newShard(s.depth, 0, counts[i])
			for j, slot := range s.slots {
				if int(places[j]) == i {
					fresh.fill(slot)
				}
			}
			divided[i] = append(divided[i], fresh)
		}
	}
	for i := range divided {
		divided[i] = joinShards(divided[i])
	}
	return divided
}

// joinShards makes one shard of two neighbours that are halves of one, where it is not larger than a shard of many
// should be. shards are in the order of the hashes and cover all of them.
func joinShards(shards []*shard) []*shard {
	var joined []*shard
	begins := []uint64{} // of joined: the first hash window
	begin := uint64(0)
	for _, s := range shards {
		joined, begins = append(joined, s), append(begins, begin)
		begin += 1 << (windowBits - s.depth)
		for n := len(joined); n > 1; n = len(joined) {
			left, right := joined[n-2], joined[n-1]
			if left.depth != right.depth || begins[n-2]>>(windowBits-left.depth)&1 == 1 || slotsFor(left.keys+right.keys) > shardSlotsMax {
				break
			}
			whole := newShard(left.depth-1, 0, left.keys+right.keys)
			for _, half := range []*shard{left, right} {
				for _, slot := range half.slots {
					if slot&occupied != 0 {
						whole.fill(slot)
					}
				}
			}
			joined, begins = append(joined[:n-2], whole), begins[:n-1]
		}
	}
	return joined
}
