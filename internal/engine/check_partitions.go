package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// partitions checks the ledger of a partitioned table, or makes it anew where that was asked for and it cannot
// be read.
func (c *checker) partitions(dir string, definition *model.Table) {
	if definition == nil || !definition.Partitioned() {
		return
	}
	name := dir + "/" + partitionsFile
	fault := c.readLedger(name)
	if fault == nil {
		return
	}
	if c.rebuild {
		if fault = c.rebuildLedger(dir, definition); fault == nil {
			c.checked.Rebuilt++
			return
		}
	}
	c.found(Finding{Path: name, Table: definition.Name.String(), Detail: fault.Error()})
}

// readLedger reads every record, and changes nothing.
func (c *checker) readLedger(name string) error {
	content, err := readFile(c.files, name)
	if err != nil {
		return err
	}
	_, err = parseLedger(content, func(record []byte) error {
		var parsed partitionRecord
		return json.Unmarshal(record, &parsed)
	})
	return err
}

// rebuiltGap is how many numbers of buckets are left out behind those that segments name: partitions without
// segments may have had them, and positions may name them.
const rebuiltGap = 1 << 20

// rebuildLedger makes the ledger of a table anew from its segments. Partitions without rows are lost.
func (c *checker) rebuildLedger(dir string, definition *model.Table) error {
	layout, err := arrowipc.NewLayout(definition.Schema)
	if err != nil {
		return err
	}
	p, err := newPartitions(layout, definition)
	if err != nil {
		return err
	}
	found := map[int64]*partition{}
	next := nextRecord{ID: 1, Bucket: model.HomeBucket + 1}
	err = c.segments(dir, func(segment string, _ int64) error {
		_, known, err := streams.ReadSegmentTable(c.options, segment)
		if err != nil || known == nil || len(known.Buckets) == 0 {
			return nil // another segment of the partition may do
		}
		number, err := strconv.ParseInt(path.Base(path.Dir(segment)), 10, 32)
		if err != nil || !slices.Contains(known.Buckets, int32(number)) {
			return nil // not a bucket of the partition
		}
		next.ID, next.Bucket = max(next.ID, known.ID+1), max(next.Bucket, slices.Max(known.Buckets)+1)
		if before := found[known.ID]; before != nil && len(before.numbers()) >= len(known.Buckets) {
			return nil
		}
		x, err := p.restore(known)
		if err != nil {
			return fmt.Errorf("%s: %w", segment, err)
		}
		found[known.ID] = x
		return nil
	})
	if err != nil {
		return err
	}
	list := make([]*partition, 0, len(found))
	for _, x := range found {
		list = append(list, x)
	}
	slices.SortFunc(list, byID)
	next.Bucket += rebuiltGap
	l := &ledger{files: c.files, dir: dir, name: partitionsFile}
	return errors.Join(l.rewrite(ledgerOf(list, next)), l.close())
}

// restore makes a partition of what a segment says of it.
func (p *partitions) restore(known *model.Partition) (*partition, error) {
	shape := p.shape.Load()
	if len(known.Values) != len(shape.fields) {
		return nil, fmt.Errorf("partition %d has %d values, want %d", known.ID, len(known.Values), len(shape.fields))
	}
	values := make(map[string]any, len(shape.fields))
	for i, field := range shape.fields {
		values[field.Name] = known.Values[i]
	}
	parsed, err := p.encode(shape, values)
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", known.ID, err)
	}
	x := &partition{id: known.ID, key: parsed.key, values: parsed.values, created: known.Created}
	x.list.Store(&known.Buckets)
	return x, nil
}
