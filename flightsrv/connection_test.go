package flightsrv

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/vfs"
)

// newPipe gives both ends of a TCP connection.
func newPipe() (server, client net.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		panic(err)
	}
	if server, err = listener.Accept(); err != nil {
		panic(err)
	}
	return server, client
}

// testConnection is a connection whose end can be waited for.
type testConnection struct {
	*connection
	ended chan struct{}
}

func newTestConnection(conn net.Conn, mappings *vfs.Mappings, byReference bool) testConnection {
	ended := make(chan struct{})
	return testConnection{newConnection(conn, mappings, byReference, func() { close(ended) }), ended}
}

func TestConnectionSendsWhatIsWritten(t *testing.T) {
	for name, byReference := range map[string]bool{"by reference": true, "copied": false} {
		t.Run(name, func(t *testing.T) {
			mappings := vfs.NewMappings()
			segment := pattern(1<<20, 7)
			mapping, unmapped := mapped(mappings, segment)
			conn, peer := newPipe()
			c := newTestConnection(conn, mappings, byReference)
			random := rand.New(rand.NewPCG(1, 2))
			var want bytes.Buffer
			var received []byte
			var reading sync.WaitGroup
			reading.Go(func() { received, _ = io.ReadAll(peer) })
			for range 3000 {
				n := []int{1, 9, 100, 2047, 2048, 16384, 70000}[random.IntN(7)]
				p := make([]byte, n)
				inSegment := random.IntN(2) == 0
				if inSegment {
					at := random.IntN(len(segment) - n)
					p = segment[at : at+n]
				} else {
					copy(p, pattern(n, byte(random.IntN(256))))
				}
				want.Write(p)
				if _, err := c.Write(p); err != nil {
					t.Fatal(err)
				}
				if !inSegment {
					clear(p) // grpc uses its buffers again once Write has returned
				}
			}
			mapping.Release()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			<-c.ended
			reading.Wait()
			peer.Close()
			if !bytes.Equal(received, want.Bytes()) {
				t.Errorf("received %d bytes, want %d equal ones", len(received), want.Len())
			}
			if *unmapped != 1 {
				t.Errorf("unmapped %d times, want 1", *unmapped)
			}
		})
	}
}

// fill writes until a write would block, which a peer that does not read brings about.
func fill(t *testing.T, c testConnection, p []byte) (blocked chan error) {
	t.Helper()
	blocked = make(chan error, 1)
	go func() {
		for {
			if _, err := c.Write(p); err != nil {
				blocked <- err
				return
			}
		}
	}()
	full := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.waiting.bytes >= waitingBytesMax
	}
	waitUntil(t, "the queue is full", full)
	return blocked
}

// waitUntil polls a condition that another goroutine brings about.
func waitUntil(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s in vain until %s", what)
		}
		<-ticks.C
	}
}

func TestConnectionBoundsWhatWaits(t *testing.T) {
	mappings := vfs.NewMappings()
	segment := pattern(1<<20, 7)
	mapping, unmapped := mapped(mappings, segment)
	conn, peer := newPipe()
	c := newTestConnection(conn, mappings, true)
	blocked := fill(t, c, segment[:16384])
	c.mu.Lock()
	waiting := c.waiting.bytes
	c.mu.Unlock()
	if waiting >= waitingBytesMax+16384 {
		t.Errorf("%d bytes wait, want at most one write beyond %d", waiting, waitingBytesMax)
	}
	mapping.Release()
	if *unmapped != 0 {
		t.Error("unmapped while the queue needs the bytes")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Errorf("blocked write: %v, want net.ErrClosed", err)
	}
	peer.Close() // the peer goes, and what was queued with it
	<-c.ended
	if *unmapped != 1 {
		t.Errorf("unmapped %d times, want 1", *unmapped)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second close: %v, want net.ErrClosed", err)
	}
}

func TestConnectionWriteDeadline(t *testing.T) {
	conn, peer := newPipe()
	defer peer.Close()
	c := newTestConnection(conn, vfs.NewMappings(), true)
	blocked := fill(t, c, pattern(16384, 0))
	if err := c.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v, want a timeout", err)
	}
	<-c.ended // without Close: a connection that lost bytes is of no use
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a write after lost bytes succeeded")
	}
	c.Close()
}

func TestConnectionOfADeadPeer(t *testing.T) {
	mappings := vfs.NewMappings()
	segment := pattern(1<<20, 7)
	mapping, unmapped := mapped(mappings, segment)
	conn, peer := newPipe()
	c := newTestConnection(conn, mappings, true)
	blocked := fill(t, c, segment[:16384])
	peer.Close()
	if err := <-blocked; err == nil {
		t.Error("writes to a dead peer go on")
	}
	<-c.ended
	mapping.Release()
	if *unmapped != 1 {
		t.Errorf("unmapped %d times, want 1", *unmapped)
	}
	c.Close()
}

func TestConnectionCloseUnblocksRead(t *testing.T) {
	conn, peer := newPipe()
	defer peer.Close()
	c := newTestConnection(conn, vfs.NewMappings(), true)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	c.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v, want net.ErrClosed", err)
	}
	<-c.ended
}

func BenchmarkConnection(b *testing.B) {
	mappings := vfs.NewMappings()
	segment := pattern(4<<20, 7)
	mapping, _ := mapped(mappings, segment)
	defer mapping.Release()
	conn, peer := newPipe()
	c := newTestConnection(conn, mappings, true)
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 1<<20)
		for {
			if _, err := peer.Read(buffer); err != nil {
				return
			}
		}
	})
	frame := make([]byte, 9)
	b.SetBytes(16384 + 9)
	for i := 0; b.Loop(); i++ {
		at := i * 16384 % (3 << 20)
		if _, err := c.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(segment[at : at+16384]); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-c.ended
	reading.Wait()
	peer.Close()
}
