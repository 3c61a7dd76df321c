package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// prefixIndex is the name that the index of model.Table.LookupPrefix has in a bucket. No index of a user has it.
const prefixIndex = ""

// indexBuildsMax is how many indexes of buckets are built at once: building takes a processor each, and
// writers need theirs.
const indexBuildsMax = 2

// indexBuilds are the goroutines that build indexes.
type indexBuilds struct {
	slots chan struct{}

	mu     sync.Mutex
	closed bool // none may begin any more; guarded by mu
}

// runBuilds runs work in a goroutine of the engine, or refused where the engine is being closed.
func (e *Engine) runBuilds(work, refused func()) {
	e.builds.mu.Lock()
	defer e.builds.mu.Unlock()
	if e.builds.closed {
		refused()
		return
	}
	e.owned.Go(work)
}

// endBuilds lets none begin any more. Those that run end with the draining.
func (e *Engine) endBuilds() {
	e.builds.mu.Lock()
	defer e.builds.mu.Unlock()
	e.builds.closed = true
}

// indexesOf gives the indexes that each bucket of a table has.
func indexesOf(definition *model.Table) []model.Index {
	prefix := definition.LookupPrefix()
	if prefix == nil {
		return definition.Indexes
	}
	return append(slices.Clone(definition.Indexes), model.Index{Name: prefixIndex, Columns: prefix})
}

// checkIndexColumns refuses indexes of columns that cannot be looked up by.
func checkIndexColumns(schema *tableSchema, definition *model.Table) error {
	for _, index := range definition.Indexes {
		if _, err := hasherOf(schema.layout, index.Columns); err != nil {
			return fmt.Errorf("index %s: %w", index.Name, err)
		}
	}
	return nil
}

// bucketIndexes are the secondary indexes of an open bucket.
type bucketIndexes struct {
	// defined are those that the bucket has. Whoever changes them holds the table's mu or has made the
	// bucket known before, under catalog.changes.
	defined []model.Index
	// opened is closed when those are built that the bucket was opened with.
	opened chan struct{}
	// splits counts how often others have split from the bucket.
	splits atomic.Int32
}

// openIndexes begins the building of the indexes of a bucket that is being opened.
func (b *bucket) openIndexes(definition *model.Table) {
	b.indexes.opened = make(chan struct{})
	var builds sync.WaitGroup
	b.defineIndexes(definition, &builds)
	opened := b.indexes.opened
	b.table.engine.runBuilds(func() {
		builds.Wait()
		close(opened)
	}, func() { close(opened) })
}

// sameIndex says that an index has the name and the columns of x.
func sameIndex(x model.Index) func(model.Index) bool {
	return func(y model.Index) bool { return x.Name == y.Name && slices.Equal(x.Columns, y.Columns) }
}

// defineIndexes makes the bucket have the indexes of a definition. Those that it lacks are built in the
// background; builds counts them until they are.
func (b *bucket) defineIndexes(definition *model.Table, builds *sync.WaitGroup) {
	wanted := indexesOf(definition)
	for _, index := range b.indexes.defined {
		if !slices.ContainsFunc(wanted, sameIndex(index)) {
			b.keyed.DropIndex(index.Name)
		}
	}
	for _, index := range wanted {
		if !slices.ContainsFunc(b.indexes.defined, sameIndex(index)) {
			b.buildIndex(index, builds)
		}
	}
	b.indexes.defined = wanted
}

// buildIndex adds an index to a bucket, and builds it in the background.
func (b *bucket) buildIndex(index model.Index, builds *sync.WaitGroup) {
	columns := make([]int, len(index.Columns))
	for i, name := range index.Columns {
		columns[i] = b.table.schema.Load().log.ColumnIndex(name)
	}
	log := b.table.engine.options.Logger.With("table", b.table.definition.Load().Name, "bucket", b.number, "index", index.Name)
	splits := b.indexes.splits.Load()
	build, err := b.keyed.AddIndex(index.Name, columns)
	if err != nil {
		log.Error("an index cannot be built", "error", err)
		return
	}
	builds.Add(1)
	b.table.engine.runBuilds(func() {
		defer builds.Done()
		if err := b.runBuild(build); err == nil {
			if b.indexes.splits.Load() != splits {
				b.renewIndex(index.Name)
			}
		} else {
			build.Fail(err)
			if b.table.err() == nil && !errors.Is(err, model.Draining) && !isIndexGone(err) {
				log.Error("an index cannot be built", "error", err)
			}
		}
	}, func() {
		build.Fail(errClosed())
		builds.Done()
	})
}

