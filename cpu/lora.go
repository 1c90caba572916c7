package cpu

/*
#cgo noescape cpu_addition_pack
#cgo nocallback cpu_addition_pack
#cgo noescape cpu_addition_down_bytes
#cgo nocallback cpu_addition_down_bytes
#cgo noescape cpu_addition_up_bytes
#cgo nocallback cpu_addition_up_bytes
#include <stdlib.h>
#include "operators.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unsafe"
)

// ErrAdapter says that an adapter's values cannot be computed with.
var ErrAdapter = errors.New("a value is NaN or infinite")

// Addition is a low-rank addition to outputs [First, First+Outputs) of a target, as nodes of a graph name it: y += Scale * B (A x).
type Addition struct {
	Target, First, Outputs, Inputs, Rank int
	Narrow                               bool // packed as 8 bits, beside quantised weights; else float32
	Scale                                float32
	A                                    []float32 // (rank, inputs)
	B                                    []float32 // (outputs, rank)
}

// ranksMax bounds an addition's rank, as sizeMax does its other sizes.
const ranksMax = 1 << 14

func (a Addition) check() error {
	switch {
	case a.Rank < 1 || a.Rank > ranksMax || a.Inputs < 1 || a.Inputs > sizeMax || a.First < 0 || a.Outputs < 1 || a.Outputs > sizeMax-a.First || a.Target < 0 || a.Target > sizeMax:
		return fmt.Errorf("rank %d, %d inputs, outputs %d to %d, target %d: out of any reason", a.Rank, a.Inputs, a.First, a.First+a.Outputs, a.Target)
	case len(a.A) != a.Rank*a.Inputs || len(a.B) != a.Outputs*a.Rank:
		return fmt.Errorf("%d and %d values, expected %d and %d", len(a.A), len(a.B), a.Rank*a.Inputs, a.Outputs*a.Rank)
	}
	return nil
}

func (a Addition) native() C.cpu_addition {
	return C.cpu_addition{rank: C.uint32_t(a.Rank), inputs: C.uint32_t(a.Inputs), first: C.uint32_t(a.First), outputs: C.uint32_t(a.Outputs), narrow: C.bool(a.Narrow)}
}

// AdapterBytes is the memory that packed additions need.
func AdapterBytes(list []Addition) (int, error) {
	down, up, err := adapterBytes(list)
	return down + up, err
}

func adapterBytes(list []Addition) (down, up int, err error) {
	for _, a := range list {
		if err := a.check(); err != nil {
			return 0, 0, fmt.Errorf("cpu: pack an adapter: %w", err)
		}
		n := a.native()
		down += int(C.cpu_addition_down_bytes(&n))
		up += int(C.cpu_addition_up_bytes(&n))
	}
	return down, up, nil
}

// Adapter is packed additions, in memory that Go does not move. It is not safe for concurrent use with its Close.
type Adapter struct{ ptr *C.cpu_adapter }

// NewAdapter packs additions into memory of AdapterBytes, 64-byte aligned and outside of Go's, which must stay until Close.
func NewAdapter(memory []byte, list []Addition) (*Adapter, error) {
	downs, ups, err := adapterBytes(list)
	if err != nil {
		return nil, err
	}
	// All A, in the order of their targets, and then all B, so that a step reads each as one stream.
	down := unsafe.Pointer(unsafe.SliceData(memory))
	if len(memory) < downs+ups || uintptr(down)%64 != 0 {
		return nil, fmt.Errorf("cpu: pack an adapter: %d bytes at address %#x, expected %d at a multiple of 64", len(memory), uintptr(down), downs+ups)
	}
	up := unsafe.Add(down, downs)
	list = slices.SortedStableFunc(slices.Values(list), func(a, b Addition) int { return cmp.Compare(a.Target, b.Target) })
	targets := 0
	if len(list) > 0 {
		targets = list[len(list)-1].Target + 1
	}
	size, offset := unsafe.Sizeof(C.cpu_addition{}), unsafe.Sizeof(C.cpu_adapter{})
	a := &Adapter{(*C.cpu_adapter)(C.calloc(1, C.size_t(offset+uintptr(len(list))*size+uintptr(targets+1)*4)))}
	if a.ptr == nil {
		return nil, errors.New("cpu: pack an adapter: no memory")
	}
	additions := (*C.cpu_addition)(unsafe.Add(unsafe.Pointer(a.ptr), offset))
	first := (*C.uint32_t)(unsafe.Add(unsafe.Pointer(additions), uintptr(len(list))*size))
	*a.ptr = C.cpu_adapter{additions: additions, first: first, targets: C.size_t(targets)}
	packed, begins := unsafe.Slice(additions, len(list)), unsafe.Slice(first, targets+1)
	for i, p := range list {
		packed[i] = p.native()
		if !C.cpu_addition_pack(&packed[i], C.float(p.Scale), floats(p.A), floats(p.B), down, up) {
			a.Close()
			return nil, fmt.Errorf("cpu: pack an adapter: %w", ErrAdapter)
		}
		down = unsafe.Add(down, int(C.cpu_addition_down_bytes(&packed[i])))
		up = unsafe.Add(up, int(C.cpu_addition_up_bytes(&packed[i])))
		begins[p.Target+1]++
	}
	for i := range targets {
		begins[i+1] += begins[i]
	}
	return a, nil
}

// Close frees the lists; no run may use the adapter any more. It may be called twice.
func (a *Adapter) Close() {
	C.free(unsafe.Pointer(a.ptr))
	a.ptr = nil
}

// Use is an adapter and how much of it.
type Use struct {
	Adapter *Adapter
	Scale   float32
}

// Use says what the next runs add: one list for all rows, or a list for each of equal parts of the rows, one after the other, such as
// the sequences of a batch. What one list names is added in its order. Not during a run; the adapters must stay until another Use.
func (g *Graph) Use(lists ...[]Use) error {
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	const use, word = unsafe.Sizeof(C.cpu_use{}), unsafe.Sizeof(C.size_t(0))
	memory := C.malloc(C.size_t(uintptr(total)*use + uintptr(len(lists))*word + 1))
	if memory == nil {
		return errors.New("cpu: use adapters: no memory")
	}
	defer C.free(memory)
	at := unsafe.Add(memory, uintptr(total)*use)
	uses, ends := unsafe.Slice((*C.cpu_use)(memory), total), unsafe.Slice((*C.size_t)(at), len(lists))
	n := 0
	for i, l := range lists {
		for _, u := range l {
			uses[n] = C.cpu_use{adapter: u.Adapter.ptr, scale: C.float(u.Scale)}
			n++
		}
		ends[i] = C.size_t(n)
	}
	if !C.cpu_graph_use(g.ptr, (*C.cpu_use)(memory), (*C.size_t)(at), C.size_t(len(lists))) {
		return errors.New("cpu: use adapters: no memory")
	}
	return nil
}
