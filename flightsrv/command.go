package flightsrv

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/model"
)

// command is the JSON of a descriptor's command, and of a ticket: exactly one member is set.
type command struct {
	Scan   *scanRequest   `json:"scan,omitzero"`
	Put    *putCommand    `json:"put,omitzero"`
	Lookup *lookupCommand `json:"lookup,omitzero"`
}

// name is the name of the member that is set.
func (c *command) name() string {
	switch {
	case c.Scan != nil:
		return "scan"
	case c.Put != nil:
		return "put"
	}
	return "lookup"
}

// parseCommand reads a command; what names its place in errors.
func parseCommand(data []byte, what string) (*command, error) {
	if len(data) > 0 && data[0] != '{' && bytes.Contains(data, []byte("type.googleapis.com/")) {
		return nil, unsupported("Flight SQL", `Send a command such as {"scan":{"table":"web.clicks"}}`)
	}
	var c command
	if err := decodeJSON(data, what, &c); err != nil {
		return nil, err
	}
	set := 0
	for _, is := range []bool{c.Scan != nil, c.Put != nil, c.Lookup != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, model.Errorf(model.BadRequest, "%s has %d of the members scan, put and lookup", what, set).
			WithRemedy("Set exactly one of them")
	}
	return &c, nil
}

// parseDescriptor reads the protobuf of a FlightDescriptor.
func parseDescriptor(data []byte) (*flight.FlightDescriptor, error) {
	var descriptor flight.FlightDescriptor
	if err := proto.Unmarshal(data, &descriptor); err != nil {
		return nil, model.Errorf(model.BadRequest, "the descriptor is not valid protobuf")
	}
	return &descriptor, checkDescriptor(&descriptor)
}

// checkDescriptor refuses a descriptor that names nothing.
func checkDescriptor(descriptor *flight.FlightDescriptor) error {
	switch descriptor.GetType() {
	case flight.FlightDescriptor_PATH, flight.FlightDescriptor_CMD:
		return nil
	}
	return model.Errorf(model.BadRequest, "the descriptor has neither a path nor a command").
		WithRemedy(`Send the path ["db", "table"] or a JSON command`)
}
