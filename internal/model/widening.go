package model

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// Widens says that each value of type from is a value of type to, and reads the same: what SetType allows.
// Nested types widen where all that is in them does; their fields keep names and order.
//
//	int8 → int16 → int32 → int64        uint8 → uint16 → uint32 → uint64
//	uint8 → int16, uint16 → int32, uint32 → int64, and on
//	int8, int16, uint8, uint16 → float → double      int32, uint32 → double
//	halffloat → float → double
//	decimal → one of more digits and the same scale, of any width
//	string → large_string               binary → large_binary
func Widens(from, to arrow.DataType) bool {
	if arrow.TypeEqual(from, to) {
		return true
	}
	switch {
	case arrow.IsInteger(from.ID()):
		return widensInteger(from, to)
	case arrow.IsFloating(from.ID()):
		return arrow.IsFloating(to.ID()) && bitWidth(to) > bitWidth(from)
	case from.ID() == arrow.STRING:
		return to.ID() == arrow.LARGE_STRING
	case from.ID() == arrow.BINARY:
		return to.ID() == arrow.LARGE_BINARY
	}
	if decimal, ok := from.(arrow.DecimalType); ok {
		wider, ok := to.(arrow.DecimalType)
		return ok && wider.GetScale() == decimal.GetScale() && wider.GetPrecision() >= decimal.GetPrecision()
	}
	return widensNested(from, to)
}

func bitWidth(t arrow.DataType) int { return t.(arrow.FixedWidthDataType).BitWidth() }

// exactBits are the bits of the integers that a float type has all of.
var exactBits = map[arrow.Type]int{arrow.FLOAT32: 24, arrow.FLOAT64: 53}

func widensInteger(from, to arrow.DataType) bool {
	bits := bitWidth(from)
	switch {
	case arrow.IsFloating(to.ID()):
		return bits <= exactBits[to.ID()]
	case !arrow.IsInteger(to.ID()), arrow.IsSignedInteger(from.ID()) && arrow.IsUnsignedInteger(to.ID()):
		return false
	}
	return bitWidth(to) > bits
}

// widensNested is Widens for types that have the same form and other fields.
func widensNested(from, to arrow.DataType) bool {
	left, right := NumberedChildren(from), NumberedChildren(to)
	if from.ID() != to.ID() || len(left) == 0 || len(left) != len(right) {
		return false
	}
	if list, ok := from.(*arrow.FixedSizeListType); ok && list.Len() != to.(*arrow.FixedSizeListType).Len() {
		return false
	}
	if m, ok := from.(*arrow.MapType); ok && (m.KeysSorted != to.(*arrow.MapType).KeysSorted || !arrow.TypeEqual(m.KeyType(), to.(*arrow.MapType).KeyType())) {
		return false
	}
	for i, field := range left {
		if from.ID() == arrow.STRUCT && field.Name != right[i].Name || field.Nullable && !right[i].Nullable || !Widens(field.Type, right[i].Type) {
			return false
		}
	}
	return true
}
