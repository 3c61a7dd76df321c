package engine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// catalogFormat is the version of the JSON files of the catalog. Each is an object with the fields
// "crc32c", the Castagnoli CRC of the bytes of "content" in eight hexadecimal digits, and "content".
const catalogFormat = 1

// tableRecord is the content of a table's file, tables/<id>/table.json.
type tableRecord struct {
	Format        int     `json:"format"`
	ID            string  `json:"id"`
	Database      string  `json:"database"`
	Table         string  `json:"table"`
	Schema        string  `json:"schema"` // IPC schema message, base64
	FieldIDs      []int32 `json:"field_ids"`
	NestedIDs     []int32 `json:"nested_ids,omitempty"`
	SchemaVersion int32   `json:"schema_version"`
	Buckets       int32   `json:"buckets"`
	// CreatedBuckets and Splits are those of model.Table.
	CreatedBuckets int32                 `json:"created_buckets,omitempty"`
	Splits         map[int32]model.Split `json:"splits,omitempty"`
	BucketKey      []string              `json:"bucket_key,omitempty"`
	PrimaryKey     []string              `json:"primary_key,omitempty"`
	PartitionBy    []string              `json:"partition_by,omitempty"`
	Indexes        []model.Index         `json:"indexes,omitempty"`
	Comment        string                `json:"comment,omitempty"`
	Options        map[string]string     `json:"options,omitempty"`
	Defaults       map[string]any        `json:"defaults,omitempty"`
	Comments       map[string]string     `json:"comments,omitempty"`
	Created        time.Time             `json:"created"`
	// Versions are the earlier versions of the schema, Initial what rows show in fields that were added
	// behind them, by number.
	Versions []versionRecord `json:"versions,omitempty"`
	Initial  map[int32]any   `json:"initial,omitempty"`
	// Starts are logical starts of buckets, set by truncation.
	Starts map[int32]int64 `json:"starts,omitempty"`
	// Dropped is when the table was dropped; zero while it is there.
	Dropped time.Time `json:"dropped,omitzero"`

	definition *model.Table
}

func newTableRecord(definition *model.Table, starts map[int32]int64) *tableRecord {
	return &tableRecord{
		Format: catalogFormat, ID: definition.ID, Database: definition.Name.Database, Table: definition.Name.Table,
		Schema:   encodeSchema(definition.Schema),
		FieldIDs: definition.FieldIDs, NestedIDs: definition.NestedIDs, SchemaVersion: definition.SchemaVersion,
		Versions: versionRecords(definition), Initial: definition.Initial,
		Buckets: definition.Buckets, CreatedBuckets: definition.CreatedBuckets, Splits: definition.Splits,
		BucketKey: definition.BucketKey, PrimaryKey: definition.PrimaryKey, PartitionBy: definition.PartitionBy, Indexes: definition.Indexes, Comment: definition.Comment,
		Options: definition.Options, Defaults: definition.Defaults, Comments: definition.Comments,
		Created: definition.CreatedAt, Starts: starts, definition: definition,
	}
}

// define decodes the definition.
func (r *tableRecord) define() error {
	if r.Format != catalogFormat {
		return fmt.Errorf("format %d, want %d", r.Format, catalogFormat)
	}
	schema, err := decodeSchema(r.Schema)
	if err != nil {
		return err
	}
	r.definition = &model.Table{
		ID: r.ID, Name: model.TableName{Database: r.Database, Table: r.Table}, Schema: schema, FieldIDs: r.FieldIDs,
		SchemaVersion: r.SchemaVersion, Buckets: r.Buckets, CreatedBuckets: r.CreatedBuckets,
		BucketKey: r.BucketKey, PrimaryKey: r.PrimaryKey, PartitionBy: r.PartitionBy,
		Indexes: r.Indexes, Comment: r.Comment, Options: r.Options, Defaults: r.Defaults, Comments: r.Comments, CreatedAt: r.Created,
		NestedIDs: r.NestedIDs, Initial: r.Initial,
	}
	for _, v := range r.Versions {
		if schema, err = decodeSchema(v.Schema); err != nil {
			return fmt.Errorf("version %d: %w", v.Version, err)
		}
		r.definition.Versions = append(r.definition.Versions, model.SchemaVersion{
			Version: v.Version, Schema: schema, FieldIDs: v.FieldIDs, NestedIDs: v.NestedIDs,
		})
	}
	r.definition.NumberFields()
	return r.definition.ReadSplits(r.Splits)
}

