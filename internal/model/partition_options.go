package model

import (
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

const (
	optionPartitionAutoCreate = "partition.auto-create"
	optionPartitionTimeUnit   = "partition.time-unit"
	optionPartitionKeep       = "partition.keep"

	partitionAutoRange = "true, false"
	partitionKeepMax   = 1_000_000
	partitionKeepRange = "0 to 1000000"
)

// PartitionOptions are the options of a partitioned table.
type PartitionOptions struct {
	// AutoCreate says that a row makes the partition that it belongs to.
	AutoCreate bool
	// TimeUnit is the unit of time that a partition is of; "" means that partitions do not follow time.
	TimeUnit TimeUnit
	// Keep is how many past units of time are kept beside the present one; 0 means all.
	Keep int
}

// partitionOptions describes the options of partitioned tables.
func partitionOptions() []OptionSpec {
	return []OptionSpec{
		{optionPartitionAutoCreate, "choice", "true", partitionAutoRange, true,
			"Partitioned tables: whether a row makes the partition that it belongs to, or is refused where that is not there."},
		{optionPartitionKeep, "count", "0", partitionKeepRange, true,
			"Partitioned tables with partition.time-unit: how many past units are kept beside the present one; older partitions are " +
				"dropped, and rows for them refused. 0 means all."},
		{optionPartitionTimeUnit, "choice", "", timeUnitRange, false,
			"Partitioned tables: the unit of time that a partition is of, by its date, timestamp or text column. The present " +
				"partition and the next two are made ahead where that is the only partition column."},
	}
}

// parsePartition reads an option that is for partitioned tables; false if there is none of that name.
func (o *Options) parsePartition(name, value string) (known bool, err error) {
	switch name {
	case optionPartitionAutoCreate:
		var word string
		word, err = choice[string](value, partitionAutoRange)
		o.Partition.AutoCreate = word == "true"
	case optionPartitionTimeUnit:
		if value != "" {
			o.Partition.TimeUnit, err = choice[TimeUnit](value, timeUnitRange)
		}
	case optionPartitionKeep:
		o.Partition.Keep, err = strconv.Atoi(value)
		if err != nil || o.Partition.Keep < 0 || o.Partition.Keep > partitionKeepMax {
			err = Errorf(BadRequest, "%q is no count, want %s", clip(value, 40), partitionKeepRange)
		}
	default:
		return false, nil
	}
	return true, err
}

// checkPartitionOptions checks the options of partitions against the table's columns.
func (t *Table) checkPartitionOptions(options Options) error {
	var faults []error
	if !t.Partitioned() {
		for name := range t.Options {
			if strings.HasPrefix(name, "partition.") {
				faults = append(faults, Errorf(BadRequest, "option %s is for tables with partitions", name).
					WithRemedy("Leave it out, or give partition_by"))
			}
		}
		return JoinFaults(faults)
	}
	unit := options.Partition.TimeUnit
	if unit == "" {
		if options.Partition.Keep > 0 {
			faults = append(faults, Errorf(BadRequest, "option partition.keep needs partition.time-unit"))
		}
		return JoinFaults(faults)
	}
	at := t.TimePartition()
	if at < 0 {
		return Errorf(BadRequest, "partition.time-unit needs exactly one partition column of a date or timestamp type, or else exactly one of type string").
			WithRemedy("Change partition_by, or leave the option out")
	}
	field, _ := t.Schema.FieldsByName(t.PartitionBy[at])
	if id := field[0].Type.ID(); unit == TimeUnitHour && (id == arrow.DATE32 || id == arrow.DATE64) {
		return Errorf(BadRequest, "partition.time-unit is hour, and the column %q is a date", t.PartitionBy[at]).
			WithRemedy("Use day or a longer unit")
	}
	return nil
}

// TimePartition gives the index in PartitionBy of the column that partition.time-unit is about: the only one
// of a date or timestamp type, or where there is none the only one of text; −1 where that is not one.
func (t *Table) TimePartition() int {
	var times, texts []int
	for i, name := range t.PartitionBy {
		fields, _ := t.Schema.FieldsByName(name)
		if len(fields) != 1 {
			continue
		}
		switch id := fields[0].Type.ID(); {
		case slices.Contains([]arrow.Type{arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP}, id):
			times = append(times, i)
		case id == arrow.STRING || id == arrow.LARGE_STRING:
			texts = append(texts, i)
		}
	}
	if len(times) == 0 {
		times = texts
	}
	if len(times) != 1 {
		return -1
	}
	return times[0]
}
