package oracle_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

const testdata = "../../../engine/testdata"

// open reads a fixture's graph.
func open(t *testing.T, path string) (*onnx.Model, *oracle.Graph) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testdata, path))
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	outside := func(x *onnx.Tensor) ([]byte, error) {
		all, err := os.ReadFile(filepath.Join(testdata, filepath.Dir(path), x.External.Location))
		if err != nil {
			return nil, err
		}
		return all[x.External.Offset:][:x.External.Length], nil
	}
	return m, oracle.New(m, oracle.Inline(bytes.NewReader(b), outside))
}

// Whole models, computed node by node, choose the tokens that transformers and ONNX Runtime choose.
func TestGolden(t *testing.T) {
	var golden struct {
		Prompts [][]int
		Outputs []struct {
			Folders []string
			IDs     [][]int
		}
	}
	b, err := os.ReadFile(filepath.Join(testdata, "golden.json"))
	if err == nil {
		err = json.Unmarshal(b, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	for folder, path := range map[string]string{
		"a-fp32": "onnx/model.onnx", "a-fp16": "onnx/model_fp16.onnx", "a-nocache": "onnx/model.onnx", "a-combined": "onnx/model.onnx",
		"a-keep": "onnx/model.onnx", "c-fp32": "model.onnx",
	} {
		m, g := open(t, filepath.Join(folder, path))
		for _, o := range golden.Outputs {
			if !slices.Contains(o.Folders, folder) {
				continue
			}
			for i, prompt := range golden.Prompts[:3] {
				want := o.IDs[i][0]
				if got := next(t, m, g.Run(1<<18), prompt); got != want {
					t.Errorf("%s, prompt of %d tokens: token %d, want %d", folder, len(prompt), got, want)
				}
			}
		}
	}
}

// next is the most likely token after a prompt, with nothing in the cache.
func next(t *testing.T, m *onnx.Model, r *oracle.Run, prompt []int) int {
	t.Helper()
	n := len(prompt)
	for _, v := range m.Graph.Inputs {
		dims, kind, at := []int{1, n}, oracle.Int, func(int) float64 { return 1 }
		switch {
		case v.Name == "input_ids":
			at = func(i int) float64 { return float64(prompt[i]) }
		case v.Name == "position_ids":
			at = func(i int) float64 { return float64(i) }
		case v.Name == "num_logits_to_keep":
			dims = nil
		case strings.HasPrefix(v.Name, "past"):
			dims, kind = nil, oracle.Float
			for _, d := range v.Shape {
				dims = append(dims, int(max(d.Size, 1)))
			}
			dims[len(dims)-2] = 0
		}
		r.Feed(v.Name, kind, dims, at)
	}
	logits, err := r.Tensor("logits")
	if err != nil {
		t.Fatal(err)
	}
	best, top := 0, -1e30
	vocab := logits.Dims[2]
	for i := range vocab {
		v, err := r.At(logits, (logits.Dims[1]-1)*vocab+i)
		if err != nil {
			t.Fatal(err)
		}
		if v > top {
			best, top = i, v
		}
	}
	return best
}
