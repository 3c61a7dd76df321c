package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// slowResult is what the command slow prints.
type slowResult struct {
	Clients int     `json:"clients"`
	Batches []int   `json:"batches"` // read by each client
	Bytes   int64   `json:"bytes"`   // of all messages read
	Seconds float64 `json:"seconds"`
}

// slow opens scans and reads one message of each an interval, until the time is over. The scans begin
// at places spread over the table, so that the server touches all of it.
func slow(ctx context.Context, s settings) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.seconds*float64(time.Second)))
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	result := slowResult{Clients: s.clients, Batches: make([]int, s.clients)}
	sizes := make([]int64, s.clients)
	began := time.Now()
	for number := range s.clients {
		connection, err := connect(s.server)
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		group.Go(func() error {
			var err error
			from := s.rows * int64(number) / int64(s.clients)
			result.Batches[number], sizes[number], err = readSlowly(groupCtx, connection, s, from)
			if err != nil {
				return fmt.Errorf("client %d after %d batches: %w", number, result.Batches[number], err)
			}
			return nil
		})
	}
	err := group.Wait()
	result.Seconds = time.Since(began).Seconds()
	for _, size := range sizes {
		result.Bytes += size
	}
	return result, err
}

// readSlowly reads one message an interval until the context ends. At the end of the table it begins
// again where it began.
func readSlowly(ctx context.Context, connection *grpc.ClientConn, s settings, from int64) (batches int, size int64, err error) {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	stream, err := openScan(ctx, connection, s.table, from)
	for err == nil {
		var received ignored
		switch err = stream.RecvMsg(&received); {
		case errors.Is(err, io.EOF) && batches > 0:
			stream, err = openScan(ctx, connection, s.table, from)
			continue
		case err != nil:
			continue
		}
		batches++
		size += int64(received)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return batches, size, nil
		}
	}
	if status.Code(err) == codes.DeadlineExceeded {
		return batches, size, nil
	}
	return batches, size, err
}

// openScan begins a DoGet whose messages are counted and not decoded.
func openScan(ctx context.Context, connection *grpc.ClientConn, table string, from int64) (grpc.ClientStream, error) {
	ticket, err := scanTicket(map[string]any{"table": table, "from": map[string]any{"offsets": map[string]int64{"0": from}}})
	if err != nil {
		return nil, err
	}
	description := &grpc.StreamDesc{ServerStreams: true}
	stream, err := connection.NewStream(ctx, description, methodDoGet, grpc.ForceCodecV2(passThrough{}))
	if err != nil {
		return nil, err // its code tells whether the time is over
	}
	if err = stream.SendMsg(ticket); err == nil {
		err = stream.CloseSend()
	}
	return stream, err
}
