package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Put is a stream of batches into one table. It is for one goroutine at a time.
type Put struct {
	engine  *Engine
	table   *table
	request PutRequest
	level   model.Durability
	// schema is the version of the table's schema that the rows are of; sent are the numbers of the columns
	// that the client sends.
	schema  *tableSchema
	sent    []int32
	decoder *arrowipc.Decoder
	// bucket and bucketBytes are where batches go that have no bucket key, and how much went there.
	bucket      int32
	bucketBytes int64
	router      *router
	// keyed is for puts into a primary-key table; nil for a log table.
	keyed *keyedPut
	// refused is why a batch of the stream was refused: nothing behind it is applied. It is the
	// committer's.
	refused error
	// adoption is how rows become rows of another version of the schema. It is the committer's.
	adoption *adoption
}

// OpenPut begins a stream of batches. It fails if the table cannot take rows of that schema.
func (e *Engine) OpenPut(ctx context.Context, request PutRequest) (*Put, error) {
	if err := e.Ready(); err != nil {
		return nil, err
	}
	t, err := e.table(request.Table)
	if err != nil {
		return nil, err
	}
	if request.Durability == model.Quorum {
		return nil, model.Errorf(model.BadRequest, "durability quorum needs a cluster, and this server runs alone").
			WithRemedy("Ask for fsync")
	}
	p := &Put{engine: e, table: t, request: request, level: max(t.level(), request.Durability)}
	if err := p.open(); err != nil {
		return nil, err
	}
	if t.keyed != nil && t.partitions == nil { // buckets of partitions are opened when rows go there
		if err := t.openAll(); err != nil {
			return nil, err
		}
	}
	if err := t.producers.load(); err != nil {
		return nil, err
	}
	// Streams start at different buckets, so that writers of one table spread.
	p.bucket = int32(uint32(e.streams.Add(1)-1) % uint32(t.definition.Load().Buckets))
	return p, nil
}

// open finds the version of the schema that the rows are of: the present one, or the newest earlier one whose
// columns are all there still.
func (p *Put) open() error {
	p.schema = p.table.schema.Load()
	refusal := p.openSchema()
	if !errors.Is(refusal, model.SchemaMismatch) && !errors.Is(refusal, model.ColumnNotFound) {
		return refusal
	}
	now := p.schema
	earlier, err := now.earlier()
	if err != nil {
		return err
	}
	for _, p.schema = range earlier {
		if p.openSchema() == nil && len(now.lacks(p.schema, p.sent)) == 0 {
			return nil
		}
	}
	return refusal
}

// openSchema prepares a stream of rows of p.schema.
func (p *Put) openSchema() error {
	if p.table.keyed != nil {
		return p.openKeyed()
	}
	return p.openLog()
}

// openLog prepares a stream into a log table.
func (p *Put) openLog() (err error) {
	definition := p.schema.definition
	if p.request.Mode > PutAppend || p.request.Columns != nil {
		return model.Errorf(model.BadRequest, "%s is a log table: it takes mode append, and whole rows", definition.Name).
			WithRemedy("Create the table with primary_key to upsert and delete rows")
	}
	if p.router, err = p.schema.newRouter(p.schema.layout, definition.BucketKey); err != nil {
		return err
	}
	options := arrowipc.DecoderOptions{Target: p.schema.layout, Defaults: definition.Defaults}
	if !p.router.splits() {
		options.SummarizeRows = summarizedRowsMin // else the rows of a batch are parted, and summarized then
	}
	if p.decoder, err = arrowipc.NewDecoder(p.request.Schema, options); err != nil {
		return err
	}
	p.sent = p.schema.idsOf(p.decoder.Sent())
	return err
}

// Table is the table that the rows go to.
func (p *Put) Table() *model.Table { return p.table.definition.Load() }

// Send validates one message of the stream, copies it and puts it into the queue; header and body
// are free when it returns. It gives nil for a message that carries no batch. An error refuses the
// batch: nothing of it is stored, and the stream must end. It waits only for the byte budget.
func (p *Put) Send(ctx context.Context, header []byte, body [][]byte, sequence *Sequence) (*Pending, error) {
	if err := p.engine.writable(); err != nil {
		return nil, err
	}
	sequence, err := p.sequence(sequence)
	if err != nil {
		return nil, err
	}
	bytes := int64(len(header))
	for _, slice := range body {
		bytes += int64(len(slice))
	}
	bytes = min(max(bytes, requestBytesMin), p.engine.options.IngestBytes)
	if err := p.engine.budget.Acquire(ctx, bytes); err != nil {
		return nil, err
	}
	batches, err := p.decoder.Decode(header, body)
	if err != nil || batches == nil {
		p.engine.budget.Release(bytes)
		return nil, err
	}
	r := &request{table: p.table, put: p, bytes: bytes, sequence: sequence, level: p.level}
	if sequence != nil {
		r.hash = p.decoder.ContentHash(body)
		if p.keyed != nil {
			r.hash ^= p.keyed.form
		}
	}
	if p.router.hasher != nil {
		r.routed = p.table.routing()
	}
	if r.parts, err = p.route(batches); err != nil {
		p.engine.budget.Release(bytes)
		return nil, err
	}
	for _, part := range r.parts {
		r.rows += part.batch.Rows
	}
	if p.keyed == nil { // rows of a keyed table are stored as changes, which nobody knows yet
		err = summarize(r.parts)
	}
	if err != nil {
		p.engine.budget.Release(bytes)
		return nil, err
	}
	return p.engine.submit(ctx, r)
}

