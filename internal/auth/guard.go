package auth

import (
	"context"
	"crypto/x509"
	"net"
	"strings"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// Principal is who makes a call.
type Principal struct {
	// Name is the name of the token, else that of the certificate, else "anonymous".
	Name string
}

// Anonymous is the caller of a server that asks for no token and no certificate.
const Anonymous = "anonymous"

// Caller is what a call brings along.
type Caller struct {
	// Authorization are the values of the header of that name.
	Authorization []string
	// Address is the peer's host and port.
	Address string
	// Certificate is the client's certificate, verified; nil if there is none.
	Certificate *x509.Certificate
}

// Guard decides who may call. A call needs everything that the server asks for: a token where there
// is a token file, and a certificate where there is a client CA.
type Guard struct {
	tokens       *Tokens
	certificates bool
	failures     *failures
}

// NewGuard makes a guard; tokens may be nil. certificates says that every caller needs a
// certificate with a name.
func NewGuard(tokens *Tokens, certificates bool, clock model.Clock) *Guard {
	return &Guard{tokens: tokens, certificates: certificates, failures: newFailures(clock)}
}

// Check gives the principal of a call, or an error with reason Unauthenticated. It says the same
// for a missing and for a wrong token's owner: nothing about which tokens there are.
func (g *Guard) Check(caller Caller) (Principal, error) {
	principal := Principal{Name: Anonymous}
	if g.certificates {
		name, ok := certificateName(caller.Certificate)
		if !ok {
			return Principal{}, model.Errorf(model.Unauthenticated, "the client's certificate has no name").
				WithRemedy("Use a certificate with a URI or DNS name as subject alternative name")
		}
		principal.Name = name
	}
	if g.tokens == nil {
		return principal, nil
	}
	token, ok := bearerToken(caller.Authorization)
	if !ok {
		return Principal{}, model.Errorf(model.Unauthenticated, "the call has no token").
			WithRemedy("Send the header authorization: Bearer TOKEN")
	}
	// A right token always passes: whoever sends wrong ones from the same address, such as that of a
	// proxy, must not lock out others. Tokens are too long to be guessed at any rate.
	name, ok := g.tokens.Check(token)
	if !ok {
		address := hostOf(caller.Address)
		if wait := g.failures.wait(address); wait > 0 {
			return Principal{}, model.Errorf(model.Unauthenticated, "too many wrong tokens came from this address").
				WithRemedy("Wait %d s", int(wait/time.Second)+1)
		}
		g.failures.add(address)
		return Principal{}, model.Errorf(model.Unauthenticated, "the token is not known").
			WithRemedy("Check that the token is complete and that the server's token file has its hash")
	}
	return Principal{Name: name}, nil
}

// bearerToken gives the token of the header's values, of which there must be one.
func bearerToken(values []string) (string, bool) {
	if len(values) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	return token, found && strings.EqualFold(scheme, "bearer") && token != ""
}

// certificateName gives the first URI or DNS name of a certificate. The common name is not looked
// at: nothing checks what stands there.
func certificateName(certificate *x509.Certificate) (string, bool) {
	switch {
	case certificate == nil:
		return "", false
	case len(certificate.URIs) > 0:
		return certificate.URIs[0].String(), true
	case len(certificate.DNSNames) > 0:
		return certificate.DNSNames[0], true
	}
	return "", false
}

// hostOf gives the host of an address with a port, or all of another one.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

type principalKey struct{}

// WithPrincipal gives a context that knows who makes the call.
func WithPrincipal(ctx context.Context, principal Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, principal)
}

// PrincipalOf gives who makes the call; Anonymous outside of one.
func PrincipalOf(ctx context.Context) Principal {
	if principal, ok := ctx.Value(principalKey{}).(Principal); ok {
		return principal
	}
	return Principal{Name: Anonymous}
}
