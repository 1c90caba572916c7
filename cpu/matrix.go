package cpu

/*
#cgo noescape pack_parts
#cgo nocallback pack_parts
#cgo noescape cpu_pack_floats
#cgo nocallback cpu_pack_floats
#cgo noescape cpu_tile_bytes
#cgo nocallback cpu_tile_bytes
#include "linear.h"

// The pointers come one by one: a Go pointer inside a struct would have to be pinned.
static inline int pack_parts(const cpu_matrix *m, uint8_t *into, size_t tiles, const uint8_t *codes, const void *scales, int half,
                             const uint8_t *zeros, int packed) {
    cpu_codes c = {.codes = codes, .scales = scales, .half = half, .zeros = zeros, .packed_zeros = packed};
    return cpu_pack(m, into, 0, tiles, &c);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"
)

// ErrScale says that weights hold a scale, or a value, that is NaN or infinite.
var ErrScale = errors.New("a scale is NaN or infinite")

// sizeMax bounds a matrix's dimensions, so that no product of them overflows.
const sizeMax = 1 << 24

// apartMax is what the kernels have room for.
const apartMax = 1<<32 - 1

// Matrix is the form of a quantised weight matrix: y[n] = sum over k of w[n][k] x[k], n < Outputs, k < Inputs.
// Packed, it is tiles of 16 outputs, as linear.h describes them.
type Matrix struct {
	Outputs, Inputs int
	Block           int  // inputs that share a scale: 16, 32, 64 or 128
	Bits            int  // of a code: 4 or 8
	Zeros           bool // a zero point for each block and output; without, all are 8 (4 bits) or 128 (8 bits)
	Apart           int  // bytes from a tile to the next one, where tiles of another matrix lie between; 0: TileBytes
}

// Codes is what MatMulNBits has for the weights of some outputs.
type Codes struct {
	Codes       []byte    // (outputs, inputs/block, block*bits/8), the first input in the low half
	Scales      []float32 // (outputs, inputs/block), unless there are
	Halves      []uint16  // the same as float16
	Zeros       []byte    // (outputs, inputs/block), or if packed (outputs, ceil(inputs/block*bits/8))
	PackedZeros bool
}

// Check says what is wrong with the form.
func (m Matrix) Check() error {
	switch {
	case m.Outputs < 1 || m.Inputs < 1 || m.Outputs > sizeMax || m.Inputs > sizeMax:
		return fmt.Errorf("cpu: check a matrix: (%d, %d), expected 1 to %d", m.Outputs, m.Inputs, sizeMax)
	case m.Bits != 4 && m.Bits != 8:
		return fmt.Errorf("cpu: check a matrix: %d bits, expected 4 or 8", m.Bits)
	case !slices.Contains([]int{16, 32, 64, 128}, m.Block) || m.Inputs%m.Block != 0:
		return fmt.Errorf("cpu: check a matrix: blocks of %d in %d inputs, expected 16, 32, 64 or 128 that fill them", m.Block, m.Inputs)
	case m.Apart != 0 && (m.Apart < m.TileBytes() || m.Apart%64 != 0 || m.Apart > apartMax):
		return fmt.Errorf("cpu: check a matrix: tiles %d bytes apart, expected a multiple of 64 from their %d on", m.Apart, m.TileBytes())
	}
	return nil
}

func (m Matrix) native() C.cpu_matrix {
	c := C.cpu_matrix{apart: C.uint32_t(m.Apart), outputs: C.uint32_t(m.Outputs), inputs: C.uint32_t(m.Inputs), block: C.uint16_t(m.Block), bits: C.uint8_t(m.Bits)}
	if m.Zeros {
		c.zeros = 1
	}
	return c
}

// Tiles is the number of tiles.
func (m Matrix) Tiles() int { return (m.Outputs + C.CPU_TILE - 1) / C.CPU_TILE }

// TileBytes is the size of a tile, a multiple of 64.
func (m Matrix) TileBytes() int {
	c := m.native()
	return int(C.cpu_tile_bytes(&c))
}

// checkTiles checks the memory of all tiles.
func (m Matrix) checkTiles(tiles []byte) error {
	need := (m.Tiles()-1)*max(m.Apart, m.TileBytes()) + m.TileBytes()
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(tiles))); len(tiles) < need || at%64 != 0 {
		return fmt.Errorf("%d bytes at address %#x for the tiles, expected %d at a multiple of 64", len(tiles), at, need)
	}
	return nil
}

// Pack writes all tiles to into, which has room for them.
func (m Matrix) Pack(into []byte, c Codes) error {
	if err := m.Check(); err != nil {
		return err
	}
	blocks := m.Inputs / m.Block
	scales, half, zeros := unsafe.Pointer(unsafe.SliceData(c.Scales)), C.int(0), 0
	if c.Halves != nil {
		scales, half = unsafe.Pointer(unsafe.SliceData(c.Halves)), 1
	}
	if m.Zeros {
		zeros = m.Outputs * blocks
		if c.PackedZeros {
			zeros = m.Outputs * ((blocks*m.Bits + 7) / 8)
		}
	}
	if len(c.Codes) != m.Outputs*m.Inputs*m.Bits/8 || len(c.Scales)+len(c.Halves) != m.Outputs*blocks || len(c.Zeros) != zeros {
		return fmt.Errorf("cpu: pack a matrix: %d bytes of codes, %d scales, %d bytes of zero points do not fit its (%d, %d)",
			len(c.Codes), len(c.Scales)+len(c.Halves), len(c.Zeros), m.Outputs, m.Inputs)
	}
	if err := m.checkTiles(into); err != nil {
		return fmt.Errorf("cpu: pack a matrix: %w", err)
	}
	n := m.native()
	packed := C.int(0)
	if c.PackedZeros {
		packed = 1
	}
	var zero *C.uint8_t
	if m.Zeros {
		zero = (*C.uint8_t)(unsafe.SliceData(c.Zeros))
	}
	if C.pack_parts(&n, (*C.uint8_t)(unsafe.SliceData(into)), C.size_t(m.Tiles()), (*C.uint8_t)(unsafe.SliceData(c.Codes)),
		scales, half, zero, packed) != 0 {
		return fmt.Errorf("cpu: pack a matrix: %w", ErrScale)
	}
	return nil
}

// PackFloats quantises weights w[n*outputStride+k*inputStride] and writes all tiles to into, which has room for them. The matrix has no zero points.
func (m Matrix) PackFloats(into []byte, w []float32, outputStride, inputStride int) error {
	if err := m.Check(); err != nil {
		return err
	}
	// As divisions, since strides may be anything.
	if m.Zeros || outputStride < 1 || inputStride < 1 || len(w) == 0 || (len(w)-1)/outputStride < m.Outputs-1 ||
		(len(w)-1-(m.Outputs-1)*outputStride)/inputStride < m.Inputs-1 {
		return fmt.Errorf("cpu: quantise a matrix: %d weights, strides %d and %d, do not fit its (%d, %d)",
			len(w), outputStride, inputStride, m.Outputs, m.Inputs)
	}
	if err := m.checkTiles(into); err != nil {
		return fmt.Errorf("cpu: quantise a matrix: %w", err)
	}
	n := m.native()
	if C.cpu_pack_floats(&n, (*C.uint8_t)(unsafe.SliceData(into)), 0, C.size_t(m.Tiles()), (*C.float)(unsafe.SliceData(w)),
		C.size_t(outputStride), C.size_t(inputStride)) != 0 {
		return fmt.Errorf("cpu: quantise a matrix: %w", ErrScale)
	}
	return nil
}
