package ort

// #include "table.h"
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// TensorInfo is what a session declares of one tensor.
type TensorInfo struct {
	Name    string
	Type    ElementType // Undefined for what is not a tensor
	Shape   []int64     // -1 where the graph leaves a dimension open
	Symbols []string    // the names of open dimensions, "" for fixed and nameless ones; as long as Shape
}

// String is as in "input_ids int64 (batch_size, sequence_length)".
func (t TensorInfo) String() string {
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		switch {
		case d >= 0:
			dims[i] = fmt.Sprint(d)
		case t.Symbols[i] != "":
			dims[i] = t.Symbols[i]
		default:
			dims[i] = "?"
		}
	}
	return fmt.Sprintf("%s %s (%s)", t.Name, t.Type, strings.Join(dims, ", "))
}

// describe reads what the session declares, once.
func (s *Session) describe() error {
	for port, list := range map[C.int]*[]TensorInfo{C.ORT_INPUTS: &s.inputs, C.ORT_OUTPUTS: &s.outputs, C.ORT_OVERRIDABLE: &s.overridden} {
		count := C.ort_port_count(s.env.c, s.ptr, port)
		if err := s.env.check(count.status); err != nil {
			return err.in("describe session %s", s.name)
		}
		*list = make([]TensorInfo, count.n)
		for i := range *list {
			if err := s.describePort(port, C.size_t(i), &(*list)[i]); err != nil {
				return err.in("describe session %s", s.name)
			}
		}
	}
	return nil
}

func (s *Session) describePort(port C.int, i C.size_t, out *TensorInfo) *Error {
	e := s.env
	name := C.ort_port_name(e.c, s.ptr, port, i, e.strings)
	if err := e.check(name.status); err != nil {
		return err
	}
	out.Name = e.takeString(name.ptr)
	info := C.ort_port_type(e.c, s.ptr, port, i)
	if err := e.check(info.status); err != nil {
		return err
	}
	defer C.ort_type_release(e.c, (*C.OrtTypeInfo)(info.ptr))
	tensor := C.ort_type_tensor(e.c, (*C.OrtTypeInfo)(info.ptr))
	if err := e.check(tensor.status); err != nil {
		return err
	}
	if tensor.ptr == nil {
		return nil
	}
	return e.describeTensor((*C.OrtTensorTypeAndShapeInfo)(tensor.ptr), out)
}

func (e *Env) describeTensor(info *C.OrtTensorTypeAndShapeInfo, out *TensorInfo) *Error {
	element := C.ort_tensor_element(e.c, info)
	if err := e.check(element.status); err != nil {
		return err
	}
	out.Type = ElementType(element.n)
	rank := C.ort_tensor_rank(e.c, info)
	if err := e.check(rank.status); err != nil {
		return err
	}
	out.Shape, out.Symbols = make([]int64, rank.n), make([]string, rank.n)
	if rank.n == 0 {
		return nil
	}
	symbols := make([]*C.char, rank.n)
	dims := (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(out.Shape)))
	if err := e.check(C.ort_tensor_dims(e.c, info, dims, unsafe.SliceData(symbols), rank.n)); err != nil {
		return err
	}
	for i, text := range symbols {
		out.Symbols[i] = C.GoString(text)
	}
	return nil
}

// takeString copies a text that the runtime allocated, and frees it.
func (e *Env) takeString(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	defer C.ort_free(e.c, e.strings, p)
	return C.GoString((*C.char)(p))
}
