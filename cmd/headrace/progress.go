package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// barPeriod is the time between two states of the bar on a terminal, linePeriod between two
	// lines elsewhere.
	barPeriod  = 100 * time.Millisecond
	linePeriod = time.Second
	barWidth   = 24
)

// tally is the state of a transfer.
type tally struct {
	rows, bytes int64
	// share of the whole, 0 to 1; −1: not known.
	share float64
}

// progress shows how a transfer goes on, until stop.
type progress struct {
	out     io.Writer
	bar     bool // one line that is written over, else a line a state
	began   time.Time
	state   func() tally
	cancel  context.CancelFunc
	showing sync.WaitGroup
}

// startProgress shows progress on standard error: a bar on a terminal, lines if they are asked for,
// else nothing. state is called from another goroutine.
func (p *program) startProgress(ctx context.Context, lines bool, state func() tally) *progress {
	shown := &progress{out: p.stderr, bar: p.stderrTerminal && !lines, began: time.Now(), state: state, cancel: func() {}}
	if p.quiet || !shown.bar && !lines {
		return shown
	}
	ctx, shown.cancel = context.WithCancel(ctx)
	shown.showing.Go(func() { shown.run(ctx) })
	return shown
}

func (s *progress) run(ctx context.Context) {
	period := linePeriod
	if s.bar {
		period = barPeriod
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if s.bar {
				fmt.Fprint(s.out, "\r\x1b[K")
			}
			return
		case <-ticker.C:
			text := formatProgress(s.state(), time.Since(s.began))
			if s.bar {
				fmt.Fprintf(s.out, "\r%s\x1b[K", text)
			} else {
				fmt.Fprintln(s.out, text)
			}
		}
	}
}

// stop ends the showing and gives the time that passed.
func (s *progress) stop() time.Duration {
	s.cancel()
	s.showing.Wait()
	return time.Since(s.began)
}

// formatProgress gives one line such as
// "[=======>      ]  45%  1,234,567 rows  812,345 rows/s  161.2 MB/s".
func formatProgress(t tally, elapsed time.Duration) string {
	text := ""
	if t.share >= 0 {
		full := int(t.share * barWidth)
		bar := strings.Repeat("=", full)
		if full < barWidth {
			bar += ">" + strings.Repeat(" ", barWidth-full-1)
		}
		text = fmt.Sprintf("[%s] %3.0f%%  ", bar, t.share*100)
	}
	return text + formatRates(t, elapsed)
}

// formatRates gives rows, rows a second and bytes a second.
func formatRates(t tally, elapsed time.Duration) string {
	seconds := max(elapsed.Seconds(), 1e-6)
	return fmt.Sprintf("%s rows  %s rows/s  %s/s", formatCount(t.rows),
		formatCount(int64(float64(t.rows)/seconds)), formatBytes(float64(t.bytes)/seconds))
}
