package engine

import (
	"context"
	"errors"
	"testing"
	"time"
)

// waitingClock goes on only as far as somebody works or waits.
type waitingClock struct {
	now    time.Time
	waited []time.Duration
	stuck  bool
}

func (c *waitingClock) Now() time.Time { return c.now }

func (c *waitingClock) After(d time.Duration) <-chan time.Time {
	c.waited = append(c.waited, d)
	done := make(chan time.Time, 1)
	if !c.stuck {
		c.now = c.now.Add(d)
		done <- c.now
	}
	return done
}

// TestPacer rests behind a while of work, three times as long, as long as groups are committed, until it has
// rested enough.
func TestPacer(t *testing.T) {
	clock := &waitingClock{now: time.Unix(1, 0)}
	e := &Engine{options: Options{Clock: clock}}
	p := e.newPacer()
	p.left = 50 * time.Millisecond
	work := func(worked time.Duration, groups int64, want ...time.Duration) {
		t.Helper()
		clock.waited = nil
		clock.now = clock.now.Add(worked)
		e.counters.groups.Add(groups)
		if err := p.rest(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(clock.waited) != len(want) || len(want) > 0 && clock.waited[0] != want[0] {
			t.Fatalf("behind %v of work and %d groups it rests %v, want %v", worked, groups, clock.waited, want)
		}
	}
	work(3*time.Millisecond, 1)
	work(3*time.Millisecond, 0, 18*time.Millisecond) // together they are a while
	work(10*time.Millisecond, 0)                     // nobody writes
	work(4*time.Millisecond, 1)                      // what was done then does not count
	work(2*time.Millisecond, 0, 18*time.Millisecond)
	work(10*time.Millisecond, 1, 14*time.Millisecond) // what is left
	work(10*time.Millisecond, 1)

	p = e.newPacer()
	clock.now, clock.stuck = clock.now.Add(time.Second), true
	e.counters.groups.Add(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.rest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a rest that is cut off: %v", err)
	}
}
