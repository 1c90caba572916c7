// Package onnxtest writes small ONNX files for tests, right ones and wrong ones.
package onnxtest

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// Graph is what a file holds. Nothing is checked.
type Graph struct {
	Inputs, Outputs []Value
	Nodes           []Node
	Tensors         []Tensor
	Functions       []onnx.Function
}

// Value is an input or output. A dimension is an int, or a string for a symbol.
type Value struct {
	Name string
	Type onnx.DataType
	Dims []any
}

// Node is one operator. An attribute is an int, float32, string, []int, Tensor or Graph.
type Node struct {
	Op, Domain      string
	Inputs, Outputs []string
	Attributes      map[string]any
}

// Tensor is an initializer: with Raw bytes, or with the External entries of its place in another file.
type Tensor struct {
	Name     string
	Type     onnx.DataType
	Dims     []int64
	Raw      []byte
	External [][2]string
}

// message appends a field that holds a message.
func message(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

func text(b []byte, n protowire.Number, s string) []byte { return message(b, n, []byte(s)) }

func integer(b []byte, n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

// Encode writes the graph as a model file.
func Encode(g Graph) []byte {
	b := integer(nil, 1, 10)
	b = text(b, 2, "shammah-engine tests")
	b = message(b, 7, graph(g))
	b = message(b, 8, integer(nil, 2, 21))
	b = message(b, 8, integer(text(nil, 1, "com.microsoft"), 2, 1))
	b = message(b, 14, text(text(nil, 1, "key"), 2, "value"))
	for _, f := range g.Functions {
		b = message(b, 25, text(text(nil, 1, f.Name), 10, f.Domain))
	}
	return b
}

func graph(g Graph) []byte {
	var b []byte
	for _, n := range g.Nodes {
		b = message(b, 1, node(n))
	}
	b = text(b, 2, "g")
	for _, t := range g.Tensors {
		b = message(b, 5, EncodeTensor(t))
	}
	for _, v := range g.Inputs {
		b = message(b, 11, value(v))
	}
	for _, v := range g.Outputs {
		b = message(b, 12, value(v))
	}
	return b
}

func node(n Node) []byte {
	var b []byte
	for _, s := range n.Inputs {
		b = text(b, 1, s)
	}
	for _, s := range n.Outputs {
		b = text(b, 2, s)
	}
	b = text(b, 4, n.Op)
	for name, v := range n.Attributes {
		a := text(nil, 1, name)
		switch v := v.(type) {
		case int:
			a = integer(integer(a, 3, int64(v)), 20, 2)
		case float32:
			a = protowire.AppendFixed32(protowire.AppendTag(a, 2, protowire.Fixed32Type), math.Float32bits(v))
			a = integer(a, 20, 1)
		case string:
			a = text(a, 4, v)
		case []int:
			for _, x := range v {
				a = integer(a, 8, int64(x))
			}
		case Tensor:
			a = message(a, 5, EncodeTensor(v))
		case Graph:
			a = message(a, 6, graph(v))
		default:
			panic(fmt.Sprintf("BUG: attribute of type %T", v))
		}
		b = message(b, 5, a)
	}
	return text(b, 7, n.Domain)
}

func value(v Value) []byte {
	var dims []byte
	for _, d := range v.Dims {
		switch d := d.(type) {
		case int:
			dims = message(dims, 1, integer(nil, 1, int64(d)))
		case string:
			dims = message(dims, 1, text(nil, 2, d))
		default:
			panic(fmt.Sprintf("BUG: dimension of type %T", d))
		}
	}
	tensor := message(integer(nil, 1, int64(v.Type)), 2, dims)
	return message(text(nil, 1, v.Name), 2, message(nil, 1, tensor))
}

// EncodeTensor writes a tensor alone.
func EncodeTensor(t Tensor) []byte {
	var b []byte
	for _, d := range t.Dims {
		b = integer(b, 1, d)
	}
	b = integer(b, 2, int64(t.Type))
	b = text(b, 8, t.Name)
	if t.Raw != nil {
		b = message(b, 9, t.Raw)
	}
	for _, e := range t.External {
		b = message(b, 13, text(text(nil, 1, e[0]), 2, e[1]))
	}
	if t.External != nil {
		b = integer(b, 14, 1)
	}
	return b
}
