// Package onnx reads what an ONNX file says about itself - graph, names, types, shapes and where its weights lie -
// without reading the weights.
//
// The file is walked with ReadAt: a tensor's bytes are skipped, so a file of 2 GB costs as much as its graph does.
// A hostile file is an error, never a panic and never an unbounded amount of memory or time.
//
// Source: the messages of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
package onnx

import "fmt"

// Model is an ONNX file without its weights.
type Model struct {
	IRVersion int64
	Producer  string
	Opsets    []Opset
	Metadata  map[string]string
	Graph     *Graph
	Functions []Function // operators that the file itself defines

	external []*Tensor
}

// Opset is one operator set that the model imports; the domain "" is ONNX's own.
type Opset struct {
	Domain  string
	Version int64
}

// Function is a model-local operator; its body is read only for tensors that lie outside the file.
type Function struct{ Domain, Name string }

// Graph is a list of nodes and what flows in and out.
type Graph struct {
	Name         string
	Nodes        []Node
	Initializers []Tensor
	Inputs       []Value
	Outputs      []Value
}

// Span is where in the file a message's bytes lie; the zero Span is that of what did not come from a file.
type Span struct{ At, End int64 }

// Node is one operator; an absent optional input or output is "".
type Node struct {
	Name, Op, Domain string
	Inputs, Outputs  []string
	Attributes       []Attribute
	Span             Span
}

// Attribute is one constant of a node; the field that is set follows from what the file holds.
type Attribute struct {
	Name   string
	Int    int64
	Float  float32
	String string // at most 64 KiB; longer ones are left out
	Ints   []int64
	Tensor *Tensor
	Graphs []*Graph
}

// Value is a graph input or output.
type Value struct {
	Name  string
	Type  DataType // 0 when it is no tensor
	Shape []Dim    // nil when the rank is not given
	Span  Span
}

// Dim is one dimension: Size, or -1 and perhaps a symbol.
type Dim struct {
	Size   int64
	Symbol string
}

// Tensor is an initializer or a constant without its bytes.
type Tensor struct {
	Name   string
	Type   DataType
	Dims   []int64
	Inline int64 // bytes stored in the file itself
	Raw    Span  // where these bytes lie, if as raw data or packed float32, which is the same
	// External says where the bytes lie when they are in another file.
	External *External
	Span     Span
	Data     []byte // raw data of a tensor that was made here, not read

	small []byte  // raw bytes of tensors of at most 64 bytes
	ints  []int64 // typed integers of short tensors
}

// External is the place of a tensor's bytes in another file.
type External struct {
	Location string // as written in the graph: not to be trusted
	Offset   int64
	Length   int64 // -1 when it is not given: the tensor's own size
	File     int64 // where in the ONNX file the tensor stands, for messages
}

// External returns every tensor of the model that lies outside the file: initializers, sparse ones, constants, and
// those of subgraphs and functions.
func (m *Model) External() []*Tensor { return m.external }

// Ints returns the value of a short integer tensor (int32 or int64), such as the starts of a Slice.
func (t *Tensor) Ints() ([]int64, bool) {
	if t == nil {
		return nil, false
	}
	if len(t.ints) > 0 {
		return t.ints, true
	}
	width := 0
	switch t.Type {
	case Int64:
		width = 8
	case Int32:
		width = 4
	}
	if width == 0 || len(t.small) == 0 || len(t.small)%width != 0 {
		return nil, false
	}
	var out []int64
	for b := t.small; len(b) > 0; b = b[width:] {
		if width == 8 {
			out = append(out, int64(le64(b)))
		} else {
			out = append(out, int64(int32(le32(b))))
		}
	}
	return out, true
}

// Attribute returns the node's attribute of that name, or nil.
func (n *Node) Attribute(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// Input is the name of the node's i-th input, "" where it is absent.
func (n *Node) Input(i int) string { return at(n.Inputs, i) }

// Output is the name of the node's i-th output, "" where it is absent.
func (n *Node) Output(i int) string { return at(n.Outputs, i) }

func at(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return ""
}

// DataType is TensorProto.DataType.
type DataType int32

// The element types of ONNX.
const (
	Undefined DataType = iota
	Float32
	Uint8
	Int8
	Uint16
	Int16
	Int32
	Int64
	String
	Bool
	Float16
	Float64
	Uint32
	Uint64
	Complex64
	Complex128
	BFloat16
	Float8E4M3FN
	Float8E4M3FNUZ
	Float8E5M2
	Float8E5M2FNUZ
	Uint4
	Int4
	Float4E2M1
	Float8E8M0
	Uint2
	Int2
)

// String names the type as ONNX Runtime's bindings do: "float32", "int64".
func (d DataType) String() string {
	names := [...]string{"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
		"float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz",
		"float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2"}
	if d < 0 || int(d) >= len(names) {
		return fmt.Sprintf("type %d", int32(d))
	}
	return names[d]
}

// Bits is the size of one element, 0 when it has no fixed size or is not known here.
func (d DataType) Bits() int64 {
	switch d {
	case Uint2, Int2:
		return 2
	case Uint4, Int4, Float4E2M1:
		return 4
	case Uint8, Int8, Bool, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0:
		return 8
	case Uint16, Int16, Float16, BFloat16:
		return 16
	case Float32, Int32, Uint32:
		return 32
	case Float64, Int64, Uint64, Complex64:
		return 64
	case Complex128:
		return 128
	}
	return 0
}
