package cpu

/*
#cgo noescape linear_unpack
#cgo nocallback linear_unpack
#cgo noescape linear_rows
#cgo nocallback linear_rows
#cgo noescape linear_gated
#cgo nocallback linear_gated
#cgo noescape cpu_quantise
#cgo nocallback cpu_quantise
#include "linear.h"

// The pointers come one by one: a Go pointer inside a struct would have to be pinned.

static void linear_unpack(cpu_matrix m, const uint8_t *tiles, size_t n, float *x) {
	m.tiles = tiles;
	cpu_unpack(&m, n, x);
}

typedef struct {
	size_t tile, tiles, row, rows, stride;
} linear_part;

static void linear_rows(cpu_matrix m, const uint8_t *tiles, linear_part p, cpu_activations a, const int8_t *q, const float *scale,
                        const int32_t *sum, const float *bias, float *y) {
	m.tiles = tiles;
	a.q = q;
	a.scale = scale;
	a.sum = sum;
	cpu_linear(&m, p.tile, p.tiles, &a, p.row, p.rows, bias, NULL, y, p.stride);
}

static void linear_gated(cpu_matrix g, const uint8_t *gate, cpu_matrix u, const uint8_t *up, int act, linear_part p,
                         cpu_activations a, const int8_t *q, const float *scale, const int32_t *sum, const float *gate_bias,
                         const float *up_bias, float *y) {
	g.tiles = gate;
	u.tiles = up;
	a.q = q;
	a.scale = scale;
	a.sum = sum;
	cpu_gated(&g, &u, act, p.tile, p.tiles, &a, p.row, p.rows, gate_bias, up_bias, NULL, NULL, y, p.stride);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// Activations are rows of inputs, quantised to 8 bits for the kernels: a scale for every unit of 32 (or 16) inputs. A unit that
// holds a NaN or an infinity makes NaN of every output of its row.
type Activations struct {
	Rows, Inputs, Unit int

	q     []int8
	scale []float32
	sum   []int32
}

// Quantise makes activations of x (rows, inputs) for matrices of that unit.
func Quantise(x []float32, inputs, unit int) (*Activations, error) {
	if unit != 16 && unit != 32 || inputs < unit || inputs%unit != 0 || len(x)%inputs != 0 {
		return nil, fmt.Errorf("cpu: quantise activations: expected rows of a multiple of the unit, 16 or 32, found %d values in rows of %d, unit %d",
			len(x), inputs, unit)
	}
	a := &Activations{Rows: len(x) / inputs, Inputs: inputs, Unit: unit}
	a.q, a.scale, a.sum = make([]int8, len(x)), make([]float32, len(x)/unit), make([]int32, len(x)/unit)
	for r := range a.Rows {
		at := r * inputs / unit
		C.cpu_quantise(floats(x[r*inputs:]), C.size_t(inputs), C.size_t(unit), (*C.int8_t)(&a.q[r*inputs]),
			(*C.float)(&a.scale[at]), (*C.int32_t)(&a.sum[at]))
	}
	return a, nil
}

// Part is what one call computes: some tiles by some rows.
type Part struct{ Tile, Tiles, Row, Rows int }

// Whole is the part that is all of it.
func (m Matrix) Whole(a *Activations) Part { return Part{Tiles: m.Tiles(), Rows: a.Rows} }

// Linear computes a part of y (rows, outputs), the product of the rows with the weights, plus bias (outputs) unless that is nil.
// The same values come out on every rung, whatever the parts are and wherever a row lies.
func (m Matrix) Linear(packed []byte, a *Activations, p Part, bias, y []float32) error {
	if err := m.checkPart(packed, a, p, bias, y); err != nil {
		return fmt.Errorf("cpu: linear: %w", err)
	}
	C.linear_rows(m.native(), bytes(packed), m.part(p), a.native(), (*C.int8_t)(unsafe.SliceData(a.q)), floats(a.scale),
		(*C.int32_t)(unsafe.SliceData(a.sum)), floats(bias), floats(y))
	return nil
}

// Act is what the gate of a gated layer goes through.
type Act int

const (
	SiLU     Act = C.CPU_SILU
	GELUTanh Act = C.CPU_GELU_TANH
	GELUErf  Act = C.CPU_GELU_ERF
)

// Gated computes a part of act(gate) * up, each of the two as Linear has it.
func (m Matrix) Gated(gate, up []byte, act Act, a *Activations, p Part, gateBias, upBias, y []float32) error {
	err := errors.Join(m.checkPart(gate, a, p, gateBias, y), m.checkPart(up, a, p, upBias, y))
	if err == nil && (act < SiLU || act > GELUErf) {
		err = fmt.Errorf("expected an activation from %d to %d, found %d", SiLU, GELUErf, act)
	}
	if err != nil {
		return fmt.Errorf("cpu: gated linear: %w", err)
	}
	C.linear_gated(m.native(), bytes(gate), m.native(), bytes(up), C.int(act), m.part(p), a.native(), (*C.int8_t)(unsafe.SliceData(a.q)),
		floats(a.scale), (*C.int32_t)(unsafe.SliceData(a.sum)), floats(gateBias), floats(upBias), floats(y))
	return nil
}

func (m Matrix) checkPart(packed []byte, a *Activations, p Part, bias, y []float32) error {
	if err := m.Check(); err != nil {
		return err
	}
	if err := m.checkTiles(packed); err != nil {
		return err
	}
	switch {
	case p.Tile < 0 || p.Tiles < 0 || p.Tile > m.Tiles() || p.Tiles > m.Tiles()-p.Tile:
		return fmt.Errorf("expected tiles within 0 to %d, found %d from %d on", m.Tiles(), p.Tiles, p.Tile)
	case a.Inputs != m.Inputs || a.Unit != m.unit():
		return fmt.Errorf("expected rows of %d in units of %d, found %d in units of %d", m.Inputs, m.unit(), a.Inputs, a.Unit)
	case p.Row < 0 || p.Rows < 0 || p.Row > a.Rows || p.Rows > a.Rows-p.Row:
		return fmt.Errorf("expected rows within 0 to %d, found %d from %d on", a.Rows, p.Rows, p.Row)
	case bias != nil && len(bias) != m.Outputs:
		return fmt.Errorf("expected a bias of %d, found %d", m.Outputs, len(bias))
	case len(y) != a.Rows*m.Outputs:
		return fmt.Errorf("expected room for %d x %d, found %d", a.Rows, m.Outputs, len(y))
	}
	return nil
}

// unit is how many inputs of a row of activations share a scale.
func (m Matrix) unit() int { return min(m.Block, 32) }

func (m Matrix) part(p Part) C.linear_part {
	return C.linear_part{tile: C.size_t(p.Tile), tiles: C.size_t(p.Tiles), row: C.size_t(p.Row), rows: C.size_t(p.Rows),
		stride: C.size_t(m.Outputs)}
}

func (a *Activations) native() C.cpu_activations {
	return C.cpu_activations{rows: C.size_t(a.Rows), inputs: C.size_t(a.Inputs), unit: C.size_t(a.Unit)}
}

// Unpack writes the weights of one output to x (inputs).
func (m Matrix) Unpack(packed []byte, output int, x []float32) error {
	if err := m.Check(); err != nil {
		return err
	}
	if err := m.checkTiles(packed); err != nil {
		return fmt.Errorf("cpu: unpack weights: %w", err)
	}
	if output < 0 || output >= m.Outputs || len(x) != m.Inputs {
		return fmt.Errorf("cpu: unpack weights: expected one of %d outputs and room for %d values, found output %d and room for %d",
			m.Outputs, m.Inputs, output, len(x))
	}
	C.linear_unpack(m.native(), bytes(packed), C.size_t(output), floats(x))
	return nil
}

func bytes(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

func floats(f []float32) *C.float { return (*C.float)(unsafe.SliceData(f)) }
