package arrowipc

import (
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// kind is how the values of a column lie in buffers.
type kind uint8

const (
	nullKind       kind = iota // no buffers
	bitKind                    // validity, bits
	fixedKind                  // validity, values of width bytes
	offset32Kind               // validity, int32 offsets, bytes
	offset64Kind               // validity, int64 offsets, bytes
	viewKind                   // validity, 16-byte views, any number of data buffers
	list32Kind                 // validity, int32 offsets; one child
	list64Kind                 // validity, int64 offsets; one child
	fixedListKind              // validity; one child of width values a row
	structKind                 // validity; children
	dictionaryKind             // validity, indices of width bytes; only on the wire, never stored
)

// buffersOf is the number of buffers of a column by kind, without variadic ones.
var buffersOf = [...]int{0, 2, 2, 3, 3, 2, 2, 2, 1, 1, 2}

const viewWidth = 16

// column is one node of a schema's tree of types.
type column struct {
	name     string
	dataType arrow.DataType // the storage type of an extension
	nullable bool
	kind     kind
	width    int64 // bytes of a value or an index; values in a fixed-size list
	text     bool  // bytes must be UTF-8
	order    order // of its values, for Statistics

	// The column's place in a batch: of its node, of its first buffer when no variadic buffers come
	// before it, and among the view nodes. The ends are those of the subtree.
	node, buffer, view          int
	nodeEnd, bufferEnd, viewEnd int

	parent     *column
	children   []*column
	dictionary *dictionaryColumn
}

// dictionaryColumn says where a dictionary column finds its values.
type dictionaryColumn struct {
	id     int64
	signed bool
	values *Layout // of one column
}

// Layout says which nodes, buffers and variadic counts a record batch of one schema has, and which
// of them belong to which column. It is immutable and may be shared.
type Layout struct {
	schema  *arrow.Schema
	top     []*column
	all     []*column // in order of their nodes
	buffers int       // without variadic ones
	views   int
	byName  map[string]int

	shaped sync.Once
	shape  *RowShape // behind shaped
}

// layoutDepthMax bounds the recursion of NewLayout; what comes from the wire has a lower limit.
const layoutDepthMax = 128

// NewLayout gives the layout of a schema. Types that are never stored (dictionary, union, run-end
// encoded, list-view) are refused with model.UnsupportedType.
func NewLayout(schema *arrow.Schema) (*Layout, error) { return newLayout(schema, nil) }

// newLayout allows dictionary columns where there are ids, one for each dictionary in the order in
// which a walk meets them, a dictionary before those inside its values.
func newLayout(schema *arrow.Schema, ids []int64) (*Layout, error) {
	maker := &layoutMaker{ids: ids}
	return maker.layout(schema)
}

type layoutMaker struct {
	ids     []int64
	current *Layout
	depth   int
}

func (m *layoutMaker) layout(schema *arrow.Schema) (*Layout, error) {
	outer := m.current
	defer func() { m.current = outer }()
	l := &Layout{schema: schema, byName: make(map[string]int, schema.NumFields())}
	m.current = l
	for i, field := range schema.Fields() {
		c, err := m.column(field, nil)
		if err != nil {
			return nil, model.Errorf(model.UnsupportedType, "column %q: %v", field.Name, err).With("column", field.Name)
		}
		l.top = append(l.top, c)
		if _, taken := l.byName[field.Name]; !taken {
			l.byName[field.Name] = i
		}
	}
	return l, nil
}

func (m *layoutMaker) column(field arrow.Field, parent *column) (*column, error) {
	if m.depth++; m.depth > layoutDepthMax {
		return nil, fmt.Errorf("its type nests deeper than %d", layoutDepthMax)
	}
	defer func() { m.depth-- }()
	l := m.current
	c := &column{name: field.Name, dataType: storageType(field.Type), nullable: field.Nullable, parent: parent}
	c.node, c.buffer, c.view = len(l.all), l.buffers, l.views
	c.order = orders[c.dataType.ID()]
	children, err := c.describe()
	if err != nil {
		return nil, err
	}
	l.all = append(l.all, c)
	l.buffers += buffersOf[c.kind]
	if c.kind == viewKind {
		l.views++
	}
	if c.kind == dictionaryKind {
		if err := m.dictionary(c); err != nil {
			return nil, err
		}
	}
	for _, child := range children {
		inner, err := m.column(child, c)
		if err != nil {
			return nil, err
		}
		c.children = append(c.children, inner)
	}
	c.nodeEnd, c.bufferEnd, c.viewEnd = len(l.all), l.buffers, l.views
	return c, nil
}

func (m *layoutMaker) dictionary(c *column) error {
	if len(m.ids) == 0 {
		return fmt.Errorf("its type is %s, which is not stored", c.dataType)
	}
	t := c.dataType.(*arrow.DictionaryType)
	c.dictionary = &dictionaryColumn{id: m.ids[0]}
	m.ids = m.ids[1:]
	switch t.IndexType.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		c.dictionary.signed = true
	}
	values := arrow.NewSchema([]arrow.Field{{Name: c.name, Type: t.ValueType, Nullable: true}}, nil)
	var err error
	c.dictionary.values, err = m.layout(values)
	return err
}

