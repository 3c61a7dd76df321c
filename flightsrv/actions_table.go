package flightsrv

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// tableActions make, describe, change and drop tables.
func (s *service) tableActions() []action {
	return []action{
		changing(jsonAction("CreateTable", "Makes a table from an Arrow schema or from columns.", describing(s, s.createTable))),
		changing(jsonAction("AlterTable", "Changes a table, all changes or none.", describing(s, s.alterTable))),
		jsonAction("DescribeTable", "Describes a table and its buckets, 1000 of them a Result.", describing(s, s.describeTable)),
		changing(jsonAction("DropTable", "Drops a table; UndropTable brings it back for a time.", answering(s.dropTable))),
		changing(jsonAction("UndropTable", "Brings back the table of a name that was dropped last.", describing(s, s.undropTable))),
		changing(jsonAction("RenameTable", "Gives a table another name.", describing(s, s.renameTable))),
		changing(jsonAction("TruncateTable", "Removes the rows before a position, or all.", describing(s, s.truncateTable))),
		jsonAction("TableStats", "Tells rows and bytes of a table and of each of its buckets.", s.tableStats),
	}
}

type createTableRequest struct {
	Table       string            `json:"table"`
	Schema      bytesValue        `json:"schema"`
	Columns     []model.Column    `json:"columns"`
	PrimaryKey  []string          `json:"primary_key"`
	Buckets     integer           `json:"buckets"`
	BucketKey   []string          `json:"bucket_key"`
	PartitionBy []string          `json:"partition_by"`
	Comment     string            `json:"comment"`
	Options     map[string]string `json:"options"`
	ExistOK     bool              `json:"exist_ok"`
}

func (s *service) createTable(ctx context.Context, request *createTableRequest) (*model.Table, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if request.Buckets < 0 || request.Buckets > model.BucketsMax {
		return nil, model.Errorf(model.BadRequest, "buckets is %d", request.Buckets).WithRemedy("Use 1 to %d", model.BucketsMax)
	}
	create := engine.CreateTable{
		Name: name, Buckets: int32(request.Buckets), BucketKey: request.BucketKey, PrimaryKey: request.PrimaryKey,
		PartitionBy: request.PartitionBy, Comment: request.Comment, Options: request.Options, ExistOK: request.ExistOK,
	}
	create.Schema, create.Defaults, create.ColumnComments, err = request.schema()
	if err != nil {
		return nil, err
	}
	return s.engine.CreateTable(ctx, create)
}

// schema gives the columns, however they were sent.
func (r *createTableRequest) schema() (*arrow.Schema, map[string]any, map[string]string, error) {
	switch {
	case len(r.Schema) > 0 && len(r.Columns) > 0:
		return nil, nil, nil, model.Errorf(model.BadRequest, "both schema and columns are set").WithRemedy("Set one of them")
	case len(r.Schema) > 0:
		schema, err := arrowipc.DecodeSchemaAny(r.Schema, arrowipc.Limits{})
		return schema, nil, nil, err
	case len(r.Columns) > 0:
		return model.SchemaFromColumns(r.Columns)
	}
	return nil, nil, nil, model.Errorf(model.BadRequest, "neither schema nor columns is set").
		WithRemedy(`Set "schema" to an Arrow IPC schema in base64, or "columns" to [{"name":"id","type":"int64"}]`)
}

type tableRequest struct {
	Table string `json:"table"`
}

func (s *service) describeTable(_ context.Context, request *tableRequest) (*model.Table, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	return s.engine.Table(name)
}

// tableDescription is the answer of every action that gives a table.
type tableDescription struct {
	Table         string            `json:"table"`
	ID            string            `json:"id"`
	SchemaVersion int32             `json:"schema_version"`
	Schema        bytesValue        `json:"schema"`
	Columns       []model.Column    `json:"columns"`
	PrimaryKey    []string          `json:"primary_key"`
	BucketKey     []string          `json:"bucket_key"`
	PartitionBy   []string          `json:"partition_by,omitempty"`
	Indexes       []indexState      `json:"indexes,omitempty"`
	Comment       string            `json:"comment,omitzero"`
	Options       map[string]string `json:"options"`
	CreatedAt     timeValue         `json:"created_at"`
	BucketCount   int32             `json:"bucket_count"`
	Buckets       []bucketStats     `json:"buckets"`
	More          bool              `json:"more,omitzero"`
}

// indexState is a secondary index; progress goes from 0 to 1, when lookups can use it.
type indexState struct {
	Name     string   `json:"name"`
	Columns  []string `json:"columns"`
	Progress float64  `json:"progress"`
	Rows     int64    `json:"rows"`
	Bytes    int64    `json:"bytes"`
	Error    string   `json:"error,omitzero"`
}

type bucketStats struct {
	Bucket   int32 `json:"bucket"`
	Start    int64 `json:"start"`
	End      int64 `json:"end"`
	Boundary int64 `json:"boundary"`
	Bytes    int64 `json:"bytes"`
	RawBytes int64 `json:"raw_bytes"`
	// Partition has the values of the bucket's partition, by column.
	Partition map[string]any `json:"partition,omitempty"`
	// Parent is the bucket that this one split from; nil for none.
	Parent *bucketParent `json:"parent,omitempty"`
}