// inheritIndexes takes over the indexes that a bucket which split from another one has from that. Those that are not
// built there are built here from the beginning.
func (b *bucket) inheritIndexes(parent *bucket, definition *model.Table) {
	for _, index := range parent.indexes.defined {
		if b.keyed.IndexReady(index.Name) == nil {
			b.indexes.defined = append(b.indexes.defined, index)
			b.renewIndex(index.Name)
		}
	}
	b.openIndexes(definition)
}

// renewIndexes builds the indexes of a bucket anew that others split from: they lead to rows of those too. Those
// that are being built follow when they are.
func (b *bucket) renewIndexes() {
	b.indexes.splits.Add(1)
	for _, index := range b.indexes.defined {
		if b.keyed.IndexReady(index.Name) == nil {
			b.renewIndex(index.Name)
		}
	}
}

// renewIndex builds an index anew in the background, while the one that is there is used.
func (b *bucket) renewIndex(name string) {
	b.table.engine.runBuilds(func() {
		build, err := b.keyed.RenewIndex(name)
		if err == nil {
			if err = b.runBuild(build); err != nil {
				build.Fail(err)
			}
		}
		if err != nil && b.table.err() == nil && !errors.Is(err, model.Draining) && !isIndexGone(err) {
			b.table.engine.options.Logger.Warn("an index is larger than it had to be, as it could not be built anew",
				"table", b.table.definition.Load().Name, "bucket", b.number, "index", name, "error", err)
		}
	}, func() {})
}

// isIndexGone says that an index was dropped while it was built.
func isIndexGone(err error) bool {
	return errors.Is(err, pkstore.ErrIndexDropped) || errors.Is(err, model.IndexNotFound)
}

