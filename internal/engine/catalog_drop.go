package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// tableTrash begins the names of dropped tables in the trash; the table's id follows.
const tableTrash = "table-"

func isDiskFull(err error) bool { return errors.Is(err, vfs.ErrDiskFull) }

// DropTable takes a table out of service. Its files stay in the trash for TrashGrace.
func (e *Engine) DropTable(ctx context.Context, name model.TableName, missingOK bool) error {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	t, err := e.table(name)
	if err != nil {
		if missingOK && errors.Is(err, model.TableNotFound) {
			return nil
		}
		return err
	}
	return e.drop(ctx, t)
}

// drop takes a table out of service. The caller holds catalog.changes. The file is marked first, so
// that a crash in the middle ends in the drop.
func (e *Engine) drop(ctx context.Context, t *table) error {
	definition := t.definition.Load()
	gone := model.Errorf(model.TableNotFound, "the table %s was dropped", definition.Name).With("table", definition.Name.String())
	err := e.control(ctx, func() error {
		// Nothing of the table may be on its way to the disk when its folder moves.
		if err := e.settle(); err != nil {
			return err
		}
		record := newTableRecord(definition, t.logicalStarts())
		record.Dropped = e.options.Clock.Now().UTC()
		if err := writeCatalogFile(e.options.FS, t.dir(), tableFile, record); err != nil {
			return err
		}
		e.catalog.remove(definition.Name)
		return errors.Join(t.close(gone), e.moveToTrash(record))
	})
	if err != nil {
		return e.diskError(fmt.Sprintf("drop table %s", definition.Name), err)
	}
	return nil
}

func (e *Engine) moveToTrash(record *tableRecord) error {
	if err := e.options.FS.MkdirAll(trashDir); err != nil {
		return err
	}
	if err := e.options.FS.Rename(tablesDir+"/"+record.ID, trashDir+"/"+tableTrash+record.ID); err != nil {
		return err
	}
	return errors.Join(e.options.FS.SyncDir(trashDir), e.options.FS.SyncDir(tablesDir))
}

// UndropTable brings the table of that name back that was dropped last.
func (e *Engine) UndropTable(ctx context.Context, name model.TableName) (*model.Table, error) {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	if e.catalog.taken(name) != nil {
		return nil, model.Errorf(model.TableAlreadyExists, "there is a table %s already", name).WithRemedy("Rename it first")
	}
	record, err := e.newestDropped(name)
	if err != nil {
		return nil, err
	}
	if err := e.createDatabase(name.Database); err != nil {
		return nil, err
	}
	from, to := trashDir+"/"+tableTrash+record.ID, tablesDir+"/"+record.ID
	record.Dropped = time.Time{}
	t, err := newTable(e, record)
	if err != nil {
		return nil, err
	}
	err = e.control(ctx, func() error {
		if err := e.options.FS.Rename(from, to); err != nil {
			return err
		}
		if err := errors.Join(e.options.FS.SyncDir(tablesDir), e.options.FS.SyncDir(trashDir)); err != nil {
			return err
		}
		if err := t.openPartitions(); err != nil {
			return err
		}
		t.findStray()
		if err := e.adopt(t); err != nil {
			return err
		}
		// The commit file knows the buckets before the table counts as being there.
		if err := e.checkpointWith(t); err != nil {
			return err
		}
		if err := writeCatalogFile(e.options.FS, to, tableFile, record); err != nil {
			return err
		}
		// Here, so that the next checkpoint has the table's buckets.
		e.catalog.add(t)
		return nil
	})
	if err != nil {
		return nil, e.diskError(fmt.Sprintf("undrop table %s", name), err)
	}
	return record.definition, nil
}

func (e *Engine) newestDropped(name model.TableName) (*tableRecord, error) {
	var newest *tableRecord
	for _, entry := range e.list(trashDir) {
		if !strings.HasPrefix(entry, tableTrash) {
			continue
		}
		record, err := readTableRecord(e.options.FS, trashDir+"/"+entry)
		if err != nil {
			e.options.Logger.Warn("a dropped table cannot be read", "folder", entry, "error", err)
			continue
		}
		if record.definition.Name == name && (newest == nil || record.Dropped.After(newest.Dropped)) {
			newest = record
		}
	}
	if newest == nil {
		return nil, model.Errorf(model.TableNotFound, "no dropped table %s is kept", name).
			WithRemedy("Dropped tables are kept for %s", e.options.TrashGrace)
	}
	return newest, nil
}

