package flightsrv

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// sendAll sends batches of keys of these sizes without waiting for answers; every third key is one that is not there.
func (x *exchanger) sendAll(sizes []int) (sent [][]int64, done chan error) {
	for _, size := range sizes {
		ids := make([]int64, size)
		for i := range ids {
			ids[i] = int64(i*7) % 300
		}
		sent = append(sent, ids)
	}
	done = make(chan error, 1)
	go func() {
		defer close(done)
		for _, ids := range sent {
			if err := x.writer.Write(keys(ids...)); err != nil {
				done <- err
				return
			}
		}
	}()
	return sent, done
}

// wantIDs are the lines of an answer: the keys below 200 are there. With carry each has its key first.
func wantIDs(ids []int64, carry bool) []string {
	lines := make([]string, len(ids))
	for i, id := range ids {
		key := strconv.FormatInt(id, 10)
		if lines[i] = key; id >= 200 {
			lines[i] = "(null)"
		}
		if carry {
			lines[i] = key + " " + lines[i]
		}
	}
	return lines
}

func (s *testServer) createTurns(t *testing.T) {
	t.Helper()
	s.createKeyed(t, "u", `,"buckets":2`)
	ids := make([]int64, 200)
	for i := range ids {
		ids[i] = int64(i)
	}
	s.put(t, "u", texts("a", ids...))
}

// Batches of all sizes are answered in their order, each of a state that is no older than that of the answer before.
func TestAnswersKeepTheOrderOfTheKeys(t *testing.T) {
	s := startServer(t, nil)
	s.createTurns(t)
	t.Run("columns", func(t *testing.T) { s.checkOrder(t, `"columns":["id"]`, false) })
	t.Run("carried columns", func(t *testing.T) { s.checkOrder(t, `"columns":["id"],"carry":true,"prefix":"u_"`, true) })
}

// checkOrder looks up batches of all sizes, while the table is written to.
func (s *testServer) checkOrder(t *testing.T, fields string, carry bool) {
	random := rand.New(rand.NewPCG(1, 2))
	sizes := make([]int, 400)
	for i := range sizes {
		sizes[i] = []int{1, turnKeysMin - 1, turnKeysMin, 300, 2500}[random.IntN(5)]
	}
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u",`+fields+`}}`, keySchema)
	sent, done := x.sendAll(sizes)
	ctx, cancel := context.WithCancel(t.Context())
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		for ctx.Err() == nil {
			s.put(t, "u", texts("b", 1, 2, 3, 4, 5, 6, 7, 8))
		}
	}()
	asOf := map[string]integer{}
	for i, ids := range sent {
		var lines []string
		for last := false; !last; {
			part, meta, err := x.next()
			if err != nil || int(meta.Seq) != i {
				t.Fatalf("answer %d: %+v, %v", i, meta, err)
			}
			for bucket, offset := range meta.AsOf {
				if offset < asOf[bucket] {
					t.Fatalf("answer %d is as of %v, and one before of %v", i, meta.AsOf, asOf)
				}
				asOf[bucket] = offset
			}
			lines, last = append(lines, part...), meta.Last
		}
		if !slices.Equal(lines, wantIDs(ids, carry)) {
			t.Fatalf("answer %d of %d keys has other rows", i, len(ids))
		}
	}
	cancel()
	<-writer
	if err := errors.Join(<-done, x.stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.next(); !errors.Is(err, errStreamEnded) {
		t.Errorf("after the half-close: %v, want the end", err)
	}
}

// What is wrong with a batch is told behind the answers to those before it.
func TestFaultsComeBehindTheAnswersBefore(t *testing.T) {
	s := startServer(t, nil)
	s.createTurns(t)
	for range 20 {
		x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u","columns":["id"]}}`, keySchema)
		sent, done := x.sendAll([]int{1000, 1000, 1000})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := x.stream.Send(&flight.FlightData{DataHeader: []byte("this is no message"), DataBody: make([]byte, 64)}); err != nil {
			t.Fatal(err)
		}
		for i, ids := range sent {
			lines, _, err := x.next()
			if err != nil || !slices.Equal(lines, wantIDs(ids, false)) {
				t.Fatalf("answer %d: %d rows, %v", i, len(lines), err)
			}
		}
		if _, _, err := x.next(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "batch 3: ") {
			t.Fatalf("behind them: %v", err)
		}
	}
	waitUntil(t, "all streams have ended", func() bool { return len(s.service.lookups) == 0 })
}

// A drain ends a stream on which two goroutines take turns, behind whole answers.
func TestDrainEndsBusyLookups(t *testing.T) {
	s := startServer(t, func(o *Options) { o.DrainTime = time.Minute })
	s.createTurns(t)
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u","columns":["id"]}}`, keySchema)
	sizes := make([]int, 100_000)
	for i := range sizes {
		sizes[i] = 500
	}
	sent, done := x.sendAll(sizes)
	stopped := make(chan error, 1)
	for i, ids := range sent {
		if i == 50 {
			go func() { stopped <- s.stop() }()
		}
		lines, meta, err := x.next()
		if err != nil {
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "DRAINING") || i < 50 {
				t.Errorf("answer %d: %v, want DRAINING behind the 50th", i, err)
			}
			break
		}
		if int(meta.Seq) != i || !slices.Equal(lines, wantIDs(ids, false)) {
			t.Fatalf("answer %d has other rows: %+v", i, meta)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("all keys were taken")
	}
}
