package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// testClock stands still until it is moved.
type testClock struct{ now time.Time }

func (c *testClock) Now() time.Time                       { return c.now }
func (c *testClock) After(time.Duration) <-chan time.Time { return nil }

func newTestClock() *testClock { return &testClock{now: time.Unix(1_700_000_000, 0)} }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newToken gives a token and its line.
func newToken(t *testing.T, name string) (string, string) {
	t.Helper()
	token, line, err := NewToken(name, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token, line
}

func TestTokenFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	one, oneLine := newToken(t, "one")
	two, twoLine := newToken(t, "two words")
	write(t, path, "# comment\n\n  "+oneLine+"  \r\n"+twoLine)
	tokens, err := OpenTokens(path, newTestClock(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{one: "one", two: "two words", "": "", one + "x": "", one[1:]: "", "one": "", oneLine: ""} {
		if name, ok := tokens.Check(token); name != want || ok != (want != "") {
			t.Errorf("%.8q: %q, %v, want %q", token, name, ok, want)
		}
	}
}

func TestWrongTokenFilesNameTheLines(t *testing.T) {
	token, line := newToken(t, "x")
	for text, want := range map[string]string{
		token:                                   "line 1",
		"a:b\n" + line + "\nc:" + line[2:60]:    "line 3",
		":" + strings.TrimPrefix(line, "x:"):    "line 1",
		line + "\nx " + strings.Repeat("0", 64): "line 2",
	} {
		path := filepath.Join(t.TempDir(), "tokens")
		write(t, path, text)
		_, err := OpenTokens(path, newTestClock(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%v, want %s and no token", err, want)
		}
	}
	if _, err := OpenTokens(filepath.Join(t.TempDir(), "none"), newTestClock(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	for _, name := range []string{"", "a:b", "#a", "a\nb"} {
		if _, _, err := NewToken(name, rand.Reader); err == nil {
			t.Errorf("%q may name a token", name)
		}
	}
}

func TestTokensAreReadAgain(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "tokens"), newTestClock()
	old, oldLine := newToken(t, "old")
	fresh, freshLine := newToken(t, "fresh")
	write(t, path, oldLine)
	var log bytes.Buffer
	tokens, err := OpenTokens(path, clock, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	known := func(token string) bool {
		_, ok := tokens.Check(token)
		return ok
	}
	write(t, path, oldLine+"\n"+freshLine)
	if known(fresh) {
		t.Error("the file was looked at twice in a second")
	}
	clock.now = clock.now.Add(checkPeriod)
	if !known(fresh) || !known(old) {
		t.Error("the file was not read again")
	}
	write(t, path, "broken")
	clock.now = clock.now.Add(checkPeriod)
	if !known(fresh) || !strings.Contains(log.String(), "line 1") {
		t.Errorf("a broken file took the tokens away, or was not reported: %s", log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	clock.now = clock.now.Add(checkPeriod)
	if !known(fresh) {
		t.Error("a missing file took the tokens away")
	}
	write(t, path, freshLine)
	if err := tokens.Reload(); err != nil || known(old) || !known(fresh) {
		t.Errorf("after Reload: %v", err)
	}
}

func TestGuard(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "tokens"), newTestClock()
	token, line := newToken(t, "writer")
	write(t, path, line)
	tokens, err := OpenTokens(path, clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	guard := NewGuard(tokens, false, clock)
	for _, c := range []struct {
		header []string
		want   string
	}{
		{[]string{"Bearer " + token}, "writer"}, {[]string{"bearer  " + token}, "writer"},
		{nil, ""}, {[]string{token}, ""}, {[]string{"Basic " + token}, ""}, {[]string{"Bearer"}, ""}, {[]string{"Bearer "}, ""},
		{[]string{"Bearer " + token, "Bearer " + token}, ""}, {[]string{"Bearer " + token[:20]}, ""},
	} {
		principal, err := guard.Check(Caller{Authorization: c.header, Address: "10.0.0.1:1"})
		if principal.Name != c.want || (c.want == "") != errors.Is(err, model.Unauthenticated) {
			t.Errorf("%q: %v, %v", c.header, principal, err)
		}
	}
	open := NewGuard(nil, false, clock)
	if principal, err := open.Check(Caller{}); err != nil || principal.Name != Anonymous {
		t.Errorf("open guard: %v, %v", principal, err)
	}
}

func TestTryingOutTokensIsSlow(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "tokens"), newTestClock()
	token, line := newToken(t, "writer")
	write(t, path, line)
	tokens, err := OpenTokens(path, clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	guard := NewGuard(tokens, false, clock)
	check := func(token, address string) error {
		_, err := guard.Check(Caller{Authorization: []string{"Bearer " + token}, Address: address})
		return err
	}
	unknown := 0
	for range 1000 {
		if strings.Contains(check("wrong", "10.0.0.1:1").Error(), "not known") {
			unknown++
		}
	}
	if unknown != failuresMax {
		t.Errorf("%d of 1000 attempts were looked at, want %d", unknown, failuresMax)
	}
	if err := check("wrong", "10.0.0.1:2"); !errors.Is(err, model.Unauthenticated) || !strings.Contains(err.Error(), "Wait 7 s") {
		t.Errorf("another wrong token from a locked address: %v", err)
	}
	if err := check(token, "10.0.0.1:2"); err != nil {
		t.Errorf("the right token from a locked address: %v", err)
	}
	if err := check("wrong", "10.0.0.2:1"); !strings.Contains(err.Error(), "not known") {
		t.Errorf("a wrong token from another address: %v", err)
	}
	clock.now = clock.now.Add(failurePeriod + time.Second)
	if err := check("wrong", "10.0.0.1:3"); !strings.Contains(err.Error(), "not known") {
		t.Errorf("after waiting: %v", err)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	f := newFailures(newTestClock())
	for i := range 3 * addressesMax {
		f.add(big.NewInt(int64(i)).String())
	}
	if len(f.addresses) > addressesMax {
		t.Errorf("%d addresses are remembered", len(f.addresses))
	}
}

func TestCertificateNames(t *testing.T) {
	uri, err := url.Parse("spiffe://example/writer")
	if err != nil {
		t.Fatal(err)
	}
	guard := NewGuard(nil, true, newTestClock())
	for _, c := range []struct {
		certificate *x509.Certificate
		want        string
	}{
		{nil, ""},
		{&x509.Certificate{Subject: pkix.Name{CommonName: "writer"}}, ""},
		{&x509.Certificate{DNSNames: []string{"writer.example"}}, "writer.example"},
		{&x509.Certificate{DNSNames: []string{"writer.example"}, URIs: []*url.URL{uri}}, "spiffe://example/writer"},
	} {
		principal, err := guard.Check(Caller{Certificate: c.certificate})
		if principal.Name != c.want || (c.want == "") != errors.Is(err, model.Unauthenticated) {
			t.Errorf("%+v, %v, want %q", principal, err, c.want)
		}
	}
}

// writeCertificate makes a self-signed certificate for name.
func writeCertificate(t *testing.T, dir, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyBytes})))
	return certificate, key
}

func TestServerTLSSeesNewCertificates(t *testing.T) {
	dir, clock := t.TempDir(), newTestClock()
	certificate, key := writeCertificate(t, dir, "first")
	s, err := OpenServerTLS(TLSFiles{Certificate: certificate, Key: key, ClientCA: certificate}, clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		config, err := s.Config().GetConfigForClient(nil)
		if err != nil || config.MinVersion != tls.VersionTLS13 || config.ClientAuth != tls.RequireAndVerifyClientCert {
			t.Fatalf("%+v, %v", config, err)
		}
		return config.Certificates[0].Leaf.DNSNames[0]
	}
	if name() != "first" {
		t.Error("the certificate is not the first one")
	}
	writeCertificate(t, dir, "second, which is longer")
	clock.now = clock.now.Add(checkPeriod)
	if got := name(); got != "second, which is longer" {
		t.Errorf("certificate of %q", got)
	}
	write(t, key, "half a file")
	clock.now = clock.now.Add(checkPeriod)
	if got := name(); got != "second, which is longer" {
		t.Errorf("certificate of %q after a broken file", got)
	}
	if s.Reload() == nil {
		t.Error("Reload of a broken file succeeded")
	}
}

func TestServerTLSRefusesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	certificate, key := writeCertificate(t, dir, "x")
	empty := filepath.Join(dir, "empty")
	write(t, empty, "")
	for _, files := range []TLSFiles{
		{}, {Certificate: certificate}, {Certificate: certificate, Key: certificate}, {Certificate: empty, Key: key},
		{Certificate: certificate, Key: key, ClientCA: empty}, {Certificate: certificate, Key: filepath.Join(dir, "none")},
	} {
		if _, err := OpenServerTLS(files, newTestClock(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v was accepted", files)
		}
	}
}
