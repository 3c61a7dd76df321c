package flightsrv

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/engine"
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
		info, err := s.tableInfo(stream.Context(), table)
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
func (s *service) tableInfo(ctx context.Context, table *model.Table) (*flight.FlightInfo, error) {
	buckets, err := s.engine.Buckets(table.Name)
	if err != nil {
		return nil, err
	}
	rows, err := s.countRows(ctx, table, buckets)
	if err != nil {
		return nil, err
	}
	bytes := int64(0)
	for _, bucket := range buckets {
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

// countRows counts the rows that a scan of the table gives: those of a log table's buckets, or those of
// the state of a primary-key table, whose buckets hold its changes.
func (s *service) countRows(ctx context.Context, table *model.Table, buckets []engine.BucketState) (int64, error) {
	if table.Keyed() {
		plan, err := s.engine.Plan(ctx, engine.Scan{Table: table.Name, Columns: []string{}})
		if err != nil {
			return 0, err
		}
		return plan.Rows, s.giveUpPlan(plan, nil)
	}
	rows := int64(0)
	for _, bucket := range buckets {
		rows += bucket.End - bucket.Start
	}
	return rows, nil
}
