package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// pipelineWarmUp is the share of the answers that come first and are left out of the latencies.
const pipelineWarmUp = 0.1

// latenciesKept is how many latencies have room from the beginning.
const latenciesKept = 1 << 20

// exchange is a connection where each request has one answer, in order.
type exchange interface {
	send(number int) error
	// receive gives the bytes of the next answer.
	receive() (int, error)
	// closeSend says that no more requests come.
	closeSend() error
}

// limits say when a pipeline ends: behind so many requests or seconds, whichever is first; 0 is no limit.
type limits struct {
	window, requests int
	seconds          float64
}

// pipelined is what a pipeline did.
type pipelined struct {
	requests  int
	bytes     int64 // of all answers
	latency   latencies
	seconds   float64
	clientCPU float64
}

// pipeline sends requests, at most window of them unanswered, and takes the time until the last answer.
type pipeline struct {
	exchange
	limits
	began     time.Time
	sent      chan time.Time // when the unanswered requests were sent; its room is the window
	latencies []time.Duration
	bytes     int64
}

func runPipeline(ctx context.Context, x exchange, l limits) (pipelined, error) {
	p := &pipeline{exchange: x, limits: l, latencies: make([]time.Duration, 0, latenciesKept)}
	cpu := cpuSeconds()
	p.began = time.Now()
	var err error
	if l.window == 1 {
		err = p.inTurns(ctx)
	} else {
		err = p.atOnce(ctx)
	}
	done := pipelined{
		requests: len(p.latencies), bytes: p.bytes, seconds: time.Since(p.began).Seconds(), clientCPU: cpuSeconds() - cpu,
	}
	done.latency = summary(p.latencies[int(float64(len(p.latencies))*pipelineWarmUp):])
	return done, err
}

// over says whether request number is not sent any more.
func (p *pipeline) over(number int, now time.Time) bool {
	return p.requests > 0 && number >= p.requests || p.seconds > 0 && now.Sub(p.began).Seconds() >= p.seconds
}

// inTurns sends a request when the one before is answered, in one goroutine.
func (p *pipeline) inTurns(ctx context.Context) error {
	now := time.Now()
	for number := 0; !p.over(number, now); number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.send(number); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("sending request %d: %w", number, err)
		}
		if err := p.answer(now); err != nil {
			return err
		}
		now = time.Now()
	}
	return p.closeSend()
}

// answer receives the answer of the request that was sent then.
func (p *pipeline) answer(sent time.Time) error {
	size, err := p.receive()
	if err != nil {
		return fmt.Errorf("after %d answers: %w", len(p.latencies), reasonOf(err))
	}
	p.latencies = append(p.latencies, time.Since(sent))
	p.bytes += int64(size)
	return nil
}

// atOnce sends and receives in two goroutines.
func (p *pipeline) atOnce(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	p.sent = make(chan time.Time, p.window)
	group.Go(func() error {
		defer close(p.sent)
		for number := 0; ; number++ {
			now := time.Now()
			if p.over(number, now) {
				return p.closeSend()
			}
			select {
			case p.sent <- now:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := p.send(number); errors.Is(err, io.EOF) {
				return nil // the receiving side has the reason
			} else if err != nil {
				return fmt.Errorf("sending request %d: %w", number, err)
			}
		}
	})
	group.Go(func() error {
		for sent := range p.sent {
			if err := p.answer(sent); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}
