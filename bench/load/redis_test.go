package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func contextOf(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// fakeRedis keeps values in memory; it forgets what it is told to keep if that is wanted.
type fakeRedis struct {
	forget bool

	mu     sync.Mutex
	values map[string]string
}

func (f *fakeRedis) serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.values = map[string]string{}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer connection.Close()
				f.answer(connection)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		served.Wait()
	})
	return listener.Addr().String()
}

func (f *fakeRedis) answer(connection net.Conn) {
	reader := bufio.NewReader(connection)
	for {
		command, err := readCommand(reader)
		if err != nil {
			return
		}
		f.mu.Lock()
		var reply []byte
		switch command[0] {
		case "SET":
			if reply = []byte("+OK\r\n"); !f.forget {
				f.values[command[1]] = command[2]
			}
		case "GET":
			reply = f.value(nil, command[1])
		case "MGET":
			reply = append(reply, "*"+strconv.Itoa(len(command)-1)+"\r\n"...)
			for _, key := range command[1:] {
				reply = f.value(reply, key)
			}
		}
		f.mu.Unlock()
		if _, err := connection.Write(reply); err != nil {
			return
		}
	}
}

func (f *fakeRedis) value(dst []byte, key string) []byte {
	if value, ok := f.values[key]; ok {
		return appendBulk(dst, []byte(value))
	}
	return append(dst, "$-1\r\n"...)
}

func readCommand(reader *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	count, err := number()
	if err != nil {
		return nil, err
	}
	command := make([]string, count)
	for i := range command {
		length, err := number()
		if err != nil {
			return nil, err
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(reader, text); err != nil {
			return nil, err
		}
		command[i] = string(text[:length])
	}
	return command, nil
}

// recordsFile has 200 records of 20 bytes. They hold line ends, as any bytes do.
func recordsFile(t *testing.T) string {
	t.Helper()
	var all []byte
	for i := range 200 {
		record := bytes.Repeat([]byte("\r\n"), 10)
		record[0], record[1] = byte(i), 0
		all = append(all, record...)
	}
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRedisSetsAndGets(t *testing.T) {
	var f fakeRedis
	s := settings{
		server: f.serve(t), workload: recordsFile(t), operation: "set", recordBytes: 20,
		rowsPerBatch: 10, window: 4, distinct: 5, seconds: 0.1,
	}
	got, err := redis(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if result := got.(lookupResult); result.Keys != 200 || result.Batches != 20 || len(f.values) != 200 {
		t.Errorf("%d values, result %+v", len(f.values), result)
	}
	for _, operation := range []string{"get", "mget"} {
		for _, window := range []int{1, 4} {
			s.operation, s.window = operation, window
			got, err := redis(t.Context(), s)
			if err != nil {
				t.Fatalf("%s: %v", operation, err)
			}
			if result := got.(lookupResult); result.Keys == 0 || result.Bytes < result.Keys*20 {
				t.Errorf("%s: %+v", operation, result)
			}
		}
	}
}

func TestRedisNoticesMissingKeysAndErrors(t *testing.T) {
	s := settings{
		workload: recordsFile(t), recordBytes: 20, rowsPerBatch: 10, window: 4, distinct: 5, seconds: 10,
		server: (&fakeRedis{forget: true}).serve(t),
	}
	for _, operation := range []string{"get", "mget"} {
		s.operation = operation
		if _, err := redis(t.Context(), s); err == nil || !strings.Contains(err.Error(), "keys were not found") {
			t.Errorf("%s: %v", operation, err)
		}
	}
	s.operation = "del"
	if _, err := redis(t.Context(), s); err == nil || !strings.Contains(err.Error(), `-operation is "del"`) {
		t.Errorf("del: %v", err)
	}
	s.recordBytes = 7
	if _, err := redis(t.Context(), s); err == nil || !strings.Contains(err.Error(), "want records of 7 bytes") {
		t.Errorf("records of 7 bytes: %v", err)
	}
}

func TestRepliesAreRead(t *testing.T) {
	for _, c := range []struct {
		name, replies, fault string
		values               bool
	}{
		{"values", "$3\r\na\r\n\r\n$0\r\n\r\n", "", true},
		{"an array", "*2\r\n$1\r\na\r\n$1\r\nb\r\n+OK\r\n", "", true},
		{"an error", "+OK\r\n-ERR full\r\n", `says "ERR full"`, false},
		{"null", "$1\r\na\r\n$-1\r\n", "not found", true},
		{"no reply", "hello\r\n", "no reply", false},
		{"an empty line", "\r\n", "an empty line", false},
		{"cut", "+OK\r\n", "unexpected EOF", false},
		{"a cut value", "$3\r\na", "unexpected EOF", true},
	} {
		r := &redisExchange{reader: bufio.NewReader(strings.NewReader(c.replies)), replies: 2, value: c.values}
		_, err := r.receive()
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
	}
}
