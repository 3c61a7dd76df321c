package flightsrv

import (
	"strconv"
	"strings"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

func formatInt(value int64) string { return strconv.FormatInt(value, 10) }

// putCommand is the JSON of a put, in the descriptor of a DoPut.
type putCommand struct {
	Table      string        `json:"table"`
	Mode       string        `json:"mode"`
	Columns    *[]columnName `json:"columns"`
	Acks       string        `json:"acks"`
	Durability string        `json:"durability"`
	Producer   string        `json:"producer"`
	Epoch      *integer      `json:"epoch"`
}

// putModes are the words of the field mode.
var putModes = map[string]engine.PutMode{
	"": engine.PutDefault, "append": engine.PutAppend, "upsert": engine.PutUpsert, "delete": engine.PutDelete,
}

// request checks the command and gives it in the engine's words; the schema is still to be set.
func (c *putCommand) request() (engine.PutRequest, ackMode, error) {
	var request engine.PutRequest
	table, err := parseTable(c.Table)
	if err != nil {
		return request, 0, err
	}
	put, ok := putModes[c.Mode]
	if !ok {
		return request, 0, notOneOf("mode", c.Mode, "append", "upsert", "delete")
	}
	if c.Columns != nil && put == engine.PutAppend {
		return request, 0, model.Errorf(model.BadRequest, "columns are for the modes upsert and delete, not for %s", c.Mode).
			WithRemedy("Leave the field out: batches are matched by the names of their columns")
	}
	mode, ok := ackModes[c.Acks]
	if !ok {
		return request, 0, notOneOf("acks", c.Acks, "batch", "group", "end")
	}
	durability, err := model.ParseDurability(c.Durability)
	if err != nil {
		return request, 0, err
	}
	if c.Producer == "" && c.Epoch != nil {
		return request, 0, model.Errorf(model.BadRequest, "the put command has an epoch and no producer")
	}
	if c.Producer != "" && c.Epoch == nil {
		return request, 0, epochMissing("the put command")
	}
	request = engine.PutRequest{
		Table: table, Durability: durability, Producer: c.Producer, Mode: put, Columns: columnNames(c.Columns),
	}
	if c.Epoch != nil {
		request.Epoch = int64(*c.Epoch)
	}
	return request, mode, nil
}

func epochMissing(where string) error {
	return model.Errorf(model.BadRequest, "%s names a producer and no epoch", where).
		WithRemedy("Call the action OpenProducer to get one")
}

// batchMetadata is the JSON that comes with a batch of a put.
type batchMetadata struct {
	Producer string   `json:"producer"`
	Epoch    *integer `json:"epoch"`
	Seq      *integer `json:"seq"`
}

// parseSequence reads the app_metadata of a batch; nil where the stream has no producer at all.
func parseSequence(metadata []byte, request *engine.PutRequest) (*engine.Sequence, error) {
	if len(metadata) == 0 && request.Producer == "" {
		return nil, nil
	}
	var parsed batchMetadata
	if len(metadata) > 0 {
		if err := decodeJSON(metadata, "the app_metadata of the batch", &parsed); err != nil {
			return nil, err
		}
	}
	sequence := &engine.Sequence{Producer: request.Producer, Epoch: request.Epoch}
	if parsed.Producer != "" && parsed.Producer != request.Producer {
		if sequence.Producer = parsed.Producer; parsed.Epoch == nil {
			return nil, epochMissing("the app_metadata of the batch")
		}
	}
	if parsed.Epoch != nil {
		sequence.Epoch = int64(*parsed.Epoch)
	}
	switch {
	case sequence.Producer == "" && parsed.Seq == nil && parsed.Epoch == nil:
		return nil, nil // {} says nothing
	case sequence.Producer == "":
		return nil, model.Errorf(model.BadRequest, "the batch has a seq or an epoch, and no producer is named").
			WithRemedy(`Send {"producer":…,"epoch":…,"seq":…} with the batch, or name the producer in the put command`)
	case parsed.Seq == nil:
		return nil, model.Errorf(model.BadRequest, "the batch of producer %q has no seq", clipText(sequence.Producer, 80)).
			WithRemedy(`Send {"seq":…} in its app_metadata, counting from 0`)
	}
	sequence.Number = int64(*parsed.Seq)
	return sequence, nil
}

// parseTable reads the name of a table in a request, which must be there.
func parseTable(name string) (model.TableName, error) {
	if name == "" {
		return model.TableName{}, model.Errorf(model.BadRequest, "no table is named").WithRemedy(`Set the field "table"`)
	}
	return model.ParseTableName(name)
}

// unsupported is the error for what the interface describes and this version lacks.
func unsupported(what, remedy string) *model.Error {
	return model.Errorf(model.Unimplemented, "%s is not supported in this version", what).WithRemedy("%s", remedy)
}

// notOneOf is the error for a word that a field cannot have.
func notOneOf(field, got string, wanted ...string) *model.Error {
	return model.Errorf(model.BadRequest, "%s is %q", field, clipText(got, 40)).WithRemedy("Use %s", strings.Join(wanted, ", "))
}
