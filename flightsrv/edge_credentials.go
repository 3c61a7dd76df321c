package flightsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/headrace/headrace/internal/obs"
	"github.com/headrace/headrace/internal/vfs"
)

var errTooManyConnections = errors.New("too many connections")

// edgeCredentials puts a connection between grpc and the network: behind the TLS handshake, if
// there is one. It limits the number of connections: those beyond are closed at once, because one
// that waits in the queue of the kernel would look like a server that hangs.
type edgeCredentials struct {
	tls      credentials.TransportCredentials // nil: none
	mappings *vfs.Mappings
	metrics  *obs.Metrics
	slots    chan struct{} // holds one element a connection
	flushers sync.WaitGroup
}

func newEdgeCredentials(config *tls.Config, mappings *vfs.Mappings, metrics *obs.Metrics, connections int) *edgeCredentials {
	c := &edgeCredentials{mappings: mappings, metrics: metrics, slots: make(chan struct{}, connections)}
	if config != nil {
		c.tls = credentials.NewTLS(config)
	}
	return c
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *edgeCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.metrics.ConnectionsRefused.Inc()
		return nil, nil, errTooManyConnections
	}
	info := edgeInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	conn := raw
	if c.tls != nil {
		secured, tlsInfo, err := c.tls.ServerHandshake(raw)
		if err != nil {
			<-c.slots
			return nil, nil, err
		}
		conn, info.tls = secured, tlsInfo
		info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	c.metrics.Connections.Inc()
	c.flushers.Add(1)
	info.connection = newConnection(conn, c.mappings, c.tls == nil, func() {
		c.metrics.Connections.Dec()
		<-c.slots
		c.flushers.Done()
	})
	return info.connection, info, nil
}

// ClientHandshake implements credentials.TransportCredentials; these are for servers only.
func (c *edgeCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers")
}

// Info implements credentials.TransportCredentials.
func (c *edgeCredentials) Info() credentials.ProtocolInfo {
	if c.tls != nil {
		return c.tls.Info()
	}
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

// Clone implements credentials.TransportCredentials. The copy would need counts of its own, which
// no server asks for.
func (c *edgeCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials; it has no meaning for a server.
func (c *edgeCredentials) OverrideServerName(string) error { return nil }

// edgeInfo travels in the context of each call.
type edgeInfo struct {
	credentials.CommonAuthInfo
	connection *connection
	tls        credentials.AuthInfo // nil without TLS
}

// AuthType implements credentials.AuthInfo.
func (i edgeInfo) AuthType() string {
	if i.tls != nil {
		return i.tls.AuthType()
	}
	return "insecure"
}

// connectionOf gives the connection of a call; nil outside of a server of this package.
func connectionOf(ctx context.Context) *connection {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(edgeInfo); ok {
			return info.connection
		}
	}
	return nil
}
