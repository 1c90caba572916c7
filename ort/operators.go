package ort

// #include "table.h"
import "C"

import "unsafe"

// Operators is a domain of operators that the program brings itself, written in C against the runtime's own header.
type Operators struct {
	Domain   string
	List     []unsafe.Pointer // each to an OrtCustomOp in C memory, valid until Released
	Released func()           // called once the session that uses them is gone, or could not be opened; may be nil
}

// operators adds the domain. Implements: OrtApi::AddCustomOpDomain.
func (s *sessionOptions) operators(o SessionOptions) error {
	if o.Operators == nil {
		return nil
	}
	name, err := cString(o.Operators.Domain)
	if err != nil {
		return fail("session options: operators", "%w", err)
	}
	defer C.free(unsafe.Pointer(name))
	made := C.ort_domain(s.c, name)
	if err := s.check(made.status); err != nil {
		return err.in("session options: operators of %s", o.Operators.Domain)
	}
	s.domain = (*C.OrtCustomOpDomain)(made.ptr)
	for _, op := range o.Operators.List {
		if err := s.check(C.ort_domain_add(s.c, s.domain, op)); err != nil {
			return err.in("session options: operators of %s", o.Operators.Domain)
		}
	}
	if err := s.check(C.ort_add_domain(s.c, s.ptr, s.domain)); err != nil {
		return err.in("session options: operators of %s", o.Operators.Domain)
	}
	return nil
}

// releaseDomain is for options that no session was made from.
func (s *sessionOptions) releaseDomain() {
	if s.domain != nil {
		C.ort_domain_release(s.c, s.domain)
	}
}
