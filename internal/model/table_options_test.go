package model

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseOptions(t *testing.T) {
	defaults := Options{
		Durability: Fsync, PlanMaxPin: time.Hour, Merge: MergeLastRow, Delete: DeleteAllow, Image: ImageFull,
		GroupTTL: 7 * 24 * time.Hour, Partition: PartitionOptions{AutoCreate: true},
	}
	spelled := map[string]string{}
	for _, spec := range TableOptions() {
		if !strings.HasSuffix(spec.Name, ".COLUMN") {
			spelled[spec.Name] = spec.Default
		}
	}
	for name, c := range map[string]struct {
		set  map[string]string
		want Options
	}{
		"none":                 {nil, defaults},
		"the defaults spelled": {spelled, defaults},
		"all": {
			map[string]string{"log.ttl": "7d", "log.max-bytes": "10GB", "log.durability": "os", "plan.max-pin": "90m",
				"merge.engine": "aggregation", "merge.aggregate.n": "sum", "merge.aggregate.s": "listagg:; ", "delete.behavior": "refuse",
				"changelog.image": "new", "index.max-bytes": "1GiB", "merge.version-column": "v",
				"group.pin": "2d", "group.ttl": "0", "local.ttl": "1d", "log.compression": "zstd:22",
				"partition.auto-create": "false", "partition.time-unit": "quarter", "partition.keep": "8"},
			Options{
				GroupPin: 48 * time.Hour, LocalTTL: 24 * time.Hour, Compression: Compression{CompressionZSTD, 22},
				TTL: 7 * 24 * time.Hour, MaxBytes: 10_000_000_000, Durability: OS, PlanMaxPin: 90 * time.Minute,
				Merge: MergeAggregation, Aggregates: map[string]string{"n": "sum", "s": "listagg:; "}, Delete: DeleteRefuse,
				Image: ImageNew, IndexMaxBytes: 1 << 30, VersionColumn: "v", Partition: PartitionOptions{TimeUnit: TimeUnitQuarter, Keep: 8},
			},
		},
	} {
		got, err := ParseOptions(c.set)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestFaultsOfOptionsComeTogether(t *testing.T) {
	_, err := ParseOptions(map[string]string{
		"log.ttl": "7 days", "log.max-bytes": "1KB", "log.durability": "quorum", "plan.max-pin": "0",
		"local.ttl": "1", "log.compression": "gzip", "lake.enabled": "true", "merge.aggregate.clicks": "median", "merge.engine": "last_row", "log.tll": "1d", "x": "",
	})
	if !errors.Is(err, BadRequest) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		`option log.ttl: "7 days" is not a duration`, `option log.max-bytes: "1KB" is out of range`,
		"option log.durability: the level quorum is not available", `option plan.max-pin: "0" is out of range`,
		`option local.ttl: "1" is not a duration`, `option log.compression: "gzip" is none of none, lz4, zstd, zstd:1 to zstd:22`,
		"option lake.enabled is not available in this version", `option merge.aggregate.clicks: "median" is no aggregate function`, `option merge.engine: "last_row" is none of last-row, first-row`,
		`there is no option "log.tll"`, "Did you mean log.ttl?", `there is no option "x"`, "The options are changelog.image,",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
}

func TestOptionsAreSortedAndDescribed(t *testing.T) {
	specs := TableOptions()
	if !slices.IsSortedFunc(specs, func(a, b OptionSpec) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the options are not sorted by name")
	}
	for _, spec := range specs {
		if spec.Range == "" || spec.Description == "" || slices.Contains(laterOptions, spec.Name) {
			t.Errorf("option %+v", spec)
		}
	}
}

func TestFaultsOfOptionsNameTheRange(t *testing.T) {
	for _, spec := range TableOptions() {
		if spec.Type == "column" {
			continue // any text may be a column: CheckOptions looks
		}
		for _, value := range []string{"?", "-1", "9999999999999999999w", "1B"} {
			_, err := ParseOptions(map[string]string{spec.Name: value})
			fault := AsError(err)
			if !errors.Is(err, BadRequest) || !strings.Contains(fault.Text, "option "+spec.Name+": ") ||
				!strings.Contains(fault.Text, spec.Range) || fault.Details["option"] != spec.Name {
				t.Errorf("%s %q: got %v, want the range %s", spec.Name, value, err, spec.Range)
			}
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "7d": 168 * time.Hour, "1w": 168 * time.Hour, "1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond,
		"250ms": 250 * time.Millisecond, " 5m ": 5 * time.Minute, "10 s": 10 * time.Second, "3µs": 3000,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "7", "d", "-1d", "1x", "1d2", "1..5s", "1e3s", "999999w", "∞s"} {
		if got, err := ParseDuration(text); !errors.Is(err, BadRequest) {
			t.Errorf("%s: got %v, %v, want an error", text, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "1B": 1, "10GB": 10_000_000_000, "512MiB": 512 << 20, "1.5 kib": 1536, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GB", "-1", "1G", "1GB2", "9223372036854775808", "9e3", "99999999PB", "NaN"} {
		if got, err := ParseSize(text); !errors.Is(err, BadRequest) {
			t.Errorf("%s: got %v, %v, want an error", text, got, err)
		}
	}
}

func TestMatchTable(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "web.clicks", true},
		{"*.*", "web.clicks", true},
		{"web.*", "web.clicks", true},
		{"web.*", "webs.clicks", false},
		{"w*.c*s", "web.clicks", true},
		{"w*.*c*k*", "web.clicks", true},
		{"*", "web.clicks", false},
		{"*", "default.clicks", true},
		{"clicks", "default.clicks", true},
		{"cl?cks", "default.clicks", true},
		{"?licks?", "default.clicks", false},
		{"web.Clicks", "web.clicks", false},
		{"web.clicks.x", "web.clicks", false},
		{"web.clicks*", "web.clicks", true},
		{"web.", "web.clicks", false},
		{"*a*a*a*a*a*b.*", strings.Repeat("a", 128) + ".t", false},
	} {
		database, table, _ := strings.Cut(c.name, ".")
		if got := MatchTable(c.pattern, TableName{database, table}); got != c.want {
			t.Errorf("%q and %s: got %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

type fixedClock struct{ WallClock }

func (fixedClock) Now() time.Time { return time.UnixMilli(1_700_000_000_000) }

func TestIDsSortByTimeAndHoldTheEntropy(t *testing.T) {
	id, err := NewID(fixedClock{}, bytes.NewReader(make([]byte, 10)))
	if err != nil || id != "01HF7YAT000000000000000000" {
		t.Errorf("got %q, %v", id, err)
	}
	if _, err := NewID(fixedClock{}, bytes.NewReader(make([]byte, 9))); err == nil {
		t.Error("short entropy gives no error")
	}
}
