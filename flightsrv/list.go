package flightsrv

import (
	"errors"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// ListFlights implements flight.FlightServiceServer.
func (s *service) ListFlights(criteria *flight.Criteria, stream flight.FlightService_ListFlightsServer) error {
	if len(criteria.GetExpression()) > requestBytesMax {
		return model.Errorf(model.BadRequest, "the pattern has %d bytes", len(criteria.GetExpression()))
	}
	tables, err := s.engine.Tables(string(criteria.GetExpression()))
	if err != nil {
		return err
	}
	for _, table := range tables {
		info, err := s.tableInfo(table)
		if err != nil {
			if errors.Is(err, model.TableNotFound) {
				continue // dropped meanwhile
			}
			return err
		}
		if err := stream.Send(info); err != nil {
			return err
		}
	}
	return nil
}

// tableInfo describes a table without planning a read; its one ticket reads what is there by the
// time of DoGet.
func (s *service) tableInfo(table *model.Table) (*flight.FlightInfo, error) {
	buckets, err := s.engine.Buckets(table.Name)
	if err != nil {
		return nil, err
	}
	rows, bytes := int64(0), int64(0)
	for _, bucket := range buckets {
		rows += bucket.End - bucket.Start
		bytes += bucket.Bytes
	}
	ticket, err := encodeJSON(command{Scan: &scanRequest{Table: table.Name.String()}})
	if err != nil {
		return nil, err
	}
	return &flight.FlightInfo{
		Schema: encapsulate(arrowipc.EncodeSchema(table.Schema)), TotalRecords: rows, TotalBytes: bytes,
		FlightDescriptor: &flight.FlightDescriptor{
			Type: flight.FlightDescriptor_PATH, Path: []string{table.Name.Database, table.Name.Table},
		},
		Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: ticket}}},
	}, nil
}
