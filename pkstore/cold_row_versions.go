package pkstore

import (
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
)

// rowTranslator makes encoded rows of one version of the schema encoded rows of another one.
type rowTranslator struct {
	decoder *RowDecoder
	adapter *arrowipc.Adapter
	encoder *RowEncoder
	row     []byte // reused
}

// translate gives a row of another version of the schema as one of the fetcher's. It is valid until the
// next call.
func (f *fetcher) translate(row []byte, version int32) ([]byte, error) {
	t := f.older[version]
	if t == nil {
		var err error
		if t, err = newRowTranslator(&f.schema.options, version); err != nil {
			return nil, err
		}
		if f.older == nil {
			f.older = map[int32]*rowTranslator{}
		}
		f.older[version] = t
	}
	return t.translate(row)
}

func newRowTranslator(o *Options, version int32) (*rowTranslator, error) {
	if o.Adapter == nil {
		return nil, fmt.Errorf("it is of schema version %d, want %d", version, o.SchemaVersion)
	}
	adapter, err := o.Adapter(version)
	if err != nil {
		return nil, err
	}
	t := &rowTranslator{adapter: adapter}
	if t.decoder, err = NewRowDecoder(adapter.From()); err != nil {
		return nil, err
	}
	t.encoder, err = NewRowEncoder(adapter.To(), o.SchemaVersion)
	return t, err
}

func (t *rowTranslator) translate(row []byte) ([]byte, error) {
	if err := t.decoder.Append(row); err != nil {
		t.decoder.Reset()
		return nil, err
	}
	batch, err := t.decoder.Finish()
	if err != nil {
		return nil, err
	}
	if batch, err = t.adapter.Adapt(batch, nil); err != nil {
		return nil, err
	}
	view, err := arrowipc.NewView(batch)
	if err != nil {
		return nil, err
	}
	t.row, err = t.encoder.Append(t.row[:0], view, 0)
	return t.row, err
}
