package flightsrv

import (
	"strings"
	"testing"
)

// TestLongListsComeInParts describes a table with more buckets than one Result holds.
func TestLongListsComeInParts(t *testing.T) {
	s := startServer(t, nil)
	const buckets = 2500
	type part struct {
		Table   string                 `json:"table"`
		ID      string                 `json:"id"`
		Schema  string                 `json:"schema"`
		Buckets []struct{ Bucket int } `json:"buckets"`
		More    bool                   `json:"more"`
	}
	const columns = `"columns":[{"name":"id","type":"int64"}]`
	for _, request := range [][2]string{
		{"CreateTable", `{"table":"t","buckets":2500,` + columns + `}`},
		{"DescribeTable", `{"table":"t"}`},
		{"TableStats", `{"table":"t"}`},
		{"RenameTable", `{"table":"t","to":"u"}`},
	} {
		results, err := s.action(t.Context(), request[0], request[1])
		if err != nil {
			t.Fatalf("%s: %v", request[0], err)
		}
		next, id := 0, ""
		for i, result := range results {
			p := parse[part](t, result)
			if last := i == len(results)-1; p.More == last {
				t.Errorf("%s: result %d of %d says more: %t", request[0], i, len(results), p.More)
			}
			if i == 0 {
				id = p.ID
			}
			if p.ID != id || id == "" || i > 0 && p.Schema != "" {
				t.Errorf("%s: result %d is of table %q, want %q, and the schema only in the first one", request[0], i, p.ID, id)
			}
			for _, b := range p.Buckets {
				if b.Bucket != next {
					t.Fatalf("%s: bucket %d, want %d", request[0], b.Bucket, next)
				}
				next++
			}
		}
		if next != buckets || len(results) != 3 {
			t.Errorf("%s: %d buckets in %d results, want %d in 3", request[0], next, len(results), buckets)
		}
	}
}

// TestExpectIsNotCut sends a version that would be another one in 32 bits.
func TestExpectIsNotCut(t *testing.T) {
	s := startServer(t, nil)
	s.must(t, "CreateTable", `{"table":"t","columns":[{"name":"id","type":"int64"}]}`)
	_, err := s.action(t.Context(), "AlterTable",
		`{"table":"t","expect":{"schema_version":4294967297},"changes":[{"set_option":{"name":"log.ttl","value":"1d"}}]}`)
	if err == nil || !strings.Contains(err.Error(), "BAD_REQUEST") {
		t.Errorf("error %v, want BAD_REQUEST", err)
	}
}
