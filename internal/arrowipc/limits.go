package arrowipc

import "github.com/headrace/headrace/internal/model"

// Limits bound what a message from the wire may ask for. A zero field means its default.
type Limits struct {
	// Depth is how deep types may nest; a column of a plain type has depth 1. Default 32.
	Depth int
	// Fields is how many fields a schema may have, nested ones counted. Default 4096.
	Fields int
	// Rows is how many rows a batch may have. Default 4 Mi.
	Rows int64
	// DecompressedBytes bounds what one batch may hold once decompressed, and what the dictionaries
	// of one stream may hold. Default 256 MiB.
	DecompressedBytes int64
}

const (
	depthDefault             = 32
	fieldsDefault            = 4096
	rowsDefault              = 4 << 20
	decompressedBytesDefault = 256 << 20
	// tablesPerField bounds the FlatBuffers tables of a schema message: each field has one for
	// itself, its type, its dictionary and the index of that, and a few for metadata.
	tablesPerField = 16
	// emptyLengthFactor times Limits.Rows bounds the length of a nested column whose values take no
	// bytes, such as a list of nulls; all others are bound by the bytes they need.
	emptyLengthFactor = 64
)

func (l Limits) withDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = depthDefault
	}
	if l.Fields <= 0 {
		l.Fields = fieldsDefault
	}
	if l.Rows <= 0 {
		l.Rows = rowsDefault
	}
	if l.DecompressedBytes <= 0 {
		l.DecompressedBytes = decompressedBytesDefault
	}
	return l
}

func invalidSchema(err error) error {
	return model.Errorf(model.BadRequest, "the schema is not valid: %v", err)
}

func invalidBatch(err error) error {
	return model.Errorf(model.BadRequest, "the record batch is not valid: %v", err)
}
