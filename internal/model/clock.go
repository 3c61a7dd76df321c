package model

import "time"

// Clock tells the time. Core packages take one, so that tests decide what time it is.
type Clock interface {
	// Now is the wall-clock time.
	Now() time.Time
	// After sends once on the channel when the duration has passed; it needs no stopping.
	After(time.Duration) <-chan time.Time
}

// WallClock is the Clock of the machine.
type WallClock struct{}

// Now implements Clock.
func (WallClock) Now() time.Time { return time.Now() }

// After implements Clock.
func (WallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
