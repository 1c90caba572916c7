package ort

// #cgo noescape memory_new
// #cgo nocallback memory_new
// #cgo noescape memory_free
// #cgo nocallback memory_free
// #cgo noescape memory_new_huge
// #cgo nocallback memory_new_huge
// #cgo noescape memory_free_huge
// #cgo nocallback memory_free_huge
// #include "memory.h"
// #include "table.h"
import "C"

import (
	"unsafe"
)

// Buffer is zeroed memory outside of Go's heap, aligned to 64 bytes. Pages of a large one take no room until they are touched.
type Buffer struct {
	life
	env   *Env
	ptr   unsafe.Pointer
	bytes int
}

// NewBuffer allocates bytes, which may be 0.
func (e *Env) NewBuffer(bytes int) (*Buffer, error) {
	return e.newBuffer(bytes, func(n C.size_t) unsafe.Pointer { return C.memory_new(n) }, func(p unsafe.Pointer, n C.size_t) { C.memory_free(p, n) })
}

// NewHugeBuffer is NewBuffer in huge pages where the system has them, for memory that is read from end to end again and again.
func (e *Env) NewHugeBuffer(bytes int) (*Buffer, error) {
	return e.newBuffer(bytes, func(n C.size_t) unsafe.Pointer { return C.memory_new_huge(n) }, func(p unsafe.Pointer, n C.size_t) { C.memory_free_huge(p, n) })
}

func (e *Env) newBuffer(bytes int, allocate func(C.size_t) unsafe.Pointer, free func(unsafe.Pointer, C.size_t)) (*Buffer, error) {
	if bytes < 0 {
		return nil, fail("new buffer", "%d bytes", bytes)
	}
	if err := e.hold(); err != nil {
		return nil, fail("new buffer", "%w", err)
	}
	p := allocate(C.size_t(bytes))
	if p == nil {
		e.drop()
		return nil, fail("new buffer", "no memory for %d bytes", bytes)
	}
	b := &Buffer{env: e, ptr: p, bytes: bytes}
	b.begin(kindBuffer, func() {
		free(p, C.size_t(bytes))
		e.drop()
	})
	watch(b, &b.life, e.log)
	return b, nil
}

// Bytes is the memory, valid until Close; nil after it.
func (b *Buffer) Bytes() []byte {
	if b.ended() {
		return nil
	}
	return unsafe.Slice((*byte)(b.ptr), b.bytes)
}

// Tensor makes a value over the memory that begins at offset bytes. It holds the buffer. Reshape may later use all that follows offset.
// Implements: OrtApi::CreateTensorWithDataAsOrtValue.
func (b *Buffer) Tensor(t ElementType, offset int, shape ...int64) (*Value, error) {
	if offset < 0 || offset > b.bytes {
		return nil, fail("new tensor over buffer", "offset %d in %d bytes", offset, b.bytes)
	}
	if size := t.Size(); size > 0 && offset%size != 0 {
		return nil, fail("new tensor over buffer", "offset %d is not aligned to %s", offset, t)
	}
	v := &Value{env: b.env, element: t, memory: b.env.memory, data: unsafe.Add(b.ptr, offset), room: b.bytes - offset, own: true}
	if err := b.hold(); err != nil {
		return nil, fail("new tensor over buffer", "%w", err)
	}
	if err := v.make(shape); err != nil {
		b.drop()
		return nil, err
	}
	v.begin(kindValue, func() {
		C.ort_value_release(b.env.c, v.ptr)
		b.drop()
	})
	watch(v, &v.life, b.env.log)
	return v, nil
}

// Close gives the memory back when the last value over it is closed. It always answers nil.
func (b *Buffer) Close() error {
	b.end()
	return nil
}
