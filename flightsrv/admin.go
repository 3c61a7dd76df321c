package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminServer answers what operators and their tools ask, over HTTP: /healthz, /readyz, /metrics and
// /status. It changes nothing, and has no profiler.
type adminServer struct {
	server   *Server
	listener net.Listener
	http     *http.Server
}

func newAdminServer(s *Server) (*adminServer, error) {
	listener, err := net.Listen("tcp", s.options.Admin)
	if err != nil {
		return nil, fmt.Errorf("listen for admin on %s: %w", s.options.Admin, err)
	}
	a := &adminServer{server: s, listener: listener}
	s.options.Metrics.Registry.MustRegister(newStatusCollector(s.service))
	a.http = &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return a, nil
}

func (a *adminServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /status", a.status)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.server.options.Metrics.Registry, promhttp.HandlerOpts{}))
	return mux
}

// ready is 200 while the server takes writes and reads.
func (a *adminServer) ready(w http.ResponseWriter, _ *http.Request) {
	if err := a.server.service.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (a *adminServer) status(w http.ResponseWriter, _ *http.Request) {
	s := a.server.service
	body, err := encodeJSON(s.status())
	if err != nil {
		s.logger.Error("encode the status", "error", err)
		http.Error(w, "the status cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(body); err != nil {
		s.logger.Debug("send the status", "error", err)
	}
}

func (a *adminServer) serve() error {
	if err := a.http.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin: %w", err)
	}
	return nil
}

// stop ends the listener; requests under way get a second.
func (a *adminServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.http.Shutdown(ctx); err != nil {
		a.http.Close()
	}
}
