package flightsrv

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

const (
	// endpointsMax bounds the endpoints of a FlightInfo; beyond it an endpoint has several buckets.
	endpointsMax = 256
	// infoBytesMax bounds a FlightInfo: clients take 4 MB by default, and it is sent as one message.
	infoBytesMax = 2 << 20
)

// GetFlightInfo implements flight.FlightServiceServer: it plans the scan and freezes it in tickets.
func (s *service) GetFlightInfo(ctx context.Context, descriptor *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	request, err := scanOfDescriptor(descriptor)
	if err != nil {
		return nil, err
	}
	scan, err := request.scan()
	if err != nil {
		return nil, err
	}
	plan, err := s.engine.Plan(ctx, scan)
	if err != nil {
		return nil, err
	}
	info, err := planInfo(plan, request)
	if err != nil {
		return nil, s.giveUpPlan(plan, err)
	}
	info.FlightDescriptor = descriptor
	if size := proto.Size(info); size > infoBytesMax {
		return nil, s.giveUpPlan(plan, model.Errorf(model.BadRequest, "the plan of %d buckets has %d bytes, at most %d are allowed",
			len(plan.Ranges), size, infoBytesMax).WithRemedy(`Name fewer buckets in "buckets", or use a hand-written ticket`))
	}
	return info, nil
}

// giveUpPlan cancels a plan that nobody will hear of.
func (s *service) giveUpPlan(plan *engine.Plan, cause error) error {
	if err := s.engine.CancelPlan(plan.ID); err != nil {
		s.logger.Warn("cancel a plan", "plan", plan.ID, "error", err)
	}
	return cause
}

// planMetadata is the app_metadata of a FlightInfo.
type planMetadata struct {
	Plan          string    `json:"plan"`
	TableID       string    `json:"table_id"`
	SchemaVersion int32     `json:"schema_version"`
	Position      position  `json:"position"`
	Expires       timeValue `json:"expires"`
}

// endpointMetadata is the app_metadata of an endpoint.
type endpointMetadata struct {
	Buckets []int32 `json:"buckets"`
	// Partition has the values of the partition that all buckets belong to, by column; nil where they belong to
	// several, or to none.
	Partition map[string]any `json:"partition,omitempty"`
	// From is a position. It is left out with To where the plan is so large that the tickets alone name them.
	From *position `json:"from,omitzero"`
	To   any       `json:"to,omitempty"` // a position, or "never"
}

// planInfo gives the FlightInfo of a plan that was made for request.
func planInfo(plan *engine.Plan, request *scanRequest) (*flight.FlightInfo, error) {
	ends := model.Position{TableID: plan.Table.ID, Offsets: model.Offsets{}}
	for bucket, r := range plan.Ranges {
		ends.Offsets[bucket] = r.To
	}
	rows := plan.Rows
	if plan.Scan.HasLimit && rows >= 0 {
		rows = min(rows, plan.Scan.Limit)
	}
	if plan.Follow {
		rows = -1
	}
	metadata, err := encodeJSON(planMetadata{
		Plan: plan.ID, TableID: plan.Table.ID, SchemaVersion: plan.Table.SchemaVersion,
		Position: position{ends}, Expires: timeValue{plan.Expires},
	})
	if err != nil {
		return nil, err
	}
	info := &flight.FlightInfo{
		Schema: encapsulate(plan.SchemaMessage), TotalRecords: rows, TotalBytes: -1, AppMetadata: metadata,
	}
	groups := groupBuckets(plan)
	for i, buckets := range groups {
		endpoint, err := planEndpoint(plan, laterOf(plan, request, i == len(groups)-1), buckets)
		if err != nil {
			return nil, err
		}
		info.Endpoint = append(info.Endpoint, endpoint)
	}
	return info, nil
}

// groupBuckets says which buckets share an endpoint: one has a bucket, or a partition, or where there are too
// many of these, several partitions. A limit is of the whole scan, so that it has one endpoint. So has a bucket with
// the one that it split from, where rows of both are read: those of a key go out in their order. Buckets that
// were never written to are left out of a read that ends, unless they are all there is.
func groupBuckets(plan *engine.Plan) [][]int32 {
	buckets := make([]int32, 0, len(plan.Ranges))
	for bucket, r := range plan.Ranges {
		if plan.Follow || plan.State || plan.Partitions == nil || r.To > 0 {
			buckets = append(buckets, bucket)
		}
	}
	slices.Sort(buckets)
	if len(buckets) == 0 || plan.Scan.HasLimit {
		return [][]int32{buckets}
	}
	groups := families(plan, buckets)
	if plan.Partitions != nil && len(groups) > endpointsMax {
		groups = byPartition(plan, buckets)
	}
	return joinGroups(groups, (len(groups)+endpointsMax-1)/endpointsMax)
}

// joinGroups puts that many groups together.
func joinGroups(groups [][]int32, size int) [][]int32 {
	joined := make([][]int32, 0, endpointsMax)
	for chunk := range slices.Chunk(groups, size) {
		group := slices.Concat(chunk...)
		slices.Sort(group)
		joined = append(joined, group)
	}
	return joined
}

