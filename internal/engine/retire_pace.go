package engine

import (
	"context"
	"time"
)

const (
	// paceWork is how long rows are retired before there is a rest: about a commit of the store below the log.
	// What that writes, the disk has to take beside what writers wait for.
	paceWork = 5 * time.Millisecond
	// paceRests is how much longer a rest is than the work before it.
	paceRests = 3
	// paceRestsMax bounds the rests of a round of maintenance: rows that become due faster than they go at this
	// pace go without rests in the end.
	paceRestsMax = 30 * time.Second
)

// pacer spreads the work of a round of retirement, as long as somebody writes. It belongs to one goroutine.
type pacer struct {
	engine *Engine
	began  time.Time     // the work behind the last rest
	groups int64         // that were committed by then
	left   time.Duration // of the rests
}

func (e *Engine) newPacer() *pacer {
	return &pacer{engine: e, began: e.options.Clock.Now(), groups: e.counters.groups.Load(), left: paceRestsMax}
}

// rest is called again and again in the course of the work.
func (p *pacer) rest(ctx context.Context) error {
	clock := p.engine.options.Clock
	worked := clock.Now().Sub(p.began)
	if worked < paceWork {
		return nil
	}
	groups := p.engine.counters.groups.Load()
	if wait := min(paceRests*worked, p.left); groups != p.groups && wait > 0 {
		p.left -= wait
		select {
		case <-clock.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.began, p.groups = clock.Now(), p.engine.counters.groups.Load()
	return nil
}
