package pkstore

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// retiredRows are the rows of a bucket that are below its log, as they were when rows were retired last. It does
// not change, but for live. A row counts only if its offset is live: later changes of the key do nothing here
// but clear that.
type retiredRows struct {
	reader ColdReader
	// boundary is the offset below which all rows are here that were live then, and the keys of rows at and
	// behind it are all in the index.
	boundary int64
	commit   uint64
	live     *liveMirror
}

// cold is what a bucket has of its store.
type cold struct {
	store  ColdStore // nil: rows are never retired
	bucket ColdBucket
	keys   *KeyEncoding
	moving sync.Mutex // held by Retire; before publishing
}

const (
	// retiredHeadBytes stand before a row: its offset and its append time.
	retiredHeadBytes = 16
	// retiredHashBytes stand before the key that a row is stored under.
	retiredHashBytes = 4
)

// appendRetiredKey appends what a row is stored under; false where a column of the key is null.
func (c *cold) appendRetiredKey(dst []byte, hash uint64, keys *arrowipc.KeyColumns, v *arrowipc.View, row int32) ([]byte, bool) {
	dst = binary.BigEndian.AppendUint32(dst, uint32(hash>>32))
	return c.keys.AppendColumns(dst, keys, v, row)
}

// AppendColumns appends the key of a row of any layout whose key columns have the types of the encoding's, in
// their order; false where one of them is null.
func (k *KeyEncoding) AppendColumns(dst []byte, keys *arrowipc.KeyColumns, v *arrowipc.View, row int32) ([]byte, bool) {
	for i := range k.columns {
		value, null := keys.Value(i, v, row)
		if null {
			return dst, false
		}
		dst = append(dst, keyPresent)
		dst = k.columns[i].append(dst, value)
	}
	return dst, true
}

// UseCold gives the bucket the store that Retire moves rows to, and takes in what the store has of it. It is
// called once at most, before anything is replayed, and behind LoadIndex where that is used; or at any time
// where the store has nothing of the bucket. It fails with model.Corrupt where an index that was loaded does not
// fit, or rows cannot be read. The store must be open as long as the bucket is used. For the writer.
func (b *Bucket) UseCold(store ColdStore, bucket ColdBucket) error {
	schema := b.current()
	if err := b.setCold(store, bucket); err != nil {
		return err
	}
	reader, err := store.Reader(bucket)
	if err != nil {
		return fmt.Errorf("opening the retired rows of a bucket: %w", err)
	}
	state := reader.State()
	b.publishing.Lock()
	defer b.publishing.Unlock()
	switch loaded := b.loaded; {
	case loaded != nil && (b.loadedCommit > state.Commit || loaded.end < state.Boundary):
		reader.Release()
		return model.Errorf(model.Corrupt, "an index of commit %d with offsets up to %d does not fit retired rows of commit %d below offset %d",
			b.loadedCommit, loaded.end, state.Commit, state.Boundary)
	case state.Commit == 0:
		reader.Release()
		return nil
	case loaded == nil:
		if err := b.readLive(reader); err != nil {
			reader.Release()
			return fmt.Errorf("reading the retired rows of a bucket: %w", err)
		}
		b.log.Store(&publishedLog{schema: schema, start: state.Boundary, end: state.Boundary, bases: []int64{state.Boundary}})
		b.writer.end = state.Boundary
	}
	b.showRetired(reader)
	return nil
}

// setCold gives the bucket its store.
func (b *Bucket) setCold(store ColdStore, bucket ColdBucket) error {
	schema := b.current()
	keys, err := NewKeyEncoding(schema.options.Layout, schema.options.Key)
	if err != nil {
		return err
	}
	b.cold.store, b.cold.bucket, b.cold.keys = store, bucket, keys
	return nil
}

// readLiveRows is how many offsets are sorted at once.
const readLiveRows = 1 << 20

// readLive makes the retired rows live. What the log behind them says of their keys comes later. publishing is
// held.
func (b *Bucket) readLive(reader ColdReader) error {
	boundary := reader.State().Boundary
	var offsets []int64
	take := func() {
		slices.Sort(offsets)
		for _, offset := range offsets {
			b.live.set(offset)
		}
		offsets = offsets[:0]
	}
	for row, err := range reader.Rows(nil, nil) {
		if err != nil {
			return err
		}
		offset, _, _, err := readRetired(row.Value)
		if err != nil {
			return err
		}
		if offset >= boundary {
			continue // of a Retire that was cut off: the log has it
		}
		if offsets = append(offsets, offset); len(offsets) == readLiveRows {
			take()
		}
	}
	take()
	return nil
}

