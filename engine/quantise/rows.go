package quantise

import (
	"context"
	"encoding/binary"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// pieceBytes is about how much of a tensor one goroutine holds at a time.
const pieceBytes = 4 << 20

// cut is some rows of a matrix, for one goroutine at a time.
type cut struct{ from, to int }

// cuts are all rows.
func (m *matrix) cuts() []cut {
	each := max(1, pieceBytes/(4*m.columns))
	if m.byInput { // a piece of every stored row is read: let it be as long as a page where that is not too much
		each = max(1, min(4*pieceBytes/(4*m.columns), 1024))
	}
	var list []cut
	for at := 0; at < m.rows; at += each {
		list = append(list, cut{at, min(at+each, m.rows)})
	}
	return list
}

// buffers are what one goroutine works in.
type buffers struct {
	raw           []byte
	rows, other   []float32
	codes, scales []byte
}

// parallel calls f for every item, on all cores. The first error stops it.
func parallel[T any](ctx context.Context, items []T, f func(item T, b *buffers) error) error {
	var next atomic.Int64
	errs := make([]error, min(runtime.GOMAXPROCS(0), len(items)))
	var failed atomic.Bool
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			var b buffers
			for !failed.Load() {
				n := int(next.Add(1)) - 1
				if n >= len(items) {
					return
				}
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = f(items[n], &b)
				}
				if errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// room is a slice of n elements, in the memory of s where that is enough.
func room[T any](s *[]T, n int) []T {
	*s = slices.Grow((*s)[:0], n)[:n]
	return *s
}

// rows reads rows of a matrix as float32, (to-from, columns), whichever way it is stored.
func (p *Plan) rows(m *matrix, c cut, raw *[]byte, into *[]float32) ([]float32, error) {
	width := int(m.from.Type.Bits() / 8)
	n := c.to - c.from
	x := room(into, n*m.columns)
	if !m.byInput {
		b := room(raw, len(x)*width)
		if err := p.tensors.ReadAt(b, m.from, int64(c.from)*int64(m.columns)*int64(width)); err != nil {
			return nil, err
		}
		toFloats(x, b, m.from.Type)
		return x, nil
	}
	line := room(raw, n*width*lines)
	part := make([]float32, n*lines)
	for k := 0; k < m.columns; k += lines { // some stored rows at a time, so that each line of x that is written to is filled
		count := min(lines, m.columns-k)
		for j := range count {
			if err := p.tensors.ReadAt(line[j*n*width:(j+1)*n*width], m.from, (int64(k+j)*int64(m.rows)+int64(c.from))*int64(width)); err != nil {
				return nil, err
			}
		}
		toFloats(part[:count*n], line[:count*n*width], m.from.Type)
		for i := range n {
			row := x[i*m.columns+k:][:count]
			for j := range row {
				row[j] = part[j*n+i]
			}
		}
	}
	return x, nil
}

// lines is how many stored rows are turned together: the floats of a line of the processor's cache.
const lines = 16

// toFloats reads little-endian numbers of type t, float32 or float16.
func toFloats(x []float32, b []byte, t onnx.DataType) {
	if t == onnx.Float16 {
		for i := range x {
			x[i] = fromHalf(binary.LittleEndian.Uint16(b[2*i:]))
		}
		return
	}
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

// fromHalf is a float16's value.
func fromHalf(h uint16) float32 {
	sign, exponent, fraction := uint32(h&0x8000)<<16, uint32(h>>10&31), uint32(h&1023)
	switch {
	case exponent == 31: // infinity, or no number
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	case exponent == 0:
		x := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(x))
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}

func put64(b []byte, v uint64)  { binary.LittleEndian.PutUint64(b, v) }
func put32(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) }

// bytesOf sees float32 as the bytes that they are.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
