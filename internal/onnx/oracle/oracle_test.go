package oracle_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// tensor is an initializer of int64, float32 or bool.
func tensor(name string, dims []int64, values any) onnxtest.Tensor {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, values); err != nil {
		panic("BUG: " + err.Error())
	}
	kind := map[string]onnx.DataType{"[]int64": onnx.Int64, "[]float32": onnx.Float32, "[]bool": onnx.Bool, "[]uint16": onnx.Float16}
	return onnxtest.Tensor{Name: name, Type: kind[reflect.TypeOf(values).String()], Dims: dims, Raw: b.Bytes()}
}

func ints(name string, values ...int64) onnxtest.Tensor {
	return tensor(name, []int64{int64(len(values))}, values)
}

// graph reads what a test made.
func graph(t testing.TB, g onnxtest.Graph) *oracle.Graph {
	t.Helper()
	b := onnxtest.Encode(g)
	m, err := onnx.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return oracle.New(m, oracle.Inline(bytes.NewReader(b), nil))
}

type attributes = map[string]any

// operatorTests compute one node from x = [[0 1 2] [3 4 5]] and other inputs, which are named a, b, c.
var operatorTests = []struct {
	op         string
	attributes attributes
	inputs     []onnxtest.Tensor
	dims       []int
	want       []float64
	fault      string
}{
	{"Add", nil, []onnxtest.Tensor{tensor("a", []int64{3}, []float32{10, 20, 30})}, []int{2, 3}, []float64{10, 21, 32, 13, 24, 35}, ""},
	{"Sub", nil, []onnxtest.Tensor{tensor("a", []int64{2, 1}, []float32{1, 2})}, []int{2, 3}, []float64{-1, 0, 1, 1, 2, 3}, ""},
	{"Mul", nil, []onnxtest.Tensor{tensor("a", []int64{2, 2}, []float32{1, 2, 3, 4})}, nil, nil, "do not fit each other"},
	{"Less", nil, []onnxtest.Tensor{tensor("a", nil, []float32{2})}, []int{2, 3}, []float64{1, 1, 0, 0, 0, 0}, ""},
	{"Neg", nil, nil, []int{2, 3}, []float64{0, -1, -2, -3, -4, -5}, ""},
	{"Cast", attributes{"to": 9}, nil, []int{2, 3}, []float64{0, 1, 1, 1, 1, 1}, ""},
	{"Cast", attributes{"to": 2}, nil, nil, nil, "to uint8"},
	{"Reshape", nil, []onnxtest.Tensor{ints("a", 3, -1)}, []int{3, 2}, []float64{0, 1, 2, 3, 4, 5}, ""},
	{"Reshape", nil, []onnxtest.Tensor{ints("a", 0, 1, 3)}, []int{2, 1, 3}, []float64{0, 1, 2, 3, 4, 5}, ""},
	{"Reshape", nil, []onnxtest.Tensor{ints("a", 4, -1)}, nil, nil, "cannot become"},
	{"Reshape", nil, []onnxtest.Tensor{ints("a", 1<<39, 1<<39, 1<<39)}, nil, nil, "cannot become"},
	{"Transpose", nil, nil, []int{3, 2}, []float64{0, 3, 1, 4, 2, 5}, ""},
	{"Transpose", attributes{"perm": []int{0, 0}}, nil, nil, nil, "the permutation [0 0]"},
	{"Slice", nil, []onnxtest.Tensor{ints("a", -1), ints("b", math.MinInt64), ints("c", 1), ints("d", -1)}, []int{2, 3}, []float64{2, 1, 0, 5, 4, 3}, ""},
	{"Slice", nil, []onnxtest.Tensor{ints("a", 1), ints("b", math.MaxInt64), ints("c", -1)}, []int{2, 2}, []float64{1, 2, 4, 5}, ""},
	{"Slice", nil, []onnxtest.Tensor{ints("a", 0), ints("b", 3), ints("c", 1), ints("d", 2)}, []int{2, 2}, []float64{0, 2, 3, 5}, ""},
	{"Slice", nil, []onnxtest.Tensor{ints("a", 0), ints("b", 3), ints("c", 2)}, nil, nil, "axis 2 of 2 dimensions"},
	{"Concat", attributes{"axis": -1}, []onnxtest.Tensor{tensor("a", []int64{2, 1}, []float32{9, 8})}, []int{2, 4}, []float64{0, 1, 2, 9, 3, 4, 5, 8}, ""},
	{"Concat", attributes{"axis": 0}, []onnxtest.Tensor{tensor("a", []int64{2, 1}, []float32{9, 8})}, nil, nil, "a part of shape [2 1]"},
	{"Unsqueeze", nil, []onnxtest.Tensor{ints("a", 0, -1)}, []int{1, 2, 3, 1}, []float64{0, 1, 2, 3, 4, 5}, ""},
	{"Squeeze", nil, []onnxtest.Tensor{ints("a", 0)}, nil, nil, "cannot become"},
	{"Flatten", attributes{"axis": 0}, nil, []int{1, 6}, []float64{0, 1, 2, 3, 4, 5}, ""},
	{"Expand", nil, []onnxtest.Tensor{ints("a", 2, 1, 1)}, []int{2, 2, 3}, []float64{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}, ""},
	{"Tile", nil, []onnxtest.Tensor{ints("a", 1, 2)}, []int{2, 6}, []float64{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}, ""},
	{"Trilu", attributes{"upper": 1}, []onnxtest.Tensor{tensor("a", nil, []int64{1})}, []int{2, 3}, []float64{0, 1, 2, 0, 0, 5}, ""},
	{"Trilu", attributes{"upper": 0}, nil, []int{2, 3}, []float64{0, 0, 0, 3, 4, 0}, ""},
	{"Gather", attributes{"axis": 1}, []onnxtest.Tensor{ints("a", -1, 0)}, []int{2, 2}, []float64{2, 0, 5, 3}, ""},
	{"Gather", attributes{"axis": 0}, []onnxtest.Tensor{tensor("a", nil, []int64{1})}, []int{3}, []float64{3, 4, 5}, ""},
	{"Gather", attributes{"axis": 0}, []onnxtest.Tensor{ints("a", 2)}, []int{1, 3}, nil, "index 2 of 2"},
	{"GatherND", nil, []onnxtest.Tensor{tensor("a", []int64{2, 2}, []int64{0, 1, 1, -1})}, []int{2}, []float64{1, 5}, ""},
	{"ScatterND", nil, []onnxtest.Tensor{tensor("a", []int64{1, 2}, []int64{1, 0}), tensor("b", []int64{1}, []float32{7})}, []int{2, 3}, []float64{0, 1, 2, 7, 4, 5}, ""},
	{"ScatterND", attributes{"reduction": "add"}, []onnxtest.Tensor{tensor("a", []int64{1, 2}, []int64{1, 0}), tensor("b", []int64{1}, []float32{7})}, nil, nil, "reduction"},
	{"MatMul", nil, []onnxtest.Tensor{tensor("a", []int64{3, 1}, []float32{1, 10, 100})}, []int{2, 1}, []float64{210, 543}, ""},
	{"MatMul", nil, []onnxtest.Tensor{tensor("a", []int64{2, 1}, []float32{1, 10})}, nil, nil, "do not fit each other"},
	{"CumSum", nil, []onnxtest.Tensor{tensor("a", nil, []int64{1})}, []int{2, 3}, []float64{0, 1, 3, 3, 7, 12}, ""},
	{"CumSum", attributes{"exclusive": 1}, []onnxtest.Tensor{tensor("a", nil, []int64{0})}, []int{2, 3}, []float64{0, 0, 0, 0, 1, 2}, ""},
	{"ReduceSum", attributes{"keepdims": 0}, []onnxtest.Tensor{ints("a", 1)}, []int{2}, []float64{3, 12}, ""},
	{"ReduceMean", attributes{"axes": []int{-1}}, nil, []int{2, 1}, []float64{1, 4}, ""},
	{"ReduceMax", attributes{"keepdims": 0}, nil, []int{}, []float64{5}, ""},
	{"NonZero", nil, nil, []int{2, 5}, []float64{0, 0, 1, 1, 1, 1, 2, 0, 1, 2}, ""},
	{"Shape", attributes{"start": 1}, nil, []int{1}, []float64{3}, ""},
	{"Where", nil, []onnxtest.Tensor{tensor("a", []int64{1}, []float32{-1}), tensor("b", []int64{1}, []float32{-2})}, []int{2, 3}, []float64{-2, -1, -1, -1, -1, -1}, ""},
	{"Pow", nil, []onnxtest.Tensor{tensor("a", nil, []float32{2})}, []int{2, 3}, []float64{0, 1, 4, 9, 16, 25}, ""},
	{"Add", nil, nil, nil, nil, "1 inputs, 2 were expected"},
	{"Conv", nil, nil, nil, nil, "the operator"},
	{"Range", nil, []onnxtest.Tensor{ints("a", 3), ints("b", 1)}, nil, nil, "limits of shape [2 3]"},
}

