package engine

import (
	"context"
	"iter"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
)

// KeyMessage is one message of a stream of keys, and which of at most two goroutines answers it: 0, or 0 and 1
// where two take turns.
type KeyMessage struct {
	Header []byte
	Body   [][]byte
	Worker int
	// Found is called with the number of keys once their rows have been found, before the first part. From then on
	// the next message may be answered, by the other goroutine. It is not called for a message without a batch, or
	// where the rows cannot be found. nil: nobody waits for it.
	Found func(keys int64)
}

// Answer looks up one batch of keys; header and body are free when it returns. It gives at least one
// part, in order; no part for a message that carries no batch.
//
// Rows are found in the order of the messages, so that of two answers the later one is of the same state or of a
// later one; putting their columns together takes longer, which two goroutines do at the same time.
func (l *Lookup) Answer(ctx context.Context, message KeyMessage) iter.Seq2[LookupPart, error] {
	return func(yield func(LookupPart, error) bool) {
		l.underWay.Add(1)
		defer l.underWay.Add(-1)
		batches, err := l.decoder.Decode(message.Header, message.Body)
		if err != nil {
			yield(LookupPart{}, err)
			return
		}
		keys, answer := int64(0), &l.workers[message.Worker]
		defer answer.readers.end() // also after an error
		for i, batch := range batches {
			last := i == len(batches)-1
			keys += batch.Rows
			more := l.resolveIn(ctx, answer, batch, yield)
			if more {
				if last && message.Found != nil {
					message.Found(keys)
				}
				more = answer.give(l, last, yield)
			}
			answer.plain.Release()
			if !more {
				return
			}
		}
	}
}

// lookupAnswer is an answer whose rows have been found.
type lookupAnswer struct {
	number       int
	plain        *arrowipc.Batch // of keys
	asOf         model.Offsets
	found, input []arrowipc.Pick
	binding      *lookupBinding
	readers      rowReaders
}

func newLookupAnswer(e *Engine, number int) lookupAnswer {
	return lookupAnswer{number: number, readers: rowReaders{pkstore.NewRowReader(e.rowCache), pkstore.NewRowReader(e.rowCache)}}
}

// rowReaders are those of the two halves of an answer. What they found in the cache of rows stays from begin to end, and
// must be gathered by then. Nobody can fill the cache meanwhile: nothing is waited for in between, be it the state, the
// disk or the client.
type rowReaders [2]*pkstore.RowReader

func (r *rowReaders) begin() {
	for _, reader := range r {
		reader.Begin()
	}
}

// end may be called without begin, and again.
func (r *rowReaders) end() {
	for _, reader := range r {
		reader.End()
	}
}

// resolveIn finds the rows of the keys of one plain or compressed batch, which belongs to the answer from then on;
// false if that was not possible.
func (l *Lookup) resolveIn(ctx context.Context, answer *lookupAnswer, batch *arrowipc.Batch, yield func(LookupPart, error) bool) bool {
	answer.plain = batch
	if batch.Codec != arrowipc.NoCodec {
		plain, err := arrowipc.Decompress(batch)
		if err != nil {
			return yield(LookupPart{}, err) && false
		}
		batch.Release()
		answer.plain = plain
	}
	l.readers = &answer.readers
	l.found, l.input = answer.found[:0], answer.input[:0]
	asOf, err := l.resolve(ctx, answer.plain)
	answer.asOf, answer.found, answer.input, answer.binding = asOf, l.found, l.input, l.binding
	l.found, l.input, l.readers = nil, nil, nil
	if err != nil {
		return yield(LookupPart{}, err) && false
	}
	return true
}

// give gives the answer in parts; false once the caller wants no more.
func (a *lookupAnswer) give(l *Lookup, last bool, yield func(LookupPart, error) bool) bool {
	rows := answerRows
	for from := 0; ; {
		to := min(from+rows, len(a.found))
		answer, err := l.gather(a, from, to)
		if err != nil {
			return yield(LookupPart{}, err) && false
		}
		rows = min(max(rows*answerBytes/max(len(answer.Body), 1), 1), answerRowsMax)
		from = to
		end := to == len(a.found)
		if end {
			a.readers.end()
		}
		parts := cutBatch(answer, messageBytesDefault)
		for i, part := range parts {
			chunk := LookupPart{Rows: part.Rows, Last: last && end && i == len(parts)-1, AsOf: a.asOf}
			chunk.Message, err = l.projection.Encode(part, nil, part.Codec)
			more := yield(chunk, err) && err == nil
			part.Release()
			if !more {
				return false
			}
		}
		if end {
			return true
		}
	}
}

// answerRows is how many rows of an answer are gathered at first, and answerRowsMax later on, if they
// take answerBytes or less: one key may be asked for many times, and its row may be large.
const (
	answerRows    = 2 << 10
	answerRowsMax = 64 << 10
	answerBytes   = 2 << 20
)

// cutBatch cuts a batch that lies on the heap into parts of about that many bytes, at least a row each, which the caller
// releases in its place.
func cutBatch(batch *arrowipc.Batch, limit int64) []*arrowipc.Batch {
	if int64(len(batch.Body)) <= limit || batch.Rows <= 1 {
		return []*arrowipc.Batch{batch}
	}
	half := batch.Rows / 2
	first, err := arrowipc.Slice(batch, 0, half)
	second, err2 := arrowipc.Slice(batch, half, batch.Rows)
	if err != nil || err2 != nil {
		return []*arrowipc.Batch{batch}
	}
	batch.Release()
	return append(cutBatch(first, limit), cutBatch(second, limit)...)
}
