package derive

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// What Top adds to a graph, all of the last token of each sequence.
const (
	TopScale  = "shammah.scale"             // input (batch, 1) float32: 1 / temperature, for the probabilities
	TopLogits = "shammah.top_logits"        // (batch, k) float32, largest first
	TopIDs    = "shammah.top_ids"           // (batch, k) int64
	TopProbs  = "shammah.top_probabilities" // (batch, k) float32, among all tokens, of the logits times TopScale
	TopRow    = "shammah.last_row"          // (batch, vocab) float32: all logits
)

// topMost is how many of the largest logits Top gives: more than any sampler's usual top-k, and nuclei are rarely larger.
const topMost = 128

// topParts is into how many parts a row is cut. A GPU looks through each row of a TopK with one block of threads: cut, it has as many at work.
const topParts = 64

// TopCount is how many of the largest logits Top gives of a row of vocab.
func TopCount(vocab int) int { return min(topMost, vocab) }

// Top appends to a graph what choosing a token mostly needs of its logits, so that these may stay where they were computed. Among equal
// logits, those with the lowest ids need not come first, and where the smallest that is given has equals, any of them may be there: providers
// differ. Nothing that was there changes. m is edited.
func Top(m *onnx.Model, spec *model.Spec) error {
	const opsetLeast = 11 // of TopK as it is used, and of negative indices
	switch version := opset(m); {
	case len(m.Functions) > 0:
		return errors.New("derive: the graph has functions of its own, and stays as it is")
	case version < opsetLeast:
		return fmt.Errorf("derive: choose tokens in the graph: it is of opset %d, expected %d or newer", version, opsetLeast)
	case spec.Vocab < 1 || spec.LogitsRows != "":
		return fmt.Errorf("derive: choose tokens in the graph: its logits are not those of an original with a vocabulary")
	}
	t := &top{graph: m.Graph, vocab: spec.Vocab, k: TopCount(spec.Vocab)}
	last := TopRow
	if spec.LogitsType != "float32" {
		last = "shammah.last"
	}
	t.add("Gather", []string{spec.Logits, t.constant("shammah.minus_one", nil, -1)}, []string{last}, axis(1))
	if last != TopRow {
		t.add("Cast", []string{last}, []string{TopRow}, onnx.Attribute{Name: "to", Int: int64(onnx.Float32)})
	}
	t.choose()
	// The best is taken off first, so that nothing overflows however cold it is.
	one := func(name string, v int64) string { return t.constant(name, []int64{1}, v) }
	t.add("Slice", []string{TopLogits, one("shammah.from", 0), one("shammah.to", 1), one("shammah.axes", 1)}, []string{"shammah.best"})
	t.add("Sub", []string{TopRow, "shammah.best"}, []string{"shammah.below"})
	t.add("Mul", []string{"shammah.below", TopScale}, []string{"shammah.scaled"})
	t.add("Softmax", []string{"shammah.scaled"}, []string{"shammah.probabilities"}, axis(1))
	t.add("GatherElements", []string{"shammah.probabilities", TopIDs}, []string{TopProbs}, axis(1))
	return t.apply()
}

// opset is the version of ONNX's own operators.
func opset(m *onnx.Model) int64 {
	for _, o := range m.Opsets {
		if o.Domain == "" || o.Domain == "ai.onnx" {
			return o.Version
		}
	}
	return 0
}

// top gathers new nodes; nothing is changed before apply.
type top struct {
	graph    *onnx.Graph
	nodes    []onnx.Node
	vocab, k int
}

func (t *top) add(op string, inputs, outputs []string, attributes ...onnx.Attribute) {
	t.nodes = append(t.nodes, onnx.Node{Name: outputs[0], Op: op, Inputs: inputs, Outputs: outputs, Attributes: attributes})
}

func axis(n int64) onnx.Attribute { return onnx.Attribute{Name: "axis", Int: n} }

// constant is a node, and no initializer, which old files must list among their inputs.
func (t *top) constant(name string, dims []int64, values ...int64) string {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	t.add("Constant", nil, []string{name}, onnx.Attribute{Name: "value", Tensor: &onnx.Tensor{Name: name, Type: onnx.Int64, Dims: dims, Data: data}})
	return name
}

// choose finds the k largest: of each part, and then of those, where the row can be cut evenly and the parts are worth it.
func (t *top) choose() {
	k := t.constant("shammah.k", []int64{1}, int64(t.k))
	part := t.vocab / topParts
	if t.vocab%topParts != 0 || part < 2*t.k {
		t.add("TopK", []string{TopRow, k}, []string{TopLogits, TopIDs}, axis(1))
		return
	}
	starts := make([]int64, topParts)
	for i := range starts {
		starts[i] = int64(i * part)
	}
	t.add("Reshape", []string{TopRow, t.constant("shammah.parts", []int64{3}, 0, topParts, int64(part))}, []string{"shammah.cut"})
	t.add("TopK", []string{"shammah.cut", k}, []string{"shammah.part_logits", "shammah.part_places"}, axis(2))
	t.add("Add", []string{"shammah.part_places", t.constant("shammah.starts", []int64{topParts, 1}, starts...)}, []string{"shammah.part_ids"})
	joined := t.constant("shammah.joined", []int64{2}, 0, int64(topParts*t.k))
	t.add("Reshape", []string{"shammah.part_logits", joined}, []string{"shammah.some_logits"})
	t.add("Reshape", []string{"shammah.part_ids", joined}, []string{"shammah.some_ids"})
	t.add("TopK", []string{"shammah.some_logits", k}, []string{TopLogits, "shammah.places"}, axis(1))
	t.add("GatherElements", []string{"shammah.some_ids", "shammah.places"}, []string{TopIDs}, axis(1))
}

// apply appends everything, unless a name is taken.
func (t *top) apply() error {
	taken := map[string]bool{}
	for _, v := range t.graph.Inputs {
		taken[v.Name] = true
	}
	for i := range t.graph.Initializers {
		taken[t.graph.Initializers[i].Name] = true
	}
	for i := range t.graph.Nodes {
		for _, out := range t.graph.Nodes[i].Outputs {
			taken[out] = true
		}
	}
	for i := range t.nodes {
		for _, name := range append(t.nodes[i].Outputs, TopScale) {
			if taken[name] {
				return fmt.Errorf("derive: choose tokens in the graph: it has a tensor %q of its own", name)
			}
		}
	}
	t.graph.Nodes = append(t.graph.Nodes, t.nodes...)
	t.graph.Inputs = append(t.graph.Inputs, onnx.Value{Name: TopScale, Type: onnx.Float32, Shape: []onnx.Dim{{Size: -1, Symbol: "batch_of_top"}, {Size: 1}}})
	for _, out := range []struct {
		name  string
		kind  onnx.DataType
		width int
	}{{TopLogits, onnx.Float32, t.k}, {TopIDs, onnx.Int64, t.k}, {TopProbs, onnx.Float32, t.k}, {TopRow, onnx.Float32, t.vocab}} {
		t.graph.Outputs = append(t.graph.Outputs, onnx.Value{Name: out.name, Type: out.kind, Shape: []onnx.Dim{{Size: -1, Symbol: "batch_of_top"}, {Size: int64(out.width)}}})
	}
	return nil
}
