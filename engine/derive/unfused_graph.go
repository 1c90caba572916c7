package derive

import (
	"slices"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// finder walks a graph without changing it.
type finder struct {
	graph *onnx.Graph
	spec  *model.Spec

	made      map[string]int          // the node that makes a tensor
	constants map[string]*onnx.Tensor // initializers
	readers   map[string][]int
	data      map[string]bool         // tensors that depend on tokens or on the cache, by more than their shapes
	from      map[*onnx.Node][]string // the sources of nodes that were asked about
}

func (f *finder) index() {
	f.made, f.constants, f.readers, f.data = map[string]int{}, map[string]*onnx.Tensor{}, map[string][]int{}, map[string]bool{}
	f.from = map[*onnx.Node][]string{}
	for i := range f.graph.Initializers {
		f.constants[f.graph.Initializers[i].Name] = &f.graph.Initializers[i]
	}
	if s := f.spec; s != nil {
		f.data[s.InputIDs] = true
		for _, past := range s.Past {
			f.data[past.Key], f.data[past.Value] = true, true
		}
	}
	for i := range f.graph.Nodes {
		n := &f.graph.Nodes[i]
		isData := false
		for _, in := range reads(n) {
			f.readers[in] = append(f.readers[in], i)
			isData = isData || n.Op != "Shape" && n.Op != "Size" && f.isData(in)
		}
		for _, out := range n.Outputs {
			f.made[out] = i
			f.data[out] = f.data[out] || isData
		}
	}
}

func (f *finder) isData(name string) bool { return name != "" && f.data[name] }

// node makes a tensor; nil for inputs and initializers.
func (f *finder) node(name string) *onnx.Node {
	if i, ok := f.made[name]; ok && name != "" {
		return &f.graph.Nodes[i]
	}
	return nil
}

// reads lists what a node reads, its branches' outer tensors among them.
func reads(n *onnx.Node) []string {
	list := slices.Clone(n.Inputs)
	for _, a := range n.Attributes {
		for _, g := range a.Graphs {
			for i := range g.Nodes {
				list = append(list, reads(&g.Nodes[i])...)
			}
			for _, v := range g.Outputs {
				list = append(list, v.Name)
			}
		}
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// live returns the nodes that are still needed when each attention's outputs are made from its query, key and value.
func (f *finder) live(found []Unfused) []*onnx.Node {
	given := map[string]bool{}
	var queue []string
	for _, u := range found {
		given[u.Output], given[u.PresentKey], given[u.PresentValue] = true, true, true
		queue = append(queue, u.Query, u.Key, u.Value)
	}
	for _, v := range f.graph.Outputs {
		queue = append(queue, v.Name)
	}
	seen := map[int]bool{}
	var nodes []*onnx.Node
	for len(queue) > 0 {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		i, made := f.made[name]
		if !made || given[name] || seen[i] {
			continue
		}
		seen[i] = true
		nodes = append(nodes, &f.graph.Nodes[i])
		queue = append(queue, reads(&f.graph.Nodes[i])...)
	}
	slices.SortFunc(nodes, func(a, b *onnx.Node) int { return f.made[first(a)] - f.made[first(b)] })
	return nodes
}

func first(n *onnx.Node) string {
	for _, out := range n.Outputs {
		if out != "" {
			return out
		}
	}
	return ""
}

// nothingElse checks that only the attentions need the cache, positions and mask: an operator over a shared cache has longer ones.
func (f *finder) nothingElse(found []Unfused) error {
	own := map[string]string{}
	if f.spec.Positions != "" {
		own[f.spec.Positions] = "the positions"
	}
	if f.spec.Mask != "" {
		own[f.spec.Mask] = "the attention mask"
	}
	for _, u := range found {
		own[u.PastKey], own[u.PastValue], own[u.PresentKey], own[u.PresentValue] = "the cache", "the cache", "the cache", "the cache"
	}
	for _, u := range found {
		for _, name := range []string{u.Query, u.Key, u.Value} {
			if own[name] != "" {
				return refuse("layer %d is computed from %s %q itself", u.Layer, own[name], name)
			}
		}
	}
	for _, n := range f.live(found) {
		for _, in := range reads(n) {
			if own[in] != "" {
				return refuseAt(n, "it needs %s %q, outside of attention", own[in], in)
			}
		}
	}
	return nil
}

// sourcesMax is more data than any node between a projection and its attention computes with.
const sourcesMax = 64

// sources are the data that a node computes with: tensors that depend on tokens or the cache, each once. Of more than any real node has, a
// few too many are given. It is asked again and again about the same nodes, and looks once.
func (f *finder) sources(n *onnx.Node) []string {
	list, known := f.from[n]
	if known {
		return list
	}
	for _, in := range reads(n) {
		if f.isData(in) && !slices.Contains(list, in) {
			if list = append(list, in); len(list) > sourcesMax {
				break
			}
		}
	}
	f.from[n] = list
	return list
}

// origin goes back from a tensor to the nearest one that all data in it comes through: of a rotation, what is turned.
func (f *finder) origin(name string) (string, error) {
	frontier := []string{name}
	for range 64 {
		latest := slices.MaxFunc(frontier, func(a, b string) int { return f.order(a) - f.order(b) })
		n := f.node(latest)
		if n == nil || len(f.sources(n)) == 0 || len(f.sources(n)) > sourcesMax {
			return "", refuseAt(f.node(name), "where %q comes from was not found", name)
		}
		frontier = slices.DeleteFunc(frontier, func(s string) bool { return s == latest })
		for _, s := range f.sources(n) {
			if !slices.Contains(frontier, s) {
				frontier = append(frontier, s)
			}
		}
		if len(frontier) == 1 {
			return frontier[0], nil
		}
	}
	return "", refuseAt(f.node(name), "too much lies between it and the projection")
}

func (f *finder) order(name string) int {
	if i, ok := f.made[name]; ok {
		return i
	}
	return -1
}
