package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/ort"
)

// Share is what one execution provider holds of a model's graph.
type Share struct {
	Provider string `json:"provider"` // in short: CPU, CUDA, CoreML
	Nodes    int    `json:"nodes"`
	Bytes    int64  `json:"weight_bytes"` // of the weights that its nodes compute with; tables that are looked up are not counted
}

// Placement is which provider holds what of a graph, that with most of the compute first.
type Placement []Share

// Compute is the share of the compute that a provider holds, from 0 to 1: of the bytes of weights, since reading these is what a token
// costs, or of the nodes where weights do not show.
func (p Placement) Compute(provider string) float64 {
	nodes, bytes := p.total()
	for _, s := range p {
		switch {
		case !strings.EqualFold(s.Provider, short(provider)):
		case bytes > 0:
			return float64(s.Bytes) / float64(bytes)
		case nodes > 0:
			return float64(s.Nodes) / float64(nodes)
		}
	}
	return 0
}

func (p Placement) total() (nodes int, bytes int64) {
	for _, s := range p {
		nodes, bytes = nodes+s.Nodes, bytes+s.Bytes
	}
	return nodes, bytes
}

// Short names who computes: "CUDA", or "CoreML 62 % + CPU 38 %".
func (p Placement) Short() string {
	var parts []string
	for _, s := range p {
		if share := p.Compute(s.Provider); share >= 0.995 {
			return s.Provider
		} else if share >= 0.005 {
			parts = append(parts, fmt.Sprintf("%s %.0f %%", s.Provider, share*100))
		}
	}
	if parts == nil {
		return "CPU"
	}
	return strings.Join(parts, " + ")
}

// String is the whole truth in one line: "CUDA 210 of 214 nodes, 99.9 % of the weights; CPU 4 of
// 214 nodes, 0.1 % of the weights".
func (p Placement) String() string {
	nodes, bytes := p.total()
	parts := make([]string, len(p))
	for i, s := range p {
		parts[i] = fmt.Sprintf("%s %d of %d nodes", s.Provider, s.Nodes, nodes)
		if share := p.Compute(s.Provider) * 100; bytes > 0 && share < 0.1 {
			parts[i] += ", none of the weights to speak of"
		} else if bytes > 0 {
			parts[i] += fmt.Sprintf(", %.1f %% of the weights", share)
		}
	}
	return strings.Join(parts, "; ")
}

// short is a provider's name as people use it.
func short(provider string) string { return strings.TrimSuffix(provider, "ExecutionProvider") }

// placed adds up where nodes are. Weights are found by the names of the nodes that compute with them; nodes without a name, or with one that
// the runtime gave, take an equal part of what is left for their operator.
func placed(nodes []ort.Node, weights []model.Weighted) Placement {
	shares := map[string]*Share{}
	of := func(n ort.Node) *Share {
		name := short(n.Provider)
		if shares[name] == nil {
			shares[name] = &Share{Provider: name}
		}
		return shares[name]
	}
	named := map[string]int{} // places in weights, -1 for a name that several have
	for i, w := range weights {
		if _, twice := named[w.Name]; twice || w.Name == "" {
			i = -1
		}
		named[w.Name] = i
	}
	seen, rest := make([]bool, len(weights)), map[string][]*Share{}
	for _, n := range nodes {
		s := of(n)
		s.Nodes++
		i, ok := named[n.Name]
		if cut := strings.LastIndexByte(n.Name, '/'); !ok && cut > 0 {
			i, ok = named[n.Name[:cut]] // "x/MatMul/MatMulAddFusion"
		}
		if ok && i >= 0 && !seen[i] {
			seen[i] = true
			s.Bytes += weights[i].Bytes
			continue
		}
		rest[n.Op] = append(rest[n.Op], s)
	}
	left := map[string]int64{}
	for i, w := range weights {
		if !seen[i] {
			left[w.Op] += w.Bytes
		}
	}
	for op, holders := range rest {
		for _, s := range holders {
			s.Bytes += left[op] / int64(len(holders))
		}
	}
	var p Placement
	for _, s := range shares {
		p = append(p, *s)
	}
	slices.SortFunc(p, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Nodes, a.Nodes), strings.Compare(a.Provider, b.Provider))
	})
	return p
}

// place notes which provider holds what. The weights are looked up only where it is not one that holds all.
func (m *Model) place(files model.Files) error {
	nodes, err := m.session.Placement()
	if err != nil {
		return err
	}
	m.placement = placed(nodes, nil)
	if len(m.placement) < 2 {
		return nil
	}
	graph, tensors, err := files.ReadGraph()
	if err != nil {
		return err
	}
	m.placement = placed(nodes, model.WeightedNodes(graph.Graph))
	return tensors.Close()
}
