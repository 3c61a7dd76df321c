package flightsrv

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/headrace/headrace/internal/auth"
)

// callerOf gathers what a call brings along to show who makes it.
func callerOf(ctx context.Context) auth.Caller {
	caller := auth.Caller{Authorization: metadata.ValueFromIncomingContext(ctx, "authorization")}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller
	}
	if p.Addr != nil {
		caller.Address = p.Addr.String()
	}
	if info, ok := p.AuthInfo.(edgeInfo); ok {
		if secured, ok := info.tls.(credentials.TLSInfo); ok {
			addCertificate(&caller, &secured.State)
		}
	}
	return caller
}

// addCertificate takes a certificate only out of a verified chain.
func addCertificate(caller *auth.Caller, state *tls.ConnectionState) {
	if len(state.VerifiedChains) > 0 && len(state.VerifiedChains[0]) > 0 {
		caller.Certificate = state.VerifiedChains[0][0]
	}
}
