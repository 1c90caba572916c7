package onnx

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Write encodes a model that was read from src and then edited: its graph's lists may be longer, shorter or in another order.
// What has a Span is copied from src as it is; what has none (nodes, tensors and values made here) is encoded from its fields, of
// which a node's attributes may be integers, floats and lists of integers (string attributes that are not empty also), and a
// tensor has Data, or else External with its length. The document string, value infos and training parts are left out, and so are model-local functions: a model
// that has any is refused.
func Write(m *Model, src io.ReaderAt) ([]byte, error) {
	if len(m.Functions) > 0 {
		return nil, fmt.Errorf("onnx: write: the model has functions of its own")
	}
	w := writer{src: src}
	b := integer(nil, 1, m.IRVersion)
	b = text(b, 2, m.Producer)
	g, err := w.graph(m.Graph)
	if err != nil {
		return nil, err
	}
	b = message(b, 7, g)
	for _, o := range m.Opsets {
		b = message(b, 8, integer(text(nil, 1, o.Domain), 2, o.Version))
	}
	return b, nil
}

type writer struct{ src io.ReaderAt }

func message(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

func text(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func integer(b []byte, n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

// copy answers the bytes of a span, or nil if there is none.
func (w writer) copy(s Span) ([]byte, error) {
	if s == (Span{}) {
		return nil, nil
	}
	b := make([]byte, s.End-s.At)
	if n, err := w.src.ReadAt(b, s.At); n < len(b) {
		if err == io.EOF { // it was cut since it was read
			err = ErrTruncated
		}
		return nil, fmt.Errorf("onnx: write: copy bytes %d to %d: %w", s.At, s.End, err)
	}
	return b, nil
}

func (w writer) graph(g *Graph) ([]byte, error) {
	var b []byte
	add := func(n protowire.Number, s Span, fresh []byte) error {
		old, err := w.copy(s)
		if old == nil {
			old = fresh
		}
		b = message(b, n, old)
		return err
	}
	for i := range g.Nodes {
		if err := add(1, g.Nodes[i].Span, node(&g.Nodes[i])); err != nil {
			return nil, err
		}
	}
	b = text(b, 2, g.Name)
	for i := range g.Initializers {
		if err := add(5, g.Initializers[i].Span, tensor(&g.Initializers[i])); err != nil {
			return nil, err
		}
	}
	for i := range g.Inputs {
		if err := add(11, g.Inputs[i].Span, value(&g.Inputs[i])); err != nil {
			return nil, err
		}
	}
	for i := range g.Outputs {
		if err := add(12, g.Outputs[i].Span, value(&g.Outputs[i])); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func node(n *Node) []byte {
	var b []byte
	for _, s := range n.Inputs {
		b = text(b, 1, s)
	}
	for _, s := range n.Outputs {
		b = text(b, 2, s)
	}
	b = text(text(b, 3, n.Name), 4, n.Op)
	for _, a := range n.Attributes {
		b = message(b, 5, attribute(a))
	}
	return text(b, 7, n.Domain)
}

// attribute encodes one attribute with its type: AttributeProto.AttributeType.
func attribute(a Attribute) []byte {
	const isFloat, isInt, isString, isTensor, isInts = 1, 2, 3, 4, 7
	b := text(nil, 1, a.Name)
	switch {
	case a.Tensor != nil:
		return integer(message(b, 5, tensor(a.Tensor)), 20, isTensor)
	case a.Ints != nil:
		for _, v := range a.Ints {
			b = integer(b, 8, v)
		}
		return integer(b, 20, isInts)
	case a.String != "":
		return integer(text(b, 4, a.String), 20, isString)
	case a.Float != 0:
		b = protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(a.Float))
		return integer(b, 20, isFloat)
	}
	return integer(integer(b, 3, a.Int), 20, isInt)
}

func tensor(t *Tensor) []byte {
	var b []byte
	for _, d := range t.Dims {
		b = integer(b, 1, d)
	}
	b = text(integer(b, 2, int64(t.Type)), 8, t.Name)
	if e := t.External; e != nil && t.Data == nil {
		for _, entry := range [][2]string{{"location", e.Location}, {"offset", strconv.FormatInt(e.Offset, 10)}, {"length", strconv.FormatInt(e.Length, 10)}} {
			b = message(b, 13, text(text(nil, 1, entry[0]), 2, entry[1]))
		}
		return integer(b, 14, 1)
	}
	return message(b, 9, t.Data)
}

func value(v *Value) []byte {
	var shape []byte
	for _, d := range v.Shape {
		dim := integer(nil, 1, d.Size)
		if d.Size < 0 {
			dim = text(nil, 2, d.Symbol)
		}
		shape = message(shape, 1, dim)
	}
	kind := integer(nil, 1, int64(v.Type))
	if v.Shape != nil {
		kind = message(kind, 2, shape)
	}
	return message(text(nil, 1, v.Name), 2, message(nil, 1, kind))
}
