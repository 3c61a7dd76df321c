package flightsrv

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// planOf gives a plan of n buckets with rows [b, 2b+1) in bucket b.
func planOf(n int32, change func(*engine.Plan)) *engine.Plan {
	plan := &engine.Plan{
		ID: "P", Table: &model.Table{ID: "T", Name: model.TableName{Database: "web", Table: "t"}, SchemaVersion: 3},
		Ranges: map[int32]model.Range{}, Expires: time.UnixMicro(1_800_000_000_000_000), SchemaMessage: make([]byte, 64),
	}
	for bucket := range n {
		plan.Ranges[bucket] = model.Range{From: int64(bucket), To: 2*int64(bucket) + 1}
		plan.Rows += int64(bucket) + 1
	}
	if change != nil {
		change(plan)
	}
	return plan
}

func TestEndpointsAreGrouped(t *testing.T) {
	for _, c := range []struct {
		buckets   int32
		change    func(*engine.Plan)
		endpoints int
		records   int64
	}{
		{0, nil, 1, 0},
		{1, nil, 1, 1},
		{4, nil, 4, 1 + 2 + 3 + 4},
		{256, nil, 256, 256 * 257 / 2},
		{257, nil, 129, 257 * 258 / 2},
		{1000, nil, 250, 1000 * 1001 / 2},
		{1000, func(p *engine.Plan) { p.Scan.HasLimit, p.Scan.Limit = true, 7 }, 1, 7},
		{4, func(p *engine.Plan) { p.Scan.HasLimit, p.Scan.Limit = true, 700 }, 1, 10},
		{4, func(p *engine.Plan) { p.Follow = true }, 4, -1},
	} {
		plan := planOf(c.buckets, c.change)
		info, err := planInfo(plan, &scanRequest{Table: "web.t"})
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d buckets, limit %v, follow %v", c.buckets, plan.Scan.HasLimit, plan.Follow)
		if len(info.Endpoint) != c.endpoints || info.TotalRecords != c.records {
			t.Errorf("%s: %d endpoints, %d records, want %d, %d", name, len(info.Endpoint), info.TotalRecords, c.endpoints, c.records)
		}
		// Together, the tickets name each bucket once, with its range.
		seen := map[int32]bool{}
		for _, endpoint := range info.Endpoint {
			scan, err := scanOf(string(endpoint.Ticket.Ticket))
			if err != nil || scan.Plan != "P" || scan.From.Position.TableID != "T" || (scan.To.Kind == engine.BoundNever) != plan.Follow {
				t.Fatalf("%s: ticket %s, %v", name, endpoint.Ticket.Ticket, err)
			}
			for _, bucket := range scan.Buckets {
				r := plan.Ranges[bucket]
				if seen[bucket] || scan.From.Position.Offsets[bucket] != r.From || !plan.Follow && scan.To.Position.Offsets[bucket] != r.To {
					t.Errorf("%s: bucket %d in %s", name, bucket, endpoint.Ticket.Ticket)
				}
				seen[bucket] = true
			}
		}
		if len(seen) != int(c.buckets) {
			t.Errorf("%s: %d buckets in the tickets", name, len(seen))
		}
	}
}

