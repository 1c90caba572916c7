package ort

import "unsafe"

// Element is what View can see. Float16 and BFloat16 are seen as uint16, the 8-bit floats as uint8.
type Element interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool
}

// View is the memory of a value, valid until its Close or Reshape. It is nil for a closed value, for one in a device's memory, and where
// T is not the type of the elements.
func View[T Element](v *Value) []T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.data == nil || v.memory != v.env.memory || !viewable[T](v.element) {
		return nil
	}
	return unsafe.Slice((*T)(v.data), v.bytes/int(unsafe.Sizeof(*new(T))))
}

func viewable[T Element](t ElementType) bool {
	switch any(*new(T)).(type) {
	case float32:
		return t == Float32
	case float64:
		return t == Float64
	case int8:
		return t == Int8
	case int16:
		return t == Int16
	case int32:
		return t == Int32
	case int64:
		return t == Int64
	case uint8:
		return t == Uint8 || t == Uint4 || t == Int4 || (t >= Float8E4M3FN && t <= Float8E5M2FNUZ)
	case uint16:
		return t == Uint16 || t == Float16 || t == BFloat16
	case uint32:
		return t == Uint32
	case uint64:
		return t == Uint64
	case bool:
		return t == Bool
	}
	return false
}

// Bytes is the memory of a value of any type, valid until its Close or Reshape. It is nil for a closed value.
func (v *Value) Bytes() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.data == nil || v.memory != v.env.memory {
		return nil
	}
	return unsafe.Slice((*byte)(v.data), v.bytes)
}
