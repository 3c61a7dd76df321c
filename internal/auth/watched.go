package auth

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// checkPeriod is how often files are looked at, at most.
const checkPeriod = time.Second

// watched keeps a value that is read from files, and reads it again when one of them has changed.
type watched[T any] struct {
	what   string // for the log
	paths  []string
	load   func() (T, error)
	clock  model.Clock
	logger *slog.Logger

	mu      sync.Mutex
	value   T
	stamps  []stamp
	checked time.Time
}

// stamp tells one version of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

// start reads the files for the first time; an error here is the caller's.
func (w *watched[T]) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read()
}

// get gives the newest value that could be read.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	if now.Sub(w.checked) < checkPeriod && !now.Before(w.checked) {
		return w.value
	}
	w.checked = now
	stamps, err := w.stampFiles()
	if err == nil && equalStamps(stamps, w.stamps) {
		return w.value
	}
	if err == nil {
		err = w.read()
	}
	if err != nil {
		w.logger.Warn("keep what was read before", "file", w.what, "error", err)
	} else {
		w.logger.Info("read again", "file", w.what)
	}
	return w.value
}

// reload reads the files now.
func (w *watched[T]) reload() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read()
}

// read loads the value; on an error the old one stays, and the next change is waited for.
func (w *watched[T]) read() error {
	stamps, err := w.stampFiles()
	if err != nil {
		return err
	}
	w.stamps, w.checked = stamps, w.clock.Now()
	value, err := w.load()
	if err != nil {
		return fmt.Errorf("read the %s: %w", w.what, err)
	}
	w.value = value
	return nil
}

func (w *watched[T]) stampFiles() ([]stamp, error) {
	stamps := make([]stamp, 0, len(w.paths))
	for _, path := range w.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("look at the %s: %w", w.what, err)
		}
		stamps = append(stamps, stamp{info.ModTime(), info.Size()})
	}
	return stamps, nil
}

func equalStamps(a, b []stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].modified.Equal(b[i].modified) || a[i].size != b[i].size {
			return false
		}
	}
	return true
}
