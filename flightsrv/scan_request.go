package flightsrv

import (
	"context"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/metadata"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// scanRequest is the JSON of a scan, in descriptors and in tickets.
type scanRequest struct {
	Table           string           `json:"table"`
	Columns         *[]columnPath    `json:"columns,omitzero"`
	Filter          filterValue      `json:"filter,omitzero"`
	From            bound            `json:"from,omitzero"`
	To              bound            `json:"to,omitzero"`
	At              jsontext.Value   `json:"at,omitzero"`
	View            string           `json:"view,omitzero"`
	Tier            string           `json:"tier,omitzero"`
	Buckets         *[]integer       `json:"buckets,omitzero"`
	Partitions      []jsontext.Value `json:"partitions,omitzero"`
	Limit           *integer         `json:"limit,omitzero"`
	SystemColumns   bool             `json:"system_columns,omitzero"`
	Compression     string           `json:"compression,omitzero"`
	MaxMessageBytes integer          `json:"max_message_bytes,omitzero"`
	OnSchemaChange  string           `json:"on_schema_change,omitzero"`
	// Later says which buckets that the table gets later a follower has too: none, family or all. LaterFrom is the
	// number of the first one. Both are set in tickets of a FlightInfo.
	Later     string  `json:"later,omitzero"`
	LaterFrom integer `json:"later_from,omitzero"`
	// Plan is set in tickets of a FlightInfo: the plan that pins their rows.
	Plan string `json:"plan,omitzero"`
}

// views are the words of the field view.
var views = map[string]engine.View{
	"": engine.ViewDefault, "rows": engine.ViewRows, "changelog": engine.ViewChangelog,
	"rows+changelog": engine.ViewRowsAndChangelog, "before-after": engine.ViewBeforeAfter,
}

// laterBuckets are the words of the field later.
var laterBuckets = map[string]engine.LaterBuckets{
	"": engine.LaterDefault, "none": engine.LaterNone, "family": engine.LaterFamily, "all": engine.LaterAll,
}

// compressions are the words of the field compression.
var compressions = map[string]engine.Compression{
	"": engine.CompressionStored, "stored": engine.CompressionStored, "none": engine.CompressionNone,
	"lz4": engine.CompressionLZ4, "zstd": engine.CompressionZSTD,
}

// scan checks the request and gives it in the engine's words.
func (r *scanRequest) scan() (engine.Scan, error) {
	var scan engine.Scan
	table, err := parseTable(r.Table)
	if err != nil {
		return scan, err
	}
	view, ok := views[r.View]
	if !ok {
		return scan, notOneOf("view", r.View, "rows", "changelog", "rows+changelog", "before-after")
	}
	later, ok := laterBuckets[r.Later]
	if !ok {
		return scan, notOneOf("later", r.Later, "none", "family", "all")
	}
	if err := r.checkSupported(); err != nil {
		return scan, err
	}
	if err := r.checkRanges(); err != nil {
		return scan, err
	}
	columns, paths := columnPaths(r.Columns)
	scan = engine.Scan{
		Table: table, Columns: columns, Paths: paths, From: r.From.Bound, To: r.To.Bound,
		View: view, SystemColumns: r.SystemColumns, MessageBytes: int(r.MaxMessageBytes),
		Compression: compressions[r.Compression], Plan: r.Plan, Filter: r.Filter.Expression, Later: later, LaterFrom: int32(r.LaterFrom),
		EndAtSchemaChange: r.OnSchemaChange == "end",
	}
	if r.Limit != nil {
		scan.Limit, scan.HasLimit = int64(*r.Limit), true
	}
	if r.Buckets != nil {
		scan.Buckets = make([]int32, len(*r.Buckets))
		for i, bucket := range *r.Buckets {
			scan.Buckets[i] = int32(bucket)
		}
	}
	if r.Partitions != nil {
		scan.Partitions = make([]engine.PartitionValues, len(r.Partitions))
		for i, values := range r.Partitions {
			if err := decodeJSON(values, "an element of partitions", &scan.Partitions[i]); err != nil {
				return scan, err
			}
		}
	}
	return scan, nil
}

// checkSupported refuses what the interface describes and this version lacks.
func (r *scanRequest) checkSupported() error {
	switch {
	case present(r.At):
		return unsupported("at (time travel)", `Use "from" and "to"`)
	}
	for _, field := range []struct {
		name, value string
		known       []string // of the interface; the first knows are supported
		supported   int
	}{
		{"tier", r.Tier, []string{"union", "log", "lake"}, 2},
		{"compression", r.Compression, []string{"stored", "none", "lz4", "zstd"}, 4},
		{"on_schema_change", r.OnSchemaChange, []string{"keep", "end"}, 2},
	} {
		if err := checkWord(field.name, field.value, field.known, field.supported); err != nil {
			return err
		}
	}
	return nil
}

// checkWord checks a field that takes one of the known words, of which the first are supported.
func checkWord(name, value string, known []string, supported int) error {
	if value == "" {
		return nil
	}
	for i, word := range known {
		if word == value && i < supported {
			return nil
		}
		if word == value {
			return unsupported(name+" "+value, "Use "+known[0]+", or leave the field out")
		}
	}
	return notOneOf(name, value, known...)
}

func (r *scanRequest) checkRanges() error {
	if r.From.Kind == engine.BoundNever {
		return model.Errorf(model.BadRequest, `"from" is "never"`).WithRemedy(`Only "to" can be "never"`)
	}
	if r.Limit != nil && *r.Limit < 0 {
		return model.Errorf(model.BadRequest, "limit is %d", *r.Limit).WithRemedy("Use 0 or more, or leave it out")
	}
	if r.LaterFrom < 0 || r.LaterFrom > math.MaxInt32 {
		return model.Errorf(model.BadRequest, "later_from is %d", r.LaterFrom).WithRemedy("Send the ticket as it was given")
	}
	if r.Buckets != nil {
		for _, bucket := range *r.Buckets {
			if bucket < 0 || bucket > math.MaxInt32 {
				return model.Errorf(model.BadRequest, "bucket %d cannot be", bucket).
					WithRemedy("Describe the table to see its buckets")
			}
		}
	}
	return checkMessageBytes("max_message_bytes", int64(r.MaxMessageBytes))
}

// The bounds of what a client may ask for as its largest message; 0 is the default.
const (
	messageBytesLeast = 64 << 10
	messageBytesMost  = 64 << 20
)

func checkMessageBytes(name string, value int64) error {
	if value == 0 || value >= messageBytesLeast && value <= messageBytesMost {
		return nil
	}
	return model.Errorf(model.BadRequest, "%s is %d", name, value).
		WithRemedy("Use %d to %d", messageBytesLeast, messageBytesMost)
}

func present(value jsontext.Value) bool { return len(value) > 0 && value.Kind() != 'n' }

// messageBytesHeader asks for another largest message than the default, for all reads of a client.
const messageBytesHeader = "headrace-max-message-bytes"

// applyHeaders takes in what the call's headers ask for; the request itself goes before.
func (r *scanRequest) applyHeaders(ctx context.Context) error {
	values := metadata.ValueFromIncomingContext(ctx, messageBytesHeader)
	if len(values) == 0 || r.MaxMessageBytes != 0 {
		return nil
	}
	value, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return model.Errorf(model.BadRequest, "the header %s is %q, want a number", messageBytesHeader, clipText(values[0], 40))
	}
	r.MaxMessageBytes = integer(min(value, math.MaxInt32))
	return nil
}

// scanOfDescriptor gives the scan that a descriptor asks for: a path is the whole table.
func scanOfDescriptor(descriptor *flight.FlightDescriptor) (*scanRequest, error) {
	if err := checkDescriptor(descriptor); err != nil {
		return nil, err
	}
	if descriptor.GetType() == flight.FlightDescriptor_PATH {
		name, err := model.ParseTablePath(descriptor.GetPath())
		return &scanRequest{Table: name.String()}, err
	}
	return scanOfCommand(descriptor.GetCmd(), "the descriptor's command")
}

func scanOfCommand(data []byte, what string) (*scanRequest, error) {
	c, err := parseCommand(data, what)
	if err != nil {
		return nil, err
	}
	if c.Scan == nil {
		return nil, model.Errorf(model.BadRequest, "%s is %q", what, c.name()).WithRemedy(`Send {"scan":{"table":…}}`)
	}
	return c.Scan, nil
}
