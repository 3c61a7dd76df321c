package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
)

// CheckFolder is Check that looks at the retired rows of primary-key tables too. folder is the data folder as the
// operating system knows it. Their store may take the occasion to tidy its files up; what it holds stays.
func CheckFolder(files vfs.FS, folder string, rebuild bool, report func(Finding)) (Checked, error) {
	return check(files, Options{FS: files, Folder: folder}.openCold, rebuild, report)
}

// coldCheck compares the retired rows of a primary-key table with its changelog.
type coldCheck struct {
	keyed *keyedCheck
	dir   string
	store pkstore.ColdStore
	// options are those of a state that reads the rows of any bucket.
	options pkstore.Options
}

// openCold opens the store of retired rows of a table's folder; nil where there is none, or nobody asked.
func (k *keyedCheck) openCold(definition *model.Table, folder string) *coldCheck {
	dir := folder + "/" + coldDir
	if k.checker.openCold == nil {
		return nil
	}
	if _, err := k.checker.files.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c := &coldCheck{keyed: k, dir: dir, options: pkstore.Options{Layout: k.layout, SchemaVersion: definition.SchemaVersion, Adapter: k.adapter}}
	for _, name := range definition.PrimaryKey {
		c.options.Key = append(c.options.Key, k.layout.ColumnIndex(name))
	}
	var err error
	if c.store, err = k.checker.openCold(dir); err == nil {
		err = c.store.Verify()
	}
	if err != nil {
		c.find(err.Error(), -1)
	}
	if c.store == nil {
		return nil
	}
	return c
}

func (c *coldCheck) close() {
	if err := c.store.Close(); err != nil {
		c.find(err.Error(), -1)
	}
}

func (c *coldCheck) find(detail string, offset int64) {
	c.keyed.checker.report(Finding{
		Path: c.dir, Table: c.keyed.table, FirstOffset: offset, LastOffset: offset, Detail: "retired rows: " + detail,
	})
}

// compare compares the rows of a bucket's folder, whose log begins at an offset, with what folding its changelog has
// given. It reports the first fault.
func (c *coldCheck) compare(folder string, start int64, known map[uint64]foldedRow) {
	number, err := strconv.ParseUint(path.Base(folder), 10, 32)
	if err != nil {
		return // not a bucket
	}
	if offset, err := c.compareRows(pkstore.ColdBucket{Bucket: uint32(number)}, start, known); err != nil {
		c.find(fmt.Sprintf("bucket %d: %v", number, err), offset)
	}
}

// compareRows gives the first fault and the offset of its row. known is nil where the changelog is damaged.
func (c *coldCheck) compareRows(bucket pkstore.ColdBucket, start int64, known map[uint64]foldedRow) (int64, error) {
	store, options, err := c.of(int32(bucket.Bucket))
	if err != nil {
		return -1, err
	}
	boundary := store.State(bucket).Boundary
	if start > boundary {
		return -1, fmt.Errorf("the log begins at offset %d, and the rows below %d are retired", start, boundary)
	}
	state, err := pkstore.NewBucket(options)
	if err == nil {
		err = state.UseCold(store, bucket)
	}
	if err != nil {
		return -1, err
	}
	there := map[uint64]bool{}
	for live, err := range state.EachRetired() {
		if err != nil {
			return -1, err
		}
		for row := range live.All() {
			key, _ := c.keyed.keys.HashRow(live.View, row)
			hash, _ := c.keyed.rows.HashRow(live.View, row)
			there[key] = true
			offset := live.Offset(row)
			newest, seen := known[key]
			if !seen && offset >= start {
				newest.offset = -1
			}
			if known == nil || offset >= boundary || !seen && offset < start {
				continue
			}
			if fault := newest.misplaced(hash, offset, boundary); fault != "" {
				return offset, errors.New(fault)
			}
		}
	}
	return firstMissing(known, there, boundary)
}

// firstMissing looks for live rows below the boundary that are not there.
func firstMissing(known map[uint64]foldedRow, there map[uint64]bool, boundary int64) (int64, error) {
	missing := []int64{}
	for key, row := range known {
		if row.live && row.offset < boundary && !there[key] {
			missing = append(missing, row.offset)
		}
	}
	if len(missing) == 0 {
		return -1, nil
	}
	return slices.Min(missing), fmt.Errorf("%d rows are missing", len(missing))
}

// misplaced says what is wrong with a retired row of a key whose newest change is known; "" if nothing is. A row
// that was replaced or deleted behind the boundary may be there still.
func (newest foldedRow) misplaced(hash uint64, offset, boundary int64) string {
	switch {
	case newest.offset >= boundary:
		return ""
	case newest.offset < 0:
		return "a row that the log does not have"
	case !newest.live:
		return fmt.Sprintf("a row of a key that was deleted at offset %d", newest.offset)
	case newest.offset != offset:
		return fmt.Sprintf("a row that was replaced at offset %d", newest.offset)
	case newest.hash != hash:
		return "another row than the log has"
	}
	return ""
}
