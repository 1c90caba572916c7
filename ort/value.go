package ort

// #include "table.h"
import "C"

import (
	"fmt"
	"slices"
	"unsafe"
)

// Value is a tensor. Implements: OrtValue.
type Value struct {
	life    // its mutex also guards what follows
	env     *Env
	ptr     *C.OrtValue
	element ElementType
	shape   []int64
	memory  *C.OrtMemoryInfo // where data lies
	data    unsafe.Pointer
	bytes   int  // of the shape
	room    int  // that a shape may take
	own     bool // memory of ours: may be reshaped
}

// NewTensor makes a zeroed value with memory of its own.
func (e *Env) NewTensor(t ElementType, shape ...int64) (*Value, error) {
	bytes, ok := t.bytes(shape)
	if !ok {
		return nil, fail("new tensor", "no memory layout for %s %v", t, slices.Clone(shape))
	}
	b, err := e.NewBuffer(bytes)
	if err != nil {
		return nil, err
	}
	defer b.Close() // the value holds it
	return b.Tensor(t, 0, shape...)
}

// make makes the first tensor over the value's memory.
func (v *Value) make(shape []int64) error {
	bytes, err := v.fits(shape)
	if err != nil {
		return fail("new tensor", "%w", err)
	}
	v.shape, v.bytes = slices.Clone(shape), bytes
	made := C.ort_tensor_over(v.env.c, v.memory, v.data, C.size_t(bytes), v.dims(), C.size_t(len(v.shape)), C.int(v.element))
	if err := v.env.check(made.status); err != nil {
		return err.in("new tensor: %s %v", v.element, v.shape)
	}
	v.ptr = (*C.OrtValue)(made.ptr)
	return nil
}

func (v *Value) dims() *C.int64_t { return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(v.shape))) }

// fits is the size of a shape, if the memory has room for it.
func (v *Value) fits(shape []int64) (int, error) {
	bytes, ok := v.element.bytes(shape)
	if !ok {
		return 0, fmt.Errorf("no memory layout for %s %v", v.element, slices.Clone(shape))
	}
	if bytes > v.room {
		return 0, fmt.Errorf("%s %v takes %d bytes, there are %d", v.element, slices.Clone(shape), bytes, v.room)
	}
	return bytes, nil
}

// Reshape gives the same memory another shape: one small C object, nothing in Go, no copy. It refuses a value that a run is using, a
// shape for which the memory has no room, and a value that the runtime made. Implements: OrtApi::CreateTensorWithDataAsOrtValue.
func (v *Value) Reshape(shape ...int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return fail("reshape value", "%w", ErrClosed)
	case slices.Equal(v.shape, shape):
		return nil
	case !v.own:
		return fail("reshape value", "its memory belongs to the runtime")
	case v.refs > 1:
		return fail("reshape value", "a run is using it")
	}
	bytes, err := v.fits(shape)
	if err != nil {
		return fail("reshape value", "%w", err)
	}
	old := v.shape
	if cap(old) < len(shape) {
		old = slices.Clone(old)
	}
	v.shape = append(v.shape[:0], shape...)
	made := C.ort_tensor_replace(v.env.c, v.memory, v.ptr, v.data, C.size_t(bytes), v.dims(), C.size_t(len(v.shape)), C.int(v.element))
	if err := v.env.check(made.status); err != nil {
		return err.in("reshape value to %s %v", v.element, v.shape)
	}
	v.ptr, v.bytes = (*C.OrtValue)(made.ptr), bytes
	return nil
}

// Shape is a copy of the shape.
func (v *Value) Shape() []int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.shape)
}

// Dim is one dimension, counted from the end if negative: Dim(-1) is the last.
func (v *Value) Dim(i int) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i < 0 {
		i += len(v.shape)
	}
	return v.shape[i]
}

// Type is the type of the elements.
func (v *Value) Type() ElementType { return v.element }

// take holds the value for one run and answers what the run is given.
func (v *Value) take() (*C.OrtValue, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	v.refs++
	return v.ptr, nil
}

// Close releases the value when the runs that use it have ended. It always answers nil.
func (v *Value) Close() error {
	v.end()
	return nil
}
