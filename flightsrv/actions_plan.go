package flightsrv

import (
	"context"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/model"
)

// planActions are about the plans behind FlightInfos: headrace's own actions, and those of Flight.
func (s *service) planActions() []action {
	return []action{
		changing(jsonAction("CancelPlan", "Gives up a plan, so that its rows are no longer pinned.", answering(s.cancelPlan))),
		jsonAction("ListPlans", "Lists the plans, and how many rows each one pins.", s.listPlans),
		{
			name: "CancelFlightInfo", changes: true, run: s.cancelFlightInfo,
			description: "Gives up the plan of a FlightInfo. The body is the protobuf of a CancelFlightInfoRequest.",
		},
		{
			name: "RenewFlightEndpoint", run: s.renewFlightEndpoint,
			description: "Keeps the plan of an endpoint for longer. The body is the protobuf of a RenewFlightEndpointRequest.",
		},
	}
}

type cancelPlanRequest struct {
	Plan string `json:"plan"`
}

func (s *service) cancelPlan(_ context.Context, request *cancelPlanRequest) (any, error) {
	return done{}, s.engine.CancelPlan(request.Plan)
}

type planDescription struct {
	Plan       string    `json:"plan"`
	Table      string    `json:"table"`
	Since      timeValue `json:"since"`
	Expires    timeValue `json:"expires"`
	PinnedRows int64     `json:"pinned_rows"`
}

func (s *service) listPlans(_ context.Context, _ *noFields, send sendResult) error {
	return sendParts(describePlans(s.engine.Plans()), func(plans []planDescription, more bool) error {
		return send(struct {
			Plans []planDescription `json:"plans"`
			More  bool              `json:"more,omitzero"`
		}{plans, more})
	})
}

func (s *service) cancelFlightInfo(_ context.Context, body []byte, send sendResult) error {
	var request flight.CancelFlightInfoRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return notProtobuf("CancelFlightInfo")
	}
	plan, err := planOfInfo(request.GetInfo())
	if err != nil {
		return err
	}
	if err := s.engine.CancelPlan(plan); err != nil {
		return err
	}
	result, err := proto.Marshal(&flight.CancelFlightInfoResult{Status: flight.CancelStatus_CANCEL_STATUS_CANCELLED})
	if err != nil {
		return err
	}
	return send(result)
}

func notProtobuf(action string) error {
	return model.Errorf(model.BadRequest, "the body of %s is not valid protobuf", action)
}

// planOfInfo gives the id of the plan behind a FlightInfo, out of any of its tickets.
func planOfInfo(info *flight.FlightInfo) (string, error) {
	for _, endpoint := range info.GetEndpoint() {
		return planOfTicket(endpoint.GetTicket().GetTicket())
	}
	return "", model.Errorf(model.BadRequest, "the FlightInfo has no endpoint").WithRemedy("Send the one that GetFlightInfo gave")
}

func planOfTicket(ticket []byte) (string, error) {
	scan, err := scanOfCommand(ticket, "the ticket")
	if err != nil {
		return "", err
	}
	if scan.Plan == "" {
		return "", model.Errorf(model.BadRequest, "the ticket belongs to no plan").WithRemedy("Send one that GetFlightInfo gave")
	}
	return scan.Plan, nil
}

func (s *service) renewFlightEndpoint(_ context.Context, body []byte, send sendResult) error {
	var request flight.RenewFlightEndpointRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return notProtobuf("RenewFlightEndpoint")
	}
	plan, err := planOfTicket(request.GetEndpoint().GetTicket().GetTicket())
	if err != nil {
		return err
	}
	var expires time.Time
	if expires, err = s.engine.RenewPlan(plan); err != nil {
		return err
	}
	request.Endpoint.ExpirationTime = expiration(expires)
	result, err := proto.Marshal(request.GetEndpoint())
	if err != nil {
		return err
	}
	return send(result)
}
