package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/model"
)

const (
	// answerLimit is how long the server may take to refuse something.
	answerLimit = 10 * time.Second
	// hostileMemory bounds what the server may ever hold: the schema of 30 MiB and a decompressed
	// batch of 256 MiB are within its limits.
	hostileMemory = 768 << 20
	// silentConnections are more than the server takes at once.
	silentConnections = 1100
)

// hostile is a server under attack.
type hostile struct {
	*server
	t *testing.T
}

// TestHostileClients sends what no client should: each time an error with a reason comes back soon,
// the server lives on with bounded memory, and nothing is stored.
func TestHostileClients(t *testing.T) {
	s := startServer(t, filepath.Join(t.TempDir(), "data"))
	integers := func(n int) *arrow.Schema {
		var fields []arrow.Field
		for i := range n {
			fields = append(fields, arrow.Field{Name: fmt.Sprint("c", i), Type: arrow.PrimitiveTypes.Int64, Nullable: true})
		}
		return arrow.NewSchema(fields, nil)
	}
	s.create("ints", integers(1), nil)
	s.create("wide", integers(40), nil)
	s.create("texts", arrow.NewSchema([]arrow.Field{{Name: "c0", Type: arrow.BinaryTypes.String, Nullable: true}}, nil), nil)
	for _, part := range []struct {
		name string
		run  func(*hostile)
	}{
		{"Arrow", (*hostile).arrow}, {"silence", (*hostile).silence}, {"noise", (*hostile).noise}, {"protobuf", (*hostile).protobuf}, {"sizes", (*hostile).sizes},
		{"tickets", (*hostile).tickets}, {"actions", (*hostile).actions},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(&hostile{s, t}) })
	}
	for _, table := range []string{"ints", "wide", "texts"} {
		if rows := s.rows(table); rows != 0 {
			t.Errorf("%d rows of %s were stored, want none", rows, table)
		}
	}
	t.Run("control", func(t *testing.T) { (&hostile{s, t}).control() })
	most := s.memory("VmHWM")
	t.Logf("the server had at most %d MiB resident", most>>20)
	if most > hostileMemory {
		t.Errorf("that is more than %d MiB", hostileMemory>>20)
	}
	s.stop()
}

// alive fails unless a new connection is served.
func (h *hostile) alive() {
	h.t.Helper()
	fresh := &server{t: h.t, data: h.data, address: h.address, process: h.process}
	fresh.connect(grpc.WithTransportCredentials(insecure.NewCredentials()))
	fresh.client.Close()
}

// refused checks the error of a call; "" for want stands for an error of gRPC itself with code.
func (h *hostile) refused(name string, err error, code codes.Code, want ...model.Reason) {
	h.t.Helper()
	got := reasonOf(err)
	for _, reason := range want {
		if err != nil && got == reason && (code == codes.OK || status.Code(err) == code) {
			return
		}
	}
	h.t.Errorf("%s: got %.300v (reason %q), want %v %s", name, err, got, want, code)
}

// put sends messages to a table and gives the error that it ends with.
func (h *hostile) put(table string, messages ...*flight.FlightData) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	stream, err := h.client.DoPut(ctx)
	if err != nil {
		return err
	}
	for i, message := range messages {
		if i == 0 && message.FlightDescriptor == nil {
			message.FlightDescriptor = &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{table}}
		}
		if err := stream.Send(message); err != nil {
			break // why is told below
		}
	}
	_ = stream.CloseSend()
	for {
		if _, err := stream.Recv(); err != nil {
			return ended(err)
		}
	}
}

// ended is nil for the good end of a stream.
func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (h *hostile) arrow() {
	all := attacks(h.t)
	if len(all) < 34 {
		h.t.Errorf("only %d attacks", len(all))
	}
	for _, a := range all {
		began := time.Now()
		h.refused(a.name, h.put(a.table, a.messages...), codes.OK, a.want)
		if took := time.Since(began); took > answerLimit/2 {
			h.t.Errorf("%s: the answer took %s", a.name, took)
		}
		if _, err := h.tryAction(context.Background(), "ServerInfo", map[string]any{}); err != nil {
			h.t.Fatalf("%s: %v\n%s", a.name, err, h.log())
		}
	}
}

