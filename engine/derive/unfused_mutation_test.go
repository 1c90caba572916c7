package derive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// at0 names a tensor of the fixture's first layer.
func at0(name string) string { return "/model/layers.0/self_attn/" + name + "_output_0" }

// setInt changes an attribute of one integer, or of several.
func setInt(n *onnx.Node, name string, ints ...int64) {
	a := n.Attribute(name)
	if a.Ints = nil; len(ints) > 1 {
		a.Ints = ints
	} else {
		a.Int = ints[0]
	}
}

func swap(n *onnx.Node) { n.Inputs[0], n.Inputs[1] = n.Inputs[1], n.Inputs[0] }

// setConstant puts a Constant node in the place of another.
func setConstant(t *testing.T, o opened, name string, n onnx.Node) {
	n.Outputs[0] = name
	*o.node(t, name) = n
}

// scores puts nodes between the product of query and keys and the mask; the last makes "changed".
func scores(t *testing.T, o opened, nodes ...onnx.Node) {
	o.insert(t, o.node(t, at0("Add_2")), at0("MatMul"), "changed", nodes...)
}

// after puts nodes behind the output projection, where attention is over; the last makes "changed".
func after(t *testing.T, o opened, nodes ...onnx.Node) {
	o.insert(t, o.node(t, "/model/layers.0/Add_output_0"), projected, "changed", nodes...)
}

const projected = "/model/layers.0/self_attn/o_proj/MatMul_output_0"

// isLong makes "long": whether there are more than 100 tokens.
func isLong() []onnx.Node {
	return []onnx.Node{integers("axis", []int64{1}, 1), integers("limit", []int64{1}, 100), op("Shape", "masks", "attention_mask"),
		op("Gather", "total", "masks", "axis"), op("Greater", "long", "total", "limit")}
}