func TestOperators(t *testing.T) {
	for _, test := range operatorTests {
		node := onnxtest.Node{Op: test.op, Inputs: []string{"x"}, Outputs: []string{"y"}, Attributes: test.attributes}
		for _, in := range test.inputs {
			node.Inputs = append(node.Inputs, in.Name)
		}
		g := graph(t, onnxtest.Graph{Nodes: []onnxtest.Node{node}, Tensors: test.inputs})
		for _, dense := range []int{0, 100} { // element by element, and as a whole
			r := g.Run(dense)
			r.Feed("x", oracle.Float, []int{2, 3}, func(i int) float64 { return float64(i) })
			y, err := r.Tensor("y")
			if err == nil && !slices.Equal(y.Dims, test.dims) {
				t.Errorf("%s %v: got shape %v, want %v", test.op, test.attributes, y.Dims, test.dims)
			}
			var got []float64
			if err == nil {
				got, err = r.Values(y)
			}
			switch {
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("%s %v: got %v, want an error with %q", test.op, test.attributes, err, test.fault)
			case test.fault == "" && (err != nil || !slices.Equal(got, test.want)):
				t.Errorf("%s %v: got %v, %v, want %v", test.op, test.attributes, got, err, test.want)
			}
		}
	}
}

// Integers divide as integers do, and constants of every type are read.
func TestIntegers(t *testing.T) {
	g := graph(t, onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "Div", Inputs: []string{"a", "b"}, Outputs: []string{"quotient"}},
			{Op: "Mod", Inputs: []string{"a", "b"}, Outputs: []string{"rest"}},
			{Op: "Div", Inputs: []string{"a", "zero"}, Outputs: []string{"none"}},
			{Op: "Cast", Inputs: []string{"half"}, Outputs: []string{"whole"}, Attributes: attributes{"to": 7}},
		},
		Tensors: []onnxtest.Tensor{ints("a", 7, -7), ints("b", 2), ints("zero", 0), tensor("half", []int64{3}, []uint16{0x3e00, 0xbe00, 0x7bff})},
	})
	r := g.Run(100)
	for name, want := range map[string][]float64{"quotient": {3, -3}, "rest": {1, 1}, "half": {1.5, -1.5, 65504}, "whole": {1, -1, 65504}} {
		x, err := r.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Values(x); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
	if x, err := r.Tensor("none"); err != nil {
		t.Error(err)
	} else if _, err := r.Values(x); err == nil || !strings.Contains(err.Error(), "division by 0") {
		t.Errorf("division by 0: got %v", err)
	}
}

