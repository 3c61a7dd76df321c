package flightsrv

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/internal/obs"
)

// statusCollector turns the status into metrics when they are asked for.
type statusCollector struct{ service *service }

func newStatusCollector(service *service) statusCollector { return statusCollector{service} }

// statusMetric is one figure of the status.
type statusMetric struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(serverStatus) float64
}

func describeMetric(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, nil, nil)
}

// statusMetrics lists them all.
func statusMetrics() []statusMetric {
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	return []statusMetric{
		{describeMetric(obs.MetricReady, "1 while the server takes reads and writes."), gauge, func(s serverStatus) float64 {
			if s.Ready {
				return 1
			}
			return 0
		}},
		{describeMetric(obs.MetricTables, "Tables."), gauge, func(s serverStatus) float64 { return float64(len(s.Tables)) }},
		{describeMetric(obs.MetricPartitions, "Partitions of all tables."), gauge, sumOfTables(func(t tableStatus) int64 { return int64(t.Partitions) })},
		{describeMetric(obs.MetricStoredBytes, "Bytes of the buckets that were used since the start."), gauge,
			sumOfTables(func(t tableStatus) int64 { return t.Bytes })},
		{describeMetric(obs.MetricKeys, "Keys of the buckets of primary-key tables that were used since the start."), gauge,
			sumOfTables(func(t tableStatus) int64 { return t.Keys })},
		{describeMetric(obs.MetricIndexBytes, "Memory of the indexes of these keys."), gauge,
			sumOfTables(func(t tableStatus) int64 { return t.IndexBytes })},
		{describeMetric(obs.MetricLiveBytes, "Memory, in bytes, of the bitmaps that tell which rows of the log are live."), gauge,
			sumOfTables(func(t tableStatus) int64 { return t.LiveBytes })},
		{describeMetric(obs.MetricRowCacheBytes, "Memory that rows take which were looked up."), gauge,
			func(s serverStatus) float64 { return float64(s.RowCache.UsedBytes) }},
		{describeMetric(obs.MetricRowCacheHits, "Rows that lookups found in this memory."), counter,
			func(s serverStatus) float64 { return float64(s.RowCache.Hits) }},
		{describeMetric(obs.MetricRowCacheMisses, "Rows that lookups had to read from the log."), counter,
			func(s serverStatus) float64 { return float64(s.RowCache.Misses) }},
		{describeMetric(obs.MetricDiskFreeBytes, "Free bytes of the file system of the data folder."), gauge,
			func(s serverStatus) float64 { return float64(s.Disk.FreeBytes) }},
		{describeMetric(obs.MetricPlans, "Plans that pin rows."), gauge, func(s serverStatus) float64 { return float64(len(s.Plans)) }},
		{describeMetric(obs.MetricPinnedRows, "Rows that plans pin."), gauge, func(s serverStatus) float64 {
			total := int64(0)
			for _, plan := range s.Plans {
				total += plan.PinnedRows
			}
			return float64(total)
		}},
		{describeMetric(obs.MetricGroups, "Group commits."), counter, func(s serverStatus) float64 { return float64(s.Ingested.Groups) }},
		{describeMetric(obs.MetricSyncs, "Syncs of the disk."), counter, func(s serverStatus) float64 { return float64(s.Ingested.Syncs) }},
		{describeMetric(obs.MetricSyncSeconds, "Time spent in syncs."), counter, func(s serverStatus) float64 { return s.Ingested.SyncSeconds }},
	}
}

// sumOfTables adds up a figure of the tables.
func sumOfTables(figure func(tableStatus) int64) func(serverStatus) float64 {
	return func(s serverStatus) float64 {
		total := int64(0)
		for _, table := range s.Tables {
			total += figure(table)
		}
		return float64(total)
	}
}

// groupMetric is one figure of each group, labelled with its table and name.
type groupMetric struct {
	description *prometheus.Desc
	value       func(groupDescription) float64
}

// groupMetrics lists them all.
func groupMetrics() []groupMetric {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"table", "group"}, nil)
	}
	return []groupMetric{
		{describe(obs.MetricGroupLagRows, "Rows that a consumer group has not committed."), func(g groupDescription) float64 { return float64(g.Lag) }},
		{describe(obs.MetricGroupMembers, "Members of a consumer group."), func(g groupDescription) float64 { return float64(len(g.Members)) }},
	}
}

// Describe implements prometheus.Collector.
func (c statusCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, metric := range statusMetrics() {
		descriptions <- metric.description
	}
	for _, metric := range groupMetrics() {
		descriptions <- metric.description
	}
}

// Collect implements prometheus.Collector.
func (c statusCollector) Collect(metrics chan<- prometheus.Metric) {
	status := c.service.status()
	for _, metric := range statusMetrics() {
		metrics <- prometheus.MustNewConstMetric(metric.description, metric.kind, metric.value(status))
	}
	for _, metric := range groupMetrics() {
		for _, group := range status.Groups {
			metrics <- prometheus.MustNewConstMetric(metric.description, prometheus.GaugeValue, metric.value(group), group.Table, group.Group)
		}
	}
}
