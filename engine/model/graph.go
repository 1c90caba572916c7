package model

import (
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

const attention = "GroupQueryAttention"

// graphQuery reports the sizes that an attention node states as attributes, and the one that its queries have, where cache shapes
// are symbolic.
func graphQuery(g *onnx.Graph, report func(name string, value int64)) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Op != attention || n.Domain != "com.microsoft" {
			continue
		}
		heads, kvHeads := n.Attribute("num_heads"), n.Attribute("kv_num_heads")
		if heads == nil || kvHeads == nil {
			return
		}
		report("heads", heads.Int)
		report("kv_heads", kvHeads.Int)
		if heads.Int < 1 || heads.Int > headsMax || kvHeads.Int < 1 || kvHeads.Int > headsMax || len(n.Inputs) < 2 {
			return
		}
		sharers := heads.Int
		if n.Inputs[1] == "" { // queries, keys and values in one
			sharers += 2 * kvHeads.Int
		}
		if width := columns(g, n.Inputs[0]); width%sharers == 0 {
			report("head_dim", width/sharers)
		}
		return
	}
}

// columns is the width of what a projection makes, behind its bias and rotation; 0 where that is not to be seen.
func columns(g *onnx.Graph, name string) int64 {
	for range 4 {
		i := slices.IndexFunc(g.Nodes, func(n onnx.Node) bool { return slices.Contains(n.Outputs, name) })
		if i < 0 || len(g.Nodes[i].Inputs) < 2 {
			return 0
		}
		n := &g.Nodes[i]
		switch n.Op {
		case "Add", "RotaryEmbedding":
			name = n.Inputs[0]
		case "MatMulNBits":
			if a := n.Attribute("N"); a != nil {
				return a.Int
			}
			return 0
		case "MatMul":
			w := slices.IndexFunc(g.Initializers, func(t onnx.Tensor) bool { return t.Name == n.Inputs[1] })
			if w < 0 || len(g.Initializers[w].Dims) != 2 {
				return 0
			}
			return g.Initializers[w].Dims[1]
		default:
			return 0
		}
	}
	return 0
}

// walk visits every node, those of branches too; top tells the graph's own.
func walk(g *onnx.Graph, visit func(n *onnx.Node, top bool)) {
	var in func(g *onnx.Graph, top bool)
	in = func(g *onnx.Graph, top bool) {
		for i := range g.Nodes {
			n := &g.Nodes[i]
			visit(n, top)
			for _, a := range n.Attributes {
				for _, branch := range a.Graphs {
					in(branch, false)
				}
			}
		}
	}
	in(g, true)
}

// sharesCache says whether past and present may be one buffer: each past tensor is read by one GroupQueryAttention node
// alone, as its past, and the layer's present tensors are that node's. The node then appends in place.
func sharesCache(g *onnx.Graph, s *Spec) bool {
	readers := map[string][]*onnx.Node{}
	walk(g, func(n *onnx.Node, top bool) {
		reader := n
		if !top {
			reader = &onnx.Node{} // a branch that reads the cache needs it as it was
		}
		for _, in := range n.Inputs {
			readers[in] = append(readers[in], reader)
		}
	})
	for i, past := range s.Past {
		keys, values := readers[past.Key], readers[past.Value]
		if len(keys) != 1 || len(values) != 1 || keys[0] != values[0] {
			return false
		}
		n := keys[0]
		if n.Op != attention || n.Domain != "com.microsoft" || len(n.Inputs) < 5 || len(n.Outputs) < 3 {
			return false
		}
		if n.Inputs[3] != past.Key || n.Inputs[4] != past.Value || n.Outputs[1] != s.Present[i].Key || n.Outputs[2] != s.Present[i].Value {
			return false
		}
	}
	return len(s.Past) > 0
}

