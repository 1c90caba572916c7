package onnx_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

func read(b []byte) (*onnx.Model, error) { return onnx.Read(bytes.NewReader(b), int64(len(b))) }

func sample() onnxtest.Graph {
	starts := binary.LittleEndian.AppendUint64(nil, math.MaxUint64) // -1
	outside := func(name string, dims ...int64) onnxtest.Tensor {
		return onnxtest.Tensor{Name: name, Type: onnx.Float32, Dims: dims,
			External: [][2]string{{"location", "w.data"}, {"offset", "64"}, {"length", "24"}}}
	}
	return onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "ids", Type: onnx.Int64, Dims: []any{"batch", 5}}},
		Outputs: []onnxtest.Value{{Name: "y", Type: onnx.Float16, Dims: []any{"batch", "n", 7}}},
		Nodes: []onnxtest.Node{
			{Op: "Slice", Inputs: []string{"ids", "", "starts"}, Outputs: []string{"y"}, Attributes: map[string]any{"axis": 1}},
			{Op: "If", Inputs: []string{"y"}, Attributes: map[string]any{"then_branch": onnxtest.Graph{
				Tensors: []onnxtest.Tensor{outside("inner", 2, 3)},
			}}},
			{Op: "Constant", Outputs: []string{"c"}, Attributes: map[string]any{"value": outside("", 6)}},
		},
		Tensors: []onnxtest.Tensor{
			{Name: "starts", Type: onnx.Int64, Dims: []int64{1}, Raw: starts},
			outside("w", 3, 2),
			{Name: "big", Type: onnx.Uint8, Dims: []int64{100000}, Raw: make([]byte, 100000)},
		},
		Functions: []onnx.Function{{Domain: "local", Name: "f"}},
	}
}

func TestRead(t *testing.T) {
	m, err := read(onnxtest.Encode(sample()))
	if err != nil {
		t.Fatal(err)
	}
	if m.IRVersion != 10 || m.Metadata["key"] != "value" || len(m.Opsets) != 2 || m.Opsets[1] != (onnx.Opset{Domain: "com.microsoft", Version: 1}) {
		t.Errorf("header: %+v", m)
	}
	g := m.Graph
	if want := []onnx.Dim{{Size: -1, Symbol: "batch"}, {Size: 5}}; !reflect.DeepEqual(g.Inputs[0].Shape, want) || g.Inputs[0].Type != onnx.Int64 {
		t.Errorf("input: got %+v, want shape %+v", g.Inputs[0], want)
	}
	if n := g.Nodes[0]; n.Op != "Slice" || !reflect.DeepEqual(n.Inputs, []string{"ids", "", "starts"}) || n.Attribute("axis").Int != 1 || n.Attribute("none") != nil {
		t.Errorf("node: %+v", n)
	}
	if v, ok := g.Initializers[0].Ints(); !ok || len(v) != 1 || v[0] != -1 {
		t.Errorf("starts: %v, %v", v, ok)
	}
	if g.Initializers[2].Inline != 100000 {
		t.Errorf("big: %d bytes inline", g.Initializers[2].Inline)
	}
	var outside []string
	for _, x := range m.External() {
		outside = append(outside, x.Name)
		if x.External.Location != "w.data" || x.External.Offset != 64 || x.External.Length != 24 {
			t.Errorf("external: %+v", x.External)
		}
	}
	if want := []string{"inner", "", "w"}; !reflect.DeepEqual(outside, want) {
		t.Errorf("external tensors: got %q, want %q", outside, want)
	}
	if !reflect.DeepEqual(m.Functions, []onnx.Function{{Domain: "local", Name: "f"}}) {
		t.Errorf("functions: %+v", m.Functions)
	}
}

