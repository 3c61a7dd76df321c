package streams

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// The keys that we add to the metadata of the IPC schema. A key of the user's that begins like ours
// is kept behind keyUser.
const (
	keyPrefix         = "headrace."
	keyUser           = "headrace.user."
	keyFormat         = "headrace.format"
	keyTableID        = "headrace.table_id"
	keyTable          = "headrace.table"
	keyFieldIDs       = "headrace.field_ids"
	keySchemaVersion  = "headrace.schema_version"
	keyPrimaryKey     = "headrace.primary_key"
	keyBucketKey      = "headrace.bucket_key"
	keyBucket         = "headrace.bucket"
	keyBuckets        = "headrace.buckets"
	keyRoutingVersion = "headrace.routing_version"
	keySegment        = "headrace.segment"
	keyBaseOffset     = "headrace.base_offset"
	keyPrevious       = "headrace.previous"
	keyOptions        = "headrace.options"
	keyComment        = "headrace.comment"
	keyComments       = "headrace.comments"
	keyDefaults       = "headrace.defaults"
	keyCreated        = "headrace.created"
	keyRewrote        = "headrace.rewrote"
	// keyCompression is there where a rewrite was to compress the segment.
	keyCompression = "headrace.compression"
	// keyIndexes is there where the table has secondary indexes.
	keyIndexes = "headrace.indexes"
	// keyNestedIDs is there where columns have nested fields, the others where the schema was changed.
	keyNestedIDs = "headrace.nested_ids"
	keyVersions  = "headrace.versions"
	keyInitial   = "headrace.initial"
	// keySplits and keyCreatedBuckets are there where the table has grown.
	keySplits         = "headrace.splits"
	keyCreatedBuckets = "headrace.created_buckets"
	// keyPartitionBy is there in partitioned tables, keyPartition in the segments of their partitions.
	keyPartitionBy = "headrace.partition_by"
	keyPartition   = "headrace.partition"

	segmentFormat = 1
)

// rewroteRecord is the value of keyRewrote.
type rewroteRecord struct {
	End   int64  `json:"end"`
	Chain uint32 `json:"chain"`
	Next  int64  `json:"next"`
}

// compressionRecord is the value of keyCompression.
type compressionRecord struct {
	// Codec is the table's option log.compression at that time, Bytes the length of the file before.
	Codec string `json:"codec"`
	Bytes int64  `json:"bytes"`
}

// metadataEntry is a key of ours and its value, which is text or becomes JSON.
type metadataEntry struct {
	key   string
	value any
}

// metadata gives the metadata of the IPC schema: the user's, then ours.
func (h *segmentHead) metadata() (arrow.Metadata, error) {
	user := h.table.Schema.Metadata()
	var keys, values []string
	for i, key := range user.Keys() {
		if strings.HasPrefix(key, keyPrefix) {
			key = keyUser + key
		}
		keys, values = append(keys, key), append(values, user.Values()[i])
	}
	t := h.table
	var rewrote *rewroteRecord
	if h.rewrote != nil {
		rewrote = &rewroteRecord{h.rewrote.End, h.rewrote.Chain, h.rewrote.Next}
	}
	var errs []error
	entries := []metadataEntry{
		{keyFormat, segmentFormat}, {keyTableID, t.ID}, {keyTable, t.Name.String()},
		{keyFieldIDs, notNil(t.FieldIDs)}, {keySchemaVersion, t.SchemaVersion},
		{keyPrimaryKey, notNil(t.PrimaryKey)}, {keyBucketKey, notNil(t.BucketKey)},
		{keyBucket, h.bucket}, {keyBuckets, t.Buckets}, {keyRoutingVersion, model.RoutingVersion},
		{keySegment, hex.EncodeToString(h.id[:])}, {keyBaseOffset, h.base}, {keyPrevious, h.previous},
		{keyOptions, t.Options}, {keyComment, t.Comment}, {keyComments, t.Comments},
		{keyDefaults, t.Defaults}, {keyCreated, t.CreatedAt.UTC()}, {keyRewrote, rewrote},
	}
	if len(t.Indexes) > 0 {
		entries = append(entries, metadataEntry{keyIndexes, t.Indexes})
	}
	if t.CreatedBuckets > 0 {
		entries = append(entries, metadataEntry{keyCreatedBuckets, t.CreatedBuckets})
	}
	// Those of the whole table would be too many for each segment.
	if family := t.Family(h.bucket); family != nil {
		entries = append(entries, metadataEntry{keySplits, family})
	}
	if h.compression != "" {
		entries = append(entries, metadataEntry{keyCompression, compressionRecord{h.compression, h.raw}})
	}
	if t.Partitioned() {
		entries = append(entries, metadataEntry{keyPartitionBy, t.PartitionBy})
	}
	if h.partition != nil {
		entries = append(entries, metadataEntry{keyPartition, h.partition})
	}
	for _, entry := range append(entries, evolutionEntries(t)...) {
		text, plain := entry.value.(string)
		if !plain {
			encoded, err := json.Marshal(entry.value)
			errs = append(errs, err)
			text = string(encoded)
		}
		keys, values = append(keys, entry.key), append(values, text)
	}
	return arrow.NewMetadata(keys, values), errors.Join(errs...)
}

