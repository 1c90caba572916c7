package ort

// #include "table.h"
import "C"

import "unsafe"

// AllocatorStats is what the allocator of sessions with HugePages says of itself: InUse and MaxInUse in bytes, TotalAllocated (bytes of
// chunks for weights), NumAllocs, NumReserves. It is empty while no such session was opened. Implements: OrtApi::AllocatorGetStats.
func (e *Env) AllocatorStats() (map[string]string, error) {
	if err := e.hold(); err != nil {
		return nil, fail("allocator statistics", "%w", err)
	}
	defer e.drop()
	a := e.huge.allocator()
	if a == nil {
		return map[string]string{}, nil
	}
	return e.allocatorStats(a)
}

// AllocatorStats is what the session's own CPU allocator says of itself; empty without Arena. Implements: OrtApi::AllocatorGetStats.
func (s *Session) AllocatorStats() (map[string]string, error) {
	if err := s.hold(); err != nil {
		return nil, fail("allocator statistics of "+s.name, "%w", err)
	}
	defer s.drop()
	made := C.ort_session_allocator(s.env.c, s.ptr, s.env.memory)
	if err := s.env.check(made.status); err != nil {
		return nil, err.in("allocator statistics of %s", s.name)
	}
	a := (*C.OrtAllocator)(made.ptr)
	defer C.ort_allocator_release(s.env.c, a)
	return s.env.allocatorStats(a)
}

func (e *Env) allocatorStats(a *C.OrtAllocator) (map[string]string, error) {
	made := C.ort_allocator_stats(e.c, a)
	if err := e.check(made.status); err != nil {
		return nil, err.in("allocator statistics")
	}
	pairs := (*C.OrtKeyValuePairs)(made.ptr)
	defer C.ort_pairs_release(e.c, pairs)
	list := C.ort_pairs_list(e.c, pairs)
	keys, values := unsafe.Slice(list.keys, list.n), unsafe.Slice(list.values, list.n)
	out := make(map[string]string, len(keys))
	for i := range keys {
		out[C.GoString(keys[i])] = C.GoString(values[i])
	}
	return out, nil
}
