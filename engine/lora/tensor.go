package lora

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// element is how one number lies in a file.
type element struct {
	name   string
	bytes  int64
	decode func(b []byte) float32
}

var (
	float32s  = element{"F32", 4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }}
	float16s  = element{"F16", 2, func(b []byte) float32 { return half(binary.LittleEndian.Uint16(b)) }}
	bfloat16s = element{"BF16", 2, func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) }}
)

// half is a float16 in full.
func half(bits uint16) float32 {
	sign, exponent, fraction := uint32(bits>>15)<<31, uint32(bits>>10&31), uint32(bits&0x3ff)
	switch exponent {
	case 0: // zero and what is too small for a leading 1
		x := float32(fraction) / (1 << 24)
		return math.Float32frombits(math.Float32bits(x) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}

// tensor is a matrix in a file whose bytes are known to lie inside it.
type tensor struct {
	name          string
	rows, columns int
	element       element
	at            int64
}

// newTensor checks what a file says about a tensor: that it is a matrix of a size that its bytes have.
func newTensor(name string, dims []int64, e element, at, bytes int64) (t tensor, err error) {
	label := jsonobject.Shorten(name)
	if len(dims) != 2 {
		return t, fmt.Errorf("tensor %s has %d dimensions, expected a matrix", label, len(dims))
	}
	rows, columns := dims[0], dims[1]
	if rows < 1 || columns < 1 || rows > math.MaxInt32 || columns > math.MaxInt32 {
		return t, fmt.Errorf("tensor %s has the shape (%d, %d), expected positive numbers of at most %d", label, rows, columns, math.MaxInt32)
	}
	if want := rows * columns; want > math.MaxInt64/e.bytes || want*e.bytes != bytes { // below 2^62
		return t, fmt.Errorf("tensor %s of %s and shape (%d, %d) has %d bytes, expected %d times %d times %d", label, e.name, rows, columns, bytes, rows, columns, e.bytes)
	}
	return tensor{name: name, rows: int(rows), columns: int(columns), element: e, at: at}, nil
}

// read gives the numbers, row by row.
func (t *tensor) read(f io.ReaderAt) ([]float32, error) {
	n := t.rows * t.columns
	out := make([]float32, 0, n)
	buffer := make([]byte, min(1<<16, int64(n)*t.element.bytes))
	for at, left := t.at, int64(n)*t.element.bytes; left > 0; {
		b := buffer[:min(int64(len(buffer)), left)]
		if err := readFull(f, b, at); err != nil {
			return nil, err
		}
		at, left = at+int64(len(b)), left-int64(len(b))
		for ; len(b) > 0; b = b[t.element.bytes:] {
			x := t.element.decode(b)
			if d := x - x; d != 0 { // NaN or infinite
				i := len(out)
				return nil, fmt.Errorf("tensor %s holds %v at (%d, %d), expected finite numbers", t.name, x, i/t.columns, i%t.columns)
			}
			out = append(out, x)
		}
	}
	return out, nil
}

// readFull fills b from a place in the file. The end of the file right behind it is no error.
func readFull(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
