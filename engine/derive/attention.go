package derive

import "github.com/shammah/shammah-engine/internal/onnx"

// attend gives the attention of every layer to the kernels, or of none: the cache is laid out in one way.
func (d *deriver) attend() {
	fresh := map[int]*onnx.Node{}
	for i := range d.graph.Nodes {
		n := &d.graph.Nodes[i]
		if n.Op != "GroupQueryAttention" || n.Domain != "com.microsoft" {
			continue
		}
		made, why := d.attention(n)
		if why != "" {
			d.keep(n, "%s", why)
			return
		}
		fresh[i] = made
	}
	for i, n := range fresh {
		d.replaced[i] = n
	}
	if d.half {
		d.halve()
	}
}

// attentionOp is the operator for the cache's type.
func (d *deriver) attentionOp() string {
	if d.half || d.spec.KVType == "float16" {
		return "AttentionHalf"
	}
	return "Attention"
}

// halve makes the cache one of float16.
func (d *deriver) halve() {
	cache := map[string]bool{}
	for i := range d.spec.Past {
		for _, name := range []string{d.spec.Past[i].Key, d.spec.Past[i].Value, d.spec.Present[i].Key, d.spec.Present[i].Value} {
			cache[name] = true
		}
	}
	for _, list := range [][]onnx.Value{d.graph.Inputs, d.graph.Outputs} {
		for i, v := range list {
			if cache[v.Name] {
				list[i] = onnx.Value{Name: v.Name, Type: onnx.Float16, Shape: v.Shape}
			}
		}
	}
	d.plan.Half = true
}

// attention is a GroupQueryAttention node as one of the kernels; why says what they cannot do.
func (d *deriver) attention(n *onnx.Node) (made *onnx.Node, why string) {
	for i, what := range map[int]string{9: "positions of its own", 10: "an attention bias", 12: "scales of a quantised cache", 13: "scales of a quantised cache", 14: "norms of query and key", 15: "norms of query and key", 16: "lengths of new tokens"} {
		if n.Input(i) != "" {
			return nil, "it has " + what
		}
	}
	for _, a := range n.Attributes {
		switch a.Name {
		case "num_heads", "kv_num_heads", "scale", "softcap", "do_rotary", "rotary_interleaved", "local_window_size":
		case "smooth_softmax", "qk_output", "kv_cache_bit_width":
			if a.Int > 0 {
				return nil, "it has the attribute " + a.Name
			}
		case "k_quant_type", "v_quant_type":
			if a.String != "" && a.String != "NONE" {
				return nil, "it has the attribute " + a.Name
			}
		default:
			return nil, "it has the attribute " + a.Name
		}
	}
	heads, kvHeads := integer(n, "num_heads", 0), integer(n, "kv_num_heads", 0)
	dim := d.spec.HeadDim
	if len(n.Inputs) < 7 || len(n.Outputs) < 3 || heads < 1 || kvHeads != d.spec.KVHeads || heads%kvHeads != 0 || (n.Input(1) == "") != (n.Input(2) == "") {
		return nil, "its heads or inputs are not those of the cache"
	}
	for _, out := range n.Outputs[3:] {
		if out != "" {
			return nil, "it gives out its scores"
		}
	}
	made = &onnx.Node{Name: n.Name, Op: d.attentionOp(), Domain: Domain, Inputs: n.Inputs[:7], Outputs: n.Outputs[:3]}
	set := func(name string, v int) {
		made.Attributes = append(made.Attributes, onnx.Attribute{Name: name, Int: int64(v)})
	}
	set("num_heads", heads)
	set("kv_num_heads", kvHeads)
	set("head_dim", dim)
	made.Attributes = append(made.Attributes, onnx.Attribute{Name: "scale", Float: d.scale(n)})
	if a := n.Attribute("softcap"); a != nil && a.Float != 0 {
		made.Attributes = append(made.Attributes, onnx.Attribute{Name: "softcap", Float: a.Float})
	}
	window := -1
	if a := n.Attribute("local_window_size"); a != nil && a.Int > 0 {
		window = int(a.Int)
	}
	made.Attributes = append(made.Attributes, onnx.Attribute{Name: "local_window_size", Int: int64(window)})
	if integer(n, "do_rotary", 0) == 1 {
		cosines, sines := d.initializer(n.Input(7)), d.initializer(n.Input(8))
		if !d.table(cosines, dim) || !d.table(sines, dim) || cosines.Dims[1] != sines.Dims[1] || cosines.Dims[0] != sines.Dims[0] {
			return nil, "its rotary tables are no constants of float32"
		}
		set("rotary_dim", int(2*cosines.Dims[1]))
		set("rotary_interleaved", integer(n, "rotary_interleaved", 0))
		set("cosines", d.addFloats(cosines))
		set("sines", d.addFloats(sines))
	}
	if sink := n.Input(11); sink != "" {
		t := d.vector(sink, heads)
		if t == nil {
			return nil, "its sinks are no constant of float32"
		}
		set("sink", d.addFloats(t))
	}
	return made, ""
}

// table says whether a tensor is a rotary table (positions, at most half a head).
func (d *deriver) table(t *onnx.Tensor, dim int) bool {
	return t != nil && t.Type == onnx.Float32 && len(t.Dims) == 2 && t.Dims[1] > 0 && 2*t.Dims[1] <= int64(dim) && t.Dims[0] > 0
}