// summarizedRowsMin is the size of a batch, in rows, from which on its statistics are taken in the goroutine
// of its stream. Smaller ones are mostly merged with others first, which takes less time in all.
const summarizedRowsMin = 64

// summarize takes the statistics of rows that will be stored as they are.
func summarize(parts []part) error {
	for _, part := range parts {
		batch := part.batch
		if batch.Statistics != nil || batch.Codec != arrowipc.NoCodec || batch.Rows < summarizedRowsMin {
			continue
		}
		var err error
		if batch.Statistics, err = arrowipc.Summarize(batch); err != nil {
			return err
		}
	}
	return nil
}

// requestBytesMin is what a request counts in the byte budget at least: it costs memory beside its
// rows.
const requestBytesMin = 1 << 10

// sequence fills in what the stream says of its producer.
func (p *Put) sequence(s *Sequence) (*Sequence, error) {
	if s == nil {
		return nil, nil
	}
	filled := *s
	if filled.Producer == "" {
		filled.Producer, filled.Epoch = p.request.Producer, p.request.Epoch
	}
	return &filled, checkSequence(filled)
}

func checkSequence(s Sequence) error {
	switch {
	case s.Producer == "":
		return model.Errorf(model.BadRequest, "a batch has a seq and no producer").
			WithRemedy("Name the producer in the batch's metadata or in the put command")
	case len(s.Producer) > producerNameMax:
		return model.Errorf(model.BadRequest, "the producer's name has %d bytes, at most %d are allowed", len(s.Producer), producerNameMax)
	case s.Number < 0 || s.Epoch < 0:
		return model.Errorf(model.BadRequest, "seq %d, epoch %d: neither may be negative", s.Number, s.Epoch)
	}
	return nil
}

// route says which rows go to which bucket.
func (p *Put) route(batches []*arrowipc.Batch) ([]part, error) {
	if p.keyed != nil {
		return p.routeChanges(batches)
	}
	parts := make([]part, 0, len(batches))
	for _, batch := range batches {
		size := int64(len(batch.Body))
		if !p.router.splits() {
			parts = append(parts, part{bucket: p.bucket, batch: batch})
		} else {
			var err error
			if parts, err = p.split(batch, parts); err != nil {
				return nil, err
			}
		}
		p.bucketBytes += size
	}
	if p.router.hasher == nil && p.bucketBytes >= p.engine.options.BucketRotateBytes {
		p.bucket, p.bucketBytes = (p.bucket+1)%p.table.definition.Load().Buckets, 0
	}
	return parts, nil
}

// split appends to parts those of a batch, one a bucket.
func (p *Put) split(batch *arrowipc.Batch, parts []part) ([]part, error) {
	plain, err := arrowipc.Decompress(batch)
	if err != nil {
		return nil, err
	}
	places, err := p.router.route(plain, p.bucket)
	if err != nil {
		return nil, err
	}
	var builder *arrowipc.Builder
	whole := false
	for at, rows := range places {
		if rows == nil {
			parts = append(parts, part{bucket: at.bucket, partition: at.partition, index: at.index, batch: batch})
			whole = true
			break
		}
		if builder == nil {
			builder = arrowipc.NewBuilder(batch.Layout)
		}
		if err := builder.AppendRows(plain, rows); err != nil {
			return nil, fmt.Errorf("route rows to buckets: %w", err)
		}
		parts = append(parts, part{bucket: at.bucket, partition: at.partition, index: at.index, batch: builder.Finish()})
	}
	if plain != batch {
		plain.Release()
	}
	if !whole {
		batch.Release()
	}
	return parts, nil
}

// Close ends the stream. Batches that were sent go on.
func (p *Put) Close() {}

// submit puts a request into the queue.
func (e *Engine) submit(ctx context.Context, r *request) (*Pending, error) {
	r.pending.done = make(chan struct{})
	e.queueMu.RLock()
	defer e.queueMu.RUnlock()
	if e.closed {
		e.budget.Release(r.bytes)
		return nil, errClosed()
	}
	select {
	case e.queue <- r:
		return &r.pending, nil
	case <-ctx.Done():
		e.budget.Release(r.bytes)
		return nil, ctx.Err()
	}
}

func errClosed() error {
	return model.Errorf(model.Draining, "the server is stopping").WithRemedy("Send the batch again when it is back")
}
