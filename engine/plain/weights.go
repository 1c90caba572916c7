package plain

import (
	"encoding/binary"
	"math"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// product is MatMulNBits with its weights unpacked.
func (w *writer) product(n *onnx.Node) error {
	if len(n.Inputs) < 3 || n.Input(4) != "" || n.Output(0) == "" || integer(n, "weight_prepacked", 0) != 0 {
		return w.refuseNode(n, "its weights are packed in a way that is not known here")
	}
	m := matrix{outputs: integer(n, "N", 0), inputs: integer(n, "K", 0), block: integer(n, "block_size", 0), bits: integer(n, "bits", 4)}
	rows, err := w.unpack(n, m, n.Input(1), n.Input(2), n.Input(3))
	if err != nil {
		return err
	}
	turned := make([]float32, len(rows))
	for i := range m.outputs {
		for j := range m.inputs {
			turned[j*m.outputs+i] = rows[i*m.inputs+j]
		}
	}
	y, bias := n.Outputs[0], n.Input(5)
	if bias != "" {
		y = n.Output(0) + "/plain/product"
	}
	weights := w.floats(n.Inputs[1]+".plain", turned, m.inputs, m.outputs)
	w.nodes = append(w.nodes, onnx.Node{Name: n.Name, Op: "MatMul", Inputs: []string{n.Inputs[0], weights}, Outputs: []string{y}})
	if bias != "" {
		w.add("Add", n.Outputs[0], []string{y, bias})
	}
	return nil
}

// lookup is GatherBlockQuantized with its table unpacked.
func (w *writer) lookup(n *onnx.Node) error {
	if len(n.Inputs) < 3 || n.Output(0) == "" || integer(n, "gather_axis", 0) != 0 || integer(n, "quantize_axis", 1) != 1 {
		return w.refuseNode(n, "its axes are not known here")
	}
	codes := n.Inputs[0]
	for i := range w.graph.Nodes {
		if r := &w.graph.Nodes[i]; r.Op == "Reshape" && r.Output(0) == codes {
			codes = r.Input(0) // of a language head, which the embedding shares
		}
	}
	m := matrix{block: integer(n, "block_size", 128), bits: integer(n, "bits", 4)}
	if s := w.constants[n.Inputs[2]]; s != nil && len(s.Dims) == 2 && s.Dims[1] <= sizeMax && m.block <= sizeMax {
		m.outputs, m.inputs = s.Dims[0], s.Dims[1]*m.block
	}
	if m.bits == 8 && n.Input(3) == "" {
		return w.refuseNode(n, "8 bits without zero points") // which this operator takes as signed
	}
	rows, err := w.unpack(n, m, codes, n.Inputs[2], n.Input(3))
	if err != nil {
		return err
	}
	table := w.floats(codes+".plain.table", rows, m.outputs, m.inputs)
	w.nodes = append(w.nodes, onnx.Node{
		Name: n.Name, Op: "Gather", Inputs: []string{table, n.Inputs[1]}, Outputs: n.Outputs, Attributes: []onnx.Attribute{attribute("axis", 0)},
	})
	return nil
}

// matrix is the sizes of quantised weights.
type matrix struct{ outputs, inputs, block, bits int64 }

const sizeMax = 1 << 20

// unpack is the weights that codes, scales and zero points stand for, (outputs, inputs).
func (w *writer) unpack(n *onnx.Node, m matrix, codesName, scalesName, zerosName string) ([]float32, error) {
	codes, scales := w.constants[codesName], w.constants[scalesName]
	if m.bits != 4 && m.bits != 8 || m.outputs < 1 || m.inputs < 1 || m.block < 1 || m.outputs > sizeMax || m.inputs > sizeMax || m.inputs%m.block != 0 || m.block%2 != 0 {
		return nil, w.refuseNode(n, "%d x %d weights of %d bits in blocks of %d are not known here", m.outputs, m.inputs, m.bits, m.block)
	}
	if w.bytes+m.outputs*m.inputs*4 > bytesMax {
		return nil, w.tooLarge()
	}
	blocks := m.inputs / m.block
	if !holds(codes, onnx.Uint8, m.outputs*m.inputs*m.bits/8) || !holds(scales, onnx.Float32, m.outputs*blocks) {
		return nil, w.refuseNode(n, "its codes or scales are no constants of the size that its shape needs")
	}
	rowZeros := (blocks*m.bits + 7) / 8
	zeros := w.constants[zerosName]
	if zerosName != "" && !holds(zeros, onnx.Uint8, m.outputs*rowZeros) {
		return nil, w.refuseNode(n, "its zero points are no constants of uint8, packed as its codes are")
	}
	var packed, points []byte
	packed, err := w.tensors.Read(codes)
	if err != nil {
		return nil, err
	}
	scaleBytes, err := w.tensors.Read(scales)
	if err != nil {
		return nil, err
	}
	if zerosName != "" {
		if points, err = w.tensors.Read(zeros); err != nil {
			return nil, err
		}
	}
	factors, rows := floatsOf(scaleBytes), make([]float32, m.outputs*m.inputs)
	for i := range rows {
		row, column := int64(i)/m.inputs, int64(i)%m.inputs
		zero := byte(1) << (m.bits - 1)
		if points != nil {
			zero = code(points[row*rowZeros:], column/m.block, m.bits)
		}
		rows[i] = float32(int(code(packed, int64(i), m.bits))-int(zero)) * factors[row*blocks+column/m.block]
	}
	return rows, nil
}

// code is one of several packed numbers, the first in the lower bits.
func code(b []byte, i, bits int64) byte {
	if bits == 8 {
		return b[i]
	}
	return b[i/2] >> (4 * (i % 2)) & 15
}

func holds(t *onnx.Tensor, kind onnx.DataType, elements int64) bool {
	if t == nil || t.Type != kind {
		return false
	}
	n, err := t.Elements()
	return err == nil && n == elements
}

func floatsOf(b []byte) []float32 {
	list := make([]float32, len(b)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list
}
