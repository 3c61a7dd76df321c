package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	defaultURI = "grpc://127.0.0.1:8815"
	// messageBytesMax bounds what is received: above what the server sends unasked.
	messageBytesMax = 64 << 20
)

// client is a connection to a server. Its owner closes it.
type client struct {
	flight flight.Client
	uri    string
}

// variable gives the value of a variable of the environment.
func (p *program) variable(name string) string {
	for _, pair := range p.environment {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// connect makes a client of the server that flags and environment name. It does not wait for the
// server: the first call tells whether it is there.
func (p *program) connect() (*client, error) {
	uri := p.server
	if uri == "" {
		uri = p.variable("HEADRACE_URI")
	}
	if uri == "" {
		uri = defaultURI
	}
	address, secure, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if secure {
		if transport, err = p.tlsCredentials(); err != nil {
			return nil, err
		}
	} else if p.tlsCA != "" {
		return nil, usagef("--tls-ca needs a server with TLS, and %s is none; write grpc+tls://%s", uri, address)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax)),
		grpc.WithUserAgent("headrace-cli/" + version),
		grpc.WithReadBufferSize(256 << 10),
	}
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	connection, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", uri, err)
	}
	return &client{flight: closingClient{flight.NewClientFromConn(connection, nil), connection}, uri: uri}, nil
}

// closingClient closes the connection that it was made of.
type closingClient struct {
	flight.Client
	connection *grpc.ClientConn
}

// Close implements flight.Client.
func (c closingClient) Close() error { return c.connection.Close() }

// parseURI gives host:port, and whether to use TLS.
func parseURI(uri string) (address string, secure bool, err error) {
	text := uri
	if !strings.Contains(text, "://") {
		text = "grpc://" + text
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || strings.Trim(parsed.Path, "/") != "" || parsed.User != nil {
		return "", false, usagef("%q is not the URI of a server; write grpc://host:port or grpc+tls://host:port", uri)
	}
	switch parsed.Scheme {
	case "grpc", "grpc+tcp":
	case "grpc+tls", "grpcs":
		secure = true
	default:
		return "", false, usagef("%q begins with %s://; write grpc:// or grpc+tls://", uri, parsed.Scheme)
	}
	port := parsed.Port()
	if port == "" {
		port = "8815"
	}
	return net.JoinHostPort(parsed.Hostname(), port), secure, nil
}

func (p *program) tlsCredentials() (credentials.TransportCredentials, error) {
	options := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.tlsCA != "" {
		pem, err := os.ReadFile(p.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("reading the certificates of --tls-ca: %w", err)
		}
		options.RootCAs = x509.NewCertPool()
		if !options.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", p.tlsCA)
		}
	}
	return credentials.NewTLS(options), nil
}

// token gives the token to show, or "".
func (p *program) token() (string, error) {
	if p.tokenFile == "" {
		return p.variable("HEADRACE_TOKEN"), nil
	}
	text, err := os.ReadFile(p.tokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s does not hold one token; headrace token makes one", p.tokenFile)
	}
	return token, nil
}

// bearer shows a token with each call.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. The server decides: it may be on
// this machine, or behind --insecure.
func (bearer) RequireTransportSecurity() bool { return false }

func (c *client) close() { _ = c.flight.Close() }

// actionAll calls an action and gives the bodies of all results.
func (c *client) actionAll(ctx context.Context, name string, body any) ([]json.RawMessage, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the request %s: %w", name, err)
	}
	stream, err := c.flight.DoAction(ctx, &flight.Action{Type: name, Body: encoded})
	if err != nil {
		return nil, remoteError(ctx, c.uri, err)
	}
	var results []json.RawMessage
	for {
		result, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return nil, remoteError(ctx, c.uri, err)
		}
		results = append(results, result.Body)
	}
}

// action calls an action and reads its first result into result, unless that is nil.
func (c *client) action(ctx context.Context, name string, body, result any) error {
	results, err := c.actionAll(ctx, name, body)
	if err != nil || result == nil {
		return err
	}
	if len(results) == 0 || len(results[0]) == 0 {
		return fmt.Errorf("the server gave no result of %s", name)
	}
	if err := json.Unmarshal(results[0], result); err != nil {
		return fmt.Errorf("reading the result of %s: %w", name, err)
	}
	return nil
}

// withClient runs f with a connection that is closed behind it.
func (p *program) withClient(f func(*client) error) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	defer c.close()
	return f(c)
}
