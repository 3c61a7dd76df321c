package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// messageBytesMax bounds what a client receives; above what any table here sends.
const messageBytesMax = 64 << 20

// settings are the flags of all commands.
type settings struct {
	server, workload, table       string
	client, acks, durability, key string
	operation                     string
	rowsPerBatch, batches         int
	recordBytes, pace             int
	producers, window, distinct   int
	rate, clients                 int
	seconds                       float64
	interval                      time.Duration
	rows                          int64
}

// commands are what the first argument may name.
var commands = map[string]func(context.Context, settings) (any, error){
	"put":       put,
	"freshness": freshness,
	"slow":      slow,
	"lookup":    lookup,
	"redis":     redis,
}

// commandNames lists them for messages.
const commandNames = "put, freshness, slow, lookup or redis"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx, os.Args[1:], os.Stderr)
	if err != nil {
		result = map[string]string{"error": err.Error()}
	}
	// A reader that went away cannot be told.
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func run(ctx context.Context, arguments []string, usage io.Writer) (any, error) {
	if len(arguments) == 0 {
		return nil, errors.New("no command; give " + commandNames)
	}
	command, ok := commands[arguments[0]]
	if !ok {
		return nil, fmt.Errorf("no command %q; give %s", arguments[0], commandNames)
	}
	var s settings
	flags := flag.NewFlagSet("load "+arguments[0], flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&s.server, "server", "127.0.0.1:8815", "host:port of the Flight server")
	flags.StringVar(&s.workload, "workload", "build/bench/w1.arrow", "Arrow file with the rows to send")
	flags.StringVar(&s.table, "table", "bench.w1", "table to write or read")
	flags.StringVar(&s.client, "client", "raw", "put, lookup: raw or arrow")
	flags.StringVar(&s.acks, "acks", "batch", "put: batch, group or end")
	flags.StringVar(&s.durability, "durability", "", "put: what each acknowledgement must tell; empty: anything")
	flags.StringVar(&s.key, "key", "", "put: int64 column that is the same in all rows of a batch, and another in each batch; empty: as in the file. lookup: the key column")
	flags.IntVar(&s.rowsPerBatch, "rows-per-batch", 1000, "put: rows in a batch; a divisor of the file's batches. lookup, redis: keys in a request")
	flags.IntVar(&s.batches, "batches", 1000, "put: batches of all producers together")
	flags.IntVar(&s.producers, "producers", 1, "put: producers, each with a connection of its own")
	flags.IntVar(&s.window, "window", 16, "put: batches of a producer that are sent and not acknowledged. lookup, redis: requests that are not answered")
	flags.IntVar(&s.distinct, "distinct", 1000, "put: different batches of a producer; they repeat. lookup, redis: different requests")
	flags.IntVar(&s.pace, "pace", 0, "put: rows a second of each producer; 0: as fast as it can")
	flags.StringVar(&s.operation, "operation", "get", "redis: set, get or mget")
	flags.IntVar(&s.recordBytes, "record-bytes", 93, "redis: bytes of a record of the workload")
	flags.IntVar(&s.rate, "rate", 1000, "freshness: rows a second, each a batch of its own")
	flags.IntVar(&s.clients, "clients", 8, "slow: clients, each with a connection of its own")
	flags.Float64Var(&s.seconds, "seconds", 10, "freshness, slow, lookup, redis: how long")
	flags.DurationVar(&s.interval, "interval", 100*time.Millisecond, "slow: between two batches of a client")
	flags.Int64Var(&s.rows, "rows", 0, "slow: rows of bucket 0, over which the clients' starts are spread. lookup: keys are 0 to rows-1")
	if err := flags.Parse(arguments[1:]); err != nil {
		return nil, err
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("load %s: %w", arguments[0], err)
	}
	return command(ctx, s)
}

// validate reports all faults at once.
func (s settings) validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"rows-per-batch", s.rowsPerBatch}, {"batches", s.batches}, {"producers", s.producers}, {"window", s.window},
		{"distinct", s.distinct}, {"rate", s.rate}, {"clients", s.clients}, {"record-bytes", s.recordBytes},
	} {
		if f.value < 1 {
			faults = append(faults, fmt.Errorf("-%s is %d, want at least 1", f.name, f.value))
		}
	}
	if s.pace < 0 || s.rows < 0 {
		faults = append(faults, errors.New("-pace and -rows must not be below zero"))
	}
	if s.client != "raw" && s.client != "arrow" {
		faults = append(faults, fmt.Errorf("-client is %q, want raw or arrow", s.client))
	}
	if s.seconds <= 0 || s.interval <= 0 {
		faults = append(faults, errors.New("-seconds and -interval must be above zero"))
	}
	return errors.Join(faults...)
}

// connect makes a connection of its own: two calls never share one.
func connect(server string) (*grpc.ClientConn, error) {
	connection, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(server, "grpc://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(4<<20), grpc.WithStaticConnWindowSize(16<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax)))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", server, err)
	}
	return connection, nil
}

// cpuSeconds gives the CPU time of this process so far.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
