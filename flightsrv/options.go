package flightsrv

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/obs"
	"github.com/headrace/headrace/internal/vfs"
)

// Limits of the transport that are not options.
const (
	// receiveBytesMax bounds a received batch, which is one message; receiveBytesRoom is left for what
	// stands around it.
	receiveBytesMax  = 64 << 20
	receiveBytesRoom = 1 << 20
	headerListMax    = 64 << 10
	// streamsMax bounds the calls at once on one connection.
	streamsMax = 256
	// streamWindow and connectionWindow are the HTTP/2 windows for what clients send. They are fixed
	// so that the memory of a stream that nobody reads is, too.
	streamWindow     = 2 << 20
	connectionWindow = 8 << 20
	readBufferBytes  = 256 << 10
	handshakeTime    = 10 * time.Second
)

// Options are fixed when a server is made. The zero value of each field means its default.
type Options struct {
	// Listen is the address for Flight, host:port. Default 127.0.0.1:8815; port 0 takes a free one.
	Listen string
	// Advertise is the address that clients are told to use, host:port. Default: none, clients use
	// the one that they have. Alone, a server names no location in its answers.
	Advertise string
	// Admin is the address of the admin listener, host:port. Empty: there is none.
	Admin string
	// TLSCert and TLSKey are PEM files; with them, the server speaks TLS 1.3 only. Both are read
	// again when they change.
	TLSCert, TLSKey string
	// ClientCA is a PEM file of authorities; with it, each client needs a certificate of theirs that
	// has a URI or DNS name. Needs TLSCert.
	ClientCA string
	// TokenFile holds hashes of tokens; with it, each call needs a token. See package auth.
	TokenFile string
	// Insecure allows listening beyond this machine without TLS. Everything, tokens included, can
	// then be read and changed by anyone on the way.
	Insecure bool

	// Mappings finds the mapped segment that a slice lies in. Required: the engine's.
	Mappings *vfs.Mappings
	// Logger gets what an operator should see. Default: discard.
	Logger *slog.Logger
	// Metrics count what the server does. Default: metrics of its own.
	Metrics *obs.Metrics
	// Clock tells the time to the checks of tokens. Default: the machine's.
	Clock model.Clock
	// Version is what ServerInfo tells. Default "dev".
	Version string

	// Connections bounds the open connections; those beyond are closed at once. Default 1024.
	Connections int
	// PutStreams bounds the open DoPut streams; those beyond get OVERLOADED. Each may hold a window
	// of 2 MiB and one message of up to 64 MiB before the engine's byte budget counts it.
	// Default 1024.
	PutStreams int
	// LookupStreams bounds the open DoExchange streams; those beyond get OVERLOADED. Each may hold a
	// window of 2 MiB and one message of up to 64 MiB. Default 1024.
	LookupStreams int
	// DrainTime is how long calls may go on once the server stops. Default 20 s.
	DrainTime time.Duration
}

func (o Options) withDefaults() Options {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:8815"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewMetrics(o.Version)
	}
	if o.Clock == nil {
		o.Clock = model.WallClock{}
	}
	if o.Connections == 0 {
		o.Connections = 1024
	}
	if o.PutStreams == 0 {
		o.PutStreams = 1024
	}
	if o.LookupStreams == 0 {
		o.LookupStreams = 1024
	}
	if o.DrainTime == 0 {
		o.DrainTime = 20 * time.Second
	}
	return o
}

// validate tells everything that is wrong with o at once.
func (o Options) validate() error {
	var errs []error
	if o.Mappings == nil {
		errs = append(errs, errors.New("the field Mappings is missing"))
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		errs = append(errs, errors.New("the TLS certificate or its key is missing, want both or none"))
	}
	if o.ClientCA != "" && o.TLSCert == "" {
		errs = append(errs, errors.New("the client CA needs a TLS certificate and its key"))
	}
	for _, field := range []struct {
		name  string
		value int64
	}{{"Connections", int64(o.Connections)}, {"PutStreams", int64(o.PutStreams)}, {"LookupStreams", int64(o.LookupStreams)}, {"DrainTime", int64(o.DrainTime)}} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", field.name))
		}
	}
	errs = append(errs, o.checkAddresses())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("server options: %w", err)
	}
	return nil
}

// checkAddresses holds the rule that nothing leaves the machine unencrypted by mistake.
func (o Options) checkAddresses() error {
	listen := checkAddress("listen", o.Listen)
	if listen == nil && !o.Insecure && o.TLSCert == "" && !isLoopback(o.Listen) {
		listen = fmt.Errorf("listening on %s without TLS would let anyone on the network read and change everything: "+
			"give --tls-cert and --tls-key, listen on 127.0.0.1, or accept that with --insecure", o.Listen)
	}
	if o.Admin == "" {
		return listen
	}
	admin := checkAddress("admin", o.Admin)
	if admin == nil && !o.Insecure && !isLoopback(o.Admin) {
		admin = fmt.Errorf("the admin listener %s has neither TLS nor tokens: "+
			"let it listen on 127.0.0.1, or accept that with --insecure", o.Admin)
	}
	return errors.Join(listen, admin)
}

func checkAddress(what, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("the %s address %q is not host:port", what, address)
	}
	return nil
}

// isLoopback says that only this machine can reach the address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
