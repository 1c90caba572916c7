package cpu

// #include <stdlib.h>
// #include "attention.h"
import "C"

import (
	"runtime"
	"unsafe"
)

// Attention is the operator GroupQueryAttention over a cache of float32: what its attributes and tables say. Attention.h has the
// meaning of each.
type Attention struct {
	Heads, KVHeads, HeadDim, Capacity int
	Window                            int // -1: no window
	Scale, Softcap                    float32
	Interleaved                       bool
	RotaryDim                         int
	Cos, Sin                          []float32 // (positions, rotary_dim/2)
	Sink                              []float32 // (heads), or nil
}

// Run attends to length new tokens behind past ones, one part after the other: q (length, heads, head_dim) and k, v (length,
// kv_heads, head_dim) to y, which is as q. k, rotated, and v go into the cache's keys and values (kv_heads, capacity, head_dim).
// The slices must be as long as that says.
//
// In a graph the parts are run by the session's threads instead, from C; the results are the same.
func (a Attention) Run(q, k, v []float32, past int, keys, values, y []float32) {
	var pinned runtime.Pinner
	defer pinned.Unpin()
	at := func(x []float32) *C.float {
		if len(x) == 0 {
			return nil
		}
		pinned.Pin(unsafe.SliceData(x))
		return (*C.float)(unsafe.SliceData(x))
	}
	ca := C.cpu_attention{heads: C.uint32_t(a.Heads), kv_heads: C.uint32_t(a.KVHeads), head_dim: C.uint32_t(a.HeadDim),
		rotary_dim: C.uint32_t(a.RotaryDim), capacity: C.uint32_t(a.Capacity), window: C.int32_t(a.Window), scale: C.float(a.Scale),
		softcap: C.float(a.Softcap), interleaved: C.bool(a.Interleaved), cos: at(a.Cos), sin: at(a.Sin), sink: at(a.Sink)}
	s := C.cpu_sequence{q: at(q), k: at(k), v: at(v), q_stride: C.size_t(a.Heads * a.HeadDim),
		k_stride: C.size_t(a.KVHeads * a.HeadDim), v_stride: C.size_t(a.KVHeads * a.HeadDim),
		length: C.size_t(len(q) / (a.Heads * a.HeadDim)), past: C.size_t(past),
		keys: unsafe.Pointer(at(keys)), values: unsafe.Pointer(at(values)), y: at(y)}
	scratch, local := aligned(C.cpu_attend_scratch(&ca, &s)), aligned(C.cpu_attend_local(&ca, &s))
	defer C.free(scratch)
	defer C.free(local)
	for part := range C.cpu_append_parts(&ca, &s) {
		C.cpu_append(&ca, &s, part)
	}
	for part := range C.cpu_attend_parts(&ca, &s) {
		C.cpu_attend(&ca, &s, part, scratch, local)
	}
	for part := range C.cpu_attend_finish_parts(&ca, &s) {
		C.cpu_attend_finish(&ca, &s, part, scratch)
	}
}

// aligned allocates memory outside of Go's heap.
func aligned(bytes C.size_t) unsafe.Pointer { return C.aligned_alloc(64, (bytes+63)/64*64+64) }
