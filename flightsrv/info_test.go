package flightsrv

import (
	"fmt"
	"testing"
	"time"

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
