package ort

// #include "hugepages.h"
// #include "table.h"
import "C"

import "sync"

// hugePages is the environment's allocator for sessions that want their weights in huge pages. Implements: OrtAllocator.
type hugePages struct {
	mu  sync.Mutex
	ptr *C.OrtAllocator // nil until the first session asks for it
}

// open registers the allocator, once. Implements: OrtApi::RegisterAllocator.
func (h *hugePages) open(e *Env) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ptr != nil {
		return nil
	}
	p := C.huge_new(e.c, e.memory)
	if p == nil {
		return fail("huge pages", "no memory for an allocator")
	}
	if err := e.check(C.ort_allocator_register(e.c, e.ptr, p)); err != nil {
		C.huge_free(p)
		return err.in("huge pages: register allocator")
	}
	h.ptr = p
	return nil
}

// allocator is nil while no session has asked for huge pages.
func (h *hugePages) allocator() *C.OrtAllocator {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ptr
}

// unregister takes the allocator back before the environment goes; free releases it after. Implements: OrtApi::UnregisterAllocator.
func (h *hugePages) unregister(e *Env) {
	if h.ptr == nil {
		return
	}
	if err := e.check(C.ort_allocator_unregister(e.c, e.ptr, e.memory)); err != nil {
		h.ptr = nil // the runtime still knows it: better to lose a few bytes
	}
}

func (h *hugePages) free() {
	if h.ptr != nil {
		C.huge_free(h.ptr)
		h.ptr = nil
	}
}
