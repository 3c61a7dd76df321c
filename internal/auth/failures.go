package auth

import (
	"sync"
	"time"

	"github.com/headrace/headrace/internal/model"
)

const (
	// failuresMax is how many failures an address may have at once; it gets one back each
	// failurePeriod.
	failuresMax   = 10
	failurePeriod = 6 * time.Second
	// addressesMax bounds the addresses that are remembered.
	addressesMax = 4096
)

// failures slows down who tries out tokens.
type failures struct {
	clock model.Clock

	mu        sync.Mutex
	addresses map[string]failureCount
}

// failureCount is how many failures an address had at a moment; they wear off since.
type failureCount struct {
	count float64
	at    time.Time
}

func newFailures(clock model.Clock) *failures {
	return &failures{clock: clock, addresses: map[string]failureCount{}}
}

// wait says how long address has to wait until its next attempt is looked at; 0 for not at all.
func (f *failures) wait(address string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := f.now(address).count - (failuresMax - 1)
	if over <= 0 {
		return 0
	}
	return time.Duration(over * float64(failurePeriod))
}

// add counts a failure of address.
func (f *failures) add(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.addresses) >= addressesMax {
		f.forget()
	}
	count := f.now(address)
	count.count++
	f.addresses[address] = count
}

// now gives the count of address as it is now.
func (f *failures) now(address string) failureCount {
	now := f.clock.Now()
	past := f.addresses[address]
	worn := now.Sub(past.at).Seconds() / failurePeriod.Seconds()
	return failureCount{count: max(0, past.count-max(0, worn)), at: now}
}

// forget drops the addresses whose failures have worn off, and then any ones until a quarter of the
// room is free, so that it is rarely called: an attacker with that many addresses is not stopped by
// counting them.
func (f *failures) forget() {
	for address := range f.addresses {
		if f.now(address).count == 0 {
			delete(f.addresses, address)
		}
	}
	for address := range f.addresses {
		if len(f.addresses) <= addressesMax*3/4 {
			return
		}
		delete(f.addresses, address)
	}
}
