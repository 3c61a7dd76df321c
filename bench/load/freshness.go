package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"golang.org/x/sync/errgroup"
)

const (
	// freshnessWarmUp is the share of the rows that are sent first and left out of the result.
	freshnessWarmUp = 0.1
	// freshnessPatience is how long the last rows may take; more means that they are lost.
	freshnessPatience = 30 * time.Second
)

// latencies are in milliseconds.
type latencies struct {
	P50 float64 `json:"p50_ms"`
	P90 float64 `json:"p90_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// freshnessResult is what the command freshness prints.
type freshnessResult struct {
	Rows int `json:"rows"`
	// Fresh is from just before a row is handed to the client until the follower has decoded it.
	Fresh latencies `json:"fresh"`
	// Scheduled is the same from when the row was due: it is longer where sending had to wait.
	Scheduled latencies `json:"scheduled"`
	// Acknowledged is from send to acknowledgement.
	Acknowledged latencies `json:"acknowledged"`
	Seconds      float64   `json:"seconds"`
	ClientCPU    float64   `json:"client_cpu"`
}

// clocks hold, for each row, times since the same moment.
type clocks struct {
	began                             time.Time
	due, sent, received, acknowledged []time.Duration
}

// freshness sends rows at a fixed rate, each in a batch of its own, and follows them. The table must
// be empty and have one bucket. Both sides are arrow-go's own client, each on its own connection.
func freshness(ctx context.Context, s settings) (any, error) {
	rows, err := openWorkload(s.workload)
	if err != nil {
		return nil, err
	}
	defer rows.close()
	patience, cancel := context.WithTimeout(ctx, time.Duration(s.seconds*float64(time.Second))+freshnessPatience)
	defer cancel()
	// The streams live in the group's context: the first fault ends all of them.
	group, ctx := errgroup.WithContext(patience)
	count := int(float64(s.rate) * s.seconds)
	times := clocks{
		due: make([]time.Duration, count), sent: make([]time.Duration, count),
		received: make([]time.Duration, count), acknowledged: make([]time.Duration, count),
	}
	reading, err := connect(s.server)
	if err != nil {
		return nil, err
	}
	defer reading.Close()
	writing, err := connect(s.server)
	if err != nil {
		return nil, err
	}
	defer writing.Close()
	followed, err := follow(ctx, flight.NewClientFromConn(reading, nil), s.table)
	if err != nil {
		return nil, err
	}
	defer followed.Release()
	descriptor, err := putDescriptor(s.table, "batch")
	if err != nil {
		return nil, err
	}
	opened, err := openArrow(ctx, writing, rows, descriptor)
	if err != nil {
		return nil, err
	}
	cpu := cpuSeconds()
	times.began = time.Now()
	group.Go(func() error { return times.receive(followed) })
	group.Go(func() error { return times.send(ctx, opened, rows, s.rate) })
	group.Go(func() error { return times.acknowledge(opened) })
	err = group.Wait()
	return times.result(cpuSeconds() - cpu), err
}

// follow opens the stream and waits for its schema, so that the follower is there before any row is.
func follow(ctx context.Context, client flight.Client, table string) (*flight.Reader, error) {
	ticket, err := scanTicket(map[string]any{"table": table, "to": "never"})
	if err != nil {
		return nil, err
	}
	stream, err := client.DoGet(ctx, ticket)
	if err != nil {
		return nil, fmt.Errorf("opening DoGet: %w", err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of the follower: %w", err)
	}
	return reader, nil
}

// send sends row after row, each when it is due.
func (c *clocks) send(ctx context.Context, to *arrowStream, rows *workload, rate int) error {
	for number := range c.sent {
		batch, err := rows.slice(number, 1)
		if err != nil {
			return err
		}
		c.due[number] = time.Duration(number) * time.Second / time.Duration(rate)
		time.Sleep(c.due[number] - time.Since(c.began))
		c.sent[number] = time.Since(c.began)
		err = to.writer.Write(batch)
		batch.Release()
		switch {
		case errors.Is(err, io.EOF):
			return nil // the receiving side has the reason
		case err != nil:
			return fmt.Errorf("sending row %d: %w", number, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	return to.closeSend()
}

// acknowledge notes when each row is acknowledged.
func (c *clocks) acknowledge(from *arrowStream) error {
	for number := 0; number < len(c.acknowledged); {
		covered, err := from.receive()
		if err != nil {
			return fmt.Errorf("after %d acknowledged rows: %w", number, err)
		}
		now := time.Since(c.began)
		for range covered {
			c.acknowledged[number] = now
			number++
		}
	}
	return nil
}

// receive notes when each row arrives; rows are known by their id, so a lost, doubled or reordered one
// is noticed.
func (c *clocks) receive(from *flight.Reader) error {
	next := 0
	for next < len(c.received) && from.Next() {
		now := time.Since(c.began)
		batch := from.RecordBatch()
		column := batch.Schema().FieldIndices("id")
		if len(column) != 1 {
			return errors.New("the table has no column id")
		}
		ids, ok := batch.Column(column[0]).(*array.Int64)
		if !ok {
			return fmt.Errorf("the column id is %s, want int64", batch.Column(column[0]).DataType())
		}
		for _, id := range ids.Int64Values() {
			if id != int64(next) {
				return fmt.Errorf("received row %d, want row %d", id, next)
			}
			c.received[next] = now
			next++
		}
	}
	if next < len(c.received) {
		return fmt.Errorf("the follower ended after %d of %d rows: %w", next, len(c.received), reasonOf(from.Err()))
	}
	return nil
}

// reasonOf gives a text for a stream that ended too early without an error.
func reasonOf(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *clocks) result(cpu float64) freshnessResult {
	skip := int(float64(len(c.sent)) * freshnessWarmUp)
	between := func(from, to []time.Duration) latencies {
		all := make([]time.Duration, 0, len(from)-skip)
		for number := skip; number < len(from); number++ {
			all = append(all, to[number]-from[number])
		}
		return summary(all)
	}
	return freshnessResult{
		Rows:         len(c.sent),
		Fresh:        between(c.sent, c.received),
		Scheduled:    between(c.due, c.received),
		Acknowledged: between(c.sent, c.acknowledged),
		Seconds:      time.Since(c.began).Seconds(),
		ClientCPU:    cpu,
	}
}

// summary sorts all and gives its percentiles.
func summary(all []time.Duration) latencies {
	if len(all) == 0 {
		return latencies{}
	}
	slices.Sort(all)
	at := func(share float64) float64 {
		return float64(all[min(len(all)-1, int(float64(len(all))*share))]) / float64(time.Millisecond)
	}
	return latencies{P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1)}
}
