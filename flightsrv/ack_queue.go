package flightsrv

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// ackBytesMax bounds the acknowledgements of one stream that wait for the client to read them.
// Beyond it neighbours are merged.
const ackBytesMax = 1 << 20

// ackMode says when acknowledgements are sent.
type ackMode uint8

const (
	ackBatch ackMode = iota // one a batch, unless the client does not read them
	ackGroup                // one for all batches that are done by the time of sending
	ackEnd                  // one at the end of the stream
)

var ackModes = map[string]ackMode{"": ackBatch, "batch": ackBatch, "group": ackGroup, "end": ackEnd}

// pendingBatch is a batch that the engine has taken.
type pendingBatch interface {
	Done() <-chan struct{}
	Ack() (engine.Ack, error)
}

// sentBatch is a batch of a put stream on its way to the disk.
type sentBatch struct {
	pending  pendingBatch
	index    int64 // in the stream
	seq      int64
	received time.Time
	bytes    int64 // as received
}

// ackQueue holds the batches of one put stream from when the engine has them until they are
// acknowledged, in order. The receiver pushes and ends, the sender calls next; either may block
// without holding the other up, but for the one rule that memory stays bounded: a batch that is
// not done yet can't be merged, so a push beyond the bound waits for the disk, never for the
// client.
type ackQueue struct {
	mode    ackMode
	onDone  func(sentBatch, engine.Ack) // sees each batch once
	changed chan struct{}               // holds an element after each push and end

	mu      sync.Mutex
	entries []ackEntry
	bytes   int   // of entries, about
	ended   bool  // nothing is pushed any more
	cause   error // why the stream ended, told behind the last acknowledgement; nil at a good end
}

// ackEntry is one batch that is under way or refused (pending is set), or the acknowledgement of
// one or more.
type ackEntry struct {
	batch sentBatch
	ack   ack
	err   error
}

func newAckQueue(mode ackMode, onDone func(sentBatch, engine.Ack)) *ackQueue {
	return &ackQueue{mode: mode, onDone: onDone, changed: make(chan struct{}, 1)}
}

// size is about how much memory the entry takes.
func (e *ackEntry) size() int { return 192 + 24*len(e.ack.ranges) }

func (e *ackEntry) acknowledged() bool { return e.batch.pending == nil }

// errStreamEnded tells the receiver that the stream has ended otherwise.
var errStreamEnded = errors.New("the stream has ended")

// push appends a batch.
func (q *ackQueue) push(ctx context.Context, batch sentBatch) error {
	defer q.signal()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return errStreamEnded
	}
	entry := ackEntry{batch: batch}
	q.entries = append(q.entries, entry)
	q.bytes += entry.size()
	for q.bytes > ackBytesMax {
		q.fold()
		open := q.firstOpen()
		if q.bytes <= ackBytesMax || open == nil {
			return nil // one merged entry may be larger than the bound: a table has many buckets
		}
		if open.err != nil {
			return errStreamEnded // next is about to tell
		}
		if err := q.waitUnlocked(ctx, open.batch.pending.Done()); err != nil {
			return err
		}
	}
	return nil
}

// waitUnlocked waits without mu, which is held before and after.
func (q *ackQueue) waitUnlocked(ctx context.Context, done <-chan struct{}) error {
	q.mu.Unlock()
	defer q.mu.Lock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end says that nothing follows; cause is told to the client behind the acknowledgements of what
// was pushed. The first call counts.
func (q *ackQueue) end(cause error) {
	defer q.signal()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended {
		q.ended, q.cause = true, cause
	}
}

// over says that the stream has ended: a push would fail.
func (q *ackQueue) over() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

func (q *ackQueue) signal() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// next gives the next acknowledgement to send. At the end it gives io.EOF, or what went wrong.
func (q *ackQueue) next(ctx context.Context) (ack, error) {
	for {
		q.mu.Lock()
		entry, wait := q.step()
		q.mu.Unlock()
		if entry != nil {
			return entry.ack, entry.err
		}
		select {
		case <-wait:
		case <-q.changed:
		case <-ctx.Done():
			return ack{}, ctx.Err()
		}
	}
}

// step takes what can be sent now, or gives a channel to wait on (or nil: only a change helps).
func (q *ackQueue) step() (*ackEntry, <-chan struct{}) {
	if q.mode != ackBatch {
		q.fold()
	}
	if len(q.entries) == 0 {
		switch {
		case !q.ended:
			return nil, nil
		case q.cause != nil:
			return &ackEntry{err: q.cause}, nil
		}
		return &ackEntry{err: io.EOF}, nil
	}
	head := &q.entries[0]
	q.resolve(head)
	if head.err != nil {
		q.ended = true
		return head, nil
	}
	if head.acknowledged() && (q.mode != ackEnd || q.complete()) {
		return q.pop(), nil
	}
	if open := q.firstOpen(); open != nil {
		return nil, open.batch.pending.Done()
	}
	return nil, nil
}

// complete says that the first entry, an acknowledgement, will never be merged with another.
func (q *ackQueue) complete() bool {
	if len(q.entries) == 1 {
		return q.ended
	}
	return q.entries[1].err != nil
}

func (q *ackQueue) pop() *ackEntry {
	head := q.entries[0]
	q.bytes -= head.size()
	q.entries[0] = ackEntry{}
	q.entries = q.entries[1:]
	return &head
}

// firstOpen gives the first entry that is not acknowledged: it is under way or was refused. After
// fold that is the first or the second one.
func (q *ackQueue) firstOpen() *ackEntry {
	for i := range q.entries {
		if !q.entries[i].acknowledged() {
			return &q.entries[i]
		}
	}
	return nil
}

// fold merges the acknowledgements at the head of the queue into one.
func (q *ackQueue) fold() {
	if len(q.entries) == 0 {
		return
	}
	last := len(q.entries) - 1
	for i := range q.entries {
		if q.resolve(&q.entries[i]); !q.entries[i].acknowledged() {
			last = i - 1
			break
		}
	}
	if last < 1 {
		return
	}
	head := q.entries[0]
	for i := 1; i <= last; i++ {
		head.ack.merge(q.entries[i].ack)
	}
	for i := range last + 1 {
		q.bytes -= q.entries[i].size()
	}
	clear(q.entries[:last])
	q.entries = q.entries[last:]
	q.entries[0] = head
	q.bytes += head.size()
}

// resolve turns an entry whose batch is done into an acknowledgement, or sets its error.
func (q *ackQueue) resolve(e *ackEntry) {
	if e.acknowledged() || e.err != nil {
		return
	}
	select {
	case <-e.batch.pending.Done():
	default:
		return
	}
	stored, err := e.batch.pending.Ack()
	if err != nil {
		e.err = batchError(e.batch.index, err)
		return
	}
	if q.onDone != nil {
		q.onDone(e.batch, stored)
	}
	q.bytes -= e.size()
	e.ack = newAck(e.batch.seq, stored)
	e.batch.pending = nil
	q.bytes += e.size()
}

// batchError names the batch of a stream that could not be taken.
func batchError(index int64, err error) error {
	own, ok := errors.AsType[*model.Error](err)
	if !ok {
		return err
	}
	named := *own
	named.Text, named.Details, named.Cause = "batch "+formatInt(index)+": "+own.Text, nil, err
	for name, value := range own.Details {
		named.With(name, value)
	}
	return named.With("batch", index)
}