// What a graph could ask for without end is an error.
func TestHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	chain := func(n int, op string, twice bool) onnxtest.Graph {
		var g onnxtest.Graph
		last := "x"
		for i := range n {
			out := "t" + strconv.Itoa(i)
			in := []string{last}
			if twice {
				in = append(in, last)
			}
			g.Nodes = append(g.Nodes, onnxtest.Node{Op: op, Inputs: in, Outputs: []string{out}})
			last = out
		}
		g.Nodes = append(g.Nodes, onnxtest.Node{Op: "Identity", Inputs: []string{last}, Outputs: []string{"y"}})
		return g
	}
	tests := []struct {
		name  string
		graph onnxtest.Graph
		x     []int
		fault string
	}{
		{"a cycle", onnxtest.Graph{Nodes: []onnxtest.Node{
			{Op: "Neg", Inputs: []string{"b"}, Outputs: []string{"y"}}, {Op: "Neg", Inputs: []string{"y"}, Outputs: []string{"b"}},
		}}, []int{1}, "needs what it makes"},
		{"nothing", onnxtest.Graph{}, []int{1}, `nothing makes the tensor "y"`},
		{"a long chain", chain(30000, "Neg", false), []int{1}, "one after the other"},
		{"doubled again and again", chain(100, "Add", true), []int{1 << 19}, "steps"},
		{"a huge tensor", onnxtest.Graph{
			Nodes:   []onnxtest.Node{{Op: "ConstantOfShape", Inputs: []string{"a"}, Outputs: []string{"y"}}},
			Tensors: []onnxtest.Tensor{ints("a", 1<<30, 1<<30)},
		}, []int{1}, "a tensor of shape"},
		{"a sum over all of a large one", onnxtest.Graph{Nodes: []onnxtest.Node{{Op: "ReduceSum", Inputs: []string{"x"}, Outputs: []string{"y"}}}}, []int{1 << 35}, "steps"},
	}
	for _, test := range tests {
		r := graph(t, test.graph).Run(1 << 18)
		r.Feed("x", oracle.Float, test.x, func(i int) float64 { return 1 })
		y, err := r.Tensor("y")
		if err == nil {
			_, err = r.At(y, 0)
		}
		if err == nil || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: got %v, want an error with %q", test.name, err, test.fault)
		}
	}
}

