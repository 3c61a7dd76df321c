package flightsrv

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	flightgen "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/auth"
	"github.com/headrace/headrace/internal/vfs"
)

func TestTheListeningRule(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{}, ""},
		{Options{Listen: "localhost:0"}, ""},
		{Options{Listen: "[::1]:0", Admin: "127.0.0.1:0"}, ""},
		{Options{Listen: "127.4.5.6:0"}, ""},
		{Options{Listen: "0.0.0.0:0"}, "--insecure"},
		{Options{Listen: ":8815"}, "--tls-cert"},
		{Options{Listen: "[::]:0"}, "--insecure"},
		{Options{Listen: "10.0.0.1:1"}, "--insecure"},
		{Options{Listen: "example.com:1"}, "--insecure"},
		{Options{Listen: "0.0.0.0:0", Insecure: true, Admin: ":0"}, ""},
		{Options{Listen: "0.0.0.0:0", TLSCert: "c", TLSKey: "k"}, ""},
		{Options{Listen: "0.0.0.0:0", TLSCert: "c", TLSKey: "k", Admin: ":1"}, "admin listener"},
		{Options{Listen: "127.0.0.1"}, "not host:port"},
		{Options{Admin: "x"}, "not host:port"},
		{Options{TLSCert: "c"}, "certificate or its key is missing"},
		{Options{ClientCA: "c"}, "client CA needs"},
		{Options{Connections: -1, PutStreams: -1}, "PutStreams is negative"},
	} {
		c.options.Mappings = vfs.NewMappings()
		err := c.options.withDefaults().validate()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.options, err, c.want)
		}
	}
}

// tokenFile writes a token file with one token.
func tokenFile(t *testing.T) (path, token string) {
	t.Helper()
	token, line, err := auth.NewToken("tester", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, token
}

// Every method of every service needs a token, but for the health check.
func TestEveryMethodNeedsAToken(t *testing.T) {
	path, token := tokenFile(t)
	s := startServer(t, func(o *Options) { o.TokenFile = path })
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := func(ctx context.Context, service, method string) error {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/"+service+"/"+method)
		if err != nil {
			return err
		}
		stream.SendMsg(&flightgen.Empty{}) // an error shows in RecvMsg
		stream.CloseSend()
		return stream.RecvMsg(&flightgen.Result{})
	}
	methods := 0
	for service, info := range s.grpc.GetServiceInfo() {
		for _, method := range info.Methods {
			open := service == healthgrpc.Health_ServiceDesc.ServiceName
			ctx, cancel := context.WithCancel(t.Context())
			if err := call(ctx, service, method.Name); (status.Code(err) == codes.Unauthenticated) == open {
				t.Errorf("%s/%s without a token: %v", service, method.Name, err)
			}
			if err := call(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), service, method.Name); status.Code(err) == codes.Unauthenticated {
				t.Errorf("%s/%s with a token: %v", service, method.Name, err)
			}
			cancel()
			methods++
		}
	}
	if methods < 13 {
		t.Errorf("only %d methods were tried", methods)
	}
	wrong := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token+"x")
	if err := call(wrong, flightgen.FlightService_ServiceDesc.ServiceName, "ListActions"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a wrong token: %v", err)
	}
	if metricValue(s.metrics.AuthFailures) < 10 {
		t.Error("failures are not counted")
	}
}

func TestOnlyWhatIsNeededIsServed(t *testing.T) {
	s := startServer(t, nil)
	for service := range s.grpc.GetServiceInfo() {
		if service != flightgen.FlightService_ServiceDesc.ServiceName && service != healthgrpc.Health_ServiceDesc.ServiceName {
			t.Errorf("the service %s is open", service)
		}
	}
}

// authority makes certificates for tests.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(dir, name+".pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, key := sign(t, template, template, nil)
	a.key = key
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// sign makes a key and a certificate for it; by is nil for a self-signed one.
func sign(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue makes a certificate with a URI name, in files.
func (a *authority) issue(t *testing.T, dir, name string, valid time.Duration) (certificate, key string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "test", Path: "/" + name}}, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: time.Now().Add(valid), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, private := sign(t, template, a.certificate, a.key)
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	writePEM(t, certificate, "CERTIFICATE", der)
	writePEM(t, key, "EC PRIVATE KEY", encoded)
	return certificate, key
}

