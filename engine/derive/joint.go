package derive

import (
	"fmt"
	"slices"
)

// byRow are operators of the runtime that compute each token by itself, or each number, with the same rounding however many there are. Sums
// of products are not among them, and neither are functions whose vector and scalar forms may differ in the last bit.
var byRow = []string{
	"Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Expand", "Flatten", "Gather", "Identity", "LayerNormalization", "Mul", "Neg", "Pow", "Range", "ReduceMean",
	"ReduceSum", "Reshape", "Shape", "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "Slice", "Split",
	"Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}

// Joint says why several tokens computed in one run might have other logits, in their last bits, than in a run each; "" if they have not.
func (p *Plan) Joint() string {
	for _, k := range p.Kept {
		return k.String()
	}
	for i := range p.Model.Graph.Nodes {
		if n := &p.Model.Graph.Nodes[i]; n.Domain != Domain && !slices.Contains(byRow, n.Op) {
			return fmt.Sprintf("%s %s stays with the runtime", n.Op, n.Name)
		}
	}
	return ""
}