// notNil makes JSON show an empty list as one.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// metadataReader takes our keys out of the metadata of an IPC schema.
type metadataReader struct {
	values map[string]string
	errs   []error
}

func (r *metadataReader) text(key string) string {
	value, found := r.values[key]
	if !found {
		r.errs = append(r.errs, fmt.Errorf("the key %s is missing", key))
	}
	return value
}

func (r *metadataReader) number(key string, bits int) int64 {
	n, err := strconv.ParseInt(r.text(key), 10, bits)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("the key %s: %w", key, err))
	}
	return n
}

func (r *metadataReader) decode(key string, into any) {
	if err := json.Unmarshal([]byte(r.text(key)), into); err != nil {
		r.errs = append(r.errs, fmt.Errorf("the key %s: %w", key, err))
	}
}

// parseMetadata reads what metadata wrote; the schema of the table is the user's again.
func (h *segmentHead) parseMetadata(schema *arrow.Schema) error {
	r := &metadataReader{values: map[string]string{}}
	all := schema.Metadata()
	var keys, values []string
	for i, key := range all.Keys() {
		value := all.Values()[i]
		switch {
		case strings.HasPrefix(key, keyUser):
			keys, values = append(keys, strings.TrimPrefix(key, keyUser)), append(values, value)
		case strings.HasPrefix(key, keyPrefix):
			r.values[key] = value
		default:
			keys, values = append(keys, key), append(values, value)
		}
	}
	if format := r.number(keyFormat, 32); len(r.errs) == 0 && format != segmentFormat {
		return fmt.Errorf("its format is %d, want %d", format, segmentFormat)
	}
	var user *arrow.Metadata
	if len(keys) > 0 {
		metadata := arrow.NewMetadata(keys, values)
		user = &metadata
	}
	h.parseTable(r, arrow.NewSchema(schema.Fields(), user))
	h.bucket = int32(r.number(keyBucket, 32))
	h.base = r.number(keyBaseOffset, 64)
	h.previous = uint32(r.number(keyPrevious, 64))
	if _, parted := r.values[keyPartition]; parted {
		r.decode(keyPartition, &h.partition)
	}
	id, err := hex.DecodeString(r.text(keySegment))
	if err != nil || copy(h.id[:], id) != len(h.id) || len(id) != len(h.id) {
		r.errs = append(r.errs, fmt.Errorf("the key %s is not a UUID", keySegment))
	}
	var rewrote *rewroteRecord
	r.decode(keyRewrote, &rewrote)
	if rewrote != nil {
		h.rewrote = &Extent{Segment: h.name(), End: rewrote.End, Chain: rewrote.Chain, Next: rewrote.Next}
	}
	if _, compressed := r.values[keyCompression]; compressed {
		var record compressionRecord
		r.decode(keyCompression, &record)
		h.compression, h.raw = record.Codec, record.Bytes
	}
	return joinFaults(r.errs)
}

// joinFaults makes one error of several, in one line.
func joinFaults(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

func (h *segmentHead) name() SegmentName {
	return SegmentName{TableID: h.table.ID, Bucket: h.bucket, Base: h.base}
}

// parseTable reads the definition of the table.
func (h *segmentHead) parseTable(r *metadataReader, schema *arrow.Schema) {
	t := &model.Table{ID: r.text(keyTableID), Comment: r.text(keyComment)}
	name, err := model.ParseTableName(r.text(keyTable))
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("the key %s: %w", keyTable, err))
	}
	t.Name = name
	r.decode(keyFieldIDs, &t.FieldIDs)
	t.SchemaVersion = int32(r.number(keySchemaVersion, 32))
	t.Buckets = int32(r.number(keyBuckets, 32))
	r.decode(keyPrimaryKey, &t.PrimaryKey)
	t.SetLogSchema(schema)
	r.decode(keyBucketKey, &t.BucketKey)
	r.decode(keyOptions, &t.Options)
	r.decode(keyComments, &t.Comments)
	r.decode(keyDefaults, &t.Defaults)
	if _, indexed := r.values[keyIndexes]; indexed {
		r.decode(keyIndexes, &t.Indexes)
	}
	r.decodeEvolution(t)
	if _, parted := r.values[keyPartitionBy]; parted {
		r.decode(keyPartitionBy, &t.PartitionBy)
	}
	if _, grown := r.values[keyCreatedBuckets]; grown {
		t.CreatedBuckets = int32(r.number(keyCreatedBuckets, 32))
	}
	if _, split := r.values[keySplits]; split {
		var splits map[int32]model.Split
		r.decode(keySplits, &splits)
		if err := t.ReadSplits(splits); err != nil {
			r.errs = append(r.errs, fmt.Errorf("the key %s: %w", keySplits, err))
		}
	}
	var created time.Time
	r.decode(keyCreated, &created)
	t.CreatedAt = created
	if routing := r.number(keyRoutingVersion, 32); len(r.errs) == 0 && routing != model.RoutingVersion {
		r.errs = append(r.errs, fmt.Errorf("its routing version is %d, want %d", routing, model.RoutingVersion))
	}
	h.table = t
}
