package arrowipc

import "github.com/apache/arrow-go/v18/arrow"

// sameType says that values of the two types lie in the same buffers with the same meaning.
// Metadata, nullable flags, extension types and the names of list elements are not compared.
func sameType(a, b arrow.DataType) bool {
	a, b = storageType(a), storageType(b)
	if a.ID() != b.ID() {
		return false
	}
	switch t := a.(type) {
	case *arrow.FixedSizeListType:
		if t.Len() != b.(*arrow.FixedSizeListType).Len() {
			return false
		}
	case *arrow.DictionaryType:
		return false
	case arrow.NestedType:
	default:
		return arrow.TypeEqual(a, b)
	}
	left, right := a.(arrow.NestedType).Fields(), b.(arrow.NestedType).Fields()
	if len(left) != len(right) {
		return false
	}
	for i := range left {
		if a.ID() == arrow.STRUCT && left[i].Name != right[i].Name || !sameType(left[i].Type, right[i].Type) {
			return false
		}
	}
	return true
}
