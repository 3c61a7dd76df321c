package pkstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cockroachdb/datadriven"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Scripts in testdata/scripts show the changelog of each engine. Commands:
//
//	new engine=… deletes=… image=… batch-bytes=… aggregate=(column:function,…)
//	upsert columns=(…) only-new      rows, one a line, in the order of the columns
//	delete                           keys, one a line
//	retract columns=(…)              rows whose values are taken back
//	publish | abandon changes=n      the oldest pending changes | the newest
//	lookup                           keys, one a line
//	state                            the published rows and their number
type script struct {
	bucket  *Bucket
	end     int64
	pending []scriptChange
}

type scriptChange struct {
	base, end int64
	batches   []*arrowipc.Batch
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var s script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d)
		})
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		return s.open(t, d)
	case "upsert", "delete", "retract":
		return s.change(t, d)
	case "publish":
		return s.publish(t, d)
	case "abandon":
		n := 1
		d.MaybeScanArgs(t, "changes", &n)
		for range n {
			s.end = s.pending[len(s.pending)-1].base
			s.pending = s.pending[:len(s.pending)-1]
		}
		s.bucket.Abandon(s.end)
		return ""
	case "lookup":
		found, asOf := lookedUp(t, s.bucket, scriptRows(d.Input, testKey), nil)
		return fmt.Sprintf("%s\nas of %d", strings.Join(found, "\n"), asOf)
	case "state":
		snapshot := s.bucket.Snapshot()
		state := stateOf(t, snapshot)
		var lines []string
		for _, key := range sortedKeys(state) {
			row := state[key]
			lines = append(lines, strings.Join(row[:], " "))
		}
		return fmt.Sprintf("%s\n%d rows at %d", strings.Join(lines, "\n"), snapshot.Count(), snapshot.End())
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func (s *script) open(t *testing.T, d *datadriven.TestData) string {
	o := Options{Layout: logLayout(t), Key: testKey}
	var engine, image string
	d.MaybeScanArgs(t, "engine", &engine)
	d.MaybeScanArgs(t, "image", &image)
	d.MaybeScanArgs(t, "batch-bytes", &o.BatchBytes)
	o.Merge.Engine, o.Image = model.MergeEngine(engine), model.ChangelogImage(image)
	if d.HasArg("version") {
		d.ScanArgs(t, "version", &o.Merge.VersionColumn)
	}
	for _, arg := range d.CmdArgs {
		if arg.Key == "aggregate" {
			o.Merge.Aggregates = map[int]AggregateFunction{}
			for _, v := range arg.Vals {
				column, function, _ := strings.Cut(v, ":")
				o.Merge.Aggregates[o.Layout.ColumnIndex(column)] = AggregateFunction(function)
			}
		}
	}
	var err error
	*s = script{}
	if s.bucket, err = NewBucket(o); err != nil {
		return err.Error()
	}
	return ""
}

func scriptRows(input string, columns []int) []testRow {
	var rows []testRow
	for _, line := range strings.Split(strings.TrimSpace(input), "\n") {
		row := testRow{null, null, null, null, null}
		for i, cell := range strings.Fields(line) {
			row[columns[i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *script) change(t *testing.T, d *datadriven.TestData) string {
	columns := allOf
	if d.Cmd == "delete" {
		columns = testKey
	}
	for _, arg := range d.CmdArgs {
		if arg.Key == "columns" {
			columns = nil
			for _, name := range arg.Vals {
				columns = append(columns, slices.IndexFunc(testSchema.Fields(), func(f arrow.Field) bool { return f.Name == name }))
			}
		}
	}
	c := changeOf(t, columns, scriptRows(d.Input, columns))
	c.Delete, c.Retract, c.OnlyNew = d.Cmd == "delete", d.Cmd == "retract", d.HasArg("only-new")
	batches, err := s.bucket.Apply(s.end, c)
	if err != nil {
		return err.Error()
	}
	var lines []string
	offset := s.end
	for i, batch := range batches {
		if i > 0 {
			lines = append(lines, "-- another batch")
		}
		for _, row := range logged(t, []*arrowipc.Batch{batch}) {
			lines = append(lines, fmt.Sprintf("%d %s", offset, row))
			offset++
		}
	}
	s.pending = append(s.pending, scriptChange{s.end, offset, batches})
	s.end = offset
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(lines, "\n")
}

func (s *script) publish(t *testing.T, d *datadriven.TestData) string {
	n := len(s.pending)
	d.MaybeScanArgs(t, "changes", &n)
	var stored []Stored
	end := s.bucket.End()
	for _, c := range s.pending[:n] {
		stored = append(stored, kept(t, c.base, c.batches, 1<<20)...)
		end = c.end
	}
	s.pending = s.pending[n:]
	if err := s.bucket.Publish(end, stored); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("up to %d", end)
}
