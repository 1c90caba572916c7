package cpu

// #include <stdlib.h>
// #include "operators.h"
import "C"

import (
	"errors"
	"unsafe"
)

// Packed is a matrix and its tiles, in memory that Go does not move.
type Packed struct {
	Matrix
	Tiles unsafe.Pointer // Tiles() times Apart, or TileBytes(), bytes, 64-byte aligned; rows of float32 for a matrix of 32 bits
}

// Graph is what the operators of one session share: the table of its weights, and scratch memory.
type Graph struct{ ptr *C.cpu_graph }

// NewGraph makes the operators for a session of so many threads, one run at a time. What the lists point to must lie outside of Go's memory
// and stay until Close.
func NewGraph(matrices []Packed, floats [][]float32, threads int) (*Graph, error) {
	m := make([]C.cpu_matrix, len(matrices)+1)
	for i, p := range matrices {
		m[i] = p.native()
		m[i].tiles = (*C.uint8_t)(p.Tiles)
	}
	f := (*C.cpu_floats)(C.calloc(C.size_t(len(floats)+1), C.size_t(unsafe.Sizeof(C.cpu_floats{}))))
	defer C.free(unsafe.Pointer(f))
	for i, list := range floats {
		unsafe.Slice(f, len(floats))[i] = C.cpu_floats{values: (*C.float)(unsafe.SliceData(list)), n: C.size_t(len(list))}
	}
	list := (*C.cpu_matrix)(C.malloc(C.size_t(len(m)) * C.size_t(unsafe.Sizeof(m[0]))))
	defer C.free(unsafe.Pointer(list))
	copy(unsafe.Slice(list, len(m)), m)
	g := &Graph{C.cpu_graph_new(list, C.size_t(len(matrices)), f, C.size_t(len(floats)), C.size_t(threads))}
	if g.ptr == nil {
		return nil, errors.New("cpu: make operators: no memory")
	}
	return g, nil
}

// Operators are what the runtime is given, each an OrtCustomOp, valid until Close.
func (g *Graph) Operators() []unsafe.Pointer {
	list := make([]unsafe.Pointer, C.CPU_OPERATORS)
	for i := range list {
		list[i] = C.cpu_graph_operator(g.ptr, C.size_t(i))
	}
	return list
}

// Close frees the operators; the session that uses them must be gone. It may be called twice.
func (g *Graph) Close() {
	C.cpu_graph_free(g.ptr)
	g.ptr = nil
}
