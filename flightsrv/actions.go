package flightsrv

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"github.com/headrace/headrace/internal/auth"
	"github.com/headrace/headrace/internal/model"
)

// action is one type of DoAction.
type action struct {
	name string
	// description is a JSON Schema of the body, with a sentence that says what the action does.
	description string
	// changes says that the action changes something that others see; it is logged.
	changes bool
	run     func(ctx context.Context, body []byte, send sendResult) error
}

// sendResult sends one Result: a value as JSON, or []byte as they are.
type sendResult func(result any) error

// jsonAction makes an action whose body is the JSON of a Request. Its results are sent as JSON.
func jsonAction[Request any](name, summary string, run func(context.Context, *Request, sendResult) error) action {
	return action{
		name: name, description: describeRequest[Request](name, summary),
		run: func(ctx context.Context, body []byte, send sendResult) error {
			var request Request
			if len(body) == 0 {
				body = []byte("{}") // an action without fields may be sent without a body
			}
			if err := decodeJSON(body, "the body of "+name, &request); err != nil {
				return err
			}
			return run(ctx, &request, send)
		},
	}
}

// answering makes the run function of an action that sends one result.
func answering[Request any](run func(context.Context, *Request) (any, error)) func(context.Context, *Request, sendResult) error {
	return func(ctx context.Context, request *Request, send sendResult) error {
		result, err := run(ctx, request)
		if err != nil {
			return err
		}
		return send(result)
	}
}

// changing marks an action as one that is logged.
func changing(a action) action {
	a.changes = true
	return a
}

// resultElements bounds the elements of a list in one Result.
const resultElements = 1000

// sendParts sends a list in parts of resultElements, at least one.
func sendParts[T any](all []T, send func(part []T, more bool) error) error {
	for {
		part := all[:min(len(all), resultElements)]
		all = all[len(part):]
		if err := send(part, len(all) > 0); err != nil || len(all) == 0 {
			return err
		}
	}
}

// done is the result of an action that has nothing to say.
type done struct{}

// allActions gives every action by name.
func (s *service) allActions() map[string]action {
	all := map[string]action{}
	for _, list := range [][]action{
		s.serverActions(), s.databaseActions(), s.tableActions(), s.positionActions(), s.producerActions(), s.planActions(),
		s.partitionActions(), s.groupActions(),
	} {
		for _, a := range list {
			all[a.name] = a
		}
	}
	return all
}

// laterActions are those that the interface describes and this version lacks.
var laterActions = []string{
	"TierTable",
}

// DoAction implements flight.FlightServiceServer.
func (s *service) DoAction(request *flight.Action, stream flight.FlightService_DoActionServer) error {
	a, ok := s.actions[request.GetType()]
	if !ok {
		return s.unknownAction(request.GetType())
	}
	ctx := stream.Context()
	err := a.run(ctx, request.GetBody(), func(result any) error {
		body, ok := result.([]byte)
		if !ok {
			var err error
			if body, err = encodeJSON(result); err != nil {
				return err
			}
		}
		return stream.Send(&flight.Result{Body: body})
	})
	if a.changes {
		outcome := "done"
		if err != nil {
			outcome = err.Error()
		}
		s.logger.Info("action", "action", a.name, "principal", auth.PrincipalOf(ctx).Name, "outcome", outcome)
	}
	return err
}

func (s *service) unknownAction(name string) error {
	if slices.Contains(laterActions, name) {
		return notInThisVersion(name)
	}
	unknown := model.Errorf(model.BadRequest, "the action %q is unknown", clipText(name, 80))
	if nearest := model.Nearest(name, s.actionNames()); nearest != "" {
		return unknown.WithRemedy("Did you mean %s? ListActions names all", nearest)
	}
	return unknown.WithRemedy("ListActions names those that there are")
}

// actionNames gives the names of all actions, sorted.
func (s *service) actionNames() []string {
	names := make([]string, 0, len(s.actions))
	for name := range s.actions {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// ListActions implements flight.FlightServiceServer.
func (s *service) ListActions(_ *flight.Empty, stream flight.FlightService_ListActionsServer) error {
	for _, name := range s.actionNames() {
		if err := stream.Send(&flight.ActionType{Type: name, Description: s.actions[name].description}); err != nil {
			return err
		}
	}
	return nil
}
