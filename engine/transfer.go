package engine

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/ort"
)

// transfer copies values between the memory of a device and this process's: with a graph of one node that gives back what it is given,
// computed by the same providers. The runtime brings to a node what lies elsewhere, and puts its output where it shall lie, for every
// provider; its own function for copies knows fewer. It is not safe for concurrent use.
type transfer struct {
	env     *ort.Env
	options ort.SessionOptions
	open    map[ort.ElementType]*copier
}

type copier struct {
	session *ort.Session
	call    *ort.Call
}

func newTransfer(env *ort.Env, providers []ort.Provider) *transfer {
	return &transfer{env: env, options: ort.SessionOptions{Threads: 1, Providers: providers}, open: map[ort.ElementType]*copier{}}
}

// copy fills one value with another of the same type and shape.
func (t *transfer) copy(to, from *ort.Value) error {
	c, err := t.copier(from.Type())
	if err != nil {
		return fmt.Errorf("engine: copy between memories: %w", err)
	}
	c.call.SetInput(0, from)
	c.call.SetOutput(0, to)
	if err := c.call.Run(nil); err != nil {
		return fmt.Errorf("engine: copy between memories: %w", err)
	}
	return nil
}

func (t *transfer) copier(element ort.ElementType) (*copier, error) {
	if c := t.open[element]; c != nil {
		return c, nil
	}
	kinds := map[ort.ElementType]onnx.DataType{ort.Float32: onnx.Float32, ort.Float16: onnx.Float16}
	kind, ok := kinds[element]
	if !ok {
		return nil, fmt.Errorf("expected float32 or float16, found %s", element)
	}
	graph, err := onnx.Write(&onnx.Model{IRVersion: 7, Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{
		Name:    "copy",
		Nodes:   []onnx.Node{{Name: "copy", Op: "Identity", Inputs: []string{"from"}, Outputs: []string{"to"}}},
		Inputs:  []onnx.Value{{Name: "from", Type: kind}}, // of any shape
		Outputs: []onnx.Value{{Name: "to", Type: kind}},
	}}, bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	session, err := t.env.OpenSessionBytes(graph, t.options)
	if err != nil {
		return nil, err
	}
	call, err := session.NewCall([]string{"from"}, []string{"to"})
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	t.open[element] = &copier{session, call}
	return t.open[element], nil
}

// Close frees what copies need. It may be called twice, and on nil.
func (t *transfer) Close() error {
	if t == nil {
		return nil
	}
	var errs []error
	for element, c := range t.open {
		errs = append(errs, c.call.Close(), c.session.Close())
		delete(t.open, element)
	}
	return errors.Join(errs...)
}
