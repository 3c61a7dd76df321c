package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveProcess starts a server and waits until it has told where it listens.
func serveProcess(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	p := startProcess(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", ""}, args...)...)
	for line := range p.lines {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "listen" {
			return p, fields[1]
		}
	}
	_ = p.Wait()
	t.Fatalf("the server ended with code %d: %s", p.ProcessState.ExitCode(), p.errs.String())
	return nil, ""
}

func TestServeDrainsOnASignal(t *testing.T) {
	for signal, want := range map[os.Signal]int{syscall.SIGTERM: exitDone, os.Interrupt: exitInterrupted} {
		dir := t.TempDir()
		server, uri := serveProcess(t, "--data", dir)
		c := terminal{t: t, uri: uri}
		c.must("put", "t", writeCSV(t, 10), "--create")
		if second := startProcess(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--admin", ""); second.code() != exitFailed ||
			!strings.Contains(second.errs.String(), "in use by another server") {
			t.Errorf("a second server: code %d, %s", second.ProcessState.ExitCode(), second.errs.String())
		}
		if code, _, errs := c.run("check", dir); code != exitFailed || !strings.Contains(errs, "stop it first") {
			t.Errorf("check beside a server: exit code %d, errors %q", code, errs)
		}
		if err := server.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if code := server.code(); code != want {
			t.Errorf("after %v: exit code %d, want %d: %s", signal, code, want, server.errs.String())
		}
		if out := c.must("check", dir); out != "" {
			t.Errorf("check found %s", out)
		}
	}
}

func TestCheckFindsAFlippedBit(t *testing.T) {
	dir := t.TempDir()
	server, uri := serveProcess(t, "--data", dir)
	c := terminal{t: t, uri: uri}
	c.must("put", "t", writeCSV(t, 1000), "--create")
	c.must("put", "t", writeCSV(t, 1000))
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	server.code()
	var segments []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".arrow") {
			segments = append(segments, path)
		}
		return err
	})
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments are %v, %v", segments, err)
	}
	content, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/4] ^= 4
	if err := os.WriteFile(segments[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := c.run("check", dir)
	relative, _ := filepath.Rel(dir, segments[0])
	if code != exitFailed || !strings.HasPrefix(out, relative+": byte ") || !strings.Contains(out, ", rows 0 to 999 of default.t: ") {
		t.Errorf("exit code %d, output %q", code, out)
	}
	code, out, _ = c.run("check", dir, "--json")
	if code != exitFailed || !strings.Contains(out, `"first_offset":0,"last_offset":999`) {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

func TestRebuildCatalog(t *testing.T) {
	dir := t.TempDir()
	server, uri := serveProcess(t, "--data", dir)
	c := terminal{t: t, uri: uri}
	c.must("put", "web.t", writeCSV(t, 1000), "--create")
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	server.code()
	definitions, err := filepath.Glob(filepath.Join(dir, "tables", "*", "table.json"))
	if err != nil || len(definitions) != 1 {
		t.Fatalf("definitions are %v, %v", definitions, err)
	}
	for _, path := range append(definitions, filepath.Join(dir, "databases.json")) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, _ := c.run("check", dir); code != exitFailed {
		t.Errorf("check without definitions: exit code %d", code)
	}
	c.must("check", dir, "--rebuild-catalog")
	_, c.uri = serveProcess(t, "--data", dir)
	if got := strings.Count(c.must("scan", "web.t"), "\n"); got != 1000 {
		t.Errorf("%d rows are there", got)
	}
}

func TestFollowGoesOnOverARestart(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	c := terminal{t: t, uri: "grpc://" + address}
	serve := func() *process {
		server, _ := serveProcess(t, "--data", dir, "--listen", address)
		return server
	}
	server := serve()
	c.must("create", "t", "--columns", "id int64")
	file := filepath.Join(dir, "position")
	follower := startProcess(t, []string{"HEADRACE_URI=" + c.uri}, "scan", "t", "--follow", "--position-file", file)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, row := range []string{`{"id":1}`, `{"id":2}`} {
		c.stdin = row
		c.must("put", "t", "-", "--format", "jsonl")
		select {
		case line := <-follower.lines:
			if line != row {
				t.Errorf("the follower wrote %q, want %q", line, row)
			}
		case <-ctx.Done():
			t.Fatalf("the follower wrote nothing: %s", follower.errs.String())
		}
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		server.code()
		server = serve()
	}
	if err := follower.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := follower.code(); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, follower.errs.String())
	}
	at, err := readPositionFile(file)
	if err != nil || at == nil || at.Offsets[0] != 2 {
		t.Errorf("the position is %v, %v", at, err)
	}
}

func TestTokensAndPipes(t *testing.T) {
	dir := t.TempDir()
	made := strings.Split(terminal{t: t}.must("token", "--name", "loader"), "\n")
	file, hashes := filepath.Join(dir, "token"), filepath.Join(dir, "hashes")
	for path, text := range map[string]string{file: made[0], hashes: made[1]} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, uri := serveProcess(t, "--data", filepath.Join(dir, "data"), "--token-file", hashes)
	c := terminal{t: t, uri: uri}
	if code, _, errs := c.run("tables"); code != exitFailed || !strings.HasPrefix(errs, "UNAUTHENTICATED: ") {
		t.Errorf("without a token: exit code %d, errors %q", code, errs)
	}
	c.must("put", "t", writeCSV(t, 20_000), "--create", "--token-file", file)
	piped := startProcess(t, []string{"HEADRACE_URI=" + uri, "HEADRACE_TOKEN=" + made[0]}, "tables")
	if line := <-piped.lines; !strings.HasPrefix(line, "TABLE") {
		t.Errorf("with a token in the environment: %q, %s", line, piped.errs.String())
	}
}

// writeCertificate writes a certificate for 127.0.0.1 that signs itself, and its key.
func writeCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// plainServer serves without TLS and gives host:port.
func plainServer(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(startServer(t), "grpc://")
}

func TestTLS(t *testing.T) {
	certificate, key := writeCertificate(t)
	_, uri := serveProcess(t, "--data", t.TempDir(), "--tls-cert", certificate, "--tls-key", key)
	c := terminal{t: t, uri: uri}
	if !strings.HasPrefix(uri, "grpc+tls://") {
		t.Errorf("the server listens on %s", uri)
	}
	c.must("tables", "--tls-ca", certificate)
	if code, _, errs := c.run("tables"); code != exitFailed || !strings.Contains(errs, "--tls-ca") {
		t.Errorf("with a certificate of nobody known: exit code %d, errors %q", code, errs)
	}
	for _, other := range []string{strings.Replace(uri, "grpc+tls", "grpc", 1), "grpc+tls://" + plainServer(t)} {
		if code, _, errs := c.run("tables", "--server", other); code != exitFailed || !strings.Contains(errs, "TLS may be on at one end only") {
			t.Errorf("TLS at one end only: exit code %d, errors %q", code, errs)
		}
	}
	if code, _, errs := c.run("tables", "--tls-ca", key); code != exitFailed || !strings.Contains(errs, "holds no certificate") {
		t.Errorf("with a file of no certificates: exit code %d, errors %q", code, errs)
	}
	open := startProcess(t, nil, "serve", "--data", t.TempDir(), "--listen", "0.0.0.0:0", "--admin", "")
	if code := open.code(); code != exitFailed || !strings.Contains(open.errs.String(), "--insecure") {
		t.Errorf("without TLS beyond this machine: exit code %d, %s", code, open.errs.String())
	}
}