// control shows that what is not hostile is stored: the attacks do not fail for how they are sent.
func (h *hostile) control() {
	for table, messages := range map[string][]*flight.FlightData{
		"ints":  stream(craftSchema(typeInt, 1), column(8, 0, pair{}, pair{0, 64}).batch(make([]byte, 64))),
		"texts": dictionary(h.t),
	} {
		if err := h.put(table, messages...); err != nil {
			h.t.Errorf("sound messages to %s: %v", table, err)
		}
	}
	if got := [2]int64{h.rows("ints"), h.rows("texts")}; got != [2]int64{8, 1} {
		h.t.Errorf("rows %v are stored, want 8 and 1", got)
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = bytes.Clone(data)
	return nil
}
func (rawCodec) Name() string { return "proto" }

// protobuf sends random bytes as messages of every method.
func (h *hostile) protobuf() {
	connection, err := grpc.NewClient(h.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		h.t.Fatal(err)
	}
	defer connection.Close()
	random := rand.New(rand.NewPCG(1, 2))
	call := func(method string, message []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
		defer cancel()
		stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			"/arrow.flight.protocol.FlightService/"+method, grpc.ForceCodec(rawCodec{}))
		if err != nil {
			return err
		}
		_ = stream.SendMsg(&message) // if it fails, the answer says why
		_ = stream.CloseSend()
		for {
			var answer []byte
			if err := stream.RecvMsg(&answer); err != nil {
				return ended(err)
			}
		}
	}
	for size := 1; size <= 1<<16; size *= 2 {
		message := make([]byte, size)
		for i := range message {
			message[i] = byte(random.Uint32())
		}
		h.refused(fmt.Sprint("DoPut of garbage, bytes: ", size), call("DoPut", message), codes.InvalidArgument, bad)
		for _, method := range []string{"DoGet", "DoAction", "GetFlightInfo", "GetSchema", "DoExchange", "Handshake", "NoSuchMethod"} {
			err := call(method, message)
			if code := status.Code(err); err == nil || code == codes.DeadlineExceeded || code == codes.Unavailable {
				h.t.Errorf("%s of %d bytes of garbage: %v, want an error", method, size, err)
			}
		}
	}
	h.alive()
}

// sizes sends messages with parts beyond their limits.
func (h *hostile) sizes() {
	descriptor := func(command []byte) *flight.FlightData {
		return &flight.FlightData{FlightDescriptor: &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: command}}
	}
	batch := func() *flight.FlightData { return column(8, 0, pair{}, pair{0, 64}).batch(make([]byte, 64)) }
	tagged, long := batch(), batch()
	tagged.AppMetadata = make([]byte, 100<<10)
	long.DataHeader = make([]byte, 20<<20)
	schema := func() *flight.FlightData { return craftSchema(typeInt, 1) }
	h.refused("app_metadata of 100 KiB", h.put("ints", schema(), tagged), codes.InvalidArgument, bad)
	h.refused("data_header of 20 MiB", h.put("ints", schema(), long), codes.InvalidArgument, bad)
	h.refused("a descriptor of 2 MiB", h.put("", descriptor(make([]byte, 2<<20))), codes.InvalidArgument, bad)
	command := []byte(`{"put":{"table":"` + strings.Repeat("x", 1<<20) + `"}}`)
	h.refused("a command of 1 MiB", h.put("", descriptor(command)), codes.InvalidArgument, bad)
	huge := column(8, 0, pair{}, pair{0, 70 << 20}).batch(make([]byte, 70<<20))
	h.refused("a message of 70 MiB", h.put("ints", schema(), huge), codes.ResourceExhausted, "")
	h.refused("no message", h.put("ints"), codes.InvalidArgument, bad)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-long", strings.Repeat("x", 100<<10))
	if _, err := h.tryAction(ctx, "ServerInfo", map[string]any{}); err == nil {
		h.t.Error("headers of 100 KiB: want an error")
	}
	h.alive()
}

func (h *hostile) tickets() {
	deep := strings.Repeat("[", 100_000)
	filter := strings.Repeat(`{"op":"not","args":[`, 5000) + strings.Repeat(`]}`, 5000)
	random := make([]byte, 1000)
	for i, source := 0, rand.New(rand.NewPCG(3, 4)); i < len(random); i++ {
		random[i] = byte(source.Uint32())
	}
	for _, ticket := range []string{
		"", "{", "null", "[]", "7", `"scan"`, "{}", `{"scan":{}}`, `{"scan":null}`, deep, `{"scan":` + deep, string(random),
		`{"scan":{"table":"ints"}} x`, `{"scan":{"table":"ints","table":"ints"}}`, `{"scan":{"table":"ints","colunms":[]}}`,
		`{"scan":{"table":"../../etc/passwd"}}`, `{"scan":{"table":"a\u0000b"}}`, `{"scan":{"table":7}}`, "{\"scan\":{\"table\":\"\xff\"}}",
		`{"scan":{"table":"ints","limit":-1}}`, `{"scan":{"table":"ints","limit":1e300}}`, `{"scan":{"table":"ints","limit":99999999999999999999}}`,
		`{"scan":{"table":"ints","from":{"offsets":{"0":-1}}}}`, `{"scan":{"table":"ints","from":{"offsets":{"x":0}}}}`,
		`{"scan":{"table":"ints","buckets":[7]}}`, `{"scan":{"table":"ints","from":"yesterday"}}`, `{"scan":{"table":"ints","columns":[7]}}`,
		`{"scan":{"table":"ints"},"put":{"table":"ints"}}`, `{"put":{"table":"ints"}}`, `{"scan":{"table":"` + strings.Repeat("x", 2<<20) + `"}}`,
	} {
		h.refused(fmt.Sprintf("ticket %.60q", ticket), h.get(ticket), codes.InvalidArgument, bad)
	}
	for ticket, want := range map[string]model.Reason{
		`{"scan":{"table":"nothing"}}`:                                        model.TableNotFound,
		`{"scan":{"table":"ints","columns":["nothing"]}}`:                     model.ColumnNotFound,
		`{"scan":{"table":"ints","from":{"offsets":{"0":1}}}}`:                model.OffsetBeyondEnd,
		`{"scan":{"table":"ints","from":{"table_id":"x","offsets":{"0":0}}}}`: model.TableReplaced,
		`{"scan":{"table":"ints","filter":` + filter + `}}`:                   model.Unimplemented,
	} {
		h.refused(fmt.Sprintf("ticket %.60q", ticket), h.get(ticket), codes.OK, want, bad)
	}
	h.alive()
}