func TestInfoMetadata(t *testing.T) {
	info, err := planInfo(planOf(2, nil), &scanRequest{Table: "web.t"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"plan":"P","table_id":"T","schema_version":3,"position":{"table_id":"T","offsets":{"0":1,"1":3}},"expires":"2027-01-15T08:00:00.000000Z"}`
	if string(info.AppMetadata) != want {
		t.Errorf("got  %s\nwant %s", info.AppMetadata, want)
	}
	want = `{"buckets":[1],"from":{"table_id":"T","offsets":{"1":1}},"to":{"table_id":"T","offsets":{"1":3}}}`
	if got := string(info.Endpoint[1].AppMetadata); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The plan of a state names no range of offsets to begin with: the state is in the plan.
func TestTicketsOfAState(t *testing.T) {
	for view, to := range map[engine.View]engine.BoundKind{
		engine.ViewRows: engine.BoundDefault, engine.ViewRowsAndChangelog: engine.BoundOffsets,
	} {
		plan := planOf(2, func(p *engine.Plan) { p.State, p.Scan.View, p.Rows = true, view, 7 })
		info, err := planInfo(plan, &scanRequest{Table: "web.t"})
		if err != nil {
			t.Fatal(err)
		}
		scan, err := scanOf(string(info.Endpoint[1].Ticket.Ticket))
		if err != nil || scan.From.Kind != engine.BoundDefault || scan.To.Kind != to || scan.Plan != "P" || info.TotalRecords != 7 {
			t.Errorf("view %d: ticket %s, %d records, %v", view, info.Endpoint[1].Ticket.Ticket, info.TotalRecords, err)
		}
	}
}

// partedPlan gives a plan of n partitions of two buckets each, from bucket 1 on, with rows [1000, 1100) in each.
func partedPlan(n int32, change func(*engine.Plan)) *engine.Plan {
	return planOf(0, func(p *engine.Plan) {
		table := *p.Table
		table.PartitionBy = []string{"country"}
		p.Table, p.Partitions, p.NextBucket = &table, map[int32]*model.Partition{}, 2*n+1
		for i := range n {
			partition := &model.Partition{ID: int64(i), Values: []any{fmt.Sprint("c", i)}, Buckets: []int32{2*i + 1, 2*i + 2}}
			for _, bucket := range partition.Buckets {
				p.Partitions[bucket], p.Ranges[bucket] = partition, model.Range{From: 1000, To: 1100}
			}
		}
		if change != nil {
			change(p)
		}
	})
}

func TestEndpointsArePartitions(t *testing.T) {
	for _, c := range []struct {
		partitions       int32
		endpoints, named int
	}{{1, 2, 2}, {128, 256, 256}, {129, 129, 129}, {256, 256, 256}, {257, 129, 1}, {10_000, 250, 0}, {20_000, 254, 0}} {
		for _, follow := range []bool{false, true} {
			plan := partedPlan(c.partitions, func(p *engine.Plan) { p.Follow = follow })
			info, err := planInfo(plan, &scanRequest{Table: "web.t"})
			if err != nil {
				t.Fatal(err)
			}
			named, later := 0, 0
			seen := map[int32]bool{}
			for _, endpoint := range info.Endpoint {
				if strings.Contains(string(endpoint.AppMetadata), `"partition":{"country":"c`) {
					named++
				}
				scan, err := scanOf(string(endpoint.Ticket.Ticket))
				if err != nil {
					t.Fatal(err)
				}
				if scan.Later == engine.LaterAll && scan.LaterFrom != 0 {
					later++
				}
				for _, bucket := range scan.Buckets {
					if seen[bucket] || scan.From.Position.Offsets[bucket] != 1000 {
						t.Fatalf("bucket %d in %s", bucket, endpoint.Ticket.Ticket)
					}
					seen[bucket] = true
				}
			}
			if len(info.Endpoint) != c.endpoints || named != c.named || len(seen) != int(2*c.partitions) || (later == 1) != follow {
				t.Errorf("%d partitions, follow %v: %d endpoints, %d of them named, %d with what comes later, %d buckets; want %d, %d",
					c.partitions, follow, len(info.Endpoint), named, later, len(seen), c.endpoints, c.named)
			}
			if size := proto.Size(info); size > infoBytesMax {
				t.Errorf("%d partitions: the info has %d bytes, at most %d are allowed", c.partitions, size, infoBytesMax)
			}
		}
	}
	// Buckets that were never written to do not have to be read; the position has them all the same.
	empty := partedPlan(2, func(p *engine.Plan) { p.Ranges[1], p.Ranges[4] = model.Range{}, model.Range{} })
	info, err := planInfo(empty, &scanRequest{Table: "web.t"})
	if err != nil || len(info.Endpoint) != 2 || !strings.Contains(string(info.AppMetadata), `"offsets":{"1":0,"2":1100,"3":1100,"4":0}`) {
		t.Errorf("%d endpoints, %s, %v", len(info.Endpoint), info.AppMetadata, err)
	}
}
