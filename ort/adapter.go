package ort

// #include "table.h"
import "C"

import "unsafe"

// Adapter is a set of named weights from an .onnx_adapter file, which replace a graph's optional inputs of the same names.
// Implements: OrtLoraAdapter.
type Adapter struct {
	life
	env  *Env
	ptr  *C.OrtLoraAdapter
	path string
}

// OpenAdapter loads an adapter. Implements: OrtApi::CreateLoraAdapter.
func (e *Env) OpenAdapter(path string) (*Adapter, error) {
	name, err := cString(path)
	if err != nil {
		return nil, fail("open adapter", "%w", err)
	}
	defer C.free(unsafe.Pointer(name))
	if err := e.hold(); err != nil {
		return nil, fail("open adapter "+path, "%w", err)
	}
	made := C.ort_adapter_open(e.c, name)
	if err := e.check(made.status); err != nil {
		e.drop()
		return nil, err.in("open adapter %s", path)
	}
	a := &Adapter{env: e, ptr: (*C.OrtLoraAdapter)(made.ptr), path: path}
	a.begin(kindAdapter, func() {
		C.ort_adapter_release(e.c, a.ptr)
		e.drop()
	})
	watch(a, &a.life, e.log)
	return a, nil
}

// Close releases the adapter when the last run options that hold it are closed. It always answers nil.
func (a *Adapter) Close() error {
	a.end()
	return nil
}
