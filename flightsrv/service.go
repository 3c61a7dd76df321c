package flightsrv

import (
	"context"
	"log/slog"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/obs"
)

// service is the Flight service: its methods translate, call the engine, and keep nothing beyond
// the call.
type service struct {
	flight.UnimplementedFlightServiceServer
	errorWriter
	engine  *engine.Engine
	metrics *obs.Metrics
	logger  *slog.Logger
	version string

	// puts holds an element a DoPut stream. Each may have a window and one message of the largest
	// size in memory before the engine's byte budget sees them: see Options.PutStreams.
	puts chan struct{}
	// lookups holds an element a DoExchange stream; see Options.LookupStreams.
	lookups chan struct{}
	// receivers are the receiving halves of DoPut and DoExchange streams; they end when their handler
	// has.
	receivers sync.WaitGroup
	// draining is done when the server stops.
	draining context.Context
	drain    func()
	actions  map[string]action
}

// Handshake implements flight.FlightServiceServer.
func (s *service) Handshake(flight.FlightService_HandshakeServer) error {
	return unsupported("Handshake", "Send the token with each call: the header authorization: Bearer TOKEN")
}

// notInThisVersion is the error of an action that the interface describes and this version lacks.
func notInThisVersion(action string) error {
	return model.Errorf(model.Unimplemented, "the action %s is not supported in this version", action).
		WithRemedy("ListActions names those that are")
}
