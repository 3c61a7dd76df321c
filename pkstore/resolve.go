package pkstore

import (
	"github.com/headrace/headrace/internal/arrowipc"
)

// Keys are keys to look for.
type Keys struct {
	// View has the keys in its rows, in a layout of its own.
	View *arrowipc.View
	// Columns are the key columns of View, in the order and of the types of Options.Key; a string may
	// have another form.
	Columns *arrowipc.KeyColumns
	// Hashes are those of all rows of View.
	Hashes []uint64
	// Rows are the rows of View that are meant; nil: all.
	Rows []int32
}

// count is how many keys are meant.
func (k *Keys) count() int {
	if k.Rows == nil {
		return int(k.View.Rows())
	}
	return len(k.Rows)
}

// row is the row of View of the i-th key.
func (k *Keys) row(i int) int32 {
	if k.Rows == nil {
		return int32(i)
	}
	return k.Rows[i]
}

// found is where the newest row of a key is; without a batch there is none.
type found struct {
	batch *storedBatch
	row   int32 // with the batch cachedRow: that of the images
}

// cachedRow stands for the batch of a row that a RowCache has.
var cachedRow = &storedBatch{}

func (f found) offset() int64 {
	if f.batch == nil {
		return noRow
	}
	return f.batch.offset(f.row)
}

// resolver finds keys in the index. It keeps its memory between uses and is owned by one goroutine.
type resolver struct {
	slots []uint64
	found []found

	// images get the rows that the cache of reader has; nil: none is used. schema is that of the log that was looked in
	// last, entries are those of rows that the cache may have.
	images  *arrowipc.Images
	reader  *RowReader
	schema  *bucketSchema
	entries []uint64
	// touched is what was loaded for no other reason than that it comes near.
	touched uint64

	// missing are the keys that the index does not have, retired what the store has of them.
	missing []int32
	retired []found
}

// forget drops what was found: batches keep mapped segments.
func (r *resolver) forget() {
	clear(r.found)
	clear(r.retired)
	r.retired = r.retired[:0]
	r.images, r.reader, r.schema = nil, nil, nil
}

// findMissing notes the keys that were not found.
func (r *resolver) findMissing() {
	r.missing = r.missing[:0]
	for i, f := range r.found {
		if f.batch == nil {
			r.missing = append(r.missing, int32(i))
		}
	}
}

// resolve finds the row that the index has for each key, in found. The passes over all keys are apart
// so that the machine waits for the memory of many keys at once.
func (r *resolver) resolve(b *Bucket, log *publishedLog, k *Keys) {
	n := k.count()
	r.slots, r.found, r.schema = r.slots[:0], r.found[:0], log.schema
	for i := range n {
		r.touched += b.index.touch(k.Hashes[k.row(i)])
	}
	for i := range n {
		r.slots = append(r.slots, b.index.first(k.Hashes[k.row(i)]))
	}
	if r.images != nil && log.schema.shape != nil {
		r.resolveCached(log, k)
	}
	for i, slot := range r.slots {
		if i == len(r.found) {
			r.found = append(r.found, found{})
		}
		if f := &r.found[i]; slot != 0 && f.batch == nil {
			f.batch, f.row = log.locate(slotOffset(slot, log.start))
		}
	}
	for i, slot := range r.slots {
		row, f := k.row(i), r.found[i]
		if slot == 0 || f.batch == cachedRow {
			continue
		}
		if f.batch == nil || !k.Columns.Equal(k.View, row, log.schema.keys, f.batch.View, f.row) {
			r.found[i] = b.search(log, k, row)
		}
	}
}

// resolveCached finds the rows that the cache has.
func (r *resolver) resolveCached(log *publishedLog, k *Keys) {
	s, cache := log.schema, r.reader.cache
	r.images.Reset(s.options.Layout)
	r.entries = r.entries[:0]
	for _, slot := range r.slots {
		r.touched += cache.touch(s.owner, slotOffset(slot, log.start))
	}
	for _, slot := range r.slots {
		entry := uint64(0)
		if slot != 0 {
			entry = cache.find(s.owner, slotOffset(slot, log.start))
		}
		r.entries = append(r.entries, entry)
	}
	for _, entry := range r.entries {
		if entry != 0 {
			r.touched += cache.touchRow(entry)
		}
	}
	for i, entry := range r.entries {
		var f found
		if entry != 0 {
			image := cache.image(entry, s.owner, slotOffset(r.slots[i], log.start))
			if image != nil && s.shape.EqualKey(image, s.keys, k.Columns, k.View, k.row(i)) {
				f = found{batch: cachedRow, row: r.images.Add(image).Row}
			}
		}
		r.found = append(r.found, f)
	}
}

// search finds a key whose first slot is that of another one. Slots of rows that log does not have are
// passed over: they are being published.
func (b *Bucket) search(log *publishedLog, k *Keys, row int32) found {
	var f found
	slot := b.index.find(k.Hashes[row], func(slot uint64) bool {
		f.batch, f.row = log.locate(slotOffset(slot, log.start))
		return f.batch != nil && k.Columns.Equal(k.View, row, log.schema.keys, f.batch.View, f.row)
	})
	if slot == 0 {
		return found{}
	}
	return f
}
