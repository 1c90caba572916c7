package ort_test

import "google.golang.org/protobuf/encoding/protowire"

// Small ONNX graphs, written by hand. Field numbers are those of onnx.proto.

type message []byte

func (m message) num(field protowire.Number, n int64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(n))
}

func (m message) text(field protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func (m message) sub(field protowire.Number, parts ...message) message {
	for _, p := range parts {
		m = protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), p)
	}
	return m
}

// The element types that the graphs use.
const (
	float32Type = 1
	int64Type   = 7
	boolType    = 9
	float16Type = 10
)

// port is a ValueInfoProto; a dimension is an int, or a string for an open one.
func port(name string, element int64, dims ...any) message {
	var shape message
	for _, d := range dims {
		switch d := d.(type) {
		case int:
			shape = shape.sub(1, message{}.num(1, int64(d)))
		case string:
			shape = shape.sub(1, message{}.text(2, d))
		}
	}
	tensor := message{}.num(1, element).sub(2, shape)
	return message{}.text(1, name).sub(2, message{}.sub(1, tensor))
}

func node(op string, inputs, outputs []string, attributes ...message) message {
	var m message
	for _, s := range inputs {
		m = m.text(1, s)
	}
	for _, s := range outputs {
		m = m.text(2, s)
	}
	return m.text(3, op+"_"+outputs[0]).text(4, op).sub(5, attributes...)
}

// weight is a TensorProto of raw bytes.
func weight(name string, element int64, raw string, dims ...int64) message {
	var m message
	for _, d := range dims {
		m = m.num(1, d)
	}
	return m.num(2, element).text(8, name).text(9, raw)
}

func graph(name string, nodes, weights, inputs, outputs []message) message {
	return message{}.sub(1, nodes...).text(2, name).sub(5, weights...).sub(11, inputs...).sub(12, outputs...)
}

func model(g message) []byte {
	return message{}.num(1, 8).text(2, "a test").text(4, "test.domain").num(5, 7).text(6, "a description").sub(7, g).
		sub(8, message{}.text(1, "").num(2, 17)).sub(14, message{}.text(1, "color").text(2, "blue"))
}

// addGraph is sum = x + y over (n, 2).
func addGraph(element int64) []byte {
	return model(graph("add",
		[]message{node("Add", []string{"x", "y"}, []string{"sum"})}, nil,
		[]message{port("x", element, "n", 2), port("y", element, "n", 2)}, []message{port("sum", element, "n", 2)}))
}

// oneGraph is out = op(in) over (n) float32.
func oneGraph(op string) []byte {
	return model(graph("one",
		[]message{node(op, []string{"in"}, []string{"out"})}, nil,
		[]message{port("in", float32Type, "n")}, []message{port("out", float32Type, "n")}))
}

// weightGraph is out = in + w over (2) float32, where a run may replace w, which is (1, 2).
func weightGraph() []byte {
	return model(graph("weight",
		[]message{node("Add", []string{"in", "w"}, []string{"out"})},
		[]message{weight("w", float32Type, "\x00\x00\x80\x3f\x00\x00\x00\x40", 2)},
		[]message{port("in", float32Type, 2), port("w", float32Type, 2)}, []message{port("out", float32Type, 2)}))
}

// loopGraph adds one to x as often as times says: a run as long as one likes.
func loopGraph() []byte {
	body := graph("body",
		[]message{node("Identity", []string{"go"}, []string{"go_on"}), node("Add", []string{"a", "one"}, []string{"b"})},
		[]message{weight("one", float32Type, "\x00\x00\x80\x3f")},
		[]message{port("i", int64Type), port("go", boolType), port("a", float32Type)},
		[]message{port("go_on", boolType), port("b", float32Type)})
	return model(graph("loop",
		[]message{node("Loop", []string{"times", "", "x"}, []string{"y"}, message{}.text(1, "body").sub(6, body).num(20, 5))}, nil,
		[]message{port("times", int64Type), port("x", float32Type)}, []message{port("y", float32Type)}))
}

// nonZeroGraph has an output whose shape depends on the data: the indices (1, found) of what is not zero.
func nonZeroGraph() []byte {
	return model(graph("nonzero",
		[]message{node("NonZero", []string{"in"}, []string{"out"})}, nil,
		[]message{port("in", float32Type, "n")}, []message{port("out", int64Type, 1, "found")}))
}