// RenameTable gives a table another name. Readers and writers go on.
func (e *Engine) RenameTable(_ context.Context, from, to model.TableName) (*model.Table, error) {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	t, err := e.table(from)
	if err != nil {
		return nil, err
	}
	if other := e.catalog.taken(to); other != nil && other != t {
		return nil, model.Errorf(model.TableAlreadyExists, "there is a table %s already", to).WithRemedy("Choose another name")
	}
	if err := e.createDatabase(to.Database); err != nil {
		return nil, err
	}
	definition := *t.definition.Load()
	definition.Name = to
	if err := e.writeTable(t, &definition); err != nil {
		return nil, err
	}
	e.catalog.rename(t, &definition)
	return &definition, t.define(&definition)
}

// redefine replaces a definition on disk and in memory. It is for the committer.
func (e *Engine) redefine(t *table, next *redefinition) error {
	evolves := next.schema != t.schema.Load()
	if evolves { // behind the point of no return nothing may be found wrong
		if err := t.tryEvolve(next.schema); err != nil {
			return err
		}
	}
	if err := e.writeTable(t, next.definition); err != nil {
		return err
	}
	if evolves {
		if err := t.evolve(next.schema); err != nil {
			return e.fail(err) // what is on disk is right: a restart takes it
		}
	}
	err := t.define(next.definition)
	t.published.Wake() // followers may want to end
	return err
}

// writeTable replaces a definition on disk.
func (e *Engine) writeTable(t *table, definition *model.Table) error {
	if err := writeCatalogFile(e.options.FS, t.dir(), tableFile, newTableRecord(definition, t.logicalStarts())); err != nil {
		return e.diskError(fmt.Sprintf("alter table %s", definition.Name), err)
	}
	return nil
}

// TruncateTable removes the rows before a position, or all that are readable now where before is
// nil. Offsets are never used again.
func (e *Engine) TruncateTable(ctx context.Context, name model.TableName, before *model.Position) (*model.Table, error) {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	definition := t.definition.Load()
	if t.keyed != nil {
		return nil, model.Errorf(model.Unimplemented, "%s has a primary key and cannot be truncated", name).
			WithRemedy("Delete its rows, or drop the table")
	}
	starts, err := t.truncated(before)
	if err != nil {
		return nil, err
	}
	// A start must not be known for longer than the rows below it: behind a power cut, other rows would
	// get their offsets, and be truncated with them.
	if err := e.Flush(ctx, model.Fsync); err != nil {
		return nil, err
	}
	if err := writeCatalogFile(e.options.FS, t.dir(), tableFile, newTableRecord(definition, starts)); err != nil {
		return nil, e.diskError(fmt.Sprintf("truncate table %s", name), err)
	}
	t.mu.Lock()
	t.starts = starts
	for number, start := range starts {
		if b := t.buckets[number]; b != nil {
			b.Trim(start)
		}
	}
	t.mu.Unlock()
	return definition, nil
}

// truncated gives the logical starts behind a truncation.
func (t *table) truncated(before *model.Position) (map[int32]int64, error) {
	definition := t.definition.Load()
	if before != nil && before.TableID != "" && before.TableID != definition.ID {
		return nil, model.Errorf(model.TableReplaced, "the position is of another table that had the name %s", definition.Name).
			WithRemedy("Describe the table to get its id")
	}
	if before != nil {
		if err := t.checkBuckets(before.Offsets); err != nil {
			return nil, err
		}
	}
	starts := t.logicalStarts()
	for _, number := range t.numbers() {
		rows, err := t.readable(number)
		if err != nil {
			return nil, err
		}
		start := rows.To
		if before != nil {
			wanted, named := before.Offsets[number]
			if !named {
				continue
			}
			if wanted > rows.To {
				return nil, model.Errorf(model.OffsetBeyondEnd, "bucket %d ends at offset %d, before %d", number, rows.To, wanted).
					With("bucket", number).With("end", rows.To)
			}
			start = wanted
		}
		if start > starts[number] {
			starts[number] = start
		}
	}
	return starts, nil
}

// logicalStarts gives a copy of the starts that truncation has set; never nil.
func (t *table) logicalStarts() map[int32]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	starts := make(map[int32]int64, len(t.starts))
	maps.Copy(starts, t.starts)
	return starts
}

// dir is the folder of the table.
func (t *table) dir() string { return tablesDir + "/" + t.definition.Load().ID }