// mutations are changes of a fixture by hand.
var mutations = []struct {
	name   string
	change func(t *testing.T, o opened)
	want   func(u *Unfused) // how layer 0 differs
	why    string           // or why it is refused
}{
	{"nothing", func(*testing.T, opened) {}, func(*Unfused) {}, ""},
	{"another scale", func(t *testing.T, o opened) { setConstant(t, o, at0("Constant_61"), floats("", nil, 1)) }, func(u *Unfused) { u.Scale = float32(math.Pow(32, -0.25)) }, ""},
	{"a scale more", func(t *testing.T, o opened) {
		scores(t, o, floats("c", []int64{1}, 3), op("Mul", "changed", "c", at0("MatMul")))
	}, func(u *Unfused) { u.Scale *= 3 }, ""},
	{"a division", func(t *testing.T, o opened) {
		scores(t, o, floats("c", nil, 4), op("Div", "changed", at0("MatMul"), "c"))
	}, func(u *Unfused) { u.Scale /= 4 }, ""},
	{"a soft cap", func(t *testing.T, o opened) {
		scores(t, o, floats("c", nil, 30), op("Div", "small", at0("MatMul"), "c"), op("Tanh", "flat", "small"), op("Mul", "changed", "flat", "c"))
	}, func(u *Unfused) { u.Softcap = 30 }, ""},
	{"query and key swapped", func(t *testing.T, o opened) { // the same width only if heads are as many; here they are not
		q, k := o.node(t, at0("Reshape")), o.node(t, at0("Reshape_1"))
		q.Inputs[0], k.Inputs[0] = k.Inputs[0], q.Inputs[0]
		o.sort()
	}, nil, "its shape is [2 3 128], [2 3 64] was expected"},
	{"key and value swapped", func(t *testing.T, o opened) {
		k, v := o.node(t, at0("Reshape_1")), o.node(t, at0("Reshape_2"))
		k.Inputs[0], v.Inputs[0] = v.Inputs[0], k.Inputs[0]
		o.sort()
	}, func(u *Unfused) { u.Key, u.Value = u.Value, u.Key }, ""},

	{"a negative scale", func(t *testing.T, o opened) { setConstant(t, o, at0("Constant_61"), floats("", nil, -1)) }, nil, "scores are multiplied with -"},
	{"a scale for each head", func(t *testing.T, o opened) {
		scores(t, o, floats("c", []int64{4, 1, 1}, 1, 2, 3, 4), op("Mul", "changed", at0("MatMul"), "c"))
	}, nil, `Constant "c": layer 0: scores are scaled by a tensor of shape [4 1 1]`},
	{"scores squared", func(t *testing.T, o opened) { scores(t, o, op("Mul", "changed", at0("MatMul"), at0("MatMul"))) }, nil, `Mul "changed"`},
	{"a bias", func(t *testing.T, o opened) {
		scores(t, o, floats("c", nil, 0.25), op("Add", "changed", at0("MatMul"), "c"))
	}, nil, `the mask: "c" is 0.25`},
	{"an unknown node", func(t *testing.T, o opened) { scores(t, o, op("Abs", "changed", at0("MatMul"))) }, nil, `Abs "changed": it is not known between query and softmax`},
	{"a function of the runtime", func(t *testing.T, o opened) {
		scores(t, o, onnx.Node{Op: "Mul", Domain: "com.microsoft", Inputs: []string{at0("MatMul"), at0("MatMul")}, Outputs: []string{"changed"}})
	}, nil, `Mul "changed"`},
	{"no mask", func(t *testing.T, o opened) { o.node(t, at0("Softmax")).Inputs[0] = at0("MatMul") }, nil, "not masked"},
	{"a softmax along queries", func(t *testing.T, o opened) { setInt(o.node(t, at0("Softmax")), "axis", 2) }, nil, "Softmax"},
	{"a mask that is strict", func(t *testing.T, o opened) { o.node(t, "/model/LessOrEqual_output_0").Op = "Less" }, nil, "see key"},
	{"a mask that looks ahead", func(t *testing.T, o opened) { o.node(t, "/model/LessOrEqual_output_0").Op = "GreaterOrEqual" }, nil, "the mask"},
	{"a weak mask", func(t *testing.T, o opened) { setConstant(t, o, at0("Constant_64"), floats("", []int64{1}, -5)) }, nil, "is -5 between"},
	{"a mask upside down", func(t *testing.T, o opened) {
		o.insert(t, o.node(t, at0("Where_2")), at0("Slice_4"), "not", op("Not", "not", at0("Slice_4")))
	}, nil, "the mask"},
	{"the padding not masked", func(t *testing.T, o opened) {
		*o.node(t, "/model/And_1_output_0") = op("Identity", "/model/And_1_output_0", "/model/And_output_0")
	}, nil, "the mask"},
	{"a mask that ends at 100 tokens", func(t *testing.T, o opened) {
		nodes := append(isLong(), op("Or", "changed", at0("Slice_4"), "long"))
		o.insert(t, o.node(t, at0("Where_2")), at0("Slice_4"), "changed", nodes...)
	}, nil, "the mask"},
	{"a rotation that changes at 100 tokens", func(t *testing.T, o opened) {
		nodes := append(isLong(), integers("two", nil, 2), op("Mul", "double", "position_ids", "two"), op("Where", "changed", "long", "double", "position_ids"))
		o.insert(t, o.node(t, "/model/rotary_emb/Unsqueeze_1_output_0"), "position_ids", "changed", nodes...)
	}, nil, "if it is what it looks like"},
	{"a rotation that changes at position 90", func(t *testing.T, o opened) {
		o.insert(t, o.node(t, "/model/rotary_emb/Unsqueeze_1_output_0"), "position_ids", "changed", integers("limit", nil, 90), op("Greater", "far", "position_ids", "limit"),
			op("Add", "double", "position_ids", "position_ids"), op("Where", "changed", "far", "double", "position_ids"))
	}, nil, "the rotation changes with the length"},
	{"a rotation of queries alone", func(t *testing.T, o opened) {
		*o.node(t, at0("Add_1")) = op("Identity", at0("Add_1"), at0("Transpose_1"))
	}, nil, "if it is what it looks like"},
	{"a rotation the other way", func(t *testing.T, o opened) { o.node(t, at0("Add_1")).Op, o.node(t, at0("Add")).Op = "Sub", "Sub" }, nil, "no rotation that is known"},
	{"halves in the wrong order", func(t *testing.T, o opened) { swap(o.node(t, at0("Concat_4"))) }, nil, "no rotation that is known"},
	{"heads not side by side", func(t *testing.T, o opened) { setInt(o.node(t, at0("Transpose_4")), "perm", 0, 1, 2, 3) }, nil, "if it is what it looks like"},
	{"heads in the wrong order", func(t *testing.T, o opened) { // as a whole twice, not each twice
		*o.node(t, at0("Reshape_4")) = op("Tile", at0("Reshape_4"), "present.0.key", "times")
		o.insert(t, o.node(t, at0("Reshape_4")), "times", "twice", integers("twice", []int64{4}, 1, 2, 1, 1))
	}, nil, "if it is what it looks like"},
	{"new before past", func(t *testing.T, o opened) { swap(o.node(t, "present.0.key")) }, nil, "a concatenation of past and new"},
	{"another layer's cache", func(t *testing.T, o opened) { o.node(t, "present.0.value").Inputs[0] = "past_key_values.1.value" }, nil, "not key and value of one layer"},
	{"key for value", func(t *testing.T, o opened) { o.node(t, "present.0.value").Inputs[0] = "past_key_values.0.key" }, nil, "not key and value of one layer"},
	{"outputs swapped", func(t *testing.T, o opened) {
		o.spec.Present[0], o.spec.Present[1] = o.spec.Present[1], o.spec.Present[0]
	}, nil, "element"},
	{"the cache read elsewhere", func(t *testing.T, o opened) {
		after(t, o, integers("axis", []int64{1}, 3), op("ReduceSum", "sum", "past_key_values.1.key", "axis"), op("Mul", "changed", projected, "sum"))
	}, nil, `ReduceSum "sum": it needs the cache "past_key_values.1.key", outside of attention`},
	{"the shape of the cache needed elsewhere", func(t *testing.T, o opened) {
		after(t, o, op("Shape", "shape", "present.1.key"), op("Reshape", "changed", projected, "shape"))
	}, nil, `Shape "shape": it needs the cache "present.1.key"`},
	{"positions needed elsewhere", func(t *testing.T, o opened) {
		after(t, o, op("Gather", "changed", projected, "position_ids"))
	}, nil, "it needs the positions"},
	{"the mask needed elsewhere", func(t *testing.T, o opened) {
		after(t, o, op("Where", "changed", "attention_mask", projected, projected))
	}, nil, "it needs the attention mask"},
	{"scores given out", func(t *testing.T, o opened) {
		o.Graph.Outputs = append(o.Graph.Outputs, onnx.Value{Name: at0("Softmax"), Type: onnx.Float32})
	}, nil, "outside of attention"},
	{"keys cut to a window", func(t *testing.T, o opened) {
		o.insert(t, o.node(t, at0("Unsqueeze_12")), "present.0.key", "changed", integers("from", []int64{1}, -100), integers("to", []int64{1}, math.MaxInt64),
			integers("of", []int64{1}, 2), op("Slice", "changed", "present.0.key", "from", "to", "of"))
	}, nil, `Slice "changed": a concatenation of past and new`},
	{"other heads", func(_ *testing.T, o opened) { o.spec.Heads = 8 }, nil, "the model's files say 8"},
	{"a short context", func(_ *testing.T, o opened) { o.spec.ContextMax = 15 }, nil, "a context of 15 tokens"},
	{"a very long context", func(_ *testing.T, o opened) { o.spec.ContextMax = 1 << 20 }, func(*Unfused) {}, ""},
	{"a layer less", func(_ *testing.T, o opened) {
		o.spec.Past, o.spec.Present = o.spec.Past[:1], o.spec.Present[:1]
	}, nil, "outside of attention"},
}

