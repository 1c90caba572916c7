package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

func TestPlaced(t *testing.T) {
	weights := []model.Weighted{{Name: "q", Op: "MatMul", Bytes: 60}, {Name: "k", Op: "MatMul", Bytes: 30}, {Name: "head", Op: "Gemm", Bytes: 10}}
	node := func(name, op, provider string) ort.Node { return ort.Node{Name: name, Op: op, Provider: provider} }
	const cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
	for _, c := range []struct {
		name        string
		nodes       []ort.Node
		weights     []model.Weighted
		short, long string
		cuda        float64
	}{
		{"nothing", nil, nil, "CPU", "", 0},
		{"one holds all", []ort.Node{node("q", "MatMul", cpu)}, nil, "CPU", "CPU 1 of 1 nodes", 0},
		{"many nodes, few weights", []ort.Node{node("a", "Add", cuda), node("b", "Add", cuda), node("c", "Add", cuda), node("q", "MatMul", cpu), node("k", "MatMul", cpu), node("head", "Gemm", cpu)}, weights,
			"CPU", "CPU 3 of 6 nodes, 100.0 % of the weights; CUDA 3 of 6 nodes, none of the weights to speak of", 0},
		{"shared", []ort.Node{node("q", "MatMul", cuda), node("k", "MatMul", cpu), node("head", "Gemm", cuda)}, weights, "CUDA 70 % + CPU 30 %",
			"CUDA 2 of 3 nodes, 70.0 % of the weights; CPU 1 of 3 nodes, 30.0 % of the weights", 0.7},
		{"fused by name", []ort.Node{node("q/MatMulAddFusion", "Gemm", cuda), node("k", "MatMul", cpu), node("head", "Gemm", cpu)}, weights, "CUDA 60 % + CPU 40 %", "CUDA 1 of 3", 0.6},
		{"without names", []ort.Node{node("", "MatMul", cuda), node("", "MatMul", cpu), node("", "Gemm", cpu)}, weights, "CPU 55 % + CUDA 45 %", "", 0.45},
		{"names given twice", []ort.Node{node("x", "MatMul", cuda), node("x", "MatMul", cuda), node("y", "Neg", cpu)},
			[]model.Weighted{{Name: "x", Op: "MatMul", Bytes: 1}, {Name: "x", Op: "MatMul", Bytes: 1}}, "CUDA", "", 1},
		{"no weights known", []ort.Node{node("a", "Add", cuda), node("b", "Add", cpu), node("c", "Add", cpu), node("d", "Add", cpu)}, nil, "CPU 75 % + CUDA 25 %", "", 0.25},
	} {
		p := placed(c.nodes, c.weights)
		if got := p.Short(); got != c.short {
			t.Errorf("%s: short %q, want %q", c.name, got, c.short)
		}
		if got := p.String(); !strings.HasPrefix(got, c.long) {
			t.Errorf("%s: %q, want %q", c.name, got, c.long)
		}
		if got := p.Compute("cuda"); got < c.cuda-1e-9 || got > c.cuda+1e-9 {
			t.Errorf("%s: CUDA's share %v, want %v", c.name, got, c.cuda)
		}
	}
}

func TestPlacementOfTheEmbeddedModel(t *testing.T) {
	for _, k := range []Kernels{KernelsAuto, KernelsOff} {
		m, err := OpenFS(ortest.Env(t), tiny.FS(), Options{Kernels: k, Context: 64})
		if err != nil {
			t.Fatal(err)
		}
		if p := m.Placement(); len(p) != 1 || p.Compute("cpu") != 1 || m.Provider() != "CPU" {
			t.Errorf("kernels %v: %q, want all on the CPU", k, p)
		}
		m.Close()
	}
}

// A provider that is not the runtime's own holds a part of a real graph; SHAMMAH_PLUGIN names one that runs on this machine.
func TestPlacementOfAPlugin(t *testing.T) {
	path := os.Getenv("SHAMMAH_PLUGIN")
	if path == "" {
		t.Skip("SHAMMAH_PLUGIN names no plug-in provider's library")
	}
	env := ortest.Env(t)
	devices, err := env.Plugin(path)
	if err != nil || len(devices) == 0 {
		t.Fatalf("devices %v, %v", devices, err)
	}
	for _, name := range []string{"a-fp32", "a-nocache", "b-int4", "c-fp32"} {
		m, err := Open(env, filepath.Join("testdata", name), Options{Providers: []ort.Provider{{Plugin: path}}, Context: 64})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: %s: %s", name, m.Provider(), m.Placement())
		if share := m.Placement().Compute(devices[0].Provider) + m.Placement().Compute("CPU"); share < 0.999 || share > 1.001 {
			t.Errorf("%s: the shares of %s and the CPU add up to %v, want 1", name, devices[0].Provider, share)
		}
		m.Close()
	}
}