// runBuild builds an index, when it is its turn.
func (b *bucket) runBuild(build *pkstore.IndexBuild) error {
	e := b.table.engine
	select {
	case e.builds.slots <- struct{}{}:
		defer func() { <-e.builds.slots }()
	case <-e.draining:
		return errClosed()
	}
	for {
		select {
		case <-e.draining:
			return errClosed()
		default:
		}
		if err := b.table.err(); err != nil {
			return err
		}
		more := false
		err := streams.Guard(func() (err error) {
			more, err = build.Step()
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// awaitLater waits for the index of a bucket that was opened since the lookups began: it has to be built first.
func (l *Lookup) awaitLater(b *bucket) error {
	if l.table.partitions == nil {
		return nil
	}
	select {
	case <-b.indexes.opened:
		return nil
	case <-l.engine.draining:
		return errClosed()
	}
}

// awaitIndex waits for the indexes that buckets were opened with, as behind a restart. It fails where one
// that was made since then is not built.
func (t *table) awaitIndex(ctx context.Context, index string) error {
	for _, b := range t.opened() {
		select {
		case <-b.indexes.opened:
		case <-t.engine.draining:
			return errClosed()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := b.keyed.IndexReady(index); err != nil {
			return err
		}
	}
	return nil
}

// IndexState is how an index of a table is.
type IndexState struct {
	// Index is its definition.
	Index model.Index
	// Rows is the number of rows that it leads to, Bytes the memory that it takes: of the buckets that
	// are open.
	Rows, Bytes int64
	// Progress goes from 0 to 1, when lookups can use it.
	Progress float64
	// Err is why it cannot be built, or nil.
	Err error
}

// Indexes tells how the indexes of a table are, in the order in which they were made. An index counts as
// built in a bucket that was not used since the start: it is when the bucket is.
func (e *Engine) Indexes(name model.TableName) ([]IndexState, error) {
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	definition := t.definition.Load()
	states := make([]IndexState, len(definition.Indexes))
	for i, index := range definition.Indexes {
		states[i] = IndexState{Index: index, Progress: 1}
	}
	if len(states) == 0 {
		return states, nil
	}
	for _, b := range t.opened() {
		for _, stats := range b.keyed.IndexStats() {
			i := slices.IndexFunc(states, func(s IndexState) bool { return s.Index.Name == stats.Name })
			if i < 0 {
				continue
			}
			s := &states[i]
			s.Rows, s.Bytes = s.Rows+stats.Rows, s.Bytes+stats.Bytes
			s.Progress -= (1 - stats.Progress) / float64(t.bucketCount())
			s.Err = errors.Join(s.Err, stats.Err)
		}
	}
	return states, nil
}

// lookupIndex is what a lookup by an index needs beside its keys.
type lookupIndex struct {
	defined model.Index     // in the schema that the lookup was opened with
	matches []pkstore.Match // reused
}

// bind refuses to go on with rows of the schema now where the index is another one in that, if there is one.
func (x *lookupIndex) bind(schema, now *tableSchema) error {
	renamed, stays := now.renamedIndex(x.defined, schema)
	if stays && slices.ContainsFunc(indexesOf(now.table.definitionOf(now)), sameIndex(renamed)) {
		return nil
	}
	return model.Errorf(model.IndexNotFound, "the columns of the index %q are not what they were", x.defined.Name).With("index", x.defined.Name).
		WithRemedy("Open the lookup again")
}

// findBy fills l.found with the rows of the keys by an index, and l.input with the keys that they were
// found for.
func (l *Lookup) findBy(view *arrowipc.View) (model.Offsets, error) {
	var err error
	if l.hashes, err = l.hasher.Hash(view.Batch(), l.hashes[:0]); err != nil {
		return nil, fmt.Errorf("hash keys: %w", err)
	}
	keys := pkstore.Keys{View: view, Columns: l.keys, Hashes: l.hashes}
	var offsets model.Offsets
	err = l.table.reads(func(*routing) (err error) {
		l.index.matches = l.index.matches[:0]
		offsets, err = l.askBy(keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(offsets) > 1 {
		slices.SortStableFunc(l.index.matches, func(a, b pkstore.Match) int { return int(a.Key) - int(b.Key) })
	}
	if l.table.schema.Load() != l.binding.schema ||
		slices.ContainsFunc(l.index.matches, func(m pkstore.Match) bool { return m.Row.View.Layout() != l.binding.schema.log }) {
		l.outdated.Store(true)
		return nil, nil
	}
	if err := l.dropMatches(); err != nil {
		return nil, err
	}
	l.spread(view)
	return offsets, nil
}

// askBy appends the rows of keys by an index to its matches, bucket by bucket.
func (l *Lookup) askBy(keys pkstore.Keys) (model.Offsets, error) {
	offsets := model.Offsets{}
	if l.router == nil {
		for _, number := range l.table.numbers() {
			if err := l.askOne(number, keys, offsets); err != nil {
				return nil, err
			}
		}
		return offsets, nil
	}
	places, err := l.router.route(keys.View.Batch(), 0)
	if err != nil {
		return nil, fmt.Errorf("route keys to buckets: %w", err)
	}
	for at, rows := range places {
		keys.Rows = rows
		if err := l.askOne(at.bucket, keys, offsets); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}

// askOne appends the rows of keys in one bucket. Nothing is found in a partition that is not there, or not any more.
func (l *Lookup) askOne(number int32, keys pkstore.Keys, offsets model.Offsets) error {
	if number < 0 {
		return nil
	}
	b, err := l.table.bucket(number)
	if err != nil && l.table.isGone(number) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.awaitLater(b); err != nil {
		return err
	}
	x := l.index
	return streams.Guard(func() (err error) {
		x.matches, offsets[number], err = b.keyed.LookupBy(x.defined.Name, keys, x.matches)
		return err
	})
}

// spread makes the rows of the answer from the matches, which are in the order of the keys.
func (l *Lookup) spread(view *arrowipc.View) {
	l.found, l.input = l.found[:0], l.input[:0]
	matches := l.index.matches
	for row := range int32(view.Rows()) {
		if !l.request.Inner && (len(matches) == 0 || matches[0].Key != row) {
			l.found = append(l.found, arrowipc.Pick{})
			l.input = append(l.input, arrowipc.Pick{View: view, Row: row})
		}
		for ; len(matches) > 0 && matches[0].Key == row; matches = matches[1:] {
			l.found = append(l.found, matches[0].Row)
			l.input = append(l.input, arrowipc.Pick{View: view, Row: row})
		}
	}
	clear(l.index.matches) // they keep mapped segments
}
