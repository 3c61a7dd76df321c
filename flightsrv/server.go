package flightsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/headrace/headrace/internal/auth"
	"github.com/headrace/headrace/internal/engine"
)

// Server serves one engine. New listens, Serve serves; one of Serve and Close must be called.
type Server struct {
	options     Options
	service     *service
	grpc        *grpc.Server
	health      *health.Server
	credentials *edgeCredentials
	listener    net.Listener
	admin       *adminServer // nil if there is none
	tokens      *auth.Tokens // nil if there are none
	tls         *auth.ServerTLS
}

// New makes a server and begins to listen, so that Addr is known; nothing is answered before Serve.
// It fails if the options make no sense, a file cannot be read or an address cannot be used. The
// engine stays the caller's: it is closed after Serve has returned.
func New(engine *engine.Engine, options Options) (*Server, error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, err
	}
	s := &Server{options: options, health: health.NewServer()}
	guard, tlsConfig, err := s.openAuth()
	if err != nil {
		return nil, err
	}
	s.service = newService(engine, options)
	s.credentials = newEdgeCredentials(tlsConfig, options.Mappings, options.Metrics, options.Connections)
	s.grpc = s.newGRPC(&edge{errorWriter: s.service.errorWriter, metrics: options.Metrics, guard: guard})
	flight.RegisterFlightServiceServer(s.grpc, s.service)
	healthgrpc.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_NOT_SERVING)
	return s, s.listen()
}

// newService makes the service; draining begins with a call of its drain.
func newService(engine *engine.Engine, options Options) *service {
	s := &service{
		errorWriter: errorWriter{logger: options.Logger}, engine: engine, metrics: options.Metrics,
		logger: options.Logger, version: options.Version, puts: make(chan struct{}, options.PutStreams),
		lookups: make(chan struct{}, options.LookupStreams),
	}
	draining, begin := context.WithCancel(context.Background())
	s.draining = draining
	s.drain = sync.OnceFunc(func() {
		engine.Drain()
		begin()
	})
	s.actions = s.allActions()
	return s
}

// openAuth reads the files of tokens and certificates.
func (s *Server) openAuth() (*auth.Guard, *tls.Config, error) {
	o := s.options
	var err error
	if o.TokenFile != "" {
		if s.tokens, err = auth.OpenTokens(o.TokenFile, o.Clock, o.Logger); err != nil {
			return nil, nil, err
		}
	}
	var config *tls.Config
	if o.TLSCert != "" {
		files := auth.TLSFiles{Certificate: o.TLSCert, Key: o.TLSKey, ClientCA: o.ClientCA}
		if s.tls, err = auth.OpenServerTLS(files, o.Clock, o.Logger); err != nil {
			return nil, nil, err
		}
		config = s.tls.Config()
	}
	if o.TokenFile == "" && o.ClientCA == "" && !isLoopback(o.Listen) {
		o.Logger.Warn("anyone who can reach the server may read and write: there is no token file and no client CA",
			"listen", o.Listen)
	}
	return auth.NewGuard(s.tokens, o.ClientCA != "", o.Clock), config, nil
}

// newGRPC sets every limit of the transport.
func (s *Server) newGRPC(e *edge) *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(s.credentials),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.UnaryInterceptor(e.unary),
		grpc.StreamInterceptor(e.stream),
		grpc.MaxRecvMsgSize(receiveBytesMax+receiveBytesRoom),
		grpc.MaxHeaderListSize(headerListMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(readBufferBytes),
		grpc.WriteBufferSize(0), // connection gathers writes
		experimental.BufferPool(&messageBuffers),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second,
		}),
	)
}

// listen opens both listeners, or none.
func (s *Server) listen() error {
	listener, err := net.Listen("tcp", s.options.Listen)
	if err != nil {
		return fmt.Errorf("listen for Flight on %s: %w", s.options.Listen, err)
	}
	s.listener = listener
	if s.options.Admin == "" {
		return nil
	}
	admin, err := newAdminServer(s)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.admin = admin
	return nil
}

// Addr is the address that Flight is served on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// AdminAddr is the address of the admin listener; nil if there is none.
func (s *Server) AdminAddr() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.listener.Addr()
}

// Reload reads the token file and the certificates again, as after SIGHUP. What cannot be read
// stays as it was.
func (s *Server) Reload() error {
	var errs []error
	if s.tokens != nil {
		errs = append(errs, s.tokens.Reload())
	}
	if s.tls != nil {
		errs = append(errs, s.tls.Reload())
	}
	return errors.Join(errs...)
}

// Close ends a server that was never served.
func (s *Server) Close() error {
	s.service.drain()
	s.grpc.Stop()
	err := s.listener.Close()
	if s.admin != nil {
		err = errors.Join(err, s.admin.listener.Close())
	}
	return err
}

// Serve answers calls until ctx is done, and then drains: writes are refused, followers end with an
// end mark, and other calls may finish within Options.DrainTime. It returns when every call and
// every goroutine of the server has ended; nil after a drain.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 2) // one element a listener
	var serving sync.WaitGroup
	serving.Go(func() { failed <- s.grpc.Serve(s.listener) })
	if s.admin != nil {
		serving.Go(func() { failed <- s.admin.serve() })
	}
	s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_SERVING)
	s.health.SetServingStatus(flight.FlightService_ServiceDesc.ServiceName, healthgrpc.HealthCheckResponse_SERVING)
	var err error
	select {
	case <-ctx.Done():
	case <-s.service.draining.Done(): // the action Drain; the process ends by ctx
		s.health.Shutdown()
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	case err = <-failed:
	}
	s.stop()
	serving.Wait()
	return err
}

// stop drains and waits.
func (s *Server) stop() {
	s.health.Shutdown()
	s.service.drain()
	ended := make(chan struct{})
	var stopping sync.WaitGroup
	stopping.Go(func() {
		s.grpc.GracefulStop()
		close(ended)
	})
	limit := time.NewTimer(s.options.DrainTime)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
		s.options.Logger.Warn("calls were cut off", "after", s.options.DrainTime)
		s.grpc.Stop()
	}
	stopping.Wait()
	if s.admin != nil {
		s.admin.stop()
	}
	s.service.receivers.Wait()
	s.credentials.flushers.Wait()
}