// A tensor's bytes are skipped, not read.
func TestWeightsAreNotRead(t *testing.T) {
	b := onnxtest.Encode(onnxtest.Graph{Tensors: []onnxtest.Tensor{{Name: "w", Type: onnx.Uint8, Dims: []int64{8 << 20}, Raw: make([]byte, 8<<20)}}})
	counted := &countingReader{Reader: bytes.NewReader(b)}
	if _, err := onnx.Read(counted, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if counted.bytes > 256<<10 {
		t.Errorf("read %d bytes of a file with 8 MB of weights", counted.bytes)
	}
}

type countingReader struct {
	*bytes.Reader
	bytes int
}

func (c *countingReader) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += len(b)
	return c.Reader.ReadAt(b, at)
}

// M-01: a file cut off anywhere is an error, and one that says so where the length shows it.
func TestTruncated(t *testing.T) {
	g := sample()
	g.Tensors[2].Dims[0], g.Tensors[2].Raw = 10, make([]byte, 10)
	whole := onnxtest.Encode(g)
	for n := range len(whole) {
		m, err := read(whole[:n])
		if err == nil && len(m.Graph.Outputs) == 0 {
			t.Fatalf("%d of %d bytes: no error, and no graph", n, len(whole))
		}
		if err != nil && !errors.Is(err, onnx.ErrTruncated) && !errors.Is(err, onnx.ErrMalformed) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := read(whole[:len(whole)/2]); !errors.Is(err, onnx.ErrTruncated) {
		t.Errorf("half a file: %v", err)
	}
}

// Floats that are stored as such lie as raw ones do, unless they are stored one by one.
func TestPackedFloats(t *testing.T) {
	values := []byte{0, 0, 128, 63, 0, 0, 0, 64} // 1, 2
	head := []byte{8, 2, 16, 1}                  // shape [2], float32
	for _, test := range []struct {
		name   string
		tensor []byte
		raw    bool
	}{
		{"packed", append(append([]byte{}, head...), append([]byte{4<<3 | 2, 8}, values...)...), true},
		{"the type at last", append(append([]byte{8, 2, 4<<3 | 2, 8}, values...), 16, 1), true},
		{"one by one", append(append([]byte{}, head...), append(append([]byte{4<<3 | 5}, values[:4]...), append([]byte{4<<3 | 5}, values[4:]...)...)...), false},
		{"too few", append(append([]byte{}, head...), append([]byte{4<<3 | 2, 4}, values[:4]...)...), false},
		{"doubles", append([]byte{8, 1, 16, 11, 4<<3 | 2, 8}, values...), false},
	} {
		graph := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), test.tensor)
		file := protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), graph)
		m, err := read(file)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		raw := m.Graph.Initializers[0].Raw
		if got := raw != (onnx.Span{}); got != test.raw || got && !bytes.Equal(file[raw.At:raw.End], values) {
			t.Errorf("%s: raw data at %+v, want some: %v", test.name, raw, test.raw)
		}
	}
}

