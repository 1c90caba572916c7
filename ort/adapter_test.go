package ort_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

// loraGraph is out = in + in·a·b over (1, 2) float32, with a (2, rank) and b (rank, 2) of rank 0 until an adapter replaces them.
func loraGraph() []byte {
	return model(graph("lora",
		[]message{node("MatMul", []string{"in", "a"}, []string{"down"}), node("MatMul", []string{"down", "b"}, []string{"up"}), node("Add", []string{"in", "up"}, []string{"out"})},
		[]message{weight("a", float32Type, "", 2, 0), weight("b", float32Type, "", 0, 2)},
		[]message{port("in", float32Type, 1, 2), port("a", float32Type, 2, "rank"), port("b", float32Type, "rank", 2)},
		[]message{port("out", float32Type, 1, 2)}))
}

// testdata/two.onnx_adapter holds a = [[1] [2]] and b = [[10 20]], written with onnxruntime.AdapterFormat of Python.
func TestAdapter(t *testing.T) {
	env := open(t)
	c := call(t, load(t, env, loraGraph()), []string{"in"}, []string{"out"})
	out := tensor(t, env, ort.Float32, []float32{}, 1, 2)
	c.SetInput(0, tensor(t, env, ort.Float32, []float32{1, 1}, 1, 2))
	c.SetOutput(0, out)
	a, err := env.OpenAdapter(filepath.Join("testdata", "two.onnx_adapter"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	with, err := env.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	defer with.Close()
	if err := with.AddAdapter(a); err != nil {
		t.Fatal(err)
	}
	a.Close() // the options hold it
	for _, test := range []struct {
		options *ort.RunOptions
		want    []float32
	}{{nil, []float32{1, 1}}, {with, []float32{31, 61}}, {nil, []float32{1, 1}}} {
		if err := c.Run(test.options); err != nil {
			t.Fatal(err)
		}
		if got := ort.View[float32](out); !slices.Equal(got, test.want) {
			t.Errorf("with an adapter %t: %v, want %v", test.options != nil, got, test.want)
		}
	}
}

func TestOpenAdapterRefuses(t *testing.T) {
	env := open(t)
	dir := t.TempDir()
	whole, err := os.ReadFile(filepath.Join("testdata", "two.onnx_adapter"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": {}, "html": []byte("<html>not here</html>"), "cut": whole[:len(whole)/2]} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"absent", "empty", "html", "cut", "nul\x00"} {
		a, err := env.OpenAdapter(filepath.Join(dir, name))
		if err == nil {
			a.Close()
			t.Errorf("%s: it opened", name)
			continue
		}
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "open adapter") {
			t.Errorf("%s: %q", name, err)
		}
	}
}
