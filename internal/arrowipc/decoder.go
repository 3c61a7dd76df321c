package arrowipc

import (
	"errors"
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// DecoderOptions say what a Decoder makes of a stream.
type DecoderOptions struct {
	// Target is the layout of the batches wanted; nil: the client's own schema, with dictionaries
	// replaced by their values.
	Target *Layout
	// Defaults are the values of columns that the client may leave out, by name, in JSON form as
	// model.CheckDefault has it.
	Defaults map[string]any
	// Required are columns that must be there. Any other may be missing: it gets its default, else
	// null, and is required after all where it is NOT NULL without a default.
	Required []string
	// Limits bound what a message may ask for.
	Limits Limits
	// MessageBytes is what Batch.Message and the body of a returned batch take at most: larger ones
	// are split, at multiples of 8 rows unless 8 rows are too large; one row that is larger goes
	// alone. Default 4 MiB - 128 KiB.
	MessageBytes int
	// SummarizeRows is the size of a batch, in rows, from which on one that is copied as it came gets
	// Statistics: column by column, while each is in the processor's cache. 0: none does.
	SummarizeRows int64
}

const messageBytesDefault = 4<<20 - 64<<10 - 64<<10

// Decoder turns the messages of one stream into batches of a table's schema. Every message is
// verified as if its sender were hostile: nothing of it is interpreted before it has been checked,
// and what a Decoder allocates is bounded by the message's size and the limits.
//
// A Decoder is owned by one goroutine.
type Decoder struct {
	source  *Layout
	target  *Layout
	columns []*column // the source column of each target column; nil: not sent
	fills   []*fill   // what stands for each target column that is not sent
	direct  bool      // what is sent lies in the target's buffers as it is
	limits  Limits
	max     int64 // bytes of a message
	// summarizes is DecoderOptions.SummarizeRows.
	summarizes int64

	dictionaries map[int64]*Batch // by id, of plain layouts
	wanted       map[int64]*Layout

	byName []*column                  // of source, for ContentHash
	sums   []uint32                   // of the buffers of wire; nil: not known
	hashed map[int64]hashedDictionary // by id

	builder *Builder
	wire    Batch
	vectors []vector
}

// NewDecoder reads the schema message that a stream begins with and compares it with the target.
// All columns that are unknown, missing, twice there or of another type are named in one
// model.SchemaMismatch.
func NewDecoder(schemaMessage []byte, options DecoderOptions) (*Decoder, error) {
	limits := options.Limits.withDefaults()
	schema, ids, err := decodeSchema(schemaMessage, limits)
	if err != nil {
		return nil, err
	}
	source, err := newLayout(schema, ids)
	if err != nil {
		return nil, err
	}
	d := &Decoder{source: source, target: options.Target, limits: limits, max: int64(options.MessageBytes), summarizes: options.SummarizeRows}
	if d.max <= 0 {
		d.max = messageBytesDefault
	}
	if d.target == nil {
		if d.target, err = NewLayout(plainSchema(schema)); err != nil {
			return nil, err
		}
	}
	d.dictionaries, d.wanted = map[int64]*Batch{}, map[int64]*Layout{}
	if err := d.collectDictionaries(source); err != nil {
		return nil, err
	}
	if err := d.matchColumns(options); err != nil {
		return nil, err
	}
	d.byName = sortByName(source.top)
	d.builder = NewBuilder(d.target)
	d.builder.limit = limits.DecompressedBytes
	return d, nil
}

// Decode verifies one message and gives what it holds as batches of the target, which the caller
// releases: one, or several where it had to be split; none for a dictionary. Each has a body of its
// own, and Sums. body may be in any number of parts, at any addresses; it is not kept.
//
// Compressed batches stay compressed where nothing has to be changed, once what they hold has been
// checked; these have Statistics too, since nobody sees their values so soon again.
//
// What is malformed is model.BadRequest, too many rows or bytes are model.BatchTooLarge, a null in a
// NOT NULL column is model.SchemaMismatch. After an error the Decoder must not be used.
func (d *Decoder) Decode(header []byte, body [][]byte) ([]*Batch, error) {
	parts := newScattered(body)
	f := &flat{data: header, tables: 16}
	root := f.root()
	f.version(root)
	kind := f.byteField(root, 1)
	if n := f.int64Field(root, 3); f.err == nil && n != parts.size {
		f.fail("it is for a body of %d bytes, got %d", n, parts.size)
	}
	table, ok := f.tableField(root, 2)
	if !ok {
		f.fail("the message is empty")
	}
	if f.err != nil {
		return nil, invalidBatch(f.err)
	}
	switch kind {
	case batchMessage:
		batches, err := d.decodeBatch(f, table, &parts)
		return batches, d.refine(err)
	case dictionaryMessage:
		return nil, d.refine(d.decodeDictionary(f, table, &parts))
	case schemaMessage:
		return nil, model.Errorf(model.BadRequest, "the stream has a second schema").
			WithRemedy("Send batches of another schema in a stream of their own")
	}
	return nil, model.Errorf(model.BadRequest, "the message is of kind %d, want %d or %d", kind, batchMessage, dictionaryMessage)
}

// refine makes an error of decoding one that users may see.
func (d *Decoder) refine(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*model.Error](err); ok {
		return err
	}
	if errors.Is(err, errTooMuch) || errors.Is(err, errTooLong) {
		return model.Errorf(model.BatchTooLarge, "the record batch is too large: %v", err).
			WithRemedy("Send fewer rows in a batch")
	}
	return invalidBatch(err)
}

