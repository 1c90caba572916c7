package ort

// #include "table.h"
import "C"

import (
	"slices"
	"unsafe"
)

// Device is a memory as the runtime names it: "Cuda" of the CUDA provider, "Cpu".
type Device struct {
	Name string
	ID   int
}

// NewDeviceTensor makes a value in the memory of a device that the session uses, so that what one run leaves there another reads there.
// What it holds at first is not defined, and View cannot see it. It holds the session. Implements: OrtApi::CreateAllocator.
func (s *Session) NewDeviceTensor(d Device, t ElementType, shape ...int64) (*Value, error) {
	bytes, ok := t.bytes(shape)
	if !ok {
		return nil, fail("new tensor on "+d.Name, "no memory layout for %s %v", t, slices.Clone(shape))
	}
	name, err := cString(d.Name)
	if err != nil {
		return nil, fail("new tensor", "device %w", err)
	}
	defer C.free(unsafe.Pointer(name))
	if err := s.hold(); err != nil {
		return nil, fail("new tensor on "+d.Name, "%w", err)
	}
	e := s.env
	e.captures.RLock()
	defer e.captures.RUnlock()
	m := C.ort_device_new(e.c, s.ptr, name, C.int(d.ID), C.size_t(max(bytes, 1)))
	if err := e.check(m.status); err != nil {
		s.drop()
		return nil, err.in("new tensor on %s %d: %d bytes", d.Name, d.ID, bytes)
	}
	v := &Value{env: e, element: t, memory: m.info, data: m.data, room: bytes, own: true}
	if err := v.make(shape); err != nil {
		C.ort_device_free(e.c, m)
		s.drop()
		return nil, err
	}
	v.begin(kindValue, func() {
		C.ort_value_release(e.c, v.ptr)
		C.ort_device_free(e.c, m)
		s.drop()
	})
	watch(v, &v.life, e.log)
	return v, nil
}
