package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// TestEndpointsOfFamilies groups the buckets of a table that has grown: those that must be read one behind the other
// share an endpoint.
func TestEndpointsOfFamilies(t *testing.T) {
	splits := map[int32]model.Split{2: {Parent: 0, At: 10}, 3: {Parent: 1, At: 20}, 4: {Parent: 0, At: 15}, 6: {Parent: 2, At: 12}}
	from := func(offset int64) func(*engine.Plan) {
		return func(p *engine.Plan) {
			for bucket := range p.Ranges {
				p.Ranges[bucket] = model.Range{From: offset, To: 100}
			}
		}
	}
	for _, c := range []struct {
		change func(*engine.Plan)
		want   string
	}{
		{from(0), "[[0 2 4 6] [1 3] [5]]"},
		{from(11), "[[0 4] [1 3] [2 6] [5]]"},
		{from(15), "[[0] [1 3] [2] [4] [5] [6]]"},
		{from(20), "[[0] [1] [2] [3] [4] [5] [6]]"},
		{func(p *engine.Plan) { from(0)(p); p.State, p.Scan.View = true, engine.ViewRows }, "[[0] [1] [2] [3] [4] [5] [6]]"},
		{func(p *engine.Plan) { from(0)(p); delete(p.Ranges, 0) }, "[[1 3] [2 6] [4] [5]]"},
		{func(p *engine.Plan) { from(0)(p); p.Ranges[0] = model.Range{} }, "[[0] [1 3] [2 6] [4] [5]]"},
	} {
		plan := planOf(7, c.change)
		plan.Table.Splits = splits
		if got := fmt.Sprint(groupBuckets(plan)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	plan := planOf(1000, from(0))
	plan.Table.Splits = map[int32]model.Split{}
	for bucket := int32(10); bucket < 1000; bucket++ {
		plan.Table.Splits[bucket] = model.Split{Parent: bucket % 10, At: 5}
	}
	groups := groupBuckets(plan)
	if all := slices.Sorted(slices.Values(slices.Concat(groups...))); len(groups) != 10 || len(all) != 1000 || len(slices.Compact(all)) != 1000 {
		t.Errorf("%d endpoints with %d buckets", len(groups), len(all))
	}
}

// TestSetBuckets gives tables more buckets over the wire.
func TestSetBuckets(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "t", `,"buckets":2`)
	ids := make([]int64, 50)
	for i := range ids {
		ids[i] = int64(i)
	}
	if _, err := s.putBy(t.Context(), t, `{"put":{"table":"t"}}`, texts("a", ids...)); err != nil {
		t.Fatal(err)
	}
	described := s.must(t, "AlterTable", `{"table":"t","changes":[{"set_buckets":8},{"set_option":{"name":"log.ttl","value":"7d"}}]}`)
	type description struct {
		BucketCount int32             `json:"bucket_count"`
		Options     map[string]string `json:"options"`
		Buckets     []bucketStats     `json:"buckets"`
	}
	table := parse[description](t, described)
	if table.BucketCount != 8 || len(table.Buckets) != 8 || table.Options["log.ttl"] != "7d" {
		t.Errorf("%+v", table)
	}
	for _, bucket := range table.Buckets {
		if bucket.Bucket < 2 {
			continue
		}
		parent := table.Buckets[bucket.Bucket%2]
		if want := (bucketParent{parent.Bucket, parent.End}); bucket.Parent == nil || *bucket.Parent != want || bucket.Start != parent.End || bucket.End != parent.End {
			t.Errorf("bucket %+v, want the parent %+v", bucket, want)
		}
	}
	if _, err := s.putBy(t.Context(), t, `{"put":{"table":"t"}}`, texts("b", ids...)); err != nil {
		t.Fatal(err)
	}
	lines := s.table(t, `{"scan":{"table":"t"}}`)
	if n := len(slices.DeleteFunc(lines, func(line string) bool { return !strings.HasSuffix(line, " b") })); n != 50 {
		t.Errorf("%d rows, want 50", n)
	}
	for _, change := range []string{`{"set_buckets":12}`, `{"set_buckets":4}`, `{"set_buckets":0}`, `{"set_buckets":16,"drop_index":"x"}`, `{"set_buckets":"x"}`} {
		if _, err := s.action(t.Context(), "AlterTable", `{"table":"t","changes":[`+change+`]}`); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// TestFollowersOfPlansSeeLaterBuckets follows a table by the tickets of a plan while it grows: together they give all
// rows once.
func TestFollowersOfPlansSeeLaterBuckets(t *testing.T) {
	s := startServer(t, nil)
	for table, more := range map[string]string{"routed": `,"buckets":2,"bucket_key":["id"]`, "free": `,"buckets":2`} {
		s.create(t, table, more)
		s.put(t, table, rows(0, 40))
		info, err := s.client.GetFlightInfo(t.Context(), commandOf(`{"scan":{"table":"`+table+`","to":"never"}}`))
		if err != nil {
			t.Fatal(err)
		}
		s.must(t, "AlterTable", `{"table":"`+table+`","changes":[{"set_buckets":8}]}`)
		for from := int64(40); from < 400; from += 40 {
			s.put(t, table, rows(from, 40))
		}
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan int64)
		ended := make(chan error)
		for _, endpoint := range info.Endpoint {
			go func() {
				ended <- s.follow(ctx, endpoint.Ticket.Ticket, func(c chunk) bool {
					for _, id := range c.ids {
						seen <- id
					}
					return true
				})
			}()
		}
		there := map[int64]bool{}
		for len(there) < 400 {
			id := <-seen
			if there[id] {
				t.Errorf("%s: row %d comes twice", table, id)
			}
			there[id] = true
		}
		cancel()
		for range info.Endpoint {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
				t.Error(err)
			}
		}
	}
}
