package ort

// #include "table.h"
import "C"

import "unsafe"

// Metadata is what a model's file says about itself.
type Metadata struct {
	Producer    string
	Graph       string
	Domain      string
	Description string
	Version     int64
	Custom      map[string]string
}

// Metadata reads it from the session. Implements: OrtApi::SessionGetModelMetadata.
func (s *Session) Metadata() (Metadata, error) {
	if err := s.hold(); err != nil {
		return Metadata{}, fail("metadata of "+s.name, "%w", err)
	}
	defer s.drop()
	made := C.ort_metadata(s.env.c, s.ptr)
	if err := s.env.check(made.status); err != nil {
		return Metadata{}, err.in("metadata of %s", s.name)
	}
	ptr := (*C.OrtModelMetadata)(made.ptr)
	defer C.ort_metadata_release(s.env.c, ptr)
	m, err := s.env.readMetadata(ptr)
	if err != nil {
		return Metadata{}, err.in("metadata of %s", s.name)
	}
	return m, nil
}

func (e *Env) readMetadata(ptr *C.OrtModelMetadata) (m Metadata, err *Error) {
	for which, field := range []*string{&m.Producer, &m.Graph, &m.Domain, &m.Description} {
		text := C.ort_metadata_text(e.c, ptr, C.int(which), e.strings)
		if err := e.check(text.status); err != nil {
			return m, err
		}
		*field = e.takeString(text.ptr)
	}
	version := C.ort_metadata_version(e.c, ptr)
	if err := e.check(version.status); err != nil {
		return m, err
	}
	m.Version = int64(version.n)
	m.Custom, err = e.customMetadata(ptr)
	return m, err
}

func (e *Env) customMetadata(ptr *C.OrtModelMetadata) (map[string]string, *Error) {
	keys := C.ort_metadata_keys(e.c, ptr, e.strings)
	if err := e.check(keys.status); err != nil {
		return nil, err
	}
	list := unsafe.Slice(keys.list, keys.n)
	defer func() {
		for _, key := range list {
			C.ort_free(e.c, e.strings, key)
		}
		C.ort_free(e.c, e.strings, unsafe.Pointer(keys.list))
	}()
	custom := make(map[string]string, len(list))
	for _, key := range list {
		value := C.ort_metadata_value(e.c, ptr, e.strings, (*C.char)(key))
		if err := e.check(value.status); err != nil {
			return nil, err
		}
		custom[C.GoString((*C.char)(key))] = e.takeString(value.ptr)
	}
	return custom, nil
}
