package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/replication"
	"github.com/headrace/headrace/streams"
)

// bucketKey names a bucket of the node.
type bucketKey struct {
	table  string
	bucket int32
}

// recover brings the engine to where the last whole group left it. The order matters: first what
// the commit file says, then the bytes that it carries go to their segments, then it is found out which
// of the groups that may be torn are whole, then come the tables, and last a new checkpoint, from which
// the next recovery starts.
func (e *Engine) recover() error {
	for _, dir := range []string{tablesDir, trashDir} {
		if err := e.options.FS.MkdirAll(dir); err != nil {
			return fmt.Errorf("make folder %s: %w", dir, err)
		}
	}
	if err := e.options.FS.SyncDir("."); err != nil {
		return fmt.Errorf("sync the data folder: %w", err)
	}
	commits, found, err := replication.OpenCommitFile(replication.Options{FS: e.options.FS, Dir: commitDir, BytesMax: e.options.CommitBytes})
	if err != nil {
		return err
	}
	e.commits = commits
	e.recovery.Findings = found.Findings
	if err := e.restore(found); err != nil {
		return errors.Join(err, commits.Close())
	}
	extents := newExtentSet(found.Durable)
	if err := e.decide(extents, found.Unsynced); err != nil {
		return errors.Join(err, commits.Close())
	}
	if err := e.loadCatalog(extents, found.Lost || found.Sequence == 0); err != nil {
		return errors.Join(err, commits.Close())
	}
	e.synced.Store(found.Sequence)
	// A checkpoint says that all it names is durable in the segments. What was restored is not yet, and
	// after a kill, the groups that were found whole may have been read from the page cache alone.
	if err := e.options.FS.SyncAll(); err != nil {
		return errors.Join(fmt.Errorf("sync what was recovered: %w", err), commits.Close())
	}
	e.orphans = extents.unknown(e)
	if err := e.commits.Checkpoint(e.extents()); err != nil {
		return errors.Join(err, commits.Close())
	}
	for _, finding := range e.recovery.Findings {
		e.options.Logger.Error("damage found", "what", finding)
	}
	return nil
}

// decide goes through the groups whose durability nobody noted, oldest first, and takes those that
// are whole. The first one that is not ends the sequence: it was never acknowledged at a level that
// survives what happened, and neither was any group behind it. A disk that cannot be read decides
// nothing: that is the error.
func (e *Engine) decide(extents extentSet, groups []replication.Group) error {
	for i, group := range groups {
		reason := e.torn(extents, group)
		if errors.Is(reason, streams.ErrUnread) {
			return reason
		}
		if reason != nil {
			e.recovery.GroupsCut = len(groups) - i
			e.options.Logger.Info("incomplete groups of a crash are cut", "groups", len(groups)-i, "first", group.Sequence, "reason", reason)
			return nil
		}
		for _, x := range group.Extents {
			extents.set(x)
		}
	}
	return nil
}

// torn says why a group does not count, or nil.
func (e *Engine) torn(extents extentSet, group replication.Group) error {
	staged := newExtentSet(nil)
	for _, x := range group.Extents {
		from := streams.Extent{Segment: extentOf(x).Segment}
		previous, known := staged.segments[segmentKey(x)]
		if !known {
			previous, known = extents.segments[segmentKey(x)]
		}
		if known {
			from = extentOf(previous)
		}
		if err := streams.VerifyExtent(e.options.streams(), from, extentOf(x)); err != nil {
			if e.options.isMissingTable(x) {
				continue // dropped behind the group: the folder is in the trash
			}
			return err
		}
		staged.set(x)
	}
	return nil
}

// isMissingTable says that the folder of the extent's table is not there.
func (o Options) isMissingTable(x replication.Extent) bool {
	_, err := o.FS.Stat(tablesDir + "/" + ulid.ULID(x.Table).String())
	return errors.Is(err, fs.ErrNotExist)
}

// extentSet keeps the newest extent of each segment, and the newest segment of each bucket.
type extentSet struct {
	segments map[replication.Extent]replication.Extent // by segmentKey
	buckets  map[bucketKey]replication.Extent
}

func newExtentSet(extents []replication.Extent) extentSet {
	s := extentSet{map[replication.Extent]replication.Extent{}, map[bucketKey]replication.Extent{}}
	for _, x := range extents {
		s.set(x)
	}
	return s
}

func segmentKey(x replication.Extent) replication.Extent {
	return replication.Extent{Table: x.Table, Bucket: x.Bucket, Base: x.Base}
}

func (s extentSet) set(x replication.Extent) {
	s.segments[segmentKey(x)] = x
	key := bucketKey{ulid.ULID(x.Table).String(), x.Bucket}
	if newest, known := s.buckets[key]; !known || x.Base >= newest.Base {
		s.buckets[key] = x
	}
}

// unknown gives the extents of tables whose folder is there and whose definition could not be read:
// they are kept until the table is.
func (s extentSet) unknown(e *Engine) []replication.Extent {
	served := map[string]bool{}
	for _, t := range e.catalog.all() {
		served[t.definition.Load().ID] = true
	}
	var kept []replication.Extent
	for key, x := range s.buckets {
		if !served[key.table] && !e.options.isMissingTable(x) {
			kept = append(kept, x)
		}
	}
	sortExtents(kept)
	return kept
}

func sortExtents(extents []replication.Extent) {
	slices.SortFunc(extents, func(a, b replication.Extent) int {
		return cmp.Or(slices.Compare(a.Table[:], b.Table[:]), cmp.Compare(a.Bucket, b.Bucket))
	})
}

