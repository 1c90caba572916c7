package derive

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// Target is a matrix product that adapters may add to. Nodes name it by its place in the plan's list.
type Target struct {
	Module          string // as Modules are called: "layers.0.attn.q_proj"
	Inputs, Outputs int
	Kernels         bool // the kernels compute it
}

// Place is where outputs [From, From+Outputs) of a module lie: at First in a target's.
type Place struct{ Target, First, From, Outputs int }

// joined says which modules of a layer some exporters, and some checkpoints, make one of, in order of their outputs.
var joined = map[string][]string{
	"attn.qkv_proj":    {"attn.q_proj", "attn.k_proj", "attn.v_proj"},
	"mlp.gate_up_proj": {"mlp.gate_proj", "mlp.up_proj"},
}

// Modules says where the modules of a model lie in its targets.
type Modules struct {
	targets []Target
	places  map[string][]Place
}

// Modules finds the modules of the plan's targets, those that were joined among them, and those that a checkpoint may have joined.
func (p *Plan) Modules(spec *model.Spec) *Modules {
	m := &Modules{p.Targets, map[string][]Place{}}
	twice := map[string]bool{}
	for i, t := range p.Targets {
		_, known := m.places[t.Module]
		twice[t.Module] = known
		m.places[t.Module] = []Place{{Target: i, Outputs: t.Outputs}}
	}
	for name, is := range twice {
		if is { // whichever the adapter means
			delete(m.places, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.places)) {
		for whole, parts := range joined {
			if layer, is := strings.CutSuffix(name, whole); is {
				m.split(layer, m.places[name][0], parts, spec)
			}
			if layer, is := strings.CutSuffix(name, parts[0]); is {
				m.join(layer, whole, parts)
			}
		}
	}
	return m
}

// split finds the parts of a module that the exporter made of several.
func (m *Modules) split(layer string, whole Place, parts []string, spec *model.Spec) {
	sizes := []int{whole.Outputs / 2, whole.Outputs / 2}
	if len(parts) == 3 {
		sizes = []int{spec.Heads * spec.HeadDim, spec.KVHeads * spec.HeadDim, spec.KVHeads * spec.HeadDim}
	}
	total := 0
	for _, n := range sizes {
		total += n
	}
	for i, first := 0, 0; i < len(parts) && total == whole.Outputs; i++ {
		m.places[layer+parts[i]] = []Place{{Target: whole.Target, First: first, Outputs: sizes[i]}}
		first += sizes[i]
	}
}

// join makes the module that a checkpoint may have in place of several.
func (m *Modules) join(layer, whole string, parts []string) {
	var places []Place
	from := 0
	for _, part := range parts {
		p := m.places[layer+part]
		if len(p) != 1 {
			return
		}
		places = append(places, Place{Target: p[0].Target, First: p[0].First, From: from, Outputs: p[0].Outputs})
		from += p[0].Outputs
	}
	if _, known := m.places[layer+whole]; !known {
		m.places[layer+whole] = places
	}
}

// Find is where the module that PEFT calls so lies. The error is the rest of a line that says what is wrong with it.
func (m *Modules) Find(name string, inputs, outputs int) ([]Place, error) {
	places := m.places[canonical(name)]
	if len(places) == 0 {
		return nil, fmt.Errorf("the graph has no module %q that adapters can add to; it has %s", name, m)
	}
	have := 0
	for _, p := range places {
		have += p.Outputs
		if want := m.targets[p.Target].Inputs; want != inputs {
			return nil, fmt.Errorf("module %q has %d inputs, expected %d as the graph has; the adapter is for another model", name, inputs, want)
		}
	}
	if have != outputs {
		return nil, fmt.Errorf("module %q has %d outputs, expected %d as the graph has; the adapter is for another model", name, outputs, have)
	}
	return places, nil
}

// Target is the target of that number.
func (m *Modules) Target(i int) Target { return m.targets[i] }

// String lists the modules in short: those of layers once, with how many layers there are.
func (m *Modules) String() string {
	layers := map[string]bool{}
	names := map[string]bool{}
	for name := range m.places {
		if rest, is := strings.CutPrefix(name, "layers."); is {
			if layer, module, found := strings.Cut(rest, "."); found {
				layers[layer], names[module] = true, true
				continue
			}
		}
		names[name] = true
	}
	if len(names) == 0 {
		return "none"
	}
	list := slices.Sorted(maps.Keys(names))
	const most = 24
	if more := len(list) - most; more > 0 {
		list = append(list[:most], strconv.Itoa(more)+" more")
	}
	s := strings.Join(list, ", ")
	if len(layers) > 0 {
		s += fmt.Sprintf(" in %d layers", len(layers))
	}
	return s
}

// canonical is one name for what exporters and checkpoints call a module: "layers.0.attn.q_proj" for "/model/layers.0/self_attn/q_proj" and
// for "model.language_model.layers.0.self_attn.q_proj".
func canonical(name string) string {
	name = strings.ReplaceAll(strings.Trim(name, "/"), "/", ".")
	for cut := true; cut; {
		for _, prefix := range []string{"base_model.", "model.", "language_model."} {
			if name, cut = strings.CutPrefix(name, prefix); cut {
				break
			}
		}
	}
	return strings.ReplaceAll(strings.TrimSuffix(name, ".base_layer"), ".self_attn.", ".attn.") // PEFT calls a module so that it put its own around
}

// moduleOf is the module that a product of constant weights computes, by the node's name or that of its weights; "" if neither says.
func moduleOf(n *onnx.Node, weights string) string {
	if at := strings.LastIndexByte(n.Name, '/'); at > 0 {
		if op := n.Name[at+1:]; strings.HasPrefix(op, "MatMul") || strings.HasPrefix(op, "Gemm") {
			return canonical(n.Name[:at])
		}
	}
	for _, end := range []string{".MatMul.weight", ".weight"} {
		if at := strings.Index(weights, end); at > 0 {
			return canonical(weights[:at])
		}
	}
	return ""
}

// addTarget puts a product in the list, -1 where its module is not known.
func (p *Plan) addTarget(n *onnx.Node, weights string, inputs, outputs int, kernels bool) int {
	module := moduleOf(n, weights)
	if module == "" {
		return -1
	}
	p.Targets = append(p.Targets, Target{module, inputs, outputs, kernels})
	return len(p.Targets) - 1
}