// lastRow says whether the graph cuts the hidden states to the last token's before the language head, so that logits have
// one row however long the prompt is.
func lastRow(g *onnx.Graph, logits string) bool {
	constants := map[string]*onnx.Tensor{}
	for i := range g.Initializers {
		constants[g.Initializers[i].Name] = &g.Initializers[i]
	}
	maker := map[string]*onnx.Node{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Op == "Constant" && len(n.Outputs) == 1 {
			if a := n.Attribute("value"); a != nil {
				constants[n.Outputs[0]] = a.Tensor
			}
			continue
		}
		for _, out := range n.Outputs {
			maker[out] = n
		}
	}
	is := func(name string, want int64) bool {
		v, ok := constants[name].Ints()
		return ok && len(v) == 1 && v[0] == want
	}
	at := logits
	for range 16 { // between logits and the cut lie a matrix and a few cheap operations
		n := maker[at]
		if n == nil || len(n.Inputs) == 0 {
			return false
		}
		switch n.Op {
		case "Gather":
			a := n.Attribute("axis")
			return a != nil && a.Int == 1 && len(n.Inputs) > 1 && is(n.Inputs[1], -1)
		case "Slice":
			return len(n.Inputs) > 3 && is(n.Inputs[1], -1) && (is(n.Inputs[3], 1) || is(n.Inputs[3], -2))
		case "MatMul", "MatMulNBits", "Gemm", "Add", "Mul", "Div", "Sub", "Tanh", "Cast", "Unsqueeze", "Reshape", "Identity",
			"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "Where", "Clip":
			at = n.Inputs[0]
		default:
			return false
		}
	}
	return false
}

// rotaryRows is the number of positions that the graph's rotary tables have, 0 when it has none as constants.
func rotaryRows(g *onnx.Graph) int {
	tables := map[string]bool{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		slot := map[string]int{attention: 7, "RotaryEmbedding": 2}[n.Op]
		if slot > 0 && n.Domain == "com.microsoft" && len(n.Inputs) > slot && n.Inputs[slot] != "" {
			tables[n.Inputs[slot]] = true
		}
	}
	rows := 0
	for _, t := range g.Initializers {
		if tables[t.Name] && len(t.Dims) == 2 && t.Dims[0] > 0 && t.Dims[0] <= contextCap && (rows == 0 || int(t.Dims[0]) < rows) {
			rows = int(t.Dims[0])
		}
	}
	return rows
}

// parameters counts the model's weights from shapes alone, quantised ones as what they stand for. tied is the size of the
// embedding when language head and embedding are one matrix, which some exports write twice.
func parameters(g *onnx.Graph, isTied bool, embedding int64) int64 {
	quantised := map[string]int64{} // weight -> elements
	packed := map[string]int64{}    // weight of bytes -> elements in each
	aside := map[string]bool{}      // scales, zero points, tables
	walk(g, func(n *onnx.Node, _ bool) {
		switch n.Op {
		case "MatMulNBits", "MatMulBnb4":
			k, m := n.Attribute("K"), n.Attribute("N")
			if k != nil && m != nil && len(n.Inputs) > 1 && k.Int > 0 && m.Int > 0 && k.Int < 1<<31 && m.Int < 1<<31 {
				quantised[n.Inputs[1]] = k.Int * m.Int
				set(aside, n.Inputs[2:min(len(n.Inputs), 5)])
			}
		case "GatherBlockQuantized", "DequantizeLinear":
			set(aside, n.Inputs[min(1, len(n.Inputs)):])
			if bits := n.Attribute("bits"); len(n.Inputs) > 0 && bits != nil && (bits.Int == 4 || bits.Int == 2) {
				packed[n.Inputs[0]] = 8 / bits.Int
			}
		case attention:
			set(aside, n.Inputs[min(7, len(n.Inputs)):min(9, len(n.Inputs))])
		case "RotaryEmbedding":
			set(aside, n.Inputs[min(2, len(n.Inputs)):min(4, len(n.Inputs))])
		}
	})
	total, embeddings := int64(0), 0
	for i := range g.Initializers {
		t := &g.Initializers[i]
		n, isQuantised := quantised[t.Name]
		if !isQuantised {
			n = elements(t)
			if per := packed[t.Name]; per > 0 && t.Type.Bits() == 8 {
				n *= per
			}
		}
		if aside[t.Name] && !isQuantised || n > 1<<60-total {
			continue
		}
		if total += n; n == embedding && n > 0 {
			embeddings++
		}
	}
	if isTied && embeddings == 2 {
		total -= embedding
	}
	return total
}

func set(names map[string]bool, list []string) {
	for _, n := range list {
		names[n] = true
	}
}

// elements counts a tensor's weights; integers of 32 and 64 bits are sizes and indices, not weights.
func elements(t *onnx.Tensor) int64 {
	if slices.Contains([]onnx.DataType{onnx.Int64, onnx.Int32, onnx.Bool, onnx.String}, t.Type) {
		return 0
	}
	n, err := t.Elements()
	if err != nil || n > 1<<50 {
		return 0
	}
	return n
}
