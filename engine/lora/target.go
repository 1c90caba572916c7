package lora

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// Target is the shape of a matrix that an adapter can add to.
type Target struct{ Inputs, Outputs int }

// Heads is how a model's attention is divided, for graphs that hold its three projections as one matrix.
type Heads struct{ Query, KV, Dim int }

// nodeModule is the name of a matrix product's node: exporters keep the module's name in it. onnxruntime-genai's shortens self_attn.
var nodeModule = regexp.MustCompile(`^/?(.+)/MatMul(?:_[A-Za-z0-9_]+)?$`)

// Targets lists the matrices of a graph by PEFT's names. Those of a packed projection are listed beside it.
func Targets(g *onnx.Graph, h Heads) map[string]Target {
	dims := map[string][]int64{}
	for _, t := range g.Initializers {
		dims[t.Name] = t.Dims
	}
	targets := map[string]Target{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		t, ok := target(n, dims)
		m := nodeModule.FindStringSubmatch(n.Name)
		if !ok || m == nil {
			continue
		}
		module := onnxLayer.ReplaceAllString(strings.ReplaceAll(m[1], "/", "."), "${1}${2}.self_attn.")
		targets[module] = t
		if before, found := strings.CutSuffix(module, "qkv_proj"); found && t.Outputs == (h.Query+2*h.KV)*h.Dim {
			targets[before+"q_proj"] = Target{t.Inputs, h.Query * h.Dim}
			targets[before+"k_proj"] = Target{t.Inputs, h.KV * h.Dim}
			targets[before+"v_proj"] = Target{t.Inputs, h.KV * h.Dim}
		}
	}
	return targets
}

// target is the shape of the constant matrix that a node multiplies by.
func target(n *onnx.Node, dims map[string][]int64) (t Target, ok bool) {
	switch n.Op {
	case "MatMulNBits":
		k, out := n.Attribute("K"), n.Attribute("N")
		if k == nil || out == nil {
			return t, false
		}
		t = Target{int(k.Int), int(out.Int)}
	case "MatMul", "MatMulInteger", "DynamicQuantizeMatMul":
		if len(n.Inputs) < 2 || len(dims[n.Inputs[1]]) != 2 {
			return t, false
		}
		d := dims[n.Inputs[1]]
		t = Target{int(d[0]), int(d[1])}
	}
	return t, t.Inputs > 0 && t.Outputs > 0
}

// Fits says whether a model has all the matrices that the adapter adds to, in their shapes.
func (a *Adapter) Fits(model string, targets map[string]Target) error {
	for _, m := range a.Modules {
		t, ok := targets[m.Name]
		if !ok {
			return fmt.Errorf("lora: compare the adapter with %s: %w: it adds to %s, which this model's graph does not have%s", model, ErrAdapter, m.Name, nearest(m.Name, targets))
		}
		if t != (Target{m.Inputs, m.Outputs}) {
			return fmt.Errorf("lora: compare the adapter with %s: %w: %s has the shape (%d, %d) in the adapter and (%d, %d) in the model: it was trained on another one",
				model, ErrAdapter, m.Name, m.Outputs, m.Inputs, t.Outputs, t.Inputs)
		}
	}
	return nil
}

// nearest hints at what a model has in place of a module.
func nearest(module string, targets map[string]Target) string {
	if len(targets) == 0 {
		return "; none of its matrices is known by name"
	}
	last := module[strings.LastIndexByte(module, '.')+1:]
	like := slices.DeleteFunc(slices.Sorted(maps.Keys(targets)), func(name string) bool { return name[strings.LastIndexByte(name, '.')+1:] != last })
	if len(like) == 0 {
		return ""
	}
	return fmt.Sprintf("; it has %d like %s", len(like), like[0])
}
