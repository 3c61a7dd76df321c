package model

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// extensionNameKey is the metadata key of a field that makes it one of an extension type.
const extensionNameKey = arrowMetadataPrefix + "extension:name"

// extensionStorage has the extension types of Arrow's own, and what each is stored as.
var extensionStorage = map[string]struct {
	want string
	fits func(arrow.DataType) bool
}{
	"arrow.uuid": {"fixed_size_binary[16]", func(t arrow.DataType) bool {
		fixed, ok := t.(*arrow.FixedSizeBinaryType)
		return ok && fixed.ByteWidth == 16
	}},
	"arrow.json": {"a string", func(t arrow.DataType) bool {
		return t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING || t.ID() == arrow.STRING_VIEW
	}},
	"arrow.bool8":              {"int8", func(t arrow.DataType) bool { return t.ID() == arrow.INT8 }},
	"arrow.fixed_shape_tensor": {"a fixed_size_list", func(t arrow.DataType) bool { return t.ID() == arrow.FIXED_SIZE_LIST }},
}

// extensionFault says what is wrong with the extension type of a field, which Arrow libraries would refuse to
// read with all of its table; "" if nothing is. Names that are not Arrow's own mean what their users want.
func extensionFault(field arrow.Field) string {
	name, ok := field.Metadata.GetValue(extensionNameKey)
	if !ok {
		return ""
	}
	stored := field.Type
	if dictionary, ok := stored.(*arrow.DictionaryType); ok {
		stored = dictionary.ValueType
	}
	known, ok := extensionStorage[name]
	if !ok || known.fits(stored) {
		return ""
	}
	return fmt.Sprintf("the extension type %s is stored as %s, got %s", name, known.want, clip(FormatType(stored), 140))
}
