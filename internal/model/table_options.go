package model

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// OptionSpec describes one table option, for ListOptions and the documentation.
type OptionSpec struct {
	Name string `json:"name"`
	// Type is "duration", "size", "count", "level", "compression", "choice" (one of Range), "function" or "column";
	// see ParseDuration, ParseSize, ParseDurability and ParseCompression.
	Type string `json:"type"`
	// Default is the text that means the same as leaving the option out.
	Default string `json:"default"`
	// Range says in words what is allowed.
	Range string `json:"range"`
	// Alterable says that AlterTable may change the option.
	Alterable   bool   `json:"alterable"`
	Description string `json:"description"`
}

// Options are the options of a table as values.
type Options struct {
	// TTL is how long rows are kept after they were appended; 0 means for ever.
	TTL time.Duration
	// MaxBytes bounds the bytes of the table's segments, an equal share for each bucket, the oldest
	// going first; 0 means no bound.
	MaxBytes int64
	// LocalTTL is how long rows that a lake holds too are kept here, at most TTL; 0 means as long as TTL
	// says. Nothing follows from it where there is no lake.
	LocalTTL time.Duration
	// Compression is what segments of a log table are compressed with, once they are sealed.
	Compression Compression
	// Durability is the least level of an acknowledged row, and what readers wait for.
	Durability Durability
	// PlanMaxPin is how long a plan, renewed or not, may keep rows from being retired.
	PlanMaxPin time.Duration
	// GroupPin is how long beyond TTL rows are kept that a group has not committed; 0 means not at all.
	GroupPin time.Duration
	// GroupTTL is how long a group is kept that has no members and commits nothing; 0 means for ever.
	GroupTTL time.Duration
	// Partition is for partitioned tables alone.
	Partition PartitionOptions

	// The following is for primary-key tables alone; see CheckOptions.

	// Merge is what becomes of a row whose key is there already.
	Merge MergeEngine
	// VersionColumn is the column that MergeVersioned compares.
	VersionColumn string
	// Aggregates are the functions of MergeAggregation, by column.
	Aggregates map[string]string
	// Delete is what becomes of a deletion.
	Delete DeleteBehavior
	// Image says which rows the changelog has.
	Image ChangelogImage
	// RowTTL is how long a row stays after it was written, or after the time in RowTTLColumn where that
	// is set; 0 means for ever.
	RowTTL       time.Duration
	RowTTLColumn string
	// IndexMaxBytes bounds the memory of the table's key index; 0 means no bound.
	IndexMaxBytes int64
}

const (
	optionTTL         = "log.ttl"
	optionLocalTTL    = "local.ttl"
	optionMaxBytes    = "log.max-bytes"
	optionCompression = "log.compression"
	optionDurability  = "log.durability"
	optionPlanMaxPin  = "plan.max-pin"
	optionGroupPin    = "group.pin"
	optionGroupTTL    = "group.ttl"

	optionMerge           = "merge.engine"
	optionVersionColumn   = "merge.version-column"
	optionAggregatePrefix = "merge.aggregate."
	optionDelete          = "delete.behavior"
	optionImage           = "changelog.image"
	optionIndexMaxBytes   = "index.max-bytes"
	optionRowTTL          = "row.ttl"
	optionRowTTLColumn    = "row.ttl-column"

	groupTTLDefault              = 7 * 24 * time.Hour
	ttlMin, ttlMax               = time.Second, 36500 * 24 * time.Hour
	planMaxPinMin, planMaxPinMax = time.Second, 30 * 24 * time.Hour
	maxBytesMin                  = 1 << 20

	ttlRange        = "0, or 1s to 36500d"
	planMaxPinRange = "1s to 30d"
	maxBytesRange   = "0, or 1MiB and more"
	mergeRange      = "last-row, first-row, versioned, aggregation"
	deleteRange     = "allow, ignore, refuse"
	imageRange      = "full, new"
)

// laterOptions are the options that the interface knows and this version does not have. A name with
// a dot at its end stands for all that begin with it.
var laterOptions = []string{
	"lake.enabled", "lake.freshness", "lake.fragment-bytes",
}

// TableOptions describes every option that a table can have in this version, sorted by name.
func TableOptions() []OptionSpec {
	specs := []OptionSpec{
		{optionImage, "choice", "full", imageRange, false,
			"Primary-key tables: whether the changelog has the rows that updates replace (full), or only what they leave (new)."},
		{optionDelete, "choice", "allow", deleteRange, true,
			"Primary-key tables: what becomes of a deletion."},
		{optionGroupPin, "duration", "0", ttlRange, true,
			"How long beyond log.ttl rows are kept for the slowest group that has not committed them; 0 means that groups keep no rows. " +
				"log.max-bytes removes them all the same."},
		{optionGroupTTL, "duration", "7d", ttlRange, true,
			"Time after which a group is forgotten, with its positions, that has no members and commits nothing; 0 means never."},
		{optionIndexMaxBytes, "size", "0", maxBytesRange, false,
			"Primary-key tables: memory of the index of keys, in equal shares for the buckets. Past it, the rows that were written " +
				"longest ago move to a store on disk, where lookups take longer; 0 means no bound."},
		{optionDurability, "level", "fsync", "memory, os, fsync", true,
			"What an acknowledged row survives: a kill of the server (os), a power cut (fsync); memory is reached as os. " +
				"A put may ask for more, never for less."},
		{optionAggregatePrefix + "COLUMN", "function", "last_value_ignore_nulls", aggregateRange, false,
			"Primary-key tables, merge.engine aggregation: how the values of a column are merged."},
		{optionMerge, "choice", "last-row", mergeRange, false,
			"Primary-key tables: what becomes of a row whose key is there already: it replaces the old one (last-row), " +
				"it is dropped (first-row), it replaces one with a lower version (versioned), or they are merged (aggregation)."},
		{optionVersionColumn, "column", "", "an integer, date or timestamp column", false,
			"Primary-key tables, merge.engine versioned: the column whose larger value wins; a row with null loses."},
		{optionPlanMaxPin, "duration", "1h", planMaxPinRange, true,
			"How long one read may keep rows that are due from being removed."},
		{optionRowTTL, "duration", "0", ttlRange, true,
			"Primary-key tables: time after which a row is deleted, counted from when it was written last; 0 means never."},
		{optionRowTTLColumn, "column", "", "a timestamp or date column", true,
			"Primary-key tables: the column that row.ttl counts from, in place of when the row was written; rows with null stay."},
	}
	specs = append(append(specs, partitionOptions()...), storageOptions()...)
	slices.SortFunc(specs, func(a, b OptionSpec) int { return strings.Compare(a.Name, b.Name) })
	return specs
}

