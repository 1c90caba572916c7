// Package quantise writes a copy of a model whose matrices are int4: MatMulNBits in blocks of 32 with one scale each, the language head
// and the embedding in int8. The source stays as it is, and the copy is a plain ONNX model that any runtime with these operators runs.
//
// New reads the graph alone and says what would come out; Write reads the weights, piece by piece, and holds some 16 MB for each core, or
// the weights of one output where these are more.
package quantise

import (
	"errors"
	"fmt"
	"slices"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/sys"
)

// Block is how many inputs share a scale, as in the exporters' own int4.
const Block = 32

// ErrRefused is wrapped by errors about a model that cannot be quantised, or need not be.
var ErrRefused = errors.New("it is not quantised here")

// Kept is a matrix that stays as it was.
type Kept struct{ Tensor, Why string }

// Plan is what Write would write. It is used by one goroutine, once.
type Plan struct {
	Source    *model.Spec
	Matrices  int   // that become int4
	HeadBits  int   // of the language head; 0 where the graph has none that is a constant matrix
	TableBits int   // of the embedding; 0 where it stays as it was
	Shared    bool  // the embedding has the head's codes
	Widened   bool  // the graph was float16 and becomes float32
	Bytes     int64 // of the new graph and its data, but for a few KB
	Kept      []Kept

	graph   *onnx.Model
	tensors *model.Tensors
	old     map[string]*onnx.Tensor // initializers and constants of the source
	maker   map[string]int          // node that makes a tensor
	readers map[string]int          // how often it is read
	made    map[string]*matrix      // by source tensor, direction and bits
	taken   map[string]bool         // names of new tensors
	pieces  []piece                 // of the data file
	head    *matrix

	free func(dir string) (bytes int64, err error) // on the disk; tests have another

	dataBytes int64
	encoded   []byte // the new graph
}

// matrix is a matrix of weights that becomes codes and scales.
type matrix struct {
	name          string
	from          *onnx.Tensor
	byInput       bool // from is (inputs, outputs), else (outputs, inputs)
	rows, columns int  // outputs, inputs
	bits          int

	codes, scales, zeros *onnx.Tensor // zeros: nil but for 8 bits
}

// New plans the int4 copy of a model that Find found. The error wraps ErrRefused where there is nothing to do for it.
func New(files model.Files) (*Plan, error) {
	spec, err := files.Load(model.Signature{})
	if err != nil {
		return nil, err
	}
	graph, tensors, err := files.ReadGraph()
	if err != nil {
		return nil, err
	}
	p := &Plan{Source: spec, graph: graph, tensors: tensors, made: map[string]*matrix{}, taken: map[string]bool{}, free: sys.ReadDisk}
	if err := p.plan(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close closes the source's files.
func (p *Plan) Close() error { return p.tensors.Close() }

func (p *Plan) plan() error {
	if err := p.check(); err != nil {
		return err
	}
	p.index()
	p.products()
	if p.Matrices == 0 {
		return p.refuse("it has no product with a constant matrix of float32 or float16")
	}
	if err := p.table(); err != nil {
		return err
	}
	p.sweep()
	if err := p.widen(); err != nil {
		return err
	}
	if !slices.ContainsFunc(p.graph.Opsets, func(o onnx.Opset) bool { return o.Domain == microsoft }) {
		p.graph.Opsets = append(p.graph.Opsets, onnx.Opset{Domain: microsoft, Version: 1})
	}
	return p.layOut()
}

func (p *Plan) refuse(format string, args ...any) error {
	return fmt.Errorf("quantise: convert %s: %w: %s", p.Source.Path(p.Source.Graph), ErrRefused, fmt.Sprintf(format, args...))
}

func (p *Plan) keep(tensor, format string, args ...any) {
	p.Kept = append(p.Kept, Kept{tensor, fmt.Sprintf(format, args...)})
}

// check refuses graphs that are quantised already, and those of which a part could not be written again.
func (p *Plan) check() error {
	if len(p.graph.Functions) > 0 {
		return p.refuse("the graph has functions of its own")
	}
	var found string
	each(p.graph.Graph, func(n *onnx.Node, _ bool) {
		switch n.Op {
		case "MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul":
			found = n.Op
		}
	})
	if found != "" {
		return p.refuse("its graph is quantised already (%s); give the float32 or float16 variant", found)
	}
	own := map[*onnx.External]bool{}
	for i := range p.graph.Graph.Initializers {
		own[p.graph.Graph.Initializers[i].External] = true
	}
	for i := range p.graph.Graph.Nodes {
		for _, a := range p.graph.Graph.Nodes[i].Attributes {
			if a.Tensor != nil && p.graph.Graph.Nodes[i].Op == "Constant" {
				own[a.Tensor.External] = true
			}
		}
	}
	for _, t := range p.graph.External() {
		if !own[t.External] {
			return p.refuse("tensor %.80q has its data in another file, and belongs to a branch or a sparse tensor", t.Name)
		}
	}
	return nil
}

// each visits every node, those of branches too; top tells the graph's own.
func each(g *onnx.Graph, visit func(n *onnx.Node, top bool)) {
	var in func(g *onnx.Graph, top bool)
	in = func(g *onnx.Graph, top bool) {
		for i := range g.Nodes {
			visit(&g.Nodes[i], top)
			for _, a := range g.Nodes[i].Attributes {
				for _, branch := range a.Graphs {
					in(branch, false)
				}
			}
		}
	}
	in(g, true)
}
