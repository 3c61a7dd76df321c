package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// redisBuffer is what is read from the server at once.
const redisBuffer = 256 << 10

// redis sends commands to a Redis server over one connection, pipelined. A request is a number of SET
// or GET commands that go out together, or one MGET of as many keys. SET sends the records of the
// workload in order, once; the others ask for random records, for a time.
func redis(ctx context.Context, s settings) (any, error) {
	records, err := openRecords(s.workload, s.recordBytes)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{}
	connection, err := dialer.DialContext(ctx, "tcp", s.server)
	if err != nil {
		return nil, fmt.Errorf("connecting to Redis: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	defer connection.Close()
	r := &redisExchange{connection: connection, reader: bufio.NewReaderSize(connection, redisBuffer), replies: s.rowsPerBatch}
	l := limits{window: s.window, seconds: s.seconds}
	switch s.operation {
	case "set":
		if l.requests = records.count() / s.rowsPerBatch; l.requests == 0 {
			return nil, fmt.Errorf("%s has %d records, fewer than one request of %d", s.workload, records.count(), s.rowsPerBatch)
		}
		l.seconds = 0
		r.requests = records.sets(s.rowsPerBatch)
	case "get", "mget":
		r.requests = records.gets(s)
	default:
		return nil, fmt.Errorf("redis: -operation is %q, want set, get or mget", s.operation)
	}
	if s.operation == "mget" {
		r.replies = 1
	}
	r.value = s.operation != "set"
	done, err := runPipeline(ctx, r, l)
	return done.result(s.rowsPerBatch), err
}

// records are values of one size, which begin with their key: an int64 in little-endian order.
type records struct {
	bytes []byte
	size  int
}

func openRecords(path string, size int) (records, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return records{}, fmt.Errorf("reading the records: %w", err)
	}
	if len(bytes) == 0 || len(bytes)%size != 0 {
		return records{}, fmt.Errorf("%s has %d bytes, want records of %d bytes", path, len(bytes), size)
	}
	return records{bytes, size}, nil
}

func (r records) count() int { return len(r.bytes) / r.size }

// sets encodes all records, some to a request.
func (r records) sets(each int) []encoded {
	var requests []encoded
	for start := 0; start+each <= r.count(); start += each {
		var request []byte
		for number := start; number < start+each; number++ {
			record := r.bytes[number*r.size : (number+1)*r.size]
			request = appendCommand(request, "SET", record[:8], record)
		}
		requests = append(requests, request)
	}
	return requests
}

// gets encodes requests for random records; they repeat.
func (r records) gets(s settings) []encoded {
	random := rand.New(rand.NewPCG(keySeed, uint64(s.rowsPerBatch)))
	requests := make([]encoded, s.distinct)
	for i := range requests {
		keys := make([][]byte, s.rowsPerBatch)
		for k := range keys {
			at := random.IntN(r.count()) * r.size
			keys[k] = r.bytes[at : at+8]
		}
		if s.operation == "mget" {
			requests[i] = appendCommand(nil, "MGET", keys...)
			continue
		}
		for _, key := range keys {
			requests[i] = appendCommand(requests[i], "GET", key)
		}
	}
	return requests
}

// appendCommand appends a command as an array of bulk strings.
func appendCommand(dst []byte, name string, arguments ...[]byte) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(arguments)+1), 10)
	dst = append(dst, "\r\n"...)
	dst = appendBulk(dst, []byte(name))
	for _, argument := range arguments {
		dst = appendBulk(dst, argument)
	}
	return dst
}

func appendBulk(dst, text []byte) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, text...)
	return append(dst, "\r\n"...)
}

// redisExchange is one connection.
type redisExchange struct {
	connection net.Conn
	reader     *bufio.Reader
	requests   []encoded
	replies    int  // of a request
	value      bool // replies carry values, and null is an error
}

func (r *redisExchange) send(number int) error {
	_, err := r.connection.Write(r.requests[number%len(r.requests)])
	return err
}

func (r *redisExchange) receive() (total int, err error) {
	for pending := r.replies; pending > 0; pending-- {
		line, err := r.reader.ReadSlice('\n')
		if err != nil {
			return 0, reasonOf(err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return 0, errors.New("an empty line came where a reply of Redis begins")
		}
		total += len(line)
		switch line[0] {
		case '+':
		case '-':
			return 0, fmt.Errorf("a command failed: Redis says %q", line[1:])
		case '*', '$':
			length, err := strconv.Atoi(string(line[1:]))
			if err != nil || length < 0 && r.value {
				return 0, fmt.Errorf("the reply of Redis is %q, want values: keys were not found", line)
			}
			if line[0] == '*' {
				pending += length
				continue
			}
			if _, err := io.CopyN(io.Discard, r.reader, int64(length)+2); err != nil {
				return 0, reasonOf(err)
			}
			total += length
		default:
			return 0, fmt.Errorf("what Redis sent is no reply: %q", line)
		}
	}
	return total, nil
}

func (r *redisExchange) closeSend() error { return nil }