func TestTLSAndClientCertificates(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	cert, key := ours.issue(t, dir, "server", time.Hour)
	s := startServer(t, func(o *Options) { o.TLSCert, o.TLSKey, o.ClientCA = cert, key, ours.file })
	pool := x509.NewCertPool()
	pool.AddCert(ours.certificate)
	call := func(change func(*tls.Config)) error {
		config := &tls.Config{RootCAs: pool}
		change(config)
		client := s.dial(t, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		defer client.Close()
		stream, err := client.ListActions(t.Context(), &flight.Empty{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	with := func(by *authority, name string, valid time.Duration) func(*tls.Config) {
		return func(config *tls.Config) {
			certificate, key := by.issue(t, dir, name, valid)
			pair, err := tls.LoadX509KeyPair(certificate, key)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
	}
	good := with(ours, "client", time.Hour)
	if err := call(good); err != nil {
		t.Errorf("a good certificate: %v", err)
	}
	for name, change := range map[string]func(*tls.Config){
		"no certificate": func(*tls.Config) {}, "another authority": with(theirs, "stranger", time.Hour),
		"expired": with(ours, "expired", -time.Hour),
		"TLS 1.2": func(c *tls.Config) { good(c); c.MaxVersion = tls.VersionTLS12 },
	} {
		if err := call(change); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, want a refused connection", name, err)
		}
	}
	if err := s.client.Close(); err != nil { // speaks without TLS
		t.Fatal(err)
	}
	client := s.dial(t, grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig(t, pool, good))))
	s.client = client
	s.create(t, "t", "")
	fillTable(t, s, "t", 8)
	if got := ids(s.get(t, `{"scan":{"table":"t"}}`)); len(got) != 8*50_000 {
		t.Errorf("%d rows over TLS", len(got))
	}
}

func tlsConfig(t *testing.T, pool *x509.CertPool, change func(*tls.Config)) *tls.Config {
	t.Helper()
	config := &tls.Config{RootCAs: pool}
	change(config)
	return config
}

func TestConnectionsAreBounded(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Connections = 2 })
	s.must(t, "ServerInfo", "")
	second := s.dial(t, grpc.WithTransportCredentials(insecure.NewCredentials()))
	list := func(client flight.Client) error {
		stream, err := client.ListActions(t.Context(), &flight.Empty{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	if err := list(second); err != nil {
		t.Fatal(err)
	}
	third := s.dial(t, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err := list(third); status.Code(err) != codes.Unavailable {
		t.Errorf("a connection too many: %v", err)
	}
	if metricValue(s.metrics.ConnectionsRefused) < 1 {
		t.Error("the refusal is not counted")
	}
	second.Close()
	waitUntil(t, "the slot is free", func() bool { return len(s.credentials.slots) == 1 })
	waitUntil(t, "a third connection is taken", func() bool { return list(third) == nil })
}

// Bytes that are no HTTP/2 and handlers that panic do not end the server.
func TestTheServerLives(t *testing.T) {
	s := startServer(t, nil)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(strings.Repeat("GET / HTTP/1.1\r\n\r\n", 1000))); err != nil {
		t.Logf("the server hung up: %v", err)
	}
	conn.Close()
	s.service.actions["Panic"] = action{name: "Panic", run: func(context.Context, []byte, sendResult) error { panic("secret") }}
	if _, err := s.action(t.Context(), "Panic", ""); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("a panic: %v", err)
	}
	if _, err := s.client.PollFlightInfo(t.Context(), pathOf("t")); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "GetFlightInfo") {
		t.Errorf("PollFlightInfo: %v", err)
	}
	handshake, err := s.client.Handshake(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake.Recv(); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "Bearer") {
		t.Errorf("Handshake: %v", err)
	}
	s.must(t, "ServerInfo", "{}")
}

func TestAdmin(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Admin = "127.0.0.1:0" })
	s.create(t, "web.t", "")
	s.put(t, "web.t", rows(0, 10))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		response, err := client.Get("http://" + s.AdminAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/healthz", 200, "ok"}, {"/readyz", 200, "ready"}, {"/metrics", 200, "headrace_put_rows_total 10"},
		{"/metrics", 200, "headrace_ready 1"}, {"/metrics", 200, "headrace_tables 1"}, {"/status", 200, `"table":"web.t"`},
		{"/debug/pprof/", 404, ""}, {"/", 404, ""},
	} {
		if code, body := get(c.path); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %.200s, want %d %s", c.path, code, body, c.code, c.want)
		}
	}
	if _, body := get("/status"); !json.Valid([]byte(body)) {
		t.Errorf("the status is not JSON: %s", body)
	}
	health := healthgrpc.NewHealthClient(newConn(t, s))
	if state, err := health.Check(t.Context(), &healthgrpc.HealthCheckRequest{}); err != nil || state.Status != healthgrpc.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", state, err)
	}
	s.must(t, "Drain", "")
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "DRAINING") {
		t.Errorf("ready after Drain: %d %s", code, body)
	}
	waitUntil(t, "the health check says so", func() bool {
		state, err := health.Check(t.Context(), &healthgrpc.HealthCheckRequest{})
		return err == nil && state.Status == healthgrpc.HealthCheckResponse_NOT_SERVING
	})
}

func newConn(t *testing.T, s *testServer) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestAServerThatIsNeverServed(t *testing.T) {
	s := startServer(t, nil)
	idle, err := New(s.engine, Options{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Mappings: s.mappings})
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
	if _, err := New(s.engine, Options{Listen: s.Addr().String(), Mappings: s.mappings}); err == nil {
		t.Error("two servers listen on one address")
	}
	if _, err := New(s.engine, Options{Listen: "127.0.0.1:0", Mappings: s.mappings, TokenFile: "/does/not/exist"}); err == nil {
		t.Error("a server without its token file")
	}
}
