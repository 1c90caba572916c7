package derive

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// inlineMax bounds what a derived graph may hold of weights that the kernels do not compute: they are copied into it.
const inlineMax = 64 << 20

// sweep removes nodes and weights that nothing needs any more, and refuses where too many weights stay.
func (d *deriver) sweep() error {
	g := d.graph
	g.Sweep()
	var total int64
	for i := range g.Initializers {
		t := &g.Initializers[i]
		size, err := t.Size()
		if err != nil || size < 0 {
			size = t.Inline
		}
		total += size
	}
	if total > inlineMax {
		return fmt.Errorf("derive: %s of weights would stay with the runtime: %w", humanize.IBytes(uint64(total)), ErrNothing)
	}
	return nil
}

// scale is what a node multiplies scores with; 0 stands for the reciprocal root of the head's size.
func (d *deriver) scale(n *onnx.Node) float32 {
	if a := n.Attribute("scale"); a != nil && a.Float != 0 {
		return a.Float
	}
	return float32(1 / math.Sqrt(float64(d.spec.HeadDim)))
}
