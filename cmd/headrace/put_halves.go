package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"
	arrowhalf "github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/x448/float16"
)

// The builders of arrow-go cut float16 off instead of rounding, and lose the smallest and the largest ones.

// appendHalf appends the float16 nearest to the number that text stands for.
func appendHalf(builder *array.Float16Builder, text string) error {
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 32)
	if err != nil {
		return err
	}
	half, err := halfOf(float32(value))
	if err != nil {
		return err
	}
	builder.Append(half)
	return nil
}

// unmarshalHalves appends the values of a JSON array.
func unmarshalHalves(builder *array.Float16Builder, values []byte) error {
	floats := array.NewFloat32Builder(memory.DefaultAllocator)
	defer floats.Release()
	if err := floats.UnmarshalJSON(values); err != nil {
		return err
	}
	read := floats.NewFloat32Array()
	defer read.Release()
	for row := range read.Len() {
		if read.IsNull(row) {
			builder.AppendNull()
			continue
		}
		half, err := halfOf(read.Value(row))
		if err != nil {
			return err
		}
		builder.Append(half)
	}
	return nil
}

// halfOf rounds to the nearest float16, ties to even.
func halfOf(value float32) (arrowhalf.Num, error) {
	half := float16.Fromfloat32(value)
	if half.IsInf(0) && !math.IsInf(float64(value), 0) {
		return arrowhalf.Num{}, fmt.Errorf("the largest is 65504, got %g", value)
	}
	return arrowhalf.FromBits(half.Bits()), nil
}

// halfValue gives the number that a float16 is.
func halfValue(half arrowhalf.Num) float64 { return float64(float16.Frombits(half.Uint16()).Float32()) }