// byPartition parts buckets by their partitions. Those that split from others are in the partition of these.
func byPartition(plan *engine.Plan, buckets []int32) [][]int32 {
	var groups [][]int32
	places := map[*model.Partition]int{}
	for _, bucket := range buckets {
		place, known := places[plan.Partitions[bucket]]
		if !known {
			place = len(groups)
			places[plan.Partitions[bucket]], groups = place, append(groups, nil)
		}
		groups[place] = append(groups[place], bucket)
	}
	return groups
}

// families parts buckets, which are ascending, into those that must be read one behind the other.
func families(plan *engine.Plan, buckets []int32) [][]int32 {
	var families [][]int32
	places := make(map[int32]int, len(buckets))
	for _, bucket := range buckets {
		place := len(families)
		if split, known := plan.Table.Splits[bucket]; known && !(plan.State && plan.Scan.View == engine.ViewRows) {
			parent, read := plan.Ranges[split.Parent]
			if read && parent.From < min(split.At, parent.To) {
				place = places[split.Parent]
			}
		}
		if places[bucket] = place; place == len(families) {
			families = append(families, nil)
		}
		families[place] = append(families[place], bucket)
	}
	return families
}

// laterOf gives the request for an endpoint of its plan. A follower of all buckets has those too that the table gets
// later: each endpoint those that split from its own, the last one all others.
func laterOf(plan *engine.Plan, request *scanRequest, last bool) *scanRequest {
	if !plan.Follow || request.Later != "" || request.Buckets != nil {
		return request
	}
	own := *request
	own.LaterFrom = integer(plan.NextBucket)
	if own.Later = "family"; last {
		own.Later = "all"
	}
	return &own
}

// partitionOf gives the values of the partition that all of the buckets belong to, or nil.
func partitionOf(plan *engine.Plan, buckets []int32) map[string]any {
	for _, bucket := range buckets {
		if plan.Partitions[bucket] != plan.Partitions[buckets[0]] {
			return nil
		}
	}
	if len(buckets) == 0 {
		return nil
	}
	return partitionValues(plan.Table, plan.Partitions[buckets[0]])
}

// describedMax is how many buckets a plan has at most for its endpoints to tell the ranges that their tickets
// have too.
const describedMax = 8192

func planEndpoint(plan *engine.Plan, request *scanRequest, buckets []int32) (*flight.FlightEndpoint, error) {
	from := model.Position{TableID: plan.Table.ID, Offsets: make(model.Offsets, len(buckets))}
	to := model.Position{TableID: plan.Table.ID, Offsets: make(model.Offsets, len(buckets))}
	for _, bucket := range buckets {
		from.Offsets[bucket], to.Offsets[bucket] = plan.Ranges[bucket].From, plan.Ranges[bucket].To
	}
	frozen := *request
	frozen.Table, frozen.Plan = plan.Table.Name.String(), plan.ID
	frozen.From = bound{engine.Bound{Kind: engine.BoundOffsets, Position: from}}
	frozen.To = bound{engine.Bound{Kind: engine.BoundOffsets, Position: to}}
	metadata := endpointMetadata{Buckets: buckets, Partition: partitionOf(plan, buckets), From: &position{from}, To: position{to}}
	if plan.Follow {
		frozen.To, metadata.To = bound{engine.Bound{Kind: engine.BoundNever}}, "never"
	}
	if len(plan.Ranges) > describedMax {
		metadata.From, metadata.To = nil, nil
	}
	if plan.State { // the plan fixes it; only the changes behind it have an end
		frozen.From = bound{}
		if plan.Scan.View == engine.ViewRows {
			frozen.To = bound{}
		}
	}
	named := make([]integer, len(buckets))
	for i, bucket := range buckets {
		named[i] = integer(bucket)
	}
	frozen.Buckets = &named
	ticket, err := encodeJSON(command{Scan: &frozen})
	if err != nil {
		return nil, err
	}
	encoded, err := encodeJSON(metadata)
	if err != nil {
		return nil, err
	}
	return &flight.FlightEndpoint{
		Ticket: &flight.Ticket{Ticket: ticket}, AppMetadata: encoded, ExpirationTime: expiration(plan.Expires),
	}, nil
}

func expiration(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

// encapsulate gives a schema message with the prefix that it has outside of a FlightData.
func encapsulate(message []byte) []byte {
	prefixed := make([]byte, 0, 8+len(message))
	prefixed = binary.LittleEndian.AppendUint32(prefixed, 0xFFFFFFFF)
	prefixed = binary.LittleEndian.AppendUint32(prefixed, uint32(len(message)))
	return append(prefixed, message...)
}

// GetSchema implements flight.FlightServiceServer.
func (s *service) GetSchema(ctx context.Context, descriptor *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	request, err := scanOfDescriptor(descriptor)
	if err != nil {
		return nil, err
	}
	scan, err := request.scan()
	if err != nil {
		return nil, err
	}
	plan, err := s.engine.Plan(ctx, scan)
	if err != nil {
		return nil, err
	}
	return &flight.SchemaResult{Schema: encapsulate(plan.SchemaMessage)}, s.giveUpPlan(plan, nil)
}

// PollFlightInfo implements flight.FlightServiceServer.
func (s *service) PollFlightInfo(context.Context, *flight.FlightDescriptor) (*flight.PollInfo, error) {
	return nil, unsupported("PollFlightInfo", "Plans are made at once: call GetFlightInfo")
}
