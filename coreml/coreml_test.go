package coreml

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
)

func TestOptions(t *testing.T) {
	plain := map[string]string{"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "0"}
	with := func(key, value string) map[string]string {
		m := maps.Clone(plain)
		m[key] = value
		return m
	}
	for _, c := range []struct {
		name    string
		options Options
		want    map[string]string
	}{
		{"defaults", Options{}, plain},
		{"format", Options{Format: NeuralNetwork}, with("ModelFormat", "NeuralNetwork")},
		{"units", Options{Units: CPUAndGPU}, with("MLComputeUnits", "CPUAndGPU")},
		{"static shapes", Options{StaticShapes: true}, with("RequireStaticInputShapes", "1")},
		{"cache", Options{CacheDir: "cache"}, with("ModelCacheDirectory", "cache")},
		{"low precision", Options{LowPrecision: true}, with("AllowLowPrecisionAccumulationOnGPU", "1")},
	} {
		if p := c.options.Provider(); p.Name != Name || !maps.Equal(p.Options, c.want) {
			t.Errorf("%s: provider %q with %v, want %q with %v", c.name, p.Name, p.Options, Name, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       Options
		err        string
	}{
		{"units", "ane", Options{Units: CPUAndNeuralEngine}, ""},
		{"units", "all", Options{Units: All}, ""},
		{"units", "tpu", Options{}, "expected one of all, ane, cpu, gpu"},
		{"format", "network", Options{Format: NeuralNetwork}, ""},
		{"static", "on", Options{StaticShapes: true}, ""},
		{"static", "", Options{}, "off, on"},
		{"precision", "low", Options{LowPrecision: true}, ""},
		{"cache", "x", Options{}, "expected one of format, precision, static, units"},
	} {
		got, err := Parse(map[string]string{c.key: c.value})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%s=%s: %v, want an error with %q", c.key, c.value, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s=%s: %+v, %v; want %+v", c.key, c.value, got, err, c.want)
		}
	}
}

// A model that changed has another folder; the same file has the same, by whatever name.
func TestCacheIsKeyedByContent(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	folder := func(graph string) string {
		o, err := Options{}.For(graph, "cache")
		if err != nil {
			t.Fatal(err)
		}
		return o.CacheDir
	}
	graph := write("model.onnx", "one")
	first := folder(graph)
	if copied := folder(write("copy.onnx", "one")); copied != first || filepath.Dir(first) != "cache" {
		t.Errorf("a copy: %q, want %q below cache", copied, first)
	}
	write("model.onnx", "two")
	if second := folder(graph); second == first {
		t.Errorf("after a change: %q, want another", second)
	}
	blob := strings.Repeat("ab", 32)
	write(blob, "not read")
	link := filepath.Join(dir, "link.onnx")
	if err := os.Symlink(blob, link); err != nil {
		t.Fatal(err)
	}
	if got := folder(link); got != filepath.Join("cache", blob[:32]) {
		t.Errorf("a link to a file that is named by its hash: %q, want that name", got)
	}
	if o, err := (Options{}).For(filepath.Join(dir, "none.onnx"), "cache"); err == nil || o.CacheDir != "" {
		t.Errorf("no file: %+v, %v; want an error and no folder", o, err)
	}
}

func TestTakes(t *testing.T) {
	open, fixed := []onnx.Dim{{Size: -1, Symbol: "n"}}, []onnx.Dim{{Size: 8}}
	node := func(domain, op string, inputs ...string) onnx.Node {
		return onnx.Node{Domain: domain, Op: op, Inputs: inputs}
	}
	const ms = "com.microsoft"
	for _, c := range []struct {
		name  string
		graph onnx.Graph
		bytes map[int]int64
		share float64
		says  []string
	}{
		{"all of it", onnx.Graph{Nodes: []onnx.Node{node("", "MatMul"), node("", "Add")}, Inputs: []onnx.Value{{Name: "x", Shape: fixed}}}, map[int]int64{0: 9}, 1, nil},
		{"int4", onnx.Graph{Nodes: []onnx.Node{node(ms, "MatMulNBits"), node(ms, "MatMulNBits"), node("", "Add"), node("", "Constant")}}, map[int]int64{0: 60, 1: 30, 2: 10}, 0.1,
			[]string{"at most 10 %", "MatMulNBits (2 nodes): weights of 4 bits in blocks", "float16 variant"}},
		{"int8", onnx.Graph{Nodes: []onnx.Node{{Domain: ms, Op: "MatMulNBits", Attributes: []onnx.Attribute{{Name: "bits", Int: 8}}}}}, map[int]int64{0: 1}, 0, []string{"8 bits"}},
		{"attention alone is small", onnx.Graph{Nodes: []onnx.Node{node("", "MatMul"), node(ms, "GroupQueryAttention")}}, map[int]int64{0: 9}, 1, []string{"GroupQueryAttention (1 nodes): an operator of com.microsoft"}},
		{"open shapes", onnx.Graph{Nodes: []onnx.Node{node("", "MatMul")}, Inputs: []onnx.Value{{Name: "a", Shape: open}, {Name: "b"}, {Name: "c", Shape: open}}}, map[int]int64{0: 9}, 1,
			[]string{"inputs without fixed shapes: a, b and 1 more"}},
		{"a large vocabulary", onnx.Graph{Nodes: []onnx.Node{node("", "Gather", "table", "ids"), node("", "MatMul", "h", "w")}, Initializers: []onnx.Tensor{{Name: "table", Dims: []int64{151936, 8}}, {Name: "w", Dims: []int64{8, 16384}}}},
			map[int]int64{1: 9}, 1, []string{"Gather with a dimension of 151936 (1 nodes): at most 16384"}},
		{"no weights known", onnx.Graph{Nodes: []onnx.Node{node("", "TopK"), node("", "Add"), node("", "Add"), node("", "Add")}}, nil, 0.75, []string{"TopK (1 nodes): the provider cannot write it"}},
		{"empty", onnx.Graph{}, nil, 1, nil},
	} {
		v := Takes(&c.graph, c.bytes)
		if v.Share < c.share-1e-9 || v.Share > c.share+1e-9 {
			t.Errorf("%s: share %v, want %v", c.name, v.Share, c.share)
		}
		if len(c.says) == 0 && len(v.Reasons) > 0 {
			t.Errorf("%s: %v, want nothing to say", c.name, v)
		}
		for _, want := range c.says {
			if !strings.Contains(v.String(), want) || strings.Contains(v.String(), "\n") {
				t.Errorf("%s: %q, want one line with %q", c.name, v, want)
			}
		}
	}
}
