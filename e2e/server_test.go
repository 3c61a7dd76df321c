package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// executable gives the path of the server, built once.
var executable = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HEADRACE_BIN"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "headrace-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "headrace")
	build := exec.Command("go", "build", "-o", path, "../cmd/headrace")
	build.Stderr = os.Stderr
	return path, build.Run()
})

// server is one server process over a data folder, which outlives it.
type server struct {
	t       testing.TB
	data    string
	address string // empty until connect
	logged  int64  // bytes of the log of processes before
	process *exec.Cmd
	client  flight.Client
}

func startServer(t testing.TB, data string, flags ...string) *server {
	t.Helper()
	s := launch(t, data, flags...)
	s.connect(grpc.WithTransportCredentials(insecure.NewCredentials()))
	return s
}

// launch starts a process and does not wait for it.
func launch(t testing.TB, data string, flags ...string) *server {
	t.Helper()
	path, err := executable()
	if err != nil {
		t.Fatalf("build the server: %v", err)
	}
	s := &server{t: t, data: data}
	arguments := append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)
	s.process = exec.Command(path, arguments...)
	log, err := os.OpenFile(data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if s.logged, err = log.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.process.Process.Kill() }) // no test leaves one behind, however it ends
	return s
}

// dial opens a connection of its own.
func (s *server) dial(options ...grpc.DialOption) flight.Client {
	s.t.Helper()
	again := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}
	options = append(options, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: 5 * time.Second}))
	client, err := flight.NewClientWithMiddleware(s.address, nil, nil, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// connect waits for the server to answer.
func (s *server) connect(options ...grpc.DialOption) {
	s.t.Helper()
	if s.address == "" {
		s.address = s.listening()
	}
	s.client = s.dial(options...)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := s.tryAction(ctx, "ServerInfo", map[string]any{}, grpc.WaitForReady(true)); err != nil {
		s.t.Fatalf("the server does not answer: %v\n%s", err, s.log())
	}
}

var listenLine = regexp.MustCompile(`listen +grpc\S*://(\S+)\n`)

// listening waits until the process says where it listens.
func (s *server) listening() string {
	s.t.Helper()
	again, late := time.NewTicker(2*time.Millisecond), time.After(30*time.Second)
	defer again.Stop()
	for {
		if found := listenLine.FindStringSubmatch(s.log()[s.logged:]); found != nil {
			return found[1]
		}
		select {
		case <-again.C:
		case <-late:
			s.t.Fatalf("the server does not listen:\n%s", s.log())
		}
	}
}

// log gives what the process and those before it over the same folder have written.
func (s *server) log() string {
	log, err := os.ReadFile(s.data + ".log")
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// kill ends the process without a warning.
func (s *server) kill() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.process.Wait() // it was killed: the error says so
	s.client.Close()
}

// stop ends the process as an operator does; it must exit with 0.
func (s *server) stop() {
	s.t.Helper()
	s.client.Close()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Wait(); err != nil {
		s.t.Errorf("SIGTERM: %v\n%s", err, s.log())
	}
}

func (s *server) tryAction(ctx context.Context, name string, body any, options ...grpc.CallOption) (map[string]any, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	stream, err := s.client.DoAction(ctx, &flight.Action{Type: name, Body: encoded}, options...)
	if err != nil {
		return nil, err
	}
	var answer map[string]any
	for {
		result, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answer, nil
		}
		if err != nil {
			return nil, err
		}
		if len(result.Body) > 0 {
			if err := json.Unmarshal(result.Body, &answer); err != nil {
				return nil, err
			}
		}
	}
}

func (s *server) action(name string, body any) map[string]any {
	s.t.Helper()
	answer, err := s.tryAction(context.Background(), name, body)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return answer
}

// create makes a table; more are fields of the action beside table and schema.
func (s *server) create(table string, schema *arrow.Schema, more map[string]any) {
	s.t.Helper()
	body := map[string]any{"table": table, "schema": base64.StdEncoding.EncodeToString(flight.SerializeSchema(schema, memory.DefaultAllocator))}
	for name, value := range more {
		body[name] = value
	}
	s.action("CreateTable", body)
}

// scan reads a table and calls visit for each batch with rows.
func (s *server) scan(scan map[string]any, visit func(arrow.RecordBatch, chunkMetadata)) {
	s.t.Helper()
	ticket, err := json.Marshal(map[string]any{"scan": scan})
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := s.client.DoGet(context.Background(), &flight.Ticket{Ticket: ticket})
	if err != nil {
		s.t.Fatal(err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Release()
	ended := ""
	for reader.Next() {
		var metadata chunkMetadata
		if err := json.Unmarshal(reader.LatestAppMetadata(), &metadata); err != nil {
			s.t.Fatalf("app_metadata %q: %v", reader.LatestAppMetadata(), err)
		}
		if ended = metadata.End; reader.RecordBatch().NumRows() > 0 {
			visit(reader.RecordBatch(), metadata)
		}
	}
	if err := reader.Err(); err != nil {
		s.t.Fatal(err)
	}
	if ended == "" {
		s.t.Fatal("the stream was cut: it has no end mark")
	}
}

// rows gives how many rows the log of a table has had: a bucket that split from another one begins where that was.
func (s *server) rows(table string) (rows int64) {
	s.t.Helper()
	for _, item := range s.action("DescribeTable", map[string]any{"table": table})["buckets"].([]any) {
		bucket := item.(map[string]any)
		rows += int64(bucket["end"].(float64))
		if parent, split := bucket["parent"].(map[string]any); split {
			rows -= int64(parent["at"].(float64))
		}
	}
	return rows
}

// chunkMetadata is the app_metadata of a batch of a scan.
type chunkMetadata struct {
	Bucket, Rows, Offset, Next int64
	End                        string
}

// acknowledgement is the app_metadata of a PutResult.
type acknowledgement struct {
	Seq, Rows  int64
	FirstSeq   *int64 `json:"first_seq"`
	Durability string
	Duplicate  bool
	Offsets    map[string][2]int64
}

func (a acknowledgement) String() string {
	return fmt.Sprintf("seq %d, %d rows, %v", a.Seq, a.Rows, a.Offsets)
}