func TestMalformed(t *testing.T) {
	tensor := func(x onnxtest.Tensor) []byte { return onnxtest.Encode(onnxtest.Graph{Tensors: []onnxtest.Tensor{x}}) }
	outside := func(entries ...[2]string) []byte {
		return tensor(onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{2}, External: entries})
	}
	deep := onnxtest.Graph{}
	for range 20 {
		deep = onnxtest.Graph{Nodes: []onnxtest.Node{{Op: "If", Attributes: map[string]any{"b": deep}}}}
	}
	location := [2]string{"location", "w"}
	var many []byte
	for range 3 << 20 {
		many = append(many, 13<<3, 0x00) // an unknown number
	}
	var integers []byte // a byte each in the file, and eight in memory
	for range 400 {
		integers = protowire.AppendBytes(protowire.AppendTag(integers, 5, protowire.BytesType),
			protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), make([]byte, 60_000)))
	}
	for _, field := range []protowire.Number{1, 7} { // of a node, of a graph
		integers = protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), integers)
	}
	tests := []struct {
		name  string
		file  []byte
		fault string
	}{
		{"many integers", integers, "its graph takes more than"},
		{"text", []byte("garbage garbage garbage"), ""},
		{"zeros", make([]byte, 100), "field number 0"},
		{"four bytes", []byte("abcd"), ""},
		{"no graph", []byte{8, 10}, "no graph"},
		{"two graphs", append(onnxtest.Encode(sample()), onnxtest.Encode(sample())...), "second graph"},
		{"deep", onnxtest.Encode(deep), "nested more than"},
		{"a graph that is a number", protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.VarintType), 1), "wire type"},
		{"groups", protowire.AppendTag(nil, 7, protowire.StartGroupType), "wire type 3"},
		{"many fields", many, "more than"},
		{"negative dimension", tensor(onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{-1}}), "has the shape [-1]"},
		{"overflow", tensor(onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{1 << 32, 1 << 32}}), "overflows"},
		{"raw size", tensor(onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{3}, Raw: make([]byte, 11)}), "holds 11 bytes, 12 were expected"},
		{"no location", outside([2]string{"offset", "0"}), "without a location"},
		{"negative offset", outside(location, [2]string{"offset", "-1"}), `offset "-1"`},
		{"offset no number", outside(location, [2]string{"offset", "0x10"}), `offset "0x10"`},
		{"length overflows", outside(location, [2]string{"length", "9223372036854775808"}), `length "9223372036854775808"`},
		{"location twice", outside(location, [2]string{"location", "v"}), "names the location of its external data twice"},
	}
	for _, test := range tests {
		start := time.Now()
		_, err := read(test.file)
		if err == nil || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want an error with %q", test.name, err, test.fault)
		}
		if !errors.Is(err, onnx.ErrMalformed) && !errors.Is(err, onnx.ErrTruncated) {
			t.Errorf("%s: %v is of no kind", test.name, err)
		}
		if d := time.Since(start); d > 10*time.Second { // 20 ms in truth; room for the race detector on a busy machine
			t.Errorf("%s: took %v", test.name, d)
		}
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		kind onnx.DataType
		dims []int64
		want int64
	}{
		{onnx.Float32, nil, 4}, {onnx.Float16, []int64{3, 5}, 30}, {onnx.Int4, []int64{3}, 2}, {onnx.Uint4, []int64{2, 2}, 2},
		{onnx.Uint2, []int64{5}, 2}, {onnx.Int64, []int64{0, 1 << 40, 1 << 40}, 0}, {onnx.String, []int64{2}, -1}, {99, []int64{2}, -1},
	}
	for _, test := range tests {
		x := onnx.Tensor{Type: test.kind, Dims: test.dims}
		if got, err := x.Size(); err != nil || got != test.want {
			t.Errorf("%v of shape %v: %d bytes, %v; want %d", test.kind, test.dims, got, err, test.want)
		}
	}
}

func FuzzGraph(f *testing.F) {
	g := sample()
	g.Tensors[2].Dims[0], g.Tensors[2].Raw = 10, make([]byte, 10)
	f.Add(onnxtest.Encode(g))
	fixtures, _ := filepath.Glob(filepath.Join("..", "..", "engine", "testdata", "b-*", "model.onnx"))
	for _, name := range fixtures {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := read(b)
		if (m == nil) == (err == nil) {
			t.Fatalf("model %v and error %v", m, err)
		}
		if err != nil {
			return
		}
		for _, x := range m.External() {
			if n, err := x.Size(); err != nil || x.External.Offset < 0 || x.External.Location == "" {
				t.Errorf("external %+v of %d bytes: %v", x.External, n, err)
			}
		}
	})
}

// A file that was cut while it was open is not written as zeros.
func TestWriteOfACutFile(t *testing.T) {
	file := onnxtest.Encode(sample())
	m, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	m.Functions = nil
	for _, n := range []int{len(file), len(file) - 100, len(file) / 2, 0} {
		b, err := onnx.Write(m, bytes.NewReader(file[:n]))
		if whole := n == len(file); whole != (err == nil) || err == nil && len(b) == 0 {
			t.Errorf("%d of %d bytes: got %d bytes, %v", n, len(file), len(b), err)
		}
	}
}
