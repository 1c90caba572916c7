package engine

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/ort"
)

// transfer copies values between the memory of a device and this process's: with a graph that gives back what it is given, computed by the
// same providers. The runtime brings to a node what lies elsewhere, and puts its output where it shall lie, for every provider; its own
// function for copies knows fewer. It is not safe for concurrent use.
type transfer struct {
	env     *ort.Env
	options ort.SessionOptions
	open    map[string]*ownGraph
}

// ownGraph is a session of a graph that was made here, and its call.
type ownGraph struct {
	session *ort.Session
	call    *ort.Call
}

func newTransfer(env *ort.Env, providers []ort.Provider) *transfer {
	options := ort.SessionOptions{Threads: 1, OneThread: true, Providers: unrecorded(providers)}
	return &transfer{env: env, options: options, open: map[string]*ownGraph{}}
}

// copy fills one value with another of the same type and shape.
func (t *transfer) copy(to, from *ort.Value) error {
	return t.copyAll([]*ort.Value{to}, []*ort.Value{from})
}

// copyAll fills values with others of the same types and shapes, in one run.
func (t *transfer) copyAll(to, from []*ort.Value) error {
	s, err := t.copier(from)
	if err != nil {
		return fmt.Errorf("engine: copy between memories: %w", err)
	}
	for i := range from {
		s.call.SetInput(i, from[i])
		s.call.SetOutput(i, to[i])
	}
	if err := s.call.Run(nil); err != nil {
		return fmt.Errorf("engine: copy between memories: %w", err)
	}
	return nil
}

// copier is the session that copies values of these types.
func (t *transfer) copier(values []*ort.Value) (*ownGraph, error) {
	kinds := map[ort.ElementType]onnx.DataType{ort.Float32: onnx.Float32, ort.Float16: onnx.Float16, ort.Int64: onnx.Int64}
	g, key := &onnx.Graph{Name: "copy"}, ""
	for i, v := range values {
		kind, ok := kinds[v.Type()]
		if !ok {
			return nil, fmt.Errorf("expected float32, float16 or int64, found %s", v.Type())
		}
		from, to := "from"+strconv.Itoa(i), "to"+strconv.Itoa(i)
		g.Nodes = append(g.Nodes, onnx.Node{Name: to, Op: "Identity", Inputs: []string{from}, Outputs: []string{to}})
		g.Inputs = append(g.Inputs, onnx.Value{Name: from, Type: kind}) // of any shape
		g.Outputs = append(g.Outputs, onnx.Value{Name: to, Type: kind})
		key += v.Type().String() + " "
	}
	if s := t.open[key]; s != nil {
		return s, nil
	}
	s, err := t.openOwn(g)
	if err == nil {
		t.open[key] = s
	}
	return s, err
}

// openOwn opens a graph of ONNX's own operators, with all of its inputs and outputs.
func (t *transfer) openOwn(g *onnx.Graph) (*ownGraph, error) {
	graph, err := onnx.Write(&onnx.Model{IRVersion: 7, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}, bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	session, err := t.env.OpenSessionBytes(graph, t.options)
	if err != nil {
		return nil, err
	}
	names := func(values []onnx.Value) (list []string) {
		for _, v := range values {
			list = append(list, v.Name)
		}
		return list
	}
	call, err := session.NewCall(names(g.Inputs), names(g.Outputs))
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return &ownGraph{session, call}, nil
}

// Close may be called twice, and on nil.
func (s *ownGraph) Close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.call.Close(), s.session.Close())
}

// Close frees what copies need. It may be called twice, and on nil.
func (t *transfer) Close() error {
	if t == nil {
		return nil
	}
	var errs []error
	for key, s := range t.open {
		errs = append(errs, s.Close())
		delete(t.open, key)
	}
	return errors.Join(errs...)
}
