package flightsrv

import (
	"context"
	"strings"
	"time"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// groupActions are about consumer groups: their members, and how far they have come.
func (s *service) groupActions() []action {
	return []action{
		changing(jsonAction("JoinGroup", "Makes a member of a group, which gets a share of the buckets of the table.", answering(s.joinGroup))),
		jsonAction("Heartbeat", "Tells that a member is there and knows a generation; gives the newest one, and the member's buckets in it.",
			answering(s.heartbeat)),
		changing(jsonAction("LeaveGroup", "Ends a membership, so that others get the buckets at once.", answering(s.leaveGroup))),
		jsonAction("CommitPosition", "Moves the position of a group forward: rows before it are done.", answering(s.commitPosition)),
		jsonAction("Positions", "Tells per bucket where a group stands and how many rows it lags, 1000 buckets a Result.", s.positions),
		changing(jsonAction("ResetPosition", "Moves the position of a group forward or back; its members have to join again.",
			answering(s.resetPosition))),
		jsonAction("ListGroups", "Lists the groups of a table, or of all tables that match a pattern.", s.listGroups),
		changing(jsonAction("DropGroup", "Forgets a group and its position.", answering(s.dropGroup))),
	}
}

type joinGroupRequest struct {
	Group     string  `json:"group"`
	Table     string  `json:"table"`
	Member    string  `json:"member"`
	SessionMS integer `json:"session_ms"`
	Start     *bound  `json:"start"`
}

// membership is the answer of JoinGroup and Heartbeat.
type membership struct {
	Member     string   `json:"member"`
	Generation int64    `json:"generation"`
	Buckets    []int32  `json:"buckets"`
	Waits      []int32  `json:"waits,omitempty"`
	Position   position `json:"position"`
	SessionMS  int64    `json:"session_ms"`
}

func describeMembership(m *engine.Membership) membership {
	return membership{
		Member: m.Member, Generation: m.Generation, Buckets: m.Buckets, Waits: m.Waits, Position: position{m.Position},
		SessionMS: m.Session.Milliseconds(),
	}
}

func (s *service) joinGroup(ctx context.Context, request *joinGroupRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if most := engine.SessionMax.Milliseconds(); request.SessionMS < 0 || int64(request.SessionMS) > most {
		return nil, model.Errorf(model.BadRequest, "session_ms is %d", request.SessionMS).
			WithRemedy("Use %d to %d", engine.SessionMin.Milliseconds(), most)
	}
	join := engine.JoinGroup{
		Table: name, Group: request.Group, Member: request.Member, Session: time.Duration(request.SessionMS) * time.Millisecond,
		Start: engine.Bound{Kind: engine.BoundLatest},
	}
	if request.Start != nil {
		join.Start = request.Start.Bound
	}
	told, err := s.engine.JoinGroup(ctx, join)
	if err != nil {
		return nil, err
	}
	return describeMembership(told), nil
}

// memberRequest is the body of Heartbeat and LeaveGroup.
type memberRequest struct {
	Group      string  `json:"group"`
	Table      string  `json:"table"`
	Member     string  `json:"member"`
	Generation integer `json:"generation"`
}

func (r memberRequest) caller() (engine.GroupMember, error) {
	name, err := parseTable(r.Table)
	return engine.GroupMember{Table: name, Group: r.Group, Member: r.Member, Generation: int64(r.Generation)}, err
}

func (s *service) heartbeat(ctx context.Context, request *memberRequest) (any, error) {
	from, err := request.caller()
	if err != nil {
		return nil, err
	}
	told, err := s.engine.Heartbeat(ctx, from)
	if err != nil {
		return nil, err
	}
	return describeMembership(told), nil
}

func (s *service) leaveGroup(ctx context.Context, request *memberRequest) (any, error) {
	from, err := request.caller()
	if err != nil {
		return nil, err
	}
	return done{}, s.engine.LeaveGroup(ctx, from)
}

type commitPositionRequest struct {
	Group      string   `json:"group"`
	Table      string   `json:"table"`
	Member     string   `json:"member"`
	Generation integer  `json:"generation"`
	Position   position `json:"position"`
}

func (s *service) commitPosition(ctx context.Context, request *commitPositionRequest) (any, error) {
	from, err := memberRequest{request.Group, request.Table, request.Member, request.Generation}.caller()
	if err != nil {
		return nil, err
	}
	committed, err := s.engine.CommitPosition(ctx, from, request.Position.Position)
	if err != nil {
		return nil, err
	}
	return struct {
		Generation int64    `json:"generation"`
		Position   position `json:"position"`
	}{committed.Generation, position{committed.Position}}, nil
}

// groupRequest is the body of Positions.
type groupRequest struct {
	Group string `json:"group"`
	Table string `json:"table"`
}

// groupBucket is where a group stands in a bucket.
type groupBucket struct {
	Bucket int32 `json:"bucket"`
	// Committed is null where the group has no position.
	Committed *int64 `json:"committed"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitzero"`
}

func (s *service) positions(ctx context.Context, request *groupRequest, send sendResult) error {
	name, err := parseTable(request.Table)
	if err != nil {
		return err
	}
	state, err := s.engine.Positions(ctx, name, request.Group)
	if err != nil {
		return err
	}
	return sendParts(state.Buckets, func(part []engine.GroupBucketState, more bool) error {
		buckets := make([]groupBucket, len(part))
		at := model.Position{TableID: state.TableID, Offsets: model.Offsets{}}
		for i, b := range part {
			buckets[i] = groupBucket{Bucket: b.Bucket, Start: b.Start, End: b.End, Lag: b.Lag, Member: b.Member}
			if b.Committed >= 0 {
				buckets[i].Committed = &b.Committed
				at.Offsets[b.Bucket] = b.Committed
			}
		}
		return send(struct {
			Group      string        `json:"group"`
			Table      string        `json:"table"`
			Generation int64         `json:"generation"`
			Lag        int64         `json:"lag"`
			Position   position      `json:"position"`
			Buckets    []groupBucket `json:"buckets"`
			More       bool          `json:"more,omitzero"`
		}{state.Group, state.Table.String(), state.Generation, state.Lag, position{at}, buckets, more})
	})
}

type resetPositionRequest struct {
	Group    string `json:"group"`
	Table    string `json:"table"`
	Position *bound `json:"position"`
}

func (s *service) resetPosition(ctx context.Context, request *resetPositionRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if request.Position == nil {
		return nil, model.Errorf(model.BadRequest, "no position is given").
			WithRemedy(`Set the field "position" to "earliest", "latest", {"time":…} or a position`)
	}
	at, err := s.engine.ResetPosition(ctx, name, request.Group, request.Position.Bound)
	if err != nil {
		return nil, err
	}
	return struct {
		Position position `json:"position"`
	}{position{at}}, nil
}

type listGroupsRequest struct {
	// Table is the name of a table, or a pattern as ListFlights takes it; empty: all.
	Table string `json:"table"`
}

// groupDescription is an element of ListGroups, and of the status.
type groupDescription struct {
	Group      string              `json:"group"`
	Table      string              `json:"table"`
	Generation int64               `json:"generation"`
	Lag        int64               `json:"lag"`
	Active     timeValue           `json:"active"`
	Members    []memberDescription `json:"members"`
}

type memberDescription struct {
	Member     string    `json:"member"`
	Generation int64     `json:"generation"`
	SessionMS  int64     `json:"session_ms"`
	Seen       timeValue `json:"seen"`
	Buckets    []int32   `json:"buckets"`
	Waits      []int32   `json:"waits,omitempty"`
}

func describeGroups(states []*engine.GroupState) []groupDescription {
	groups := make([]groupDescription, len(states))
	for i, state := range states {
		groups[i] = groupDescription{
			Group: state.Group, Table: state.Table.String(), Generation: state.Generation, Lag: state.Lag,
			Active: timeValue{state.Active}, Members: make([]memberDescription, len(state.Members)),
		}
		for j, m := range state.Members {
			groups[i].Members[j] = memberDescription{
				Member: m.Member, Generation: m.Generation, SessionMS: m.Session.Milliseconds(), Seen: timeValue{m.Seen},
				Buckets: m.Buckets, Waits: m.Waits,
			}
		}
	}
	return groups
}

func (s *service) listGroups(ctx context.Context, request *listGroupsRequest, send sendResult) error {
	if !strings.ContainsAny(request.Table, "*?") && request.Table != "" {
		name, err := parseTable(request.Table)
		if err == nil {
			_, err = s.engine.Table(name)
		}
		if err != nil {
			return err
		}
	}
	states, err := s.engine.Groups(ctx, request.Table)
	if err != nil {
		return err
	}
	return sendParts(describeGroups(states), func(groups []groupDescription, more bool) error {
		return send(struct {
			Groups []groupDescription `json:"groups"`
			More   bool               `json:"more,omitzero"`
		}{groups, more})
	})
}

type dropGroupRequest struct {
	Group     string `json:"group"`
	Table     string `json:"table"`
	MissingOK bool   `json:"missing_ok"`
}

func (s *service) dropGroup(ctx context.Context, request *dropGroupRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	return done{}, s.engine.DropGroup(ctx, name, request.Group, request.MissingOK)
}