// bucketParent says that the rows of a bucket below an offset are in another one.
type bucketParent struct {
	Bucket int32 `json:"bucket"`
	At     int64 `json:"at"`
}

// moreBuckets is each Result behind the first of a table with very many buckets.
type moreBuckets struct {
	Table   string        `json:"table"`
	ID      string        `json:"id"`
	Buckets []bucketStats `json:"buckets"`
	More    bool          `json:"more,omitzero"`
}

// describing makes the run function of an action that answers with a table.
func describing[Request any](s *service, run func(context.Context, *Request) (*model.Table, error)) func(context.Context, *Request, sendResult) error {
	return func(ctx context.Context, request *Request, send sendResult) error {
		table, err := run(ctx, request)
		if err != nil {
			return err
		}
		return s.describe(table, send)
	}
}

// describe sends the description of a table, its buckets in as many Results as they need.
func (s *service) describe(table *model.Table, send sendResult) error {
	states, err := s.engine.Buckets(table.Name)
	if err != nil {
		return err
	}
	indexes, err := s.engine.Indexes(table.Name)
	if err != nil {
		return err
	}
	first := true
	return sendParts(describeBuckets(table, states), func(buckets []bucketStats, more bool) error {
		if !first {
			return send(moreBuckets{Table: table.Name.String(), ID: table.ID, Buckets: buckets, More: more})
		}
		first = false
		return send(tableDescription{
			Table: table.Name.String(), ID: table.ID, SchemaVersion: table.SchemaVersion,
			Schema: encapsulate(arrowipc.EncodeSchema(table.Schema)), Columns: model.ColumnsOf(table),
			PrimaryKey: table.PrimaryKey, BucketKey: table.BucketKey, PartitionBy: table.PartitionBy, Indexes: describeIndexes(indexes), Comment: table.Comment,
			Options: table.Options, CreatedAt: timeValue{table.CreatedAt}, BucketCount: table.Buckets,
			Buckets: buckets, More: more,
		})
	})
}

func describeIndexes(states []engine.IndexState) []indexState {
	described := make([]indexState, len(states))
	for i, state := range states {
		described[i] = indexState{
			Name: state.Index.Name, Columns: state.Index.Columns, Progress: state.Progress, Rows: state.Rows, Bytes: state.Bytes,
		}
		if state.Err != nil {
			described[i].Error = model.AsError(state.Err).Error()
		}
	}
	return described
}

func describeBuckets(table *model.Table, states []engine.BucketState) []bucketStats {
	described := make([]bucketStats, len(states))
	for i, state := range states {
		described[i] = bucketStats{
			Bucket: state.Bucket, Start: state.Start, End: state.End, Boundary: state.Boundary, Bytes: state.Bytes, RawBytes: state.RawBytes,
			Partition: partitionValues(table, state.Partition),
		}
		if state.Split != nil {
			described[i].Parent = &bucketParent{state.Split.Parent, state.Split.At}
		}
	}
	return described
}

type dropTableRequest struct {
	Table     string `json:"table"`
	MissingOK bool   `json:"missing_ok"`
}

func (s *service) dropTable(ctx context.Context, request *dropTableRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	return done{}, s.engine.DropTable(ctx, name, request.MissingOK)
}

func (s *service) undropTable(ctx context.Context, request *tableRequest) (*model.Table, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	return s.engine.UndropTable(ctx, name)
}

type renameTableRequest struct {
	Table string `json:"table"`
	To    string `json:"to"`
}

func (s *service) renameTable(ctx context.Context, request *renameTableRequest) (*model.Table, error) {
	from, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	to, err := parseTable(request.To)
	if err != nil {
		return nil, err
	}
	return s.engine.RenameTable(ctx, from, to)
}

type truncateTableRequest struct {
	Table  string    `json:"table"`
	Before *position `json:"before"`
}

func (s *service) truncateTable(ctx context.Context, request *truncateTableRequest) (*model.Table, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	var before *model.Position
	if request.Before != nil {
		before = &request.Before.Position
	}
	return s.engine.TruncateTable(ctx, name, before)
}

// tableStatistics is one Result of TableStats: the sums are of the whole table. Rows of a primary-key
// table are those it has now; its buckets tell of its changes.
type tableStatistics struct {
	Table    string        `json:"table"`
	ID       string        `json:"id"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"`
	RawBytes int64         `json:"raw_bytes"`
	Buckets  []bucketStats `json:"buckets"`
	More     bool          `json:"more,omitzero"`
}

func (s *service) tableStats(ctx context.Context, request *tableRequest, send sendResult) error {
	name, err := parseTable(request.Table)
	if err != nil {
		return err
	}
	table, err := s.engine.Table(name)
	if err != nil {
		return err
	}
	states, err := s.engine.Buckets(name)
	if err != nil {
		return err
	}
	result := tableStatistics{Table: name.String(), ID: table.ID}
	if result.Rows, err = s.countRows(ctx, table, states); err != nil {
		return err
	}
	for _, state := range states {
		result.Bytes += state.Bytes
		result.RawBytes += state.RawBytes
	}
	return sendParts(describeBuckets(table, states), func(buckets []bucketStats, more bool) error {
		result.Buckets, result.More = buckets, more
		return send(result)
	})
}
