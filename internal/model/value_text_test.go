package model

import (
	"encoding/binary"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

func TestFormatValueOfHalves(t *testing.T) {
	for bits, want := range map[uint16]any{
		0x0000: 0.0, 0x3c00: 1.0, 0xc100: -2.5, 0x7bff: 65504.0, 0x0001: 0x1p-24, 0x83ff: -0x1.ff8p-15,
		0x7c00: "Infinity", 0xfc00: "-Infinity", 0x7e00: "NaN",
	} {
		got, err := FormatValue(arrow.FixedWidthTypes.Float16, binary.LittleEndian.AppendUint16(nil, bits))
		if err != nil || got != want {
			t.Errorf("%#04x: got %v, %v, want %v", bits, got, err, want)
		}
	}
}