// Alterable says that AlterTable may change an option; true for one that does not exist, which
// ParseOptions refuses.
func Alterable(name string) bool {
	spec := specOf(name)
	return spec.Name == "" || spec.Alterable
}

// ParseOptions reads the options of a table; those left out get their defaults. The error names
// every fault of every option.
func ParseOptions(set map[string]string) (Options, error) {
	options := Options{
		Durability: Fsync, PlanMaxPin: time.Hour, Merge: MergeLastRow, Delete: DeleteAllow, Image: ImageFull,
		GroupTTL: groupTTLDefault, Partition: PartitionOptions{AutoCreate: true},
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if err := options.parse(name, set[name]); err != nil {
			faults = append(faults, err)
		}
	}
	if err := JoinFaults(faults); err != nil {
		return Options{}, err
	}
	return options, nil
}

func (o *Options) parse(name, value string) error {
	var err error
	switch name {
	case optionDurability:
		o.Durability, err = parseTableDurability(value)
	case optionPlanMaxPin:
		o.PlanMaxPin, err = boundedDuration(value, planMaxPinMin, planMaxPinMax, planMaxPinRange)
	case optionGroupPin:
		o.GroupPin, err = boundedDuration(value, ttlMin, ttlMax, ttlRange)
	case optionGroupTTL:
		o.GroupTTL, err = boundedDuration(value, ttlMin, ttlMax, ttlRange)
	default:
		var known bool
		if known, err = o.parsePartition(name, value); !known {
			known, err = o.parseStorage(name, value)
		}
		if !known {
			known, err = o.parseKeyed(name, value)
		}
		if !known {
			return unknownOption(name)
		}
	}
	if err == nil {
		return nil
	}
	fault := AsError(err)
	text := fault.Text
	if allowed := specOf(name).Range; !strings.Contains(text, allowed) {
		text += ", want " + allowed
	}
	return Errorf(BadRequest, "option %s: %s", name, text).With("option", name).WithRemedy("%s", fault.Remedy)
}

// specOf describes an option that there is.
func specOf(name string) OptionSpec {
	if strings.HasPrefix(name, optionAggregatePrefix) {
		name = optionAggregatePrefix + "COLUMN"
	}
	for _, spec := range TableOptions() {
		if spec.Name == name {
			return spec
		}
	}
	return OptionSpec{}
}

// boundedDuration reads a duration from low to high, or 0 where allowed, the range in words, begins
// with it.
func boundedDuration(text string, low, high time.Duration, allowed string) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err != nil || d == 0 && strings.HasPrefix(allowed, "0") || d >= low && d <= high {
		return d, err
	}
	return 0, Errorf(BadRequest, "%q is out of range, want %s", text, allowed)
}

func parseTableDurability(text string) (Durability, error) {
	level, err := ParseDurability(text)
	if err == nil && level == Quorum {
		return 0, Errorf(BadRequest, "the level quorum is not available in this version").WithRemedy("Use memory, os or fsync")
	}
	if err == nil && level == DurabilityUnset {
		return 0, Errorf(BadRequest, "the level is empty").WithRemedy("Use memory, os or fsync")
	}
	return level, err
}

// unknownOption tells a name that a later version has from one that none has.
func unknownOption(name string) error {
	for _, later := range laterOptions {
		if name == later || strings.HasSuffix(later, ".") && strings.HasPrefix(name, later) {
			return Errorf(BadRequest, "option %s is not available in this version", name)
		}
	}
	var known []string
	for _, spec := range TableOptions() {
		known = append(known, spec.Name)
	}
	fault := Errorf(BadRequest, "there is no option %q", clip(name, 100))
	if near := Nearest(name, known); near != "" {
		return fault.WithRemedy("Did you mean %s?", near)
	}
	return fault.WithRemedy("The options are %s", strings.Join(known, ", "))
}

// Nearest gives the known name that is most like name, or "" if none is like it: what an error may
// propose.
func Nearest(name string, known []string) string {
	if len(name) > 100 {
		return ""
	}
	nearest, least := "", max(2, len(name)/3)+1
	for _, candidate := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(candidate)); d < least {
			nearest, least = candidate, d
		}
	}
	return nearest
}

// editDistance counts the bytes to insert, delete or replace that lead from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
