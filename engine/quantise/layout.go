package quantise

import (
	"fmt"
	"path"
	"strings"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

const (
	inlineMax = 1 << 10  // bytes of a tensor that stays in the graph: shapes must, for shapes to be inferred
	aligned   = 4 << 10  // where a tensor begins in the data file, so that it can be mapped
	bytesMax  = 64 << 40 // of a data file, so that sums cannot overflow
)

// piece is what one tensor of the source becomes in the data file: the codes and scales of a matrix, or itself.
type piece struct {
	matrix *matrix
	copied *onnx.Tensor // of the source; float16 becomes float32
	to     *onnx.Tensor
}

// GraphName is the new graph's file below the model's folder: where the source's configuration expects it, else named so that it is found as q4.
func (p *Plan) GraphName() string {
	switch p.Source.Layout {
	case model.LayoutA:
		return "onnx/model_q4.onnx"
	case model.LayoutB:
		return path.Base(p.Source.Graph)
	}
	return "model_q4.onnx"
}

func (p *Plan) dataName() string {
	if p.Source.Layout == model.LayoutB {
		return path.Base(p.GraphName()) + ".data"
	}
	return path.Base(p.GraphName()) + "_data"
}

// layOut gives every tensor its place, in the graph or the data file, and encodes the graph.
func (p *Plan) layOut() error {
	g := p.graph.Graph
	var kept []onnx.Tensor
	for _, t := range g.Initializers {
		size, err := t.Size()
		if err != nil {
			return err
		}
		small := size >= 0 && size <= inlineMax
		switch raw := t.External != nil || t.Raw.End > t.Raw.At; {
		case t.Type == onnx.Float16 && !raw && size > 0:
			return p.refuse("the float16 values of tensor %.80q are not stored as raw data", t.Name)
		case t.Data != nil || size <= 0 && t.External == nil && t.Type != onnx.Float16 || !raw || small && t.External == nil && t.Type != onnx.Float16:
			kept = append(kept, t)
		case small:
			fresh, err := p.inline(&t)
			if err != nil {
				return err
			}
			kept = append(kept, *fresh)
		default:
			to := &onnx.Tensor{Name: t.Name, Type: t.Type, Dims: t.Dims}
			if t.Type == onnx.Float16 {
				to.Type = onnx.Float32
			}
			p.pieces = append(p.pieces, piece{copied: &t, to: to})
		}
	}
	for _, x := range p.pieces {
		for _, t := range x.tensors() {
			if err := p.place(t); err != nil {
				return err
			}
			kept = append(kept, *t)
		}
	}
	g.Initializers = kept
	return p.encode()
}

// tensors are those that a piece writes.
func (x piece) tensors() []*onnx.Tensor {
	switch {
	case x.matrix == nil:
		return []*onnx.Tensor{x.to}
	case x.matrix.zeros == nil:
		return []*onnx.Tensor{x.matrix.codes, x.matrix.scales}
	}
	return []*onnx.Tensor{x.matrix.codes, x.matrix.scales, x.matrix.zeros}
}

// place puts a tensor behind those before it.
func (p *Plan) place(t *onnx.Tensor) error {
	size, err := t.Size()
	if err == nil && size > bytesMax-p.dataBytes {
		err = fmt.Errorf("quantise: place tensor %.80q: its shape %v is out of reason", t.Name, t.Dims)
	}
	if err != nil {
		return err
	}
	at := (p.dataBytes + aligned - 1) &^ (aligned - 1)
	t.External = &onnx.External{Location: p.dataName(), Offset: at, Length: size}
	p.dataBytes = at + size
	return nil
}

func (p *Plan) encode() error {
	file, err := p.tensors.Graph()
	if err != nil {
		return err
	}
	p.graph.Producer = strings.TrimSpace(p.graph.Producer + " (int4 by shammah-engine)")
	if p.encoded, err = onnx.Write(p.graph, file); err != nil {
		return err
	}
	p.Bytes = p.dataBytes + int64(len(p.encoded))
	return nil
}
