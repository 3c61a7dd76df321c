package streams

import (
	"encoding/base64"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// versionRecord is one element of the value of keyVersions.
type versionRecord struct {
	Version   int32   `json:"version"`
	Schema    string  `json:"schema"` // IPC schema message, base64
	FieldIDs  []int32 `json:"field_ids"`
	NestedIDs []int32 `json:"nested_ids,omitempty"`
}

// evolutionEntries are the entries of a table with nested fields, or whose schema was changed.
func evolutionEntries(t *model.Table) (entries []metadataEntry) {
	if len(t.NestedIDs) > 0 {
		entries = append(entries, metadataEntry{keyNestedIDs, t.NestedIDs})
	}
	if len(t.Versions) == 0 {
		return entries
	}
	records := make([]versionRecord, len(t.Versions))
	for i, v := range t.Versions {
		schema := base64.StdEncoding.EncodeToString(arrowipc.EncodeSchema(v.Schema))
		records[i] = versionRecord{v.Version, schema, v.FieldIDs, v.NestedIDs}
	}
	return append(entries, metadataEntry{keyVersions, records}, metadataEntry{keyInitial, t.Initial})
}

// decodeEvolution reads what evolutionEntries wrote.
func (r *metadataReader) decodeEvolution(t *model.Table) {
	if _, nested := r.values[keyNestedIDs]; nested {
		r.decode(keyNestedIDs, &t.NestedIDs)
	}
	if _, evolved := r.values[keyVersions]; evolved {
		var records []versionRecord
		r.decode(keyVersions, &records)
		r.decode(keyInitial, &t.Initial)
		for _, record := range records {
			v := model.SchemaVersion{Version: record.Version, FieldIDs: record.FieldIDs, NestedIDs: record.NestedIDs}
			message, err := base64.StdEncoding.DecodeString(record.Schema)
			if err == nil {
				v.Schema, err = arrowipc.DecodeSchema(message, arrowipc.Limits{})
			}
			if err != nil {
				r.errs = append(r.errs, fmt.Errorf("the key %s: version %d: %w", keyVersions, v.Version, err))
				return
			}
			t.Versions = append(t.Versions, v)
		}
	}
	t.NumberFields()
}