// versionRecord is an earlier version of a table's schema.
type versionRecord struct {
	Version   int32   `json:"version"`
	Schema    string  `json:"schema"` // IPC schema message, base64
	FieldIDs  []int32 `json:"field_ids"`
	NestedIDs []int32 `json:"nested_ids,omitempty"`
}

func versionRecords(definition *model.Table) []versionRecord {
	records := make([]versionRecord, len(definition.Versions))
	for i, v := range definition.Versions {
		records[i] = versionRecord{v.Version, encodeSchema(v.Schema), v.FieldIDs, v.NestedIDs}
	}
	return records
}

func encodeSchema(schema *arrow.Schema) string {
	return base64.StdEncoding.EncodeToString(arrowipc.EncodeSchema(schema))
}

func decodeSchema(text string) (*arrow.Schema, error) {
	message, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("decode schema: %w", err)
	}
	schema, err := arrowipc.DecodeSchema(message, arrowipc.Limits{})
	if err != nil {
		return nil, fmt.Errorf("decode schema: %w", err)
	}
	return schema, nil
}

// readTableRecord reads the file of a table whose folder is dir.
func readTableRecord(files vfs.FS, dir string) (*tableRecord, error) {
	record := &tableRecord{}
	path := dir + "/" + tableFile
	if err := readCatalogFile(files, path, record); err != nil {
		return nil, err
	}
	if err := record.define(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return record, nil
}

type catalogEnvelope struct {
	Sum     string          `json:"crc32c"`
	Content json.RawMessage `json:"content"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readCatalogFile reads a JSON file of the catalog into content. fs.ErrNotExist is in the chain of
// the error where there is none, model.Corrupt where its bytes are not what was written.
func readCatalogFile(files vfs.FS, path string, content any) error {
	bytes, err := readFile(files, path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	var envelope catalogEnvelope
	if err := json.Unmarshal(bytes, &envelope); err != nil {
		return fmt.Errorf("read %s: %w: %w", path, model.Corrupt, err)
	}
	if sum := fmt.Sprintf("%08x", crc32.Checksum(envelope.Content, castagnoli)); sum != envelope.Sum {
		return fmt.Errorf("read %s: %w: checksum %s, want %s", path, model.Corrupt, sum, envelope.Sum)
	}
	if err := json.Unmarshal(envelope.Content, content); err != nil {
		return fmt.Errorf("read %s: %w: %w", path, model.Corrupt, err)
	}
	return nil
}

// writeCatalogFile replaces a JSON file of the catalog; it is durable when it returns, and after a
// crash either the old or the new one is there.
func writeCatalogFile(files vfs.FS, dir, name string, content any) error {
	bytes, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	bytes, err = json.Marshal(catalogEnvelope{Sum: fmt.Sprintf("%08x", crc32.Checksum(bytes, castagnoli)), Content: bytes})
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	path, temporary := join(dir, name), join(dir, name+".new")
	if err := replaceFile(files, temporary, path, bytes); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := files.SyncDir(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replaceFile(files vfs.FS, temporary, path string, bytes []byte) error {
	if err := files.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := files.Create(temporary)
	if err != nil {
		return err
	}
	if err := errors.Join(file.WriteAt([][]byte{bytes}, 0), file.Sync(), file.Close()); err != nil {
		return err
	}
	return files.Rename(temporary, path)
}

func readFile(files vfs.FS, path string) ([]byte, error) {
	file, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	bytes := make([]byte, size)
	if size > 0 {
		if _, err := file.ReadAt(bytes, 0); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return bytes, file.Close()
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