// loadCatalog reads the definitions of all tables. Where the commit file cannot tell how far
// buckets count, every one of them is opened, and what its checksums cover counts.
func (e *Engine) loadCatalog(extents extentSet, lost bool) error {
	e.catalog.tables, e.catalog.databases = map[string]*table{}, map[string]string{}
	e.catalog.setDatabase(model.DefaultDatabase, true)
	var databases databasesRecord
	if err := readCatalogFile(e.options.FS, databasesFile, &databases); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.recovery.Findings = append(e.recovery.Findings, err.Error())
	}
	for _, name := range databases.Databases {
		e.catalog.setDatabase(name, true)
	}
	for _, entry := range e.list(tablesDir) {
		if err := e.loadTable(entry, extents, lost); err != nil {
			e.recovery.Findings = append(e.recovery.Findings, fmt.Sprintf("folder %s/%s: %v", tablesDir, entry, err))
		}
	}
	e.recovery.Tables = len(e.catalog.tables)
	return nil
}

// loadTable takes one folder of tables into service.
func (e *Engine) loadTable(entry string, extents extentSet, lost bool) error {
	if strings.HasSuffix(entry, ".new") { // a creation that a crash cut short
		return e.options.FS.RemoveAll(tablesDir + "/" + entry)
	}
	record, err := readTableRecord(e.options.FS, tablesDir+"/"+entry)
	if err != nil {
		return fmt.Errorf("the definition cannot be read, headrace check --rebuild-catalog makes it anew: %w", err)
	}
	if !record.Dropped.IsZero() { // a drop that a crash cut short
		return e.moveToTrash(record)
	}
	t, err := newTable(e, record)
	if err != nil {
		return err
	}
	for key, x := range extents.buckets {
		if key.table == record.ID {
			t.extents[key.bucket] = extentOf(x)
		}
	}
	if err := t.openPartitions(); err != nil {
		return err
	}
	t.findStray()
	if _, found := e.catalog.database(record.Database); !found {
		e.catalog.setDatabase(record.Database, true)
	}
	if lost {
		if err := e.adopt(t); err != nil {
			return err
		}
	}
	e.catalog.add(t)
	return nil
}

// adopt opens every bucket of a table of which the commit file does not know how far it counts.
func (e *Engine) adopt(t *table) error {
	definition := t.definition.Load()
	var numbers []int32
	for _, entry := range e.list(t.dir()) {
		if number, err := strconv.ParseInt(entry, 10, 32); err == nil && !t.isGone(int32(number)) {
			numbers = append(numbers, int32(number))
		}
	}
	slices.Sort(numbers) // a bucket that split from another one needs that to be open
	for _, number := range numbers {
		options, err := t.bucketOptions(number)
		if err != nil {
			return err
		}
		log, err := streams.OpenBucket(definition, number, nil, options)
		if err != nil {
			return err
		}
		log.Trim(t.starts[number])
		b := &bucket{Bucket: log, table: t, number: number, schema: t.schema.Load()}
		if t.keyed != nil {
			if err = t.openParent(b); err == nil {
				err = t.openKeyed(b)
			}
			if err != nil {
				return errors.Join(err, log.Close(err))
			}
		}
		if b.keyed != nil {
			b.openIndexes(definition)
		}
		t.buckets[number] = b
		if extent, any := log.Extent(); any {
			t.extents[number] = extent
		}
	}
	return nil
}

// list gives the names in a folder; a folder that cannot be read has none, which is logged.
func (e *Engine) list(dir string) []string {
	names, err := e.options.FS.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.options.Logger.Error("list folder", "folder", dir, "error", err)
	}
	return names
}

// extents gives the newest extent of every bucket that was ever written, also of tables that wait for
// their definition to be made anew.
func (e *Engine) extents() []replication.Extent {
	all := slices.Clone(e.orphans)
	for _, t := range e.catalog.all() {
		all = append(all, t.recordedExtents()...)
	}
	sortExtents(all)
	return all
}

func (t *table) recordedExtents() []replication.Extent {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]replication.Extent, 0, len(t.extents))
	for _, x := range t.extents {
		all = append(all, recordOf(x))
	}
	return all
}

// checkpointWith begins the other half of the commit file, with a table that is not served yet.
func (e *Engine) checkpointWith(t *table) error {
	if err := e.settle(); err != nil {
		return err
	}
	return e.commits.Checkpoint(append(e.extents(), t.recordedExtents()...))
}

// setExtent notes how far a bucket counts. It is for the committer.
func (b *bucket) setExtent(x streams.Extent) {
	b.table.mu.Lock()
	defer b.table.mu.Unlock()
	b.table.extents[b.number] = x
}

// recordOf is the form of an extent in the commit file.
func recordOf(x streams.Extent) replication.Extent {
	id, err := ulid.ParseStrict(x.Segment.TableID)
	if err != nil {
		panic("engine: table id " + x.Segment.TableID + " is not a ULID: it was made by model.NewID")
	}
	return replication.Extent{
		Table: id, Bucket: x.Segment.Bucket, Base: x.Segment.Base, End: x.End, Chain: x.Chain, Next: x.Next,
	}
}

// extentOf is the inverse of recordOf.
func extentOf(x replication.Extent) streams.Extent {
	return streams.Extent{
		Segment: streams.SegmentName{TableID: ulid.ULID(x.Table).String(), Bucket: x.Bucket, Base: x.Base},
		End:     x.End, Chain: x.Chain, Next: x.Next,
	}
}