// get opens a scan and gives the error that it ends with.
func (h *hostile) get(ticket string) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	stream, err := h.client.DoGet(ctx, &flight.Ticket{Ticket: []byte(ticket)})
	for err == nil {
		_, err = stream.Recv()
	}
	return ended(err)
}

// actions sends bodies that make no sense to every action there is.
func (h *hostile) actions() {
	list, err := h.client.ListActions(context.Background(), &flight.Empty{})
	if err != nil {
		h.t.Fatal(err)
	}
	count := 0
	for {
		action, err := list.Recv()
		if err != nil {
			break
		}
		count++
		for _, body := range []string{
			"{", "[]", "7", `"x"`, `{"no such field":1}`, `{"table":{"table":{}}}`, `{} {}`, "\xff\xfe", strings.Repeat("[", 100_000),
			`{"table":"` + strings.Repeat("x", 2<<20) + `"}`,
		} {
			h.refused(fmt.Sprintf("%s of %.60q", action.Type, body), h.do(action.Type, body), codes.InvalidArgument, bad)
		}
	}
	if count < 15 {
		h.t.Errorf("only %d actions are listed", count)
	}
	for _, name := range []string{"", "NoSuchAction", "createtable", strings.Repeat("x", 1<<20)} {
		h.refused(fmt.Sprintf("action %.40q", name), h.do(name, "{}"), codes.OK, bad, model.Unimplemented)
	}
	h.alive()
}

func (h *hostile) do(name, body string) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	stream, err := h.client.DoAction(ctx, &flight.Action{Type: name, Body: []byte(body)})
	for err == nil {
		_, err = stream.Recv()
	}
	return ended(err)
}

// silence takes all connections that the server allows, and says nothing on them or only the
// beginning of what a client says: who is connected is served on, and soon others are again.
func (h *hostile) silence() {
	var connections []net.Conn
	for i := range silentConnections {
		connection, err := net.Dial("tcp", h.address)
		if err != nil {
			h.t.Fatalf("connection %d: %v", i, err)
		}
		defer connection.Close()
		connections = append(connections, connection)
		if i%2 == 0 {
			_, _ = io.WriteString(connection, "PRI * HTTP/2") // one beyond the limit is closed already
		}
	}
	if _, err := h.tryAction(context.Background(), "ServerInfo", map[string]any{}); err != nil {
		h.t.Errorf("the connection from before: %v", err)
	}
	awaitClosed(h.t, connections)
	h.alive()
}

// awaitClosed fails unless the server closes the connections by itself.
func awaitClosed(t *testing.T, connections []net.Conn) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for i, connection := range connections {
		if err := connection.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, connection)
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Fatalf("connection %d of %d is still open", i, len(connections))
		}
	}
}

// noise sends random bytes instead of HTTP/2, and garbage behind a right beginning.
func (h *hostile) noise() {
	random := rand.New(rand.NewPCG(5, 6))
	var connections []net.Conn
	for i := range 50 {
		connection, err := net.Dial("tcp", h.address)
		if err != nil {
			h.t.Fatal(err)
		}
		defer connection.Close()
		connections = append(connections, connection)
		if i%2 == 0 {
			_, _ = io.WriteString(connection, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		}
		noise := make([]byte, 64<<10)
		for j := range noise {
			noise[j] = byte(random.Uint32())
		}
		_, _ = connection.Write(noise) // the server may have closed it already
	}
	awaitClosed(h.t, connections)
	h.alive()
}