// A graph that differs is found to be what it is, or refused with what does not fit.
func TestMutations(t *testing.T) {
	for _, test := range mutations {
		t.Run(test.name, func(t *testing.T) {
			o := openGraph(t, "../testdata/a-fp32/onnx/model.onnx")
			plain, err := o.find()
			if err != nil {
				t.Fatal(err)
			}
			test.change(t, o)
			got, err := o.find()
			if test.want == nil {
				if err == nil || !strings.Contains(err.Error(), test.why) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want an error with %q (found %v)", err, test.why, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want(&plain[0])
			want{Unfused: plain[0]}.check(t, got[0])
			want{Unfused: plain[1]}.check(t, got[1])
			o.agrees(t, got)
		})
	}
}

// mutate changes one node in a way that a graph's author could get wrong, and says what it did; "" if it did nothing.
func (o opened) mutate(i, kind int) string {
	n := &o.Graph.Nodes[i]
	was := fmt.Sprint(n.Op, n.Inputs, n.Attributes)
	switch kind % 5 {
	case 0: // left out
		if len(n.Inputs) > 0 && len(n.Outputs) == 1 {
			*n = op("Identity", n.Outputs[0], n.Inputs[0])
		}
	case 1: // inputs swapped
		if k := len(n.Inputs); k > 1 {
			n.Inputs[k-1], n.Inputs[k-2] = n.Inputs[k-2], n.Inputs[k-1]
		}
	case 2: // a constant one more
		o.bump(n, 1)
	case 3:
		o.bump(n, -1)
	case 4: // another operator
		ops := []string{"Add", "Sub", "Mul", "Div", "Min", "Max"}
		if j := slices.Index(ops, n.Op); j >= 0 {
			n.Op = ops[(j+1)%len(ops)]
		}
		ops = []string{"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"}
		if j := slices.Index(ops, n.Op); j >= 0 {
			n.Op = ops[(j+1)%len(ops)]
		}
	}
	if is := fmt.Sprint(n.Op, n.Inputs, n.Attributes); is != was {
		return was + " became " + is
	}
	return ""
}

// bump changes the numbers of a constant, or the integers of a node.
func (o opened) bump(n *onnx.Node, by int64) {
	for i := range n.Attributes {
		a := &n.Attributes[i]
		if a.Tensor == nil {
			a.Int += by
			continue
		}
		t := onnx.Tensor{Type: a.Tensor.Type, Dims: a.Tensor.Dims}
		if v, ok := a.Tensor.Ints(); ok {
			v = slices.Clone(v)
			for j := range v {
				v[j] += by
			}
			t.Data = encode(v)
		} else if b, err := o.read(a.Tensor); err == nil && t.Type == onnx.Float32 {
			for ; len(b) > 0; b = b[4:] {
				x := math.Float32frombits(binary.LittleEndian.Uint32(b))
				t.Data = append(t.Data, encode(x*float32(1+0.001*float64(by)))...)
			}
		} else {
			continue
		}
		n.Attributes[i] = onnx.Attribute{Name: a.Name, Tensor: &t}
	}
}

// mutants tries changes of nodes that the first attention is computed with: what is still found must be what the graph computes.
func mutants(t *testing.T, path string, step int) (found, refused int) {
	o := openGraph(t, path)
	f := &finder{graph: o.Graph, spec: o.spec}
	f.index()
	layers, err := f.match()
	if err != nil {
		t.Fatal(err)
	}
	inside, _ := (&prover{finder: f, layers: layers[:1]}).within()
	slices.Sort(inside)
	for k := 0; k < 5*len(inside); k += step {
		i, made := f.made[inside[k/5]]
		if !made {
			continue
		}
		o := openGraph(t, path)
		what := o.mutate(i, k)
		if what == "" {
			continue
		}
		got, err := o.find()
		if err != nil {
			refused++
			continue
		}
		found++
		t.Run(what, func(t *testing.T) { o.agrees(t, got) })
	}
	return found, refused
}

// Of a graph that differs in any one node, nothing wrong is found.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	step := 47
	if os.Getenv("ALL_MUTANTS") != "" {
		step = 1
	}
	for _, path := range []string{"new-qwen3", "new-gemma3", "4.46-llama", "4.41-qwen2"} {
		found, refused := mutants(t, "testdata/unfused/"+path+".onnx.gz", step)
		t.Logf("%s: %d found, %d refused", path, found, refused)
		if found == 0 || refused < found {
			t.Errorf("%s: %d graphs that differ were accepted and %d refused; most should be refused, and some be the same", path, found, refused)
		}
	}
}

func FuzzUnfused(f *testing.F) {
	paths := []string{"new-qwen3", "new-gemma3", "new-glm", "new-smollm3", "new-yarn", "4.46-llama", "4.46-mistral", "4.41-qwen2", "4.41-phi3"}
	f.Add(uint8(0), []byte{1, 1, 0})
	f.Add(uint8(5), []byte{0, 90, 2, 1, 30, 4})
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		o := openGraph(t, "testdata/unfused/"+paths[int(which)%len(paths)]+".onnx.gz")
		for ; len(changes) >= 3; changes = changes[3:] {
			o.mutate((int(changes[0])<<8+int(changes[1]))%len(o.Graph.Nodes), int(changes[2]))
		}
		got, err := o.find()
		if err == nil {
			o.agrees(t, got)
		} else if !errors.Is(err, ErrUnfused) {
			t.Errorf("%v is of no kind", err)
		}
	})
}
