package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/headrace/headrace/internal/model"
)

// TLSFiles names the PEM files of a server.
type TLSFiles struct {
	// Certificate is the server's chain, leaf first, and Key its private key.
	Certificate, Key string
	// ClientCA are the authorities of client certificates. Empty: clients need no certificate.
	ClientCA string
}

// ServerTLS is the TLS of a server whose files may change while it runs.
type ServerTLS struct{ files watched[*tls.Config] }

// OpenServerTLS reads the files.
func OpenServerTLS(files TLSFiles, clock model.Clock, logger *slog.Logger) (*ServerTLS, error) {
	if files.Certificate == "" || files.Key == "" {
		return nil, errors.New("TLS needs both a certificate and its key")
	}
	paths := []string{files.Certificate, files.Key}
	if files.ClientCA != "" {
		paths = append(paths, files.ClientCA)
	}
	s := &ServerTLS{files: watched[*tls.Config]{
		what: "TLS certificate", paths: paths, clock: clock, logger: logger,
		load: func() (*tls.Config, error) { return loadTLS(files) },
	}}
	if err := s.files.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// Config gives the configuration of a listener: TLS 1.3, and each handshake sees the newest files.
func (s *ServerTLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.files.get(), nil },
	}
}

// Reload reads the files now rather than at the next handshake.
func (s *ServerTLS) Reload() error { return s.files.reload() }

func loadTLS(files TLSFiles) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{certificate},
		// A resumed session would outlive the client CA that it was verified with.
		SessionTicketsDisabled: true,
	}
	if files.ClientCA == "" {
		return config, nil
	}
	authorities, err := os.ReadFile(files.ClientCA)
	if err != nil {
		return nil, err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no certificate", files.ClientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}
