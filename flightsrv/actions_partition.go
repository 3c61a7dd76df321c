package flightsrv

import (
	"context"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// partitionActions are about the partitions of a table.
func (s *service) partitionActions() []action {
	return []action{
		jsonAction("ListPartitions", "Lists the partitions of a table that have the values, 1000 of them a Result; without values, all.",
			s.listPartitions),
		changing(jsonAction("CreatePartition", "Makes a partition of a table, with every partition column named.",
			answering(s.createPartition))),
		changing(jsonAction("DropPartition", "Drops a partition with all its rows; with prefix, every partition that has the values.",
			answering(s.dropPartition))),
	}
}

type listPartitionsRequest struct {
	Table  string         `json:"table"`
	Values map[string]any `json:"values"`
	Prefix bool           `json:"prefix"`
}

type createPartitionRequest struct {
	Table   string         `json:"table"`
	Values  map[string]any `json:"values"`
	Prefix  bool           `json:"prefix"`
	ExistOK bool           `json:"exist_ok"`
}

type dropPartitionRequest struct {
	Table     string         `json:"table"`
	Values    map[string]any `json:"values"`
	Prefix    bool           `json:"prefix"`
	MissingOK bool           `json:"missing_ok"`
}

// partitionDescription is a partition as it is shown.
type partitionDescription struct {
	ID        int64          `json:"id"`
	Values    map[string]any `json:"values"`
	Buckets   []int32        `json:"buckets"`
	Rows      int64          `json:"rows"`
	Bytes     int64          `json:"bytes"`
	CreatedAt timeValue      `json:"created_at"`
}

func describePartition(table *model.Table, state *engine.PartitionState) partitionDescription {
	return partitionDescription{
		ID: state.ID, Values: partitionValues(table, state.Partition), Buckets: state.Buckets, Rows: state.Rows, Bytes: state.Bytes,
		CreatedAt: timeValue{state.Created},
	}
}

// partitionValues gives the values of a partition by column; nil for no partition.
func partitionValues(table *model.Table, partition *model.Partition) map[string]any {
	if partition == nil {
		return nil
	}
	values := make(map[string]any, len(partition.Values))
	for i, name := range table.PartitionBy {
		values[name] = partition.Values[i]
	}
	return values
}

// partitionsPart is one Result of ListPartitions.
type partitionsPart struct {
	Partitions []partitionDescription `json:"partitions"`
	More       bool                   `json:"more,omitzero"`
}

func (s *service) listPartitions(_ context.Context, request *listPartitionsRequest, send sendResult) error {
	name, err := parseTable(request.Table)
	if err != nil {
		return err
	}
	table, err := s.engine.Table(name)
	if err != nil {
		return err
	}
	if n := len(request.Values); n > 0 && n < len(table.PartitionBy) && !request.Prefix {
		return model.Errorf(model.BadRequest, "the values do not name every partition column of %s", name).
			WithRemedy("Send prefix to list all partitions that have them")
	}
	states, err := s.engine.Partitions(name, request.Values)
	if err != nil {
		return err
	}
	return sendParts(states, func(part []*engine.PartitionState, more bool) error {
		result := partitionsPart{Partitions: make([]partitionDescription, len(part)), More: more}
		for i, state := range part {
			result.Partitions[i] = describePartition(table, state)
		}
		return send(result)
	})
}

func (s *service) createPartition(ctx context.Context, request *createPartitionRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if request.Prefix {
		return nil, model.Errorf(model.BadRequest, "prefix is for ListPartitions and DropPartition").WithRemedy("Name every partition column")
	}
	table, err := s.engine.Table(name)
	if err != nil {
		return nil, err
	}
	state, err := s.engine.CreatePartition(ctx, name, request.Values, request.ExistOK)
	if err != nil {
		return nil, err
	}
	return describePartition(table, state), nil
}

// droppedPartitions is the answer of DropPartition.
type droppedPartitions struct {
	Dropped int `json:"dropped"`
}

func (s *service) dropPartition(ctx context.Context, request *dropPartitionRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	n, err := s.engine.DropPartition(ctx, name, request.Values, request.Prefix, request.MissingOK)
	if err != nil {
		return nil, err
	}
	return droppedPartitions{n}, nil
}
