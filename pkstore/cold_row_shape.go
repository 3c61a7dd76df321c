package pkstore

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// rowKind is how the values of a node are encoded in a row, and lie in a batch.
type rowKind uint8

const (
	rowNull rowKind = iota
	rowBit
	rowFixed
	rowBytes32 // strings and binaries by the width of their offsets, and views
	rowBytes64
	rowBytesView
	rowList32
	rowList64
	rowListFixed
	rowStruct
)

func (k rowKind) bytes() bool  { return k == rowBytes32 || k == rowBytes64 || k == rowBytesView }
func (k rowKind) list() bool   { return k == rowList32 || k == rowList64 }
func (k rowKind) nested() bool { return k >= rowList32 }

// rowBuffers is how many buffers a node has in a batch, without the variadic ones of views.
var rowBuffers = [...]int{0, 2, 2, 3, 3, 2, 2, 2, 1, 1}

// rowNode is one column or nested field, and what is nested in it.
type rowNode struct {
	name     string
	kind     rowKind
	width    int // bytes of a value; values in a fixed-size list
	text     bool
	required bool // entries of maps and their keys: no library reads a batch where they are null

	// The node's place in a batch: among nodes, among buffers without variadic ones, among views.
	node, buffer, view int
	children           []*rowNode
}

// rowShape is the tree of nodes of a layout.
type rowShape struct {
	top     []*rowNode
	all     []*rowNode // in order of their nodes
	buffers int
	views   int
}

func newRowShape(schema *arrow.Schema) (*rowShape, error) {
	s := &rowShape{}
	for _, field := range schema.Fields() {
		node, err := s.add(field)
		if err != nil {
			return nil, err
		}
		s.top = append(s.top, node)
	}
	return s, nil
}

// rowKinds are the types without children and parameters.
var rowKinds = map[arrow.Type]struct {
	kind rowKind
	text bool
}{
	arrow.NULL: {rowNull, false}, arrow.BOOL: {rowBit, false},
	arrow.STRING: {rowBytes32, true}, arrow.BINARY: {rowBytes32, false},
	arrow.LARGE_STRING: {rowBytes64, true}, arrow.LARGE_BINARY: {rowBytes64, false},
	arrow.STRING_VIEW: {rowBytesView, true}, arrow.BINARY_VIEW: {rowBytesView, false},
}

func (s *rowShape) add(field arrow.Field) (*rowNode, error) {
	n := &rowNode{name: field.Name, node: len(s.all), buffer: s.buffers, view: s.views}
	children, err := n.describe(valueType(field.Type))
	if err != nil {
		return nil, err
	}
	s.all = append(s.all, n)
	s.buffers += rowBuffers[n.kind]
	if n.kind == rowBytesView {
		s.views++
	}
	for _, child := range children {
		inner, err := s.add(child)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, inner)
	}
	if valueType(field.Type).ID() == arrow.MAP {
		entries := n.children[0]
		entries.required, entries.children[0].required = true, true
	}
	return n, nil
}

// describe sets how values of a type are encoded, and gives the fields inside it.
func (n *rowNode) describe(t arrow.DataType) ([]arrow.Field, error) {
	if plain, ok := rowKinds[t.ID()]; ok {
		n.kind, n.text = plain.kind, plain.text
		return nil, nil
	}
	switch t := t.(type) {
	case *arrow.ListType:
		n.kind = rowList32
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.MapType:
		n.kind = rowList32
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.LargeListType:
		n.kind = rowList64
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.FixedSizeListType:
		n.kind, n.width = rowListFixed, int(t.Len())
		return []arrow.Field{t.ElemField()}, nil
	case *arrow.StructType:
		n.kind = rowStruct
		return t.Fields(), nil
	case *arrow.DictionaryType, *arrow.RunEndEncodedType:
	case arrow.FixedWidthDataType:
		n.kind, n.width = rowFixed, t.BitWidth()/8
		return nil, nil
	}
	return nil, model.Errorf(model.UnsupportedType, "column %q: %s is not stored", n.name, t)
}

// path names the node in errors.
func (n *rowNode) path() string { return fmt.Sprintf("%q", n.name) }
