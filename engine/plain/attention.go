package plain

import (
	"math"
	"strconv"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// hidden is what masked scores are lowered by: far below all others, and within the range of float16.
const hidden = -30000

// heads is the shape of one attention.
type heads struct{ queries, keys, dim int64 }

// attention is GroupQueryAttention without a past: (1, window, heads * dim) to the same shape.
func (w *writer) attention(n *onnx.Node) error {
	h := heads{integer(n, "num_heads", 0), integer(n, "kv_num_heads", 0), int64(w.spec.HeadDim)}
	if why := w.foreign(n, h); why != "" {
		return w.refuseNode(n, "%s", why)
	}
	at := n.Output(0) + "/plain/"
	q, k, v := n.Input(0), n.Input(1), n.Input(2)
	if k == "" {
		parts := []string{at + "q", at + "k", at + "v"}
		w.nodes = append(w.nodes, onnx.Node{
			Name: at + "split", Op: "Split", Inputs: []string{q, w.list(h.queries*h.dim, h.keys*h.dim, h.keys*h.dim)}, Outputs: parts,
			Attributes: []onnx.Attribute{attribute("axis", 2)},
		})
		q, k, v = parts[0], parts[1], parts[2]
	}
	q, k, v = w.byHead(q, at+"q", h.queries, h.dim), w.byHead(k, at+"k", h.keys, h.dim), w.byHead(v, at+"v", h.keys, h.dim)
	if integer(n, "do_rotary", 0) == 1 {
		cosines, sines, err := w.rotary(n, h)
		if err != nil {
			return err
		}
		q, k = w.rotate(q, at+"q", cosines, sines, h.dim/2), w.rotate(k, at+"k", cosines, sines, h.dim/2)
	}
	k, v = w.repeat(k, at+"k", h), w.repeat(v, at+"v", h)
	scale := float32(1 / math.Sqrt(float64(h.dim)))
	if a := n.Attribute("scale"); a != nil && a.Float != 0 {
		scale = a.Float
	}
	turned := w.add("Transpose", at+"k/turned", []string{k}, onnx.Attribute{Name: "perm", Ints: []int64{0, 1, 3, 2}})
	scores := w.add("MatMul", at+"scores", []string{q, turned})
	scores = w.add("Mul", at+"scaled", []string{scores, w.floats("plain.scale."+strconv.FormatFloat(float64(scale), 'g', -1, 32), []float32{scale}, 1)})
	scores = w.add("Add", at+"masked", []string{scores, w.mask()})
	shares := w.add("Softmax", at+"shares", []string{scores}, attribute("axis", -1))
	y := w.add("MatMul", at+"y", []string{shares, v})
	y = w.add("Transpose", at+"y/turned", []string{y}, onnx.Attribute{Name: "perm", Ints: []int64{0, 2, 1, 3}})
	w.add("Reshape", n.Outputs[0], []string{y, w.list(1, w.window, h.queries*h.dim)})
	return nil
}

// foreign says what of an attention is not known here.
func (w *writer) foreign(n *onnx.Node, h heads) string {
	switch {
	case h.queries < 1 || h.keys < 1 || h.dim < 2 || h.queries%h.keys != 0 || h.queries > 1<<10 || h.dim > 1<<12:
		return "its heads are not known"
	case n.Input(0) == "" || (n.Input(1) == "") != (n.Input(2) == "") || n.Output(0) == "":
		return "its inputs are not known here"
	}
	for i := 9; i < len(n.Inputs); i++ {
		if n.Inputs[i] != "" {
			return "it has an input at place " + strconv.Itoa(i)
		}
	}
	for _, a := range n.Attributes {
		switch a.Name {
		case "num_heads", "kv_num_heads", "scale", "do_rotary":
		case "local_window_size":
			if a.Int > 0 && a.Int < w.window {
				return "it looks at the last tokens alone"
			}
		default:
			if a.Int != 0 || a.Float != 0 || a.String != "" && a.String != "NONE" {
				return "it has the attribute " + a.Name
			}
		}
	}
	return ""
}

// byHead turns (1, window, heads * dim) into (1, heads, window, dim).
func (w *writer) byHead(x, at string, count, dim int64) string {
	x = w.add("Reshape", at+"/heads", []string{x, w.list(1, w.window, count, dim)})
	return w.add("Transpose", at+"/by_head", []string{x}, onnx.Attribute{Name: "perm", Ints: []int64{0, 2, 1, 3}})
}

// repeat gives each query head its keys or values.
func (w *writer) repeat(x, at string, h heads) string {
	if h.queries == h.keys {
		return x
	}
	sizes, parts, all := make([]int64, h.keys), make([]string, h.keys), []string{}
	for i := range parts {
		sizes[i], parts[i] = 1, at+"/"+strconv.Itoa(i)
		for range h.queries / h.keys {
			all = append(all, parts[i])
		}
	}
	if h.keys == 1 {
		all = make([]string, h.queries)
		for i := range all {
			all[i] = x
		}
	} else {
		w.nodes = append(w.nodes, onnx.Node{
			Name: at + "/each", Op: "Split", Inputs: []string{x, w.list(sizes...)}, Outputs: parts, Attributes: []onnx.Attribute{attribute("axis", 1)},
		})
	}
	return w.add("Concat", at+"/all", all, attribute("axis", 1))
}

// rotary makes the tables of the rotation, (1, 1, window, dim): each value for both halves.
func (w *writer) rotary(n *onnx.Node, h heads) (cosines, sines string, err error) {
	cos, sin := w.constants[n.Input(7)], w.constants[n.Input(8)]
	if cos == nil || sin == nil || len(cos.Dims) != 2 || len(sin.Dims) != 2 || cos.Type != onnx.Float32 || sin.Type != onnx.Float32 ||
		cos.Dims[0] < w.window || sin.Dims[0] < w.window || 2*cos.Dims[1] != h.dim || 2*sin.Dims[1] != h.dim {
		return "", "", w.refuseNode(n, "its rotary tables are no constants of float32 for %d tokens and whole heads", w.window)
	}
	half := h.dim / 2
	tables := make([][]float32, 2)
	for i, t := range []*onnx.Tensor{cos, sin} {
		b := make([]byte, w.window*half*4)
		if err := w.tensors.ReadAt(b, t, 0); err != nil {
			return "", "", err
		}
		short, long := floatsOf(b), make([]float32, w.window*h.dim)
		for row := range w.window {
			line := long[row*h.dim : (row+1)*h.dim]
			copy(line, short[row*half:(row+1)*half])
			copy(line[half:], short[row*half:(row+1)*half])
		}
		tables[i] = long
	}
	return w.floats("plain.cosines."+cos.Name, tables[0], 1, 1, w.window, h.dim), w.floats("plain.sines."+sin.Name, tables[1], 1, 1, w.window, h.dim), nil
}

// rotate turns (1, heads, window, dim): x * cosines + (-second half, first half) * sines.
func (w *writer) rotate(x, at, cosines, sines string, half int64) string {
	parts := []string{at + "/first", at + "/second"}
	w.nodes = append(w.nodes, onnx.Node{
		Name: at + "/halves", Op: "Split", Inputs: []string{x, w.list(half, half)}, Outputs: parts, Attributes: []onnx.Attribute{attribute("axis", 3)},
	})
	minus := w.add("Neg", at+"/minus", []string{parts[1]})
	across := w.add("Concat", at+"/across", []string{minus, parts[0]}, attribute("axis", 3))
	straight := w.add("Mul", at+"/straight", []string{x, cosines})
	return w.add("Add", at+"/rotated", []string{straight, w.add("Mul", at+"/turn", []string{across, sines})})
}

// mask hides from each token those behind it: (1, 1, window, window).
func (w *writer) mask() string {
	const name = "plain.mask"
	if w.made[name] {
		return name
	}
	values := make([]float32, w.window*w.window)
	for i := range w.window {
		for j := i + 1; j < w.window; j++ {
			values[i*w.window+j] = hidden
		}
	}
	return w.floats(name, values, 1, 1, w.window, w.window)
}
