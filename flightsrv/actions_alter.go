package flightsrv

import (
	"context"
	"math"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

type alterTableRequest struct {
	Table  string `json:"table"`
	Expect *struct {
		ID            string  `json:"id"`
		SchemaVersion integer `json:"schema_version"`
	} `json:"expect"`
	Changes []alterChange `json:"changes"`
}

// alterChange is one change; one member is set.
type alterChange struct {
	AddColumn    *addColumnChange    `json:"add_column"`
	DropColumn   *columnPath         `json:"drop_column"`
	RenameColumn *renameColumnChange `json:"rename_column"`
	SetType      *setTypeChange      `json:"set_type"`
	SetNullable  *columnPath         `json:"set_nullable"`
	MoveColumn   *moveColumnChange   `json:"move_column"`
	SetComment   *setCommentChange   `json:"set_comment"`
	SetMetadata  *setMetadataChange  `json:"set_metadata"`
	SetOption    *struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"set_option"`
	CreateIndex *struct {
		Name    string   `json:"name"`
		Columns []string `json:"columns"`
	} `json:"create_index"`
	DropIndex  *string  `json:"drop_index"`
	SetBuckets *integer `json:"set_buckets"`
}

// change gives the change in the engine's words.
func (c *alterChange) change(number int) (engine.TableChange, error) {
	columns, err := c.columns()
	if err != nil {
		return nil, err
	}
	var set []engine.TableChange
	for _, change := range columns {
		set = append(set, engine.ChangeColumns{Changes: []model.ColumnChange{change}})
	}
	if c.SetOption != nil {
		set = append(set, engine.SetOption{Name: c.SetOption.Name, Value: c.SetOption.Value})
	}
	if c.CreateIndex != nil {
		set = append(set, engine.CreateIndex{Index: model.Index{Name: c.CreateIndex.Name, Columns: c.CreateIndex.Columns}})
	}
	if c.DropIndex != nil {
		set = append(set, engine.DropIndex{Name: *c.DropIndex})
	}
	if c.SetBuckets != nil {
		set = append(set, engine.SetBuckets{Buckets: int64(*c.SetBuckets)})
	}
	switch len(set) {
	case 0:
		return nil, model.Errorf(model.BadRequest, "change %d is empty", number)
	case 1:
		return set[0], nil
	}
	return nil, model.Errorf(model.BadRequest, "change %d has %d members", number, len(set)).WithRemedy("Send one change an object")
}

func (s *service) alterTable(ctx context.Context, request *alterTableRequest) (*model.Table, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if len(request.Changes) == 0 {
		return nil, model.Errorf(model.BadRequest, "there are no changes").
			WithRemedy(`Set "changes" to [{"set_option":{"name":"log.ttl","value":"30d"}}]`)
	}
	changes := make([]engine.TableChange, len(request.Changes))
	for i := range request.Changes {
		if changes[i], err = request.Changes[i].change(i); err != nil {
			return nil, err
		}
	}
	var expect engine.Expect
	if request.Expect != nil {
		if version := request.Expect.SchemaVersion; version < 0 || version > math.MaxInt32 {
			return nil, model.Errorf(model.BadRequest, "expect.schema_version is %d, which no table has", version)
		}
		expect = engine.Expect{ID: request.Expect.ID, SchemaVersion: int32(request.Expect.SchemaVersion)}
	}
	return s.engine.AlterTable(ctx, name, expect, changes...)
}
