package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// The methods of the Flight service that are called with the codec below.
const (
	methodDoPut = "/arrow.flight.protocol.FlightService/DoPut"
	methodDoGet = "/arrow.flight.protocol.FlightService/DoGet"

	methodDoExchange = "/arrow.flight.protocol.FlightService/DoExchange"
)

// encoded is a message as it goes over the wire. gRPC does not copy or change it.
type encoded []byte

// ignored is a received message of which only the size is wanted.
type ignored int

// acknowledgement is a received PutResult.
type acknowledgement struct {
	durability string // that it must tell; empty: any
	batches    int    // that it covers
	buffer     []byte
}

// lastPart is in the app_metadata of the last part of an answer to a lookup.
var lastPart = []byte(`"last":true`)

// fieldBody is the number of the body in a FlightData; everything else comes before it.
const fieldBody = 1000

// part is a received part of an answer to a lookup.
type part struct {
	last  bool
	bytes int // of the message
	front []byte
}

// partFrontMax bounds what lies before the body: the header of a batch of some dozens of columns.
const partFrontMax = 4 << 10

// passThrough is a codec that leaves encoding to who sends.
type passThrough struct{}

// Name implements encoding.CodecV2: the bytes on the wire are protobuf.
func (passThrough) Name() string { return proto.Name }

// Marshal implements encoding.CodecV2.
func (passThrough) Marshal(message any) (mem.BufferSlice, error) {
	if bytes, ok := message.(encoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(bytes)}, nil
	}
	return encoding.GetCodecV2(proto.Name).Marshal(message)
}

// Unmarshal implements encoding.CodecV2.
func (passThrough) Unmarshal(data mem.BufferSlice, message any) error {
	switch message := message.(type) {
	case *ignored:
		*message = ignored(data.Len())
		return nil
	case *part:
		return message.parse(data)
	case *acknowledgement:
		if cap(message.buffer) < data.Len() {
			message.buffer = make([]byte, data.Len())
		}
		message.buffer = message.buffer[:data.Len()]
		data.CopyTo(message.buffer)
		return message.parse()
	}
	return encoding.GetCodecV2(proto.Name).Unmarshal(data, message)
}

// parse reads how many batches the acknowledgement covers.
func (a *acknowledgement) parse() error {
	rest := a.buffer
	for len(rest) > 0 {
		number, kind, length := protowire.ConsumeTag(rest)
		if length < 0 {
			return fmt.Errorf("reading an acknowledgement: %w", protowire.ParseError(length))
		}
		rest = rest[length:]
		if number == 1 && kind == protowire.BytesType {
			text, length := protowire.ConsumeBytes(rest)
			if length < 0 {
				return fmt.Errorf("reading an acknowledgement: %w", protowire.ParseError(length))
			}
			var err error
			a.batches, err = batchesOf(text, a.durability)
			return err
		}
		if length = protowire.ConsumeFieldValue(number, kind, rest); length < 0 {
			return fmt.Errorf("reading an acknowledgement: %w", protowire.ParseError(length))
		}
		rest = rest[length:]
	}
	return fmt.Errorf("an acknowledgement of %d bytes has no app_metadata", len(a.buffer))
}

// parse reads what lies before the body, which is neither copied nor looked at.
func (p *part) parse(data mem.BufferSlice) error {
	p.bytes, p.last, p.front = data.Len(), false, p.front[:0]
	for _, buffer := range data {
		bytes := buffer.ReadOnlyData()
		p.front = append(p.front, bytes[:min(len(bytes), partFrontMax-len(p.front))]...)
	}
	for rest := p.front; len(rest) > 0; {
		number, kind, length := protowire.ConsumeTag(rest)
		if length < 0 {
			return fmt.Errorf("reading an answer: %w", protowire.ParseError(length))
		}
		if number == fieldBody {
			break
		}
		rest = rest[length:]
		size := protowire.ConsumeFieldValue(number, kind, rest)
		if size < 0 {
			return fmt.Errorf("reading field %d of an answer: %w", number, protowire.ParseError(size))
		}
		if number == 3 && kind == protowire.BytesType { // app_metadata
			p.last = bytes.Contains(rest[:size], lastPart)
			return nil
		}
		rest = rest[size:]
	}
	return errors.New("an answer has no app_metadata before its body")
}

// batchesOf finds the member "batches" of an acknowledgement; without it, one batch is meant. A JSON
// decoder would cost the client more than the rest of a one-row batch. An acknowledgement that does
// not tell the durability that is wanted is an error.
func batchesOf(text []byte, durability string) (int, error) {
	if durability != "" && !bytes.Contains(text, []byte(`"durability":"`+durability+`"`)) {
		return 0, fmt.Errorf("the acknowledgement %q does not tell durability %s", text, durability)
	}
	_, rest, found := bytes.Cut(text, []byte(`"batches":`))
	if !found {
		return 1, nil
	}
	rest = bytes.TrimLeft(rest, " ")
	end := bytes.IndexAny(rest, ",} ")
	if end < 0 {
		return 0, fmt.Errorf("the acknowledgement %q is cut", text)
	}
	count, err := strconv.Atoi(string(rest[:end]))
	if err != nil || count < 1 {
		return 0, fmt.Errorf("the acknowledgement %q has no valid number of batches", text)
	}
	return count, nil
}
