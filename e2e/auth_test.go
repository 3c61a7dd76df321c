package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/model"
)

// bearer sends a token with each call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return false }

func writeTokens(t *testing.T, path string, tokens ...string) {
	t.Helper()
	text := "# names and hashes\n"
	for i, token := range tokens {
		text += fmt.Sprintf("user%d:%x\n", i, sha256.Sum256([]byte(token)))
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTokens calls every method without a token, with wrong ones and with a right one.
func TestTokens(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tokens")
	writeTokens(t, file, "hrt_first", "hrt_second")
	s := launch(t, filepath.Join(dir, "data"), "--token-file", file)
	s.connect(grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(bearer("hrt_first")))
	s.create("kept", idSchema, nil)
	fill(t, s, "kept", idSchema, 1, 10)
	stranger := s.dial(grpc.WithTransportCredentials(insecure.NewCredentials()))
	defer stranger.Close()
	for name, call := range flightCalls(stranger) {
		expectStranger(t, name+" without a token", call(t.Context()))
	}
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic aHJ0X2ZpcnN0", "hrt_first", "Bearer hrt_firs", "Bearer hrt_first2", "Bearer HRT_FIRST"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", header)
		expectStranger(t, fmt.Sprintf("authorization %q", header), flightCalls(stranger)["DoPut"](ctx))
	}
	twice := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer hrt_first", "authorization", "Bearer hrt_second")
	expectStranger(t, "two tokens", flightCalls(stranger)["DoAction"](twice))
	second := metadata.AppendToOutgoingContext(t.Context(), "authorization", "bearer hrt_second")
	if err := flightCalls(stranger)["DoAction"](second); err != nil {
		t.Errorf("the second token: %v", err)
	}
	if rows := s.rows("kept"); rows != 10 {
		t.Errorf("%d rows, want 10", rows)
	}
	if strings.Contains(s.log(), "hrt_") {
		t.Error("the log contains tokens")
	}
	// A token that was taken out of the file is refused after SIGHUP.
	writeTokens(t, file, "hrt_first")
	if err := s.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the second token is refused", func() bool {
		return status.Code(flightCalls(stranger)["DoAction"](second)) == codes.Unauthenticated
	})
	s.stop()
}

func expectStranger(t *testing.T, name string, err error) {
	t.Helper()
	if status.Code(err) != codes.Unauthenticated || reasonOf(err) != model.Unauthenticated {
		t.Errorf("%s: got %v, want UNAUTHENTICATED", name, err)
	}
}

// flightCalls are calls of every method, each up to its first error.
func flightCalls(client flight.Client) map[string]func(context.Context) error {
	descriptor := &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"kept"}}
	first := func(stream interface{ RecvMsg(any) error }, message any, err error) error {
		if err == nil {
			err = stream.RecvMsg(message)
		}
		return ended(err)
	}
	return map[string]func(context.Context) error{
		"GetFlightInfo": func(ctx context.Context) error { _, err := client.GetFlightInfo(ctx, descriptor); return err },
		"GetSchema":     func(ctx context.Context) error { _, err := client.GetSchema(ctx, descriptor); return err },
		"DoGet": func(ctx context.Context) error {
			stream, err := client.DoGet(ctx, &flight.Ticket{Ticket: []byte(`{"scan":{"table":"kept"}}`)})
			return first(stream, &flight.FlightData{}, err)
		},
		"DoPut": func(ctx context.Context) error {
			stream, err := client.DoPut(ctx)
			if err == nil {
				_ = stream.Send(&flight.FlightData{FlightDescriptor: descriptor})
			}
			return first(stream, &flight.PutResult{}, err)
		},
		"DoExchange": func(ctx context.Context) error {
			stream, err := client.DoExchange(ctx)
			return first(stream, &flight.FlightData{}, err)
		},
		"DoAction": func(ctx context.Context) error {
			stream, err := client.DoAction(ctx, &flight.Action{Type: "DescribeTable", Body: []byte(`{"table":"kept"}`)})
			return first(stream, &flight.Result{}, err)
		},
		"ListActions": func(ctx context.Context) error {
			stream, err := client.ListActions(ctx, &flight.Empty{})
			return first(stream, &flight.ActionType{}, err)
		},
		"ListFlights": func(ctx context.Context) error {
			stream, err := client.ListFlights(ctx, &flight.Criteria{})
			return first(stream, &flight.FlightInfo{}, err)
		},
	}
}

// TestListeningBeyondThisMachine is refused without TLS, and works with it.
func TestListeningBeyondThisMachine(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
		code, _, stderr := command(t, "serve", "--data", data, "--listen", address, "--admin", "")
		if code == 0 || !strings.Contains(stderr, "--tls-cert") || !strings.Contains(stderr, "--insecure") {
			t.Errorf("%s: exit code %d, want a failure with its remedy: %s", address, code, stderr)
		}
	}
	if code, _, stderr := command(t, "serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"); code == 0 {
		t.Errorf("an open admin port: exit code 0, %s", stderr)
	}
	certificate, key, roots := makeCertificate(t, dir)
	tokens := filepath.Join(dir, "tokens")
	writeTokens(t, tokens, "hrt_only")
	s := launch(t, data, "--listen", "0.0.0.0:0", "--tls-cert", certificate, "--tls-key", key, "--token-file", tokens)
	_, port, err := net.SplitHostPort(s.listening())
	if err != nil {
		t.Fatal(err)
	}
	s.address = "127.0.0.1:" + port
	encrypted := credentials.NewTLS(&tls.Config{RootCAs: roots})
	s.connect(grpc.WithTransportCredentials(encrypted), grpc.WithPerRPCCredentials(bearer("hrt_only")))
	stranger := s.dial(grpc.WithTransportCredentials(encrypted))
	defer stranger.Close()
	expectStranger(t, "TLS without a token", flightCalls(stranger)["ListFlights"](t.Context()))
	plain := s.dial(grpc.WithTransportCredentials(insecure.NewCredentials()))
	defer plain.Close()
	if err := flightCalls(plain)["ListFlights"](t.Context()); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: got %v, want no connection", err)
	}
	s.stop()
}

// makeCertificate writes a certificate for 127.0.0.1 that signs itself.
func makeCertificate(t *testing.T, dir string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return write("certificate.pem", "CERTIFICATE", signed), write("key.pem", "PRIVATE KEY", encodedKey), roots
}