// readWire reads a RecordBatch of a layout to d.wire and checks all that needs no look at the body.
func (d *Decoder) readWire(f *flat, table flatTable, layout *Layout, size int64) error {
	b := &d.wire
	b.Layout = layout
	readBatch(f, table, b)
	if f.err != nil {
		return f.err
	}
	if b.Rows > d.limits.Rows {
		return model.Errorf(model.BatchTooLarge, "the record batch has %d rows, want at most %d", b.Rows, d.limits.Rows).
			WithRemedy("Send fewer rows in a batch")
	}
	if len(layout.top) == 0 && b.Rows > 0 {
		return fmt.Errorf("it has %d rows and no columns", b.Rows)
	}
	if err := checkSpans(b, 0, size, 8); err != nil {
		return err
	}
	if err := checkNodes(b, d.limits.Rows*emptyLengthFactor); err != nil {
		return err
	}
	if b.Codec == NoCodec {
		if err := checkLengths(b); err != nil {
			return err
		}
	}
	normalise(b)
	return nil
}

// normalise leaves out bitmaps that say nothing, and counts the nulls of null columns.
func normalise(b *Batch) {
	for i, c := range b.Layout.all {
		if c.kind == nullKind {
			b.Nodes[i].Nulls = b.Nodes[i].Length
		} else if b.Nodes[i].Nulls == 0 {
			b.Buffers[c.buffer+b.shift(c.view)].Length = 0
		}
	}
}

func (d *Decoder) decodeBatch(f *flat, table flatTable, parts *scattered) ([]*Batch, error) {
	d.sums = nil
	if err := d.readWire(f, table, d.source, parts.size); err != nil {
		return nil, err
	}
	if d.direct && d.wire.Codec == NoCodec {
		if out, err := d.copyDirect(parts); err != nil || out != nil {
			return d.checkDirect(out, err)
		}
	}
	plain, err := d.plain(parts)
	if err != nil {
		return nil, err
	}
	defer plain.Release()
	d.vectors, err = openVectors(d.vectors, plain, d.dictionaries)
	if err != nil {
		return nil, err
	}
	garbage, err := verify(d.vectors)
	if err != nil {
		return nil, err
	}
	if !d.direct {
		return d.convert(plain.Rows)
	}
	if err := d.checkRequired(d.vectors, d.columns); err != nil {
		return nil, err
	}
	if d.wire.Codec != NoCodec && !garbage {
		switch out, err := d.copyDirect(parts); {
		case err != nil:
			return nil, err
		case out != nil:
			out.Statistics, err = d.summarize(plain.Rows)
			return []*Batch{out}, err
		}
	}
	return d.cut(plain.Rows)
}

// cut makes batches of d.vectors, which are verified and lie as in the target.
func (d *Decoder) cut(rows int64) ([]*Batch, error) {
	if slices.Contains(d.columns, nil) {
		return d.convert(rows)
	}
	return d.split(d.vectors, d.columns, rows)
}

// plain gives the batch of d.wire with a body in one piece, decompressed. The caller releases it.
func (d *Decoder) plain(parts *scattered) (*Batch, error) {
	joined := d.wire
	joined.Body, joined.owned = newBody(int(parts.size)), true
	parts.join(joined.Body)
	if joined.Codec == NoCodec {
		return &joined, nil
	}
	defer joined.Release()
	return decompress(&joined, d.limits.DecompressedBytes)
}

// Sent gives the columns of the target that the stream has, by index, ascending.
func (d *Decoder) Sent() []int {
	var sent []int
	for i, c := range d.columns {
		if c != nil {
			sent = append(sent, i)
		}
	}
	return sent
}

// checkRequired checks the target's NOT NULL columns, each of which is one of the vectors' columns;
// nil ones are left out.
func (d *Decoder) checkRequired(vectors []vector, columns []*column) error {
	for i, target := range d.target.top {
		if columns[i] == nil {
			continue
		}
		if row, path, ok := verifyRequired(vectors, columns[i], target); !ok {
			return model.Errorf(model.SchemaMismatch, "%s is NOT NULL and has a null in row %d", path, row).
				With("column", target.name).With("row", row)
		}
	}
	return nil
}
