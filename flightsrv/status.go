package flightsrv

import (
	"github.com/headrace/headrace/internal/engine"
)

// serverStatus is the JSON of /status.
type serverStatus struct {
	Version  string `json:"version"`
	Ready    bool   `json:"ready"`
	Draining bool   `json:"draining"`
	// Cause is why the server is not ready.
	Cause string `json:"cause,omitzero"`
	// ReadOnly is why nothing can be written until a restart.
	ReadOnly string             `json:"read_only,omitzero"`
	Tables   []tableStatus      `json:"tables"`
	Plans    []planDescription  `json:"plans"`
	Groups   []groupDescription `json:"groups"`
	Disk     diskStatus         `json:"disk"`
	// Since the start.
	Ingested ingestStatus   `json:"ingested"`
	RowCache rowCacheStatus `json:"row_cache"`
	Recovery recoveryStatus `json:"recovery"`
}

// tableStatus counts only buckets that were used since the start: a look at the status opens none.
type tableStatus struct {
	Table         string `json:"table"`
	ID            string `json:"id"`
	Buckets       int32  `json:"buckets"`
	Partitions    int    `json:"partitions,omitzero"`
	OpenedBuckets int    `json:"opened_buckets"`
	Rows          int64  `json:"opened_rows"`
	Bytes         int64  `json:"opened_bytes"`
	// Of primary-key tables: keys, and the memory that finds their rows.
	Keys       int64 `json:"opened_keys,omitzero"`
	IndexBytes int64 `json:"index_bytes,omitzero"`
	LiveBytes  int64 `json:"live_bitmap_bytes,omitzero"`
}

type diskStatus struct {
	FreeBytes  int64 `json:"free_bytes"`
	TotalBytes int64 `json:"total_bytes"`
}

// rowCacheStatus is of the rows of primary-key tables that were looked up.
type rowCacheStatus struct {
	Bytes     int64 `json:"bytes"`
	UsedBytes int64 `json:"used_bytes"`
	Hits      int64 `json:"hits"`
	Misses    int64 `json:"misses"`
}

type ingestStatus struct {
	Rows        int64   `json:"rows"`
	Bytes       int64   `json:"bytes"`
	Groups      int64   `json:"groups"`
	Syncs       int64   `json:"syncs"`
	SyncSeconds float64 `json:"sync_seconds"`
	ScannedRows int64   `json:"scanned_rows"`
}

type recoveryStatus struct {
	Tables    int      `json:"tables"`
	GroupsCut int      `json:"groups_cut"`
	Findings  []string `json:"findings"`
	Seconds   float64  `json:"seconds"`
}

// status gives a picture of the server.
func (s *service) status() serverStatus {
	e := s.engine.Status()
	status := serverStatus{
		Version: s.version, Ready: true, Draining: s.draining.Err() != nil, ReadOnly: e.ReadOnly,
		Tables: make([]tableStatus, len(e.Tables)), Plans: describePlans(e.Plans),
		Groups: describeGroups(e.ConsumerGroups),
		Disk:   diskStatus{FreeBytes: e.Free, TotalBytes: e.Total},
		Ingested: ingestStatus{
			Rows: e.Rows, Bytes: e.Bytes, Groups: e.Groups, Syncs: e.Syncs, SyncSeconds: e.SyncTime.Seconds(),
			ScannedRows: e.ScannedRows,
		},
		RowCache: rowCacheStatus(e.RowCache),
		Recovery: recoveryStatus{
			Tables: e.Recovery.Tables, GroupsCut: e.Recovery.GroupsCut, Findings: e.Recovery.Findings,
			Seconds: e.Recovery.Took.Seconds(),
		},
	}
	for i, table := range e.Tables {
		status.Tables[i] = tableStatus{
			Table: table.Name.String(), ID: table.ID, Buckets: table.Buckets, Partitions: table.Partitions, OpenedBuckets: table.OpenedBuckets,
			Rows: table.Rows, Bytes: table.Bytes,
			Keys: table.Keys, IndexBytes: table.IndexBytes, LiveBytes: table.LiveBytes,
		}
	}
	if err := s.ready(); err != nil {
		status.Ready, status.Cause = false, err.Error()
	}
	return status
}

// ready is nil while the server takes reads and writes.
func (s *service) ready() error {
	if s.draining.Err() != nil {
		return drainingError()
	}
	return s.engine.Ready()
}

func describePlans(states []engine.PlanState) []planDescription {
	plans := make([]planDescription, len(states))
	for i, plan := range states {
		plans[i] = planDescription{
			Plan: plan.ID, Table: plan.Table.String(), Since: timeValue{plan.Since}, Expires: timeValue{plan.Expires},
			PinnedRows: plan.PinnedRows,
		}
	}
	return plans
}
