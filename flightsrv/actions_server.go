package flightsrv

import (
	"context"

	"github.com/headrace/headrace/internal/model"
)

// protocolVersion is the version of the interface.
const protocolVersion = 1

// features are the parts of the interface that this version has; clients look here before they use
// what an older server may lack.
var features = []string{
	"log_tables", "producers", "plans", "follow", "projection", "system_columns", "acks.group", "acks.end", "trash",
	"keyed_tables", "partial_update", "changelog", "rows+changelog", "before-after", "lookup", "lookup.insert_missing", "indexes", "groups",
	"partitions",
	"filter", "filter.sql", "filter.json", "filter.substrait", "lookup.filter",
}

type noFields struct{}

type serverInfo struct {
	Version  string       `json:"version"`
	Protocol int          `json:"protocol"`
	Features []string     `json:"features"`
	Limits   serverLimits `json:"limits"`
}

type serverLimits struct {
	MaxMessageBytes int64 `json:"max_message_bytes"`
	MaxBatchRows    int64 `json:"max_batch_rows"`
	MaxColumns      int64 `json:"max_columns"`
}

// serverActions are about the server as a whole.
func (s *service) serverActions() []action {
	return []action{
		jsonAction("ServerInfo", "Tells the version, what the server can do and what it takes.",
			answering(func(context.Context, *noFields) (any, error) {
				return serverInfo{
					Version: s.version, Protocol: protocolVersion, Features: features,
					Limits: serverLimits{MaxMessageBytes: receiveBytesMax, MaxBatchRows: batchRowsMax, MaxColumns: columnsMax},
				}, nil
			})),
		jsonAction("ListOptions", "Lists the options of tables, with type, default and range.",
			answering(func(context.Context, *noFields) (any, error) {
				return struct {
					Options []model.OptionSpec `json:"options"`
				}{model.TableOptions()}, nil
			})),
		changing(jsonAction("Flush", "Returns when all rows that were sent before have reached a level of durability.",
			answering(s.flush))),
		changing(jsonAction("Drain", "Makes the server refuse writes and end followers, before it is stopped.",
			answering(func(context.Context, *noFields) (any, error) {
				s.drain()
				return done{}, nil
			}))),
	}
}

// The limits of a batch; see arrowipc.Limits.
const (
	batchRowsMax = 4 << 20
	columnsMax   = 4096
)

type flushRequest struct {
	Level string `json:"level"`
}

func (s *service) flush(ctx context.Context, request *flushRequest) (any, error) {
	level, err := model.ParseDurability(request.Level)
	if err != nil {
		return nil, err
	}
	if level == model.DurabilityUnset {
		level = model.Fsync
	}
	return done{}, s.engine.Flush(ctx, level)
}

// databaseActions make, drop and list databases.
func (s *service) databaseActions() []action {
	return []action{
		changing(jsonAction("CreateDatabase", "Makes a database.", answering(s.createDatabase))),
		changing(jsonAction("DropDatabase", "Drops a database; with cascade, its tables too.", answering(s.dropDatabase))),
		jsonAction("ListDatabases", "Lists the databases.",
			func(_ context.Context, _ *noFields, send sendResult) error {
				return sendParts(s.engine.Databases(), func(databases []string, more bool) error {
					return send(struct {
						Databases []string `json:"databases"`
						More      bool     `json:"more,omitzero"`
					}{databases, more})
				})
			}),
	}
}

type createDatabaseRequest struct {
	Database string `json:"database"`
	ExistOK  bool   `json:"exist_ok"`
}

func (s *service) createDatabase(ctx context.Context, request *createDatabaseRequest) (any, error) {
	if err := model.CheckName("database", request.Database); err != nil {
		return nil, err
	}
	return done{}, s.engine.CreateDatabase(ctx, request.Database, request.ExistOK)
}

type dropDatabaseRequest struct {
	Database  string `json:"database"`
	Cascade   bool   `json:"cascade"`
	MissingOK bool   `json:"missing_ok"`
}

func (s *service) dropDatabase(ctx context.Context, request *dropDatabaseRequest) (any, error) {
	if err := model.CheckName("database", request.Database); err != nil {
		return nil, err
	}
	return done{}, s.engine.DropDatabase(ctx, request.Database, request.Cascade, request.MissingOK)
}
