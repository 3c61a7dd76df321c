package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/replication"
	"github.com/headrace/headrace/streams"
)

// Finding is one thing that Check found wrong.
type Finding struct {
	// Path is the file, below the data folder.
	Path string
	// Table is the name of the table, where it is known.
	Table string
	// Position is the byte in the file where the damage begins.
	Position int64
	// FirstOffset and LastOffset are the rows concerned, both included; −1 where none are. LastOffset
	// is one less than FirstOffset where it is not known how many are.
	FirstOffset, LastOffset int64
	// Detail says what was expected and what was there.
	Detail string
}

// Checked counts what Check has looked at.
type Checked struct {
	Tables, Segments int
	Bytes            int64
	// Rebuilt counts the definitions that were made anew from segments.
	Rebuilt int
}

// checker goes through a data folder.
type checker struct {
	files vfs.FS
	// restored are the files with what a crash may have left in the commit file alone.
	restored *overlay
	options  streams.Options
	extents  map[string]replication.Extent // of the segments that may still grow, by path
	// newest are the base offsets of these, by the bucket's folder; nil: the commit file cannot tell.
	newest  map[string]int64
	report  func(Finding)
	checked Checked
	rebuild bool
	// openCold opens a store of retired rows; nil: they are not looked at.
	openCold func(path string) (pkstore.ColdStore, error)
	database map[string]bool
}

// Check reads every byte of a data folder that no server uses and reports what is damaged. It
// changes nothing, unless rebuild is set: then definitions that cannot be read are made anew from
// the segments of their tables.
//
// Rows of primary-key tables whose segments are gone are not looked at: see CheckFolder.
func Check(files vfs.FS, rebuild bool, report func(Finding)) (Checked, error) {
	return check(files, nil, rebuild, report)
}

func check(files vfs.FS, openCold func(string) (pkstore.ColdStore, error), rebuild bool, report func(Finding)) (Checked, error) {
	lock, err := files.Lock(lockFile)
	if err != nil {
		return Checked{}, fmt.Errorf("lock the data folder: %w", err)
	}
	restored := &overlay{FS: files, patches: map[string][]patch{}}
	c := &checker{
		files: files, restored: restored, options: streams.Options{FS: restored, Trash: trashDir},
		extents: map[string]replication.Extent{}, report: report, rebuild: rebuild, openCold: openCold, database: map[string]bool{},
	}
	err = errors.Join(c.run(), lock.Close())
	return c.checked, err
}

func (c *checker) run() error {
	if err := c.commitFile(); err != nil {
		return err
	}
	var databases databasesRecord
	if err := readCatalogFile(c.files, databasesFile, &databases); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.found(Finding{Path: databasesFile, Detail: err.Error()})
	}
	for _, name := range databases.Databases {
		c.database[name] = true
	}
	entries, err := c.files.List(tablesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry, ".new") {
			continue
		}
		if err := c.table(tablesDir + "/" + entry); err != nil {
			return err
		}
	}
	if c.rebuild {
		record := databasesRecord{Format: catalogFormat}
		for name := range c.database {
			record.Databases = append(record.Databases, name)
		}
		return writeCatalogFile(c.files, ".", databasesFile, record)
	}
	return nil
}

func (c *checker) found(f Finding) {
	if f.FirstOffset == 0 && f.LastOffset == 0 {
		f.FirstOffset, f.LastOffset = -1, -1
	}
	c.report(f)
}

// commitFile learns how far the growing segments count. What lies behind is the torn tail of a crash.
func (c *checker) commitFile() error {
	commits, recovered, err := replication.OpenCommitFile(replication.Options{FS: c.files, Dir: commitDir})
	if err != nil {
		return err
	}
	for _, finding := range recovered.Findings {
		c.found(Finding{Path: commitDir, Detail: finding})
	}
	if _, err := restorePieces(c.restored, recovered.Carried); err != nil {
		return errors.Join(err, commits.Close())
	}
	if !recovered.Lost {
		e := &Engine{options: Options{FS: c.restored}.withDefaults()}
		extents := newExtentSet(recovered.Durable)
		if err := e.decide(extents, recovered.Unsynced); err != nil {
			return errors.Join(err, commits.Close())
		}
		if recovered.Sequence > 0 {
			c.newest = map[string]int64{}
		}
		for _, x := range extents.buckets {
			segment := extentOf(x).Segment.Path()
			c.extents[segment] = x
			if c.newest != nil {
				c.newest[path.Dir(segment)] = x.Base
			}
		}
	}
	return commits.Close()
}

