package flightsrv

import (
	"context"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/headrace/headrace/internal/auth"
	"github.com/headrace/headrace/internal/obs"
)

// edge is around every call: it authorises, counts, turns errors into statuses and survives panics.
type edge struct {
	errorWriter
	metrics *obs.Metrics
	guard   *auth.Guard
}

// openMethods need no token. Everything that is not named here does.
var openMethods = map[string]bool{
	healthgrpc.Health_Check_FullMethodName: true,
	healthgrpc.Health_Watch_FullMethodName: true,
	healthgrpc.Health_List_FullMethodName:  true,
}

// unary is the interceptor of calls with one answer.
func (e *edge) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	err = e.around(ctx, info.FullMethod, func(ctx context.Context) error {
		response, err = handler(ctx, request)
		return err
	}, func(trailer metadata.MD) { grpc.SetTrailer(ctx, trailer) })
	return response, err
}

// stream is the interceptor of all other calls.
func (e *edge) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return e.around(stream.Context(), info.FullMethod, func(ctx context.Context) error {
		return handler(service, callerStream{stream, ctx})
	}, stream.SetTrailer)
}

// around runs call as one call of method.
func (e *edge) around(ctx context.Context, method string, call func(context.Context) error, setTrailer func(metadata.MD)) error {
	began, name := time.Now(), path.Base(method)
	e.metrics.RPCsOpen.WithLabelValues(name).Inc()
	err := e.guarded(ctx, method, call)
	e.metrics.RPCsOpen.WithLabelValues(name).Dec()
	e.metrics.RPCSeconds.WithLabelValues(name).Observe(time.Since(began).Seconds())
	if err == nil {
		e.metrics.RPCs.WithLabelValues(name, codes.OK.String()).Inc()
		return nil
	}
	status, trailer := e.status(method, err)
	e.metrics.RPCs.WithLabelValues(name, status.Code().String()).Inc()
	if trailer != "" {
		setTrailer(trailerOf(trailer))
	}
	return status.Err()
}

// guarded runs call if the caller may make it.
func (e *edge) guarded(ctx context.Context, method string, call func(context.Context) error) (err error) {
	defer e.recoverInto(&err)
	if !openMethods[method] {
		principal, err := e.guard.Check(callerOf(ctx))
		if err != nil {
			e.metrics.AuthFailures.Inc()
			return err
		}
		ctx = auth.WithPrincipal(ctx, principal)
	}
	return call(ctx)
}

// callerStream is a stream whose context knows the caller.
type callerStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s callerStream) Context() context.Context { return s.ctx }
