package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// databasesRecord is the content of the file databases.json.
type databasesRecord struct {
	Format    int      `json:"format"`
	Databases []string `json:"databases"`
}

// CreateTable makes a table, and its database where that is missing. It is durable when it returns.
func (e *Engine) CreateTable(_ context.Context, request CreateTable) (*model.Table, error) {
	definition, err := e.design(request)
	if err != nil {
		return nil, err
	}
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	if existing := e.catalog.taken(definition.Name); existing != nil {
		return e.sameTable(existing.definition.Load(), definition, request.ExistOK)
	}
	if err := e.createDatabase(definition.Name.Database); err != nil {
		return nil, err
	}
	record := newTableRecord(definition, nil)
	t, err := newTable(e, record)
	if err != nil {
		return nil, err
	}
	if err := e.makeTableFolder(record); err != nil {
		return nil, e.diskError("create table "+definition.Name.String(), err)
	}
	if err := t.openPartitions(); err != nil {
		return nil, e.diskError("create table "+definition.Name.String(), err)
	}
	e.catalog.add(t)
	return definition, nil
}

// design turns a request into a definition, with every fault of it in one error.
func (e *Engine) design(request CreateTable) (*model.Table, error) {
	if request.Schema == nil {
		return nil, model.Errorf(model.BadRequest, "the table has no schema").WithRemedy("Send schema or columns")
	}
	id, err := model.NewID(e.options.Clock, e.options.Entropy)
	if err != nil {
		return nil, err
	}
	schema := model.StoredSchema(request.Schema, slices.Concat(request.PrimaryKey, request.PartitionBy)...)
	definition := &model.Table{
		ID: id, Name: request.Name, Schema: schema, SchemaVersion: 1,
		Buckets: max(request.Buckets, 1), BucketKey: request.BucketKey, PrimaryKey: request.PrimaryKey, PartitionBy: request.PartitionBy, Comment: request.Comment, Options: request.Options,
		Defaults: request.Defaults, Comments: request.ColumnComments, CreatedAt: e.options.Clock.Now().UTC(),
	}
	if definition.Keyed() && len(definition.BucketKey) == 0 {
		definition.BucketKey = definition.RoutingKey()
	}
	definition.NumberFields()
	var faults []error
	faults = append(faults, model.CheckSchema(request.Schema), definition.CheckPartitionBy(), definition.CheckOptions(), checkPrimaryKey(definition))
	if request.Buckets < 0 || request.Buckets > model.BucketsMax {
		faults = append(faults, model.Errorf(model.BadRequest, "buckets is %d, want 1 to %d", request.Buckets, model.BucketsMax))
	}
	for _, name := range request.BucketKey {
		if len(schema.FieldIndices(name)) != 1 {
			faults = append(faults, model.Errorf(model.ColumnNotFound, "bucket_key names the column %q, which the schema lacks", name))
		}
	}
	if err := model.JoinFaults(faults); err != nil {
		return nil, err
	}
	if _, err := newTable(e, newTableRecord(definition, nil)); err != nil {
		return nil, err
	}
	return definition, nil
}

// checkPrimaryKey checks the key of a primary-key table, and that its bucket key is a prefix of it.
func checkPrimaryKey(definition *model.Table) error {
	var faults []error
	if !definition.Keyed() {
		for _, field := range definition.Schema.Fields() {
			if model.AutoIncremented(field, definition.Defaults[field.Name]) {
				faults = append(faults, model.Errorf(model.BadRequest, "the column %q has the default %s, which is for tables with a primary key",
					field.Name, model.AutoIncrement))
			}
		}
		return model.JoinFaults(faults)
	}
	seen := map[string]bool{}
	for _, name := range definition.PrimaryKey {
		if len(definition.Schema.FieldIndices(name)) != 1 {
			faults = append(faults, model.Errorf(model.ColumnNotFound, "primary_key names the column %q, which the schema lacks", name))
		}
		if _, hasDefault := definition.Defaults[name]; hasDefault {
			faults = append(faults, model.Errorf(model.BadRequest, "the key column %q has a default", name).
				WithRemedy("Every row names its key"))
		}
		if seen[name] {
			faults = append(faults, model.Errorf(model.BadRequest, "primary_key names the column %q twice", name))
		}
		seen[name] = true
	}
	key := definition.RoutingKey()
	if n := len(definition.BucketKey); n > len(key) || !slices.Equal(definition.BucketKey, key[:n]) {
		without := ""
		if definition.Partitioned() {
			without = " without the partition columns"
		}
		faults = append(faults, model.Errorf(model.BadRequest, "bucket_key is %v, which primary_key%s, %v, does not begin with",
			definition.BucketKey, without, key))
	}
	return model.JoinFaults(faults)
}

// sameTable answers the creation of a table whose name is taken.
func (e *Engine) sameTable(existing, wanted *model.Table, existOK bool) (*model.Table, error) {
	taken := model.Errorf(model.TableAlreadyExists, "there is a table %s already", existing.Name).
		With("table", existing.Name.String())
	if existing.Name != wanted.Name {
		return nil, taken.WithRemedy("Names that differ only in case are not allowed: choose another")
	}
	if !existOK {
		return nil, taken.WithRemedy("Choose another name, drop the table, or send exist_ok")
	}
	if difference := difference(existing, wanted); difference != "" {
		return nil, model.Errorf(model.TableAlreadyExists, "there is a table %s with another definition: %s", existing.Name, difference).
			With("table", existing.Name.String()).WithRemedy("Alter the table, or choose another name")
	}
	return existing, nil
}