// table checks one table's folder.
func (c *checker) table(dir string) error {
	definition := c.definition(dir)
	c.checked.Tables++
	name := ""
	if definition != nil {
		name = definition.Name.String()
		c.database[definition.Name.Database] = true
	}
	c.partitions(dir, definition)
	c.groups(name, dir)
	keyed, err := c.newKeyedCheck(dir, definition)
	if err != nil {
		c.found(Finding{Path: dir + "/" + tableFile, Table: name, Detail: err.Error()})
	}
	if keyed != nil {
		if keyed.cold = keyed.openCold(definition, dir); keyed.cold != nil {
			defer keyed.cold.close()
		}
	}
	err = c.segments(dir, func(segment string, next int64) error {
		if c.isLeftOver(segment) {
			return nil
		}
		end, damaged, err := c.segment(name, segment, next)
		if err != nil || keyed == nil {
			return err
		}
		return keyed.segment(segment, end, damaged)
	})
	if err == nil && keyed != nil {
		keyed.end()
		keyed.bucket = ""
		keyed.skip(dir, math.MaxInt32)
	}
	return err
}

// definition reads the definition of the table in a folder, or makes it anew where that was asked for;
// nil if neither can be done.
func (c *checker) definition(dir string) *model.Table {
	record, err := readTableRecord(c.files, dir)
	if err == nil {
		return record.definition
	}
	var definition *model.Table
	if c.rebuild {
		definition, err = c.rebuildTable(dir)
	}
	if err != nil {
		c.found(Finding{Path: dir + "/" + tableFile, Detail: err.Error()})
	}
	return definition
}

// segment checks the bytes of one segment of a table. next is the offset that the one behind it begins
// at, −1 for the last one of a bucket. It gives the byte up to which the segment counts, −1 where that
// is its end, and whether it is damaged.
func (c *checker) segment(table, segment string, next int64) (end int64, damaged bool, err error) {
	end = -1
	extent, growing := c.extents[segment]
	if growing {
		stands, err := streams.Standing(c.options, extentOf(extent))
		if err != nil {
			return end, false, err
		}
		extent = recordOf(stands)
		next, end = extent.Next, extent.End
	}
	info, err := c.restored.Stat(segment)
	if err != nil {
		return end, false, err
	}
	if growing && info.Size < extent.End {
		c.found(Finding{Path: segment, Table: table, Position: info.Size, Detail: fmt.Sprintf("the file has %d bytes, want %d", info.Size, extent.End)})
		damaged = true
	}
	c.checked.Segments++
	c.checked.Bytes += info.Size
	err = streams.CheckSegment(c.options, segment, next, func(f streams.Finding) {
		if growing && f.Position >= extent.End {
			return
		}
		damaged = damaged || f.Path == segment
		c.report(Finding{
			Path: f.Path, Table: table, Position: f.Position,
			FirstOffset: f.FirstOffset, LastOffset: f.LastOffset, Detail: f.Detail,
		})
	})
	return end, damaged, err
}

// isLeftOver says that a segment was begun by a group that did not become whole: the next start moves it
// to the trash.
func (c *checker) isLeftOver(segment string) bool {
	if c.newest == nil {
		return false
	}
	newest, known := c.newest[path.Dir(segment)]
	return !known || baseOffset(path.Base(segment)) > newest
}

// segments calls visit for each segment file below a table's folder, with the offset that the one
// behind it begins at, −1 for the last one of a bucket.
func (c *checker) segments(dir string, visit func(path string, next int64) error) error {
	buckets, err := c.files.List(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(buckets, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, bucket := range buckets {
		info, err := c.files.Stat(dir + "/" + bucket)
		if err != nil {
			return err
		}
		if !info.IsDir {
			continue
		}
		files, err := c.files.List(dir + "/" + bucket)
		if err != nil {
			return err
		}
		files = slices.DeleteFunc(files, func(file string) bool { return path.Ext(file) != ".arrow" })
		slices.Sort(files) // names are offsets in digits of one length
		for i, file := range files {
			next := int64(-1)
			if i+1 < len(files) {
				next = baseOffset(files[i+1])
			}
			if err := visit(dir+"/"+bucket+"/"+file, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// baseOffset gives the offset that a segment's file is named by, or −1.
func baseOffset(file string) int64 {
	base, err := strconv.ParseInt(strings.TrimSuffix(file, path.Ext(file)), 10, 64)
	if err != nil {
		return -1
	}
	return base
}

// rebuildTable makes the definition of a table anew from the newest segment that can be read.
func (c *checker) rebuildTable(dir string) (*model.Table, error) {
	var newest *model.Table
	splits := map[int32]model.Split{}
	failed := errors.New("no segment of the table can be read")
	err := c.segments(dir, func(segment string, _ int64) error {
		definition, _, err := streams.ReadSegmentTable(c.options, segment)
		if err != nil {
			failed = err
			return nil
		}
		maps.Copy(splits, definition.Splits)
		if newest == nil || cmp.Or(cmp.Compare(definition.SchemaVersion, newest.SchemaVersion), cmp.Compare(definition.Buckets, newest.Buckets)) >= 0 {
			newest = definition
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if newest == nil {
		return nil, fmt.Errorf("the definition cannot be made anew: %w", failed)
	}
	if newest, err = c.rebuildSplits(dir, newest, splits); err != nil {
		return nil, err
	}
	if err := writeCatalogFile(c.files, dir, tableFile, newTableRecord(newest, nil)); err != nil {
		return nil, err
	}
	c.checked.Rebuilt++
	return newest, nil
}
