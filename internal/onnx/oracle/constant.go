package oracle

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// bytesMax bounds a constant that is read: rotary tables are among the largest.
const bytesMax = 1 << 26

// Inline reads constants that lie in the graph's own file, and asks outside for the others.
func Inline(graph io.ReaderAt, outside Read) Read {
	return func(t *onnx.Tensor) ([]byte, error) {
		if t.External != nil {
			return outside(t)
		}
		if t.Raw == (onnx.Span{}) {
			return nil, fmt.Errorf("it is stored value by value: %w", ErrUnknown)
		}
		b := make([]byte, t.Raw.End-t.Raw.At)
		if n, err := graph.ReadAt(b, t.Raw.At); n < len(b) {
			return nil, err
		}
		return b, nil
	}
}

// constant is an initializer or the value of a Constant node; it is read when its elements are.
func (r *Run) constant(t *onnx.Tensor) *Tensor {
	dims := make([]int, len(t.Dims))
	for i, d := range t.Dims {
		dims[i] = toInt(float64(d))
	}
	kind, decode := decoder(t.Type)
	made := r.tensor(kind, dims, nil)
	if made == nil {
		return nil
	}
	var read func(i int) float64
	made.at = func(i int) float64 {
		if read == nil {
			if read = r.open(t, made.size, decode); read == nil {
				return 0
			}
		}
		return read(i)
	}
	return made
}

// open reads a constant's bytes, nil after an error.
func (r *Run) open(t *onnx.Tensor, size int, decode func(b []byte, i int) float64) func(i int) float64 {
	if ints, ok := t.Ints(); ok && len(ints) == size {
		return func(i int) float64 { return float64(ints[i]) }
	}
	want, err := t.Size()
	if err == nil && (decode == nil || want < 0 || want > bytesMax) {
		err = fmt.Errorf("%v of shape %v: %w", t.Type, t.Dims, ErrUnknown)
	}
	b := t.Data
	if b == nil && err == nil {
		b, err = r.graph.read(t)
	}
	if err == nil && int64(len(b)) != want {
		err = fmt.Errorf("%d bytes, %d were expected", len(b), want)
	}
	if err != nil {
		r.fail("read the constant %q: %w", t.Name, err)
		return nil
	}
	return func(i int) float64 { return decode(b, i) }
}

// decoder says how elements of a type are read, nil if they are not.
func decoder(t onnx.DataType) (Kind, func(b []byte, i int) float64) {
	le := binary.LittleEndian
	switch t {
	case onnx.Float32:
		return Float, func(b []byte, i int) float64 { return float64(math.Float32frombits(le.Uint32(b[4*i:]))) }
	case onnx.Float64:
		return Float, func(b []byte, i int) float64 { return math.Float64frombits(le.Uint64(b[8*i:])) }
	case onnx.Float16:
		return Float, func(b []byte, i int) float64 { return half(le.Uint16(b[2*i:])) }
	case onnx.BFloat16:
		return Float, func(b []byte, i int) float64 { return float64(math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)) }
	case onnx.Int64:
		return Int, func(b []byte, i int) float64 { return float64(int64(le.Uint64(b[8*i:]))) }
	case onnx.Int32:
		return Int, func(b []byte, i int) float64 { return float64(int32(le.Uint32(b[4*i:]))) }
	case onnx.Uint8:
		return Int, func(b []byte, i int) float64 { return float64(b[i]) }
	case onnx.Int8:
		return Int, func(b []byte, i int) float64 { return float64(int8(b[i])) }
	case onnx.Bool:
		return Bool, func(b []byte, i int) float64 { return truth(b[i] != 0) }
	}
	return Float, nil
}

// half is a float16.
func half(bits uint16) float64 {
	sign, exponent, fraction := 1.0, int(bits>>10&31), float64(bits&1023)
	if bits&0x8000 != 0 {
		sign = -1
	}
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// kindOf is what arithmetic does with a type.
func kindOf(t onnx.DataType) Kind {
	switch t {
	case onnx.Float32, onnx.Float16, onnx.Float64, onnx.BFloat16:
		return Float
	case onnx.Bool:
		return Bool
	}
	return Int
}