// difference says in words how two definitions differ; "" if they do not.
func difference(have, want *model.Table) string {
	var found []string
	note := func(what string, have, want any) {
		found = append(found, fmt.Sprintf("%s is %v, not %v", what, have, want))
	}
	if !bytesEqual(arrowipc.EncodeSchema(have.Schema), arrowipc.EncodeSchema(want.Schema)) {
		note("the schema", schemaText(have), schemaText(want))
	}
	if have.Buckets != want.Buckets && have.CreatedBuckets != want.Buckets {
		note("buckets", have.Buckets, want.Buckets)
	}
	if !slices.Equal(have.PrimaryKey, want.PrimaryKey) {
		note("primary_key", have.PrimaryKey, want.PrimaryKey)
	}
	if !slices.Equal(have.PartitionBy, want.PartitionBy) {
		note("partition_by", have.PartitionBy, want.PartitionBy)
	}
	if !slices.Equal(have.BucketKey, want.BucketKey) {
		note("bucket_key", have.BucketKey, want.BucketKey)
	}
	if len(have.Defaults)+len(want.Defaults) > 0 && !reflect.DeepEqual(have.Defaults, want.Defaults) {
		note("the defaults", have.Defaults, want.Defaults)
	}
	if !maps.Equal(have.Options, want.Options) {
		note("options", optionsText(have), optionsText(want))
	}
	return strings.Join(found, "; ")
}

func bytesEqual(a, b []byte) bool { return string(a) == string(b) }

func schemaText(t *model.Table) string {
	fields := make([]string, t.Schema.NumFields())
	for i, f := range t.Schema.Fields() {
		fields[i] = f.Name + " " + model.FormatType(f.Type)
	}
	return "(" + strings.Join(fields, ", ") + ")"
}

func optionsText(t *model.Table) string {
	set := make([]string, 0, len(t.Options))
	for _, name := range slices.Sorted(maps.Keys(t.Options)) {
		set = append(set, name+"="+t.Options[name])
	}
	return "(" + strings.Join(set, ", ") + ")"
}

// makeTableFolder makes the folder of a new table with its file. It appears under its name only
// when it is complete.
func (e *Engine) makeTableFolder(record *tableRecord) error {
	temporary, dir := tablesDir+"/"+record.ID+".new", tablesDir+"/"+record.ID
	if err := e.options.FS.MkdirAll(temporary); err != nil {
		return err
	}
	if record.definition.Partitioned() {
		if err := e.makeLedger(temporary); err != nil {
			return err
		}
	}
	if err := writeCatalogFile(e.options.FS, temporary, tableFile, record); err != nil {
		return err
	}
	if err := e.options.FS.Rename(temporary, dir); err != nil {
		return err
	}
	return e.options.FS.SyncDir(tablesDir)
}

// diskError makes an error for the user of one that the disk gave. One that is for the user already, or
// says that the call was given up, stays as it is.
func (e *Engine) diskError(doing string, cause error) error {
	own, typed := errors.AsType[*model.Error](cause)
	switch {
	case typed:
		return own
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		return cause
	}
	if isDiskFull(cause) {
		return errDiskFull(cause)
	}
	e.options.Logger.Error(doing, "error", cause)
	return model.Errorf(model.Internal, "%s failed", doing).WithRemedy("See the server's log").WithCause(cause)
}

// CreateDatabase makes a database.
func (e *Engine) CreateDatabase(_ context.Context, name string, existOK bool) error {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	if spelling, found := e.catalog.database(name); found && (!existOK || spelling != name) {
		return model.Errorf(model.DatabaseAlreadyExists, "there is a database %s already", spelling).
			WithRemedy("Choose another name, or send exist_ok")
	}
	return e.createDatabase(name)
}

// createDatabase makes a database where it is missing. The caller holds catalog.changes.
func (e *Engine) createDatabase(name string) error {
	if err := model.CheckName("database", name); err != nil {
		return err
	}
	if spelling, found := e.catalog.database(name); found {
		if spelling != name {
			return model.Errorf(model.DatabaseAlreadyExists, "there is a database %s already", spelling).
				WithRemedy("Names that differ only in case are not allowed: choose another")
		}
		return nil
	}
	names := append(e.catalog.databaseNames(), name)
	if err := e.writeDatabases(names); err != nil {
		return e.diskError("create database "+name, err)
	}
	e.catalog.setDatabase(name, true)
	return nil
}

func (e *Engine) writeDatabases(names []string) error {
	slices.Sort(names)
	return writeCatalogFile(e.options.FS, ".", databasesFile, databasesRecord{Format: catalogFormat, Databases: names})
}

// DropDatabase removes a database; cascade drops its tables too.
func (e *Engine) DropDatabase(ctx context.Context, name string, cascade, missingOK bool) error {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	if spelling, found := e.catalog.database(name); !found || spelling != name {
		if missingOK {
			return nil
		}
		return model.Errorf(model.DatabaseNotFound, "there is no database %s", name).WithRemedy("List the databases to see what is there")
	}
	if name == model.DefaultDatabase {
		return model.Errorf(model.BadRequest, "the database %s cannot be dropped", name)
	}
	for _, t := range e.catalog.all() {
		if t.definition.Load().Name.Database != name {
			continue
		}
		if !cascade {
			return model.Errorf(model.DatabaseNotEmpty, "the database %s has tables", name).WithRemedy("Drop them first, or send cascade")
		}
		if err := e.drop(ctx, t); err != nil {
			return err
		}
	}
	names := slices.DeleteFunc(e.catalog.databaseNames(), func(n string) bool { return n == name })
	if err := e.writeDatabases(names); err != nil {
		return e.diskError("drop database "+name, err)
	}
	e.catalog.setDatabase(name, false)
	return nil
}
