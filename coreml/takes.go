package coreml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// dimensionMax is the largest dimension of a tensor that the provider hands to CoreML.
const dimensionMax = 16384

// builders are the operators of ONNX for which ONNX Runtime 1.32.0 has a builder for CoreML, by the symbols of its library for macOS. Each
// has conditions of its own, so that this is the most that can be taken.
const builders = " Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvTranspose Cos DepthToSpace Div Elu Equal Erf Exp " +
	"Flatten Floor Gather GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid " +
	"Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log MatMul Max MaxPool Min Mul Neg Not Or PRelu Pad Pow " +
	"QuickGelu Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round Shape Sigmoid Sign Sin Slice " +
	"Softmax Softplus Softsign Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where Xor Abs "

// Reason is why CoreML cannot take a part of a graph.
type Reason struct {
	What  string // an operator, or the property of a tensor
	Nodes int
	Bytes int64 // of the weights that these nodes compute with
	Why   string
}

func (r Reason) String() string {
	if r.Nodes == 0 {
		return r.What + ": " + r.Why
	}
	return fmt.Sprintf("%s (%d nodes): %s", r.What, r.Nodes, r.Why)
}

// Verdict is what CoreML can take of a graph, as far as the graph alone tells: the true share is known when it was loaded.
type Verdict struct {
	Share   float64  // of the weights' bytes that compute, at most
	Reasons []Reason // that with the most weights first
}

func (v Verdict) String() string {
	words := make([]string, 0, 3)
	for _, r := range v.Reasons[:min(len(v.Reasons), 3)] {
		words = append(words, r.String())
	}
	if more := len(v.Reasons) - 3; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("CoreML can take at most %.0f %% of the compute: %s", v.Share*100, strings.Join(words, "; "))
}

// Takes says what CoreML can take of a graph. bytes is, for a node by its place in the graph, the bytes of weights that it computes with.
func Takes(g *onnx.Graph, bytes map[int]int64) Verdict {
	reasons := map[string]*Reason{}
	large := map[string]int64{} // tensors with a dimension that is too large
	for i := range g.Initializers {
		for _, n := range g.Initializers[i].Dims {
			if n > dimensionMax {
				large[g.Initializers[i].Name] = n
			}
		}
	}
	note := func(what string, i int, why string) {
		if reasons[what] == nil {
			reasons[what] = &Reason{What: what, Why: why}
		}
		reasons[what].Nodes++
		reasons[what].Bytes += bytes[i]
	}
	var all, lost int64
	for i := range g.Nodes {
		n := &g.Nodes[i]
		all += bytes[i]
		if n.Op == "Constant" && n.Domain == "" {
			continue
		}
		what, why := refusal(n, large)
		if what == "" {
			continue
		}
		lost += bytes[i]
		note(what, i, why)
	}
	v := Verdict{Share: 1}
	if all > 0 {
		v.Share = float64(all-lost) / float64(all)
	} else if nodes := len(g.Nodes); nodes > 0 {
		for _, r := range reasons {
			v.Share -= float64(r.Nodes) / float64(nodes)
		}
	}
	for _, r := range reasons {
		v.Reasons = append(v.Reasons, *r)
	}
	slices.SortFunc(v.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Nodes, a.Nodes), strings.Compare(a.What, b.What))
	})
	if open := dynamic(g.Inputs); open != "" {
		v.Reasons = append(v.Reasons, Reason{What: "inputs without fixed shapes", Why: open + ": CoreML compiles these for each shape anew, and refuses empty ones"})
	}
	return v
}

// refusal is why CoreML cannot take a node, nothing if it can.
func refusal(n *onnx.Node, large map[string]int64) (what, why string) {
	switch {
	case n.Op == "MatMulNBits":
		bits := int64(4)
		if a := n.Attribute("bits"); a != nil {
			bits = a.Int
		}
		return n.Op, fmt.Sprintf("weights of %d bits in blocks, which CoreML has no operator for; a float16 variant has none", bits)
	case n.Domain != "" && n.Domain != "ai.onnx" && n.Op != "QuickGelu":
		return n.Op, "an operator of " + n.Domain + ", for which CoreML has none"
	case !strings.Contains(builders, " "+n.Op+" "):
		return n.Op, "the provider cannot write it for CoreML"
	}
	for _, in := range n.Inputs {
		if size := large[in]; size > 0 {
			return fmt.Sprintf("%s with a dimension of %d", n.Op, size), fmt.Sprintf("at most %d is taken", dimensionMax)
		}
	}
	return "", ""
}

// dynamic names the inputs whose shapes are open.
func dynamic(inputs []onnx.Value) string {
	var names []string
	for _, v := range inputs {
		if v.Shape == nil || slices.ContainsFunc(v.Shape, func(d onnx.Dim) bool { return d.Size < 0 }) {
			names = append(names, v.Name)
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) > 2:
		return fmt.Sprintf("%s, %s and %d more", names[0], names[1], len(names)-2)
	}
	return strings.Join(names, ", ")
}