// A run goes on after an error, and after its elements were forgotten.
func TestForget(t *testing.T) {
	g := graph(t, onnxtest.Graph{Nodes: []onnxtest.Node{{Op: "Neg", Inputs: []string{"x"}, Outputs: []string{"y"}}}})
	r := g.Run(100)
	x := 1.0
	r.Feed("x", oracle.Float, []int{2}, func(i int) float64 { return x + float64(i) })
	if _, err := r.Tensor("z"); err == nil {
		t.Error("a tensor that is not there: no error")
	}
	y, err := r.Tensor("y")
	if err != nil {
		t.Fatal(err)
	}
	for _, x = range []float64{1, 5} {
		r.Forget()
		if v, err := r.At(y, 1); err != nil || v != -x-1 {
			t.Errorf("got %v, %v, want %v", v, err, -x-1)
		}
	}
	if _, err := r.At(y, 2); err == nil {
		t.Error("an element that is not there: no error")
	}
}

// An output that is left out has no name, and nothing can be read by it.
func TestLeftOut(t *testing.T) {
	g := oracle.New(&onnx.Model{Graph: &onnx.Graph{Nodes: []onnx.Node{{Op: "Neg", Inputs: []string{"x"}, Outputs: []string{""}}}}}, nil)
	r := g.Run(1)
	r.Feed("x", oracle.Float, []int{1}, func(int) float64 { return 1 })
	if y, err := r.Tensor(""); y != nil || err == nil {
		t.Errorf("got %v, %v, want an error", y, err)
	}
}

func FuzzOracle(f *testing.F) {
	for _, test := range operatorTests {
		node := onnxtest.Node{Op: test.op, Inputs: []string{"x"}, Outputs: []string{"y"}, Attributes: test.attributes}
		for _, in := range test.inputs {
			node.Inputs = append(node.Inputs, in.Name)
		}
		f.Add(onnxtest.Encode(onnxtest.Graph{Nodes: []onnxtest.Node{node}, Tensors: test.inputs}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		g := oracle.New(m, oracle.Inline(bytes.NewReader(b), func(*onnx.Tensor) ([]byte, error) { return nil, errors.New("not here") }))
		r := g.Run(1 << 10)
		r.Feed("x", oracle.Float, []int{2, 3}, func(i int) float64 { return float64(i) })
		for i := range m.Graph.Nodes {
			for _, out := range m.Graph.Nodes[i].Outputs {
				y, err := r.Tensor(out)
				if err != nil {
					continue
				}
				n := 1
				for _, d := range y.Dims {
					n *= d
				}
				if _, err := r.At(y, n-1); n > 0 && err != nil && strings.Contains(err.Error(), "element") && strings.Contains(err.Error(), "of the shape") {
					t.Errorf("the shape %v has no element %d: %v", y.Dims, n-1, err)
				}
			}
		}
	})
}
