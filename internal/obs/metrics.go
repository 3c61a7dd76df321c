package obs

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// The names of all metrics. Units are part of the name; totals only grow.
const (
	MetricRPCs               = "headrace_rpcs_total"
	MetricRPCSeconds         = "headrace_rpc_seconds"
	MetricRPCsOpen           = "headrace_rpcs_open"
	MetricConnections        = "headrace_connections_open"
	MetricConnectionsRefused = "headrace_connections_refused_total"
	MetricPutBatches         = "headrace_put_batches_total"
	MetricPutRows            = "headrace_put_rows_total"
	MetricPutBytes           = "headrace_put_bytes_total"
	MetricPutDuplicates      = "headrace_put_duplicates_total"
	MetricPutAckSeconds      = "headrace_put_ack_seconds"
	MetricGetBatches         = "headrace_get_batches_total"
	MetricGetRows            = "headrace_get_rows_total"
	MetricGetBytes           = "headrace_get_bytes_total"
	MetricAuthFailures       = "headrace_auth_failures_total"
	MetricTables             = "headrace_tables"
	MetricPartitions         = "headrace_partitions"
	MetricStoredBytes        = "headrace_stored_bytes"
	MetricKeys               = "headrace_keys"
	MetricIndexBytes         = "headrace_key_index_bytes"
	MetricLiveBytes          = "headrace_live_bitmap_memory"
	MetricRowCacheBytes      = "headrace_row_cache_bytes"
	MetricRowCacheHits       = "headrace_row_cache_hits_total"
	MetricRowCacheMisses     = "headrace_row_cache_misses_total"
	MetricDiskFreeBytes      = "headrace_disk_free_bytes"
	MetricPlans              = "headrace_plans"
	MetricPinnedRows         = "headrace_pinned_rows"
	MetricGroupLagRows       = "headrace_group_lag_rows"
	MetricGroupMembers       = "headrace_group_members"
	MetricGroups             = "headrace_groups_total"
	MetricSyncs              = "headrace_syncs_total"
	MetricSyncSeconds        = "headrace_sync_seconds_total"
	MetricReady              = "headrace_ready"
	MetricBuildInfo          = "headrace_build_info"
)

// Metrics are the figures of one server. All fields may be used from any goroutine.
type Metrics struct {
	// Registry gathers the figures below, those of the process and of the Go runtime.
	Registry *prometheus.Registry

	// RPCs counts finished calls, by method and status code.
	RPCs *prometheus.CounterVec
	// RPCSeconds is how long calls took, by method.
	RPCSeconds *prometheus.HistogramVec
	// RPCsOpen is the number of calls under way, by method.
	RPCsOpen *prometheus.GaugeVec
	// Connections is the number of open client connections; ConnectionsRefused counts those beyond
	// the limit.
	Connections        prometheus.Gauge
	ConnectionsRefused prometheus.Counter
	// PutBatches, PutRows and PutBytes count what was acknowledged, retries included; PutDuplicates
	// counts the batches among them that had been stored before.
	PutBatches, PutRows, PutBytes, PutDuplicates prometheus.Counter
	// PutAckSeconds is the time from receiving a batch to its being durable.
	PutAckSeconds prometheus.Histogram
	// GetBatches, GetRows and GetBytes count what was sent to readers; bytes are those of the bodies.
	GetBatches, GetRows, GetBytes prometheus.Counter
	// AuthFailures counts calls that were refused for their token or certificate.
	AuthFailures prometheus.Counter
}

// NewMetrics makes the metrics of one server; version labels the build.
func NewMetrics(version string) *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.addCalls()
	m.addRows()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: MetricBuildInfo, Help: "1, labelled with the version."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.Registry.MustRegister(build)
	return m
}

func (m *Metrics) addCalls() {
	m.RPCs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: MetricRPCs, Help: "Finished calls by method and gRPC status code."}, []string{"method", "code"})
	m.RPCSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: MetricRPCSeconds, Help: "Time that calls took, streams included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10)}, []string{"method"})
	m.RPCsOpen = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: MetricRPCsOpen, Help: "Calls under way."}, []string{"method"})
	m.Connections = prometheus.NewGauge(prometheus.GaugeOpts{Name: MetricConnections, Help: "Open client connections."})
	m.ConnectionsRefused = m.counter(MetricConnectionsRefused, "Connections refused because there were too many.")
	m.AuthFailures = m.counter(MetricAuthFailures, "Calls refused for their token.")
	m.Registry.MustRegister(m.RPCs, m.RPCSeconds, m.RPCsOpen, m.Connections)
}

func (m *Metrics) addRows() {
	m.PutBatches = m.counter(MetricPutBatches, "Batches acknowledged.")
	m.PutRows = m.counter(MetricPutRows, "Rows acknowledged.")
	m.PutBytes = m.counter(MetricPutBytes, "Bytes of received record batches.")
	m.PutDuplicates = m.counter(MetricPutDuplicates, "Acknowledged batches that had been stored before.")
	m.PutAckSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: MetricPutAckSeconds, Help: "Time from receiving a batch to its acknowledgement.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14)})
	m.GetBatches = m.counter(MetricGetBatches, "Batches sent to readers.")
	m.GetRows = m.counter(MetricGetRows, "Rows sent to readers.")
	m.GetBytes = m.counter(MetricGetBytes, "Body bytes sent to readers.")
	m.Registry.MustRegister(m.PutAckSeconds)
}

// counter makes a counter and registers it.
func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.Registry.MustRegister(c)
	return c
}
