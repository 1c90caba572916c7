package ort

import (
	"fmt"
	"math"
	"math/bits"
)

// ElementType is the type of a tensor's elements; the numbers are those of ONNXTensorElementDataType.
type ElementType int

// The element types of the C API. Undefined stands for what is not a tensor.
const (
	Undefined ElementType = iota
	Float32
	Uint8
	Int8
	Uint16
	Int16
	Int32
	Int64
	String
	Bool
	Float16
	Float64
	Uint32
	Uint64
	Complex64
	Complex128
	BFloat16
	Float8E4M3FN
	Float8E4M3FNUZ
	Float8E5M2
	Float8E5M2FNUZ
	Uint4
	Int4
)

var elements = [...]struct {
	name string
	bits int // 0: not plain memory
}{
	{"undefined", 0}, {"float32", 32}, {"uint8", 8}, {"int8", 8}, {"uint16", 16}, {"int16", 16}, {"int32", 32}, {"int64", 64}, {"string", 0},
	{"bool", 8}, {"float16", 16}, {"float64", 64}, {"uint32", 32}, {"uint64", 64}, {"complex64", 64}, {"complex128", 128}, {"bfloat16", 16},
	{"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8}, {"float8e5m2fnuz", 8}, {"uint4", 4}, {"int4", 4},
}

func (t ElementType) String() string {
	if t < 0 || int(t) >= len(elements) {
		return fmt.Sprintf("element type %d", int(t))
	}
	return elements[t].name
}

// Size is the number of bytes of one element; 0 for strings, for half bytes and for unknown types.
func (t ElementType) Size() int { return t.bits() / 8 }

func (t ElementType) bits() int {
	if t < 0 || int(t) >= len(elements) {
		return 0
	}
	return elements[t].bits
}

// bytes is the room that a tensor of this type and shape takes. ok is false for a type without plain memory, a negative
// dimension, and a product that overflows.
func (t ElementType) bytes(shape []int64) (n int, ok bool) {
	count, ok := elementCount(shape)
	if !ok || t.bits() == 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(count), uint64(t.bits()))
	if hi != 0 || lo > math.MaxInt64-7 {
		return 0, false
	}
	return int((lo + 7) / 8), true
}

func elementCount(shape []int64) (int64, bool) {
	n := uint64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, false
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		n = lo
	}
	return int64(n), true
}
