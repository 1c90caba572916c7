package ort

// #include "table.h"
import "C"

import "unsafe"

// Node is one operator of a graph and the provider that computes it.
type Node struct {
	Name     string
	Op       string
	Domain   string
	Provider string
}

// Placement lists the nodes of a session that was opened with RecordPlacement, as they are after the runtime's basic rewriting.
// Implements: OrtApi::Session_GetEpGraphAssignmentInfo.
func (s *Session) Placement() ([]Node, error) {
	if err := s.hold(); err != nil {
		return nil, fail("placement of "+s.name, "%w", err)
	}
	defer s.drop()
	graphs := C.ort_placement(s.env.c, s.ptr)
	if err := s.env.check(graphs.status); err != nil {
		return nil, err.in("placement of %s", s.name)
	}
	var nodes []Node
	for _, g := range unsafe.Slice(graphs.list, graphs.n) {
		more, err := s.env.placedNodes((*C.OrtEpAssignedSubgraph)(g))
		if err != nil {
			return nil, err.in("placement of %s", s.name)
		}
		nodes = append(nodes, more...)
	}
	return nodes, nil
}

func (e *Env) placedNodes(g *C.OrtEpAssignedSubgraph) ([]Node, *Error) {
	provider := C.ort_placement_provider(e.c, g)
	if err := e.check(provider.status); err != nil {
		return nil, err
	}
	list := C.ort_placement_nodes(e.c, g)
	if err := e.check(list.status); err != nil {
		return nil, err
	}
	nodes := make([]Node, list.n)
	for i, p := range unsafe.Slice(list.list, list.n) {
		n := &nodes[i]
		n.Provider = C.GoString((*C.char)(provider.ptr))
		for which, field := range []*string{&n.Name, &n.Op, &n.Domain} {
			text := C.ort_placement_text(e.c, (*C.OrtEpAssignedNode)(p), C.int(which))
			if err := e.check(text.status); err != nil {
				return nil, err
			}
			*field = C.GoString((*C.char)(text.ptr))
		}
	}
	return nodes, nil
}