// plainKinds are the kinds of the types that have neither parameters nor children, and whether their
// bytes are text.
var plainKinds = map[arrow.Type]struct {
	kind kind
	text bool
}{
	arrow.NULL: {nullKind, false}, arrow.BOOL: {bitKind, false},
	arrow.STRING: {offset32Kind, true}, arrow.BINARY: {offset32Kind, false},
	arrow.LARGE_STRING: {offset64Kind, true}, arrow.LARGE_BINARY: {offset64Kind, false},
	arrow.STRING_VIEW: {viewKind, true}, arrow.BINARY_VIEW: {viewKind, false},
}

// describe sets how the type of c is laid out, and gives the fields inside it.
func (c *column) describe() ([]arrow.Field, error) {
	if plain, ok := plainKinds[c.dataType.ID()]; ok {
		c.kind, c.text = plain.kind, plain.text
		return nil, nil
	}
	c.kind = fixedKind
	switch t := c.dataType.(type) {
	case *arrow.ListType:
		c.kind = list32Kind
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.MapType:
		c.kind = list32Kind
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.LargeListType:
		c.kind = list64Kind
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.FixedSizeListType:
		c.kind, c.width = fixedListKind, int64(t.Len())
		return []arrow.Field{t.ElemField()}, c.checkWidth()
	case *arrow.StructType:
		c.kind = structKind
		return t.Fields(), nil
	case *arrow.DictionaryType:
		c.kind, c.width = dictionaryKind, int64(t.IndexType.(arrow.FixedWidthDataType).BitWidth()/8)
	case *arrow.RunEndEncodedType:
		return nil, fmt.Errorf("its type is %s, which is not stored", c.dataType)
	case arrow.FixedWidthDataType:
		c.width = int64(t.BitWidth() / 8)
		return nil, c.checkWidth()
	default:
		return nil, fmt.Errorf("its type is %s, which is not stored", c.dataType)
	}
	return nil, nil
}

// fixedWidthMax bounds the bytes of a fixed-size binary value and the length of a fixed-size list.
const fixedWidthMax = 1 << 24

func (c *column) checkWidth() error {
	if c.width < 1 || c.width > fixedWidthMax {
		return fmt.Errorf("its type is %s, whose size is not in 1..%d", c.dataType, fixedWidthMax)
	}
	return nil
}

func storageType(t arrow.DataType) arrow.DataType {
	for {
		extension, ok := t.(arrow.ExtensionType)
		if !ok {
			return t
		}
		t = extension.StorageType()
	}
}

// Schema is the schema that the layout was made from.
func (l *Layout) Schema() *arrow.Schema { return l.schema }

// ColumnIndex gives the index of the top-level column of exactly that name, or -1.
func (l *Layout) ColumnIndex(name string) int {
	if i, ok := l.byName[name]; ok {
		return i
	}
	return -1
}