// showRetired makes what a reader reads the retired rows that lookups see. publishing is held.
func (b *Bucket) showRetired(reader ColdReader) {
	state := reader.State()
	r := &retiredRows{reader: reader, boundary: state.Boundary, commit: state.Commit, live: b.live.mirrorBelow(state.Boundary)}
	runtime.AddCleanup(r, func(reader ColdReader) { reader.Release() }, reader)
	b.sequence.Add(1)
	b.retired.Store(r)
	b.sequence.Add(1)
}

// readRetired takes apart what is stored of a row.
func readRetired(value []byte) (offset, micros int64, row []byte, err error) {
	if len(value) < retiredHeadBytes {
		return 0, 0, nil, model.Errorf(model.Corrupt, "a retired row has %d bytes", len(value))
	}
	offset, micros = int64(binary.LittleEndian.Uint64(value)), int64(binary.LittleEndian.Uint64(value[8:]))
	if offset < 0 {
		return 0, 0, nil, model.Errorf(model.Corrupt, "a retired row has the offset %d", offset)
	}
	return offset, micros, value[retiredHeadBytes:], nil
}

// fetcher reads retired rows. It keeps its memory between uses and is owned by one goroutine.
type fetcher struct {
	schema  *bucketSchema
	decoder *RowDecoder
	older   map[int32]*rowTranslator // by the version of the schema
	arena   []byte
	ends    []int
	keys    [][]byte
	places  []int32 // of the keys, in what was asked for
	offsets []int64
	micros  []int64
}

func (s *bucketSchema) fetcher() (*fetcher, error) {
	f := s.fetchers.Get().(*fetcher)
	if f.decoder == nil {
		var err error
		if f.decoder, err = NewRowDecoder(s.options.Layout); err != nil {
			return nil, err
		}
	}
	f.reset()
	return f, nil
}

func (f *fetcher) reset() {
	f.decoder.Reset()
	f.arena, f.ends, f.keys, f.places = f.arena[:0], f.ends[:0], f.keys[:0], f.places[:0]
	f.offsets, f.micros = nil, nil
}

// take appends a row.
func (f *fetcher) take(value []byte) error {
	offset, micros, row, err := readRetired(value)
	if err != nil {
		return err
	}
	version, err := RowSchemaVersion(row)
	if err == nil && version != f.schema.options.SchemaVersion {
		row, err = f.translate(row, version)
	}
	if err == nil {
		err = f.decoder.Append(row)
	}
	if err != nil {
		return model.Errorf(model.Corrupt, "the retired row of offset %d is damaged: %v", offset, err).WithCause(err)
	}
	f.offsets, f.micros = append(f.offsets, offset), append(f.micros, micros)
	return nil
}

// finish gives the rows that were taken as a batch.
func (f *fetcher) finish() (*storedBatch, []int64, error) {
	batch, err := f.decoder.Finish()
	if err != nil {
		return nil, nil, err
	}
	view, err := arrowipc.NewView(batch)
	if err != nil {
		return nil, nil, err
	}
	stored := newStoredBatch(Stored{View: view})
	stored.offsets = f.offsets
	micros := f.micros
	f.offsets, f.micros = nil, nil
	return stored, micros, nil
}

// fetch looks for keys among the retired rows: those in places, by their number. into gets the rows that are
// live now, at the same place as in places; a row that is not will never be again. seen is how many of the keys
// have a row, live or not.
func (b *Bucket) fetch(s *bucketSchema, r *retiredRows, k *Keys, places []int32, into []found) (fetched []found, seen int, err error) {
	f, err := s.fetcher()
	if err != nil {
		return into, 0, err
	}
	defer s.fetchers.Put(f)
	into = append(into, make([]found, len(places))...)
	fetched = into[len(into)-len(places):]
	for i, place := range places {
		row, before := k.row(int(place)), len(f.arena)
		var ok bool
		if f.arena, ok = b.cold.appendRetiredKey(f.arena, k.Hashes[row], k.Columns, k.View, row); !ok {
			f.arena = f.arena[:before]
			continue
		}
		f.ends, f.places = append(f.ends, len(f.arena)), append(f.places, int32(i))
	}
	from := 0
	for _, end := range f.ends {
		f.keys = append(f.keys, f.arena[from:end])
		from = end
	}
	err = r.reader.Get(f.keys, func(i int, value []byte) error {
		seen++
		offset, _, _, err := readRetired(value)
		if err != nil || !r.live.has(offset) {
			return err
		}
		fetched[f.places[i]].row = int32(len(f.offsets)) + 1
		return f.take(value)
	})
	if err != nil || len(f.offsets) == 0 {
		return into, seen, err
	}
	batch, _, err := f.finish()
	if err != nil {
		return into, seen, err
	}
	for i := range fetched {
		if fetched[i].row > 0 {
			fetched[i] = found{batch, fetched[i].row - 1}
		}
	}
	return into, seen, nil
}
