package derive

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// want is what a layer should be found to be; rotary frequencies are base^(-2j/RotaryDim).
type want struct {
	Unfused
	base float64
}

func (w want) check(t *testing.T, got Unfused) {
	t.Helper()
	for j, f := range got.InverseFrequencies {
		if exact := math.Pow(w.base, -2*float64(j)/float64(got.RotaryDim)); w.base > 0 && !(math.Abs(float64(f)/exact-1) < 1e-3*math.Abs(1-exact)+1e-6) {
			t.Errorf("layer %d: inverse frequency %d is %v, want %v", got.Layer, j, f, exact)
		}
	}
	if len(got.InverseFrequencies) != got.RotaryDim/2 {
		t.Errorf("layer %d: %d inverse frequencies for %d", got.Layer, len(got.InverseFrequencies), got.RotaryDim)
	}
	if !near(got.Scale, w.Scale) || !near(got.RotaryScale, w.RotaryScale) {
		t.Errorf("layer %d: scale %v, rotary scale %v; want %v, %v", got.Layer, got.Scale, got.RotaryScale, w.Scale, w.RotaryScale)
	}
	if w.InverseFrequencies != nil && !reflect.DeepEqual(got.InverseFrequencies, w.InverseFrequencies) {
		t.Errorf("layer %d: inverse frequencies %v, want %v", got.Layer, got.InverseFrequencies, w.InverseFrequencies)
	}
	got.InverseFrequencies, got.Scale, got.RotaryScale = w.InverseFrequencies, w.Scale, w.RotaryScale
	if !reflect.DeepEqual(got, w.Unfused) {
		t.Errorf("got  %+v\nwant %+v", got, w.Unfused)
	}
}

func near(a, b float32) bool { return math.Abs(float64(a-b)) <= 3e-4*math.Abs(float64(b)) }

// layerOf is a layer whose tensors have the names that Optimum gives them.
func layerOf(i, heads, kvHeads, dim int) Unfused {
	l := string(rune('0' + i))
	at := "/model/layers." + l + "/self_attn/"
	return Unfused{
		Layer: i, Query: at + "q_proj/MatMul_output_0", Key: at + "k_proj/MatMul_output_0", Value: at + "v_proj/MatMul_output_0",
		PastKey: "past_key_values." + l + ".key", PastValue: "past_key_values." + l + ".value", PresentKey: "present." + l + ".key", PresentValue: "present." + l + ".value",
		Output: at + "Reshape_7_output_0", Heads: heads, KVHeads: kvHeads, HeadDim: dim, RotaryDim: dim, RotaryScale: 1,
		Scale: float32(1 / math.Sqrt(float64(dim))), Window: -1,
	}
}

// biased is a layer with biases in the projections.
func biased(u Unfused) Unfused {
	for _, name := range []*string{&u.Query, &u.Key, &u.Value} {
		*name = strings.Replace(*name, "MatMul", "Add", 1)
	}
	return u
}

func change(u Unfused, f func(u *Unfused)) Unfused {
	f(&u)
	return u
}

func TestFindUnfused(t *testing.T) {
	normed := func(shape HeadShape) func(u *Unfused) {
		return func(u *Unfused) {
			at := filepath.Dir(filepath.Dir(u.Query))
			u.Query, u.Key, u.QueryShape, u.KeyShape = at+"/q_norm/Mul_1_output_0", at+"/k_norm/Mul_1_output_0", shape, shape
		}
	}
	sliced := func(u *Unfused) {
		at := filepath.Dir(filepath.Dir(u.Query))
		u.Query, u.Key, u.Value = at+"/Slice_output_0", at+"/Slice_1_output_0", at+"/Slice_2_output_0"
	}
	combined := func(u *Unfused) {
		u.PastKey, u.PresentKey = "past_"+u.PastKey[16:17], "present_"+u.PastKey[16:17]
		u.PastValue, u.PresentValue = u.PastKey, u.PresentKey
	}
	fixture := func(i int) Unfused { return biased(layerOf(i, 4, 2, 32)) }
	two := []want{{fixture(0), 1e4}, {fixture(1), 1e4}}
	llama := []want{{layerOf(0, 4, 2, 16), 1e4}, {layerOf(1, 4, 2, 16), 1e4}}
	tests := []struct {
		path string
		want []want
	}{
		{"../testdata/a-fp32/onnx/model.onnx", two},
		{"../testdata/a-keep/onnx/model.onnx", two},
		{"../testdata/a-fp16/onnx/model_fp16.onnx", two}, // its constants are rounded
		{"../testdata/c-fp32/model.onnx", two},
		{"../testdata/a-combined/onnx/model.onnx", []want{{change(fixture(0), combined), 1e4}, {change(fixture(1), combined), 1e4}}},
		{"testdata/unfused/new-qwen3.onnx.gz", []want{{change(layerOf(0, 4, 2, 32), normed(Split)), 1e4}, {change(layerOf(1, 4, 2, 32), normed(Split)), 1e4}}},
		{"testdata/unfused/new-gemma3.onnx.gz", []want{
			{change(change(layerOf(0, 4, 2, 32), normed(HeadsFirst)), func(u *Unfused) { u.Window, u.Scale = 40, 1./16 }), 1e4},
			{change(change(layerOf(1, 4, 2, 32), normed(HeadsFirst)), func(u *Unfused) { u.Scale = 1. / 16 }), 1e6},
		}},
		{"testdata/unfused/new-glm.onnx.gz", []want{
			{change(biased(layerOf(0, 4, 2, 16)), func(u *Unfused) {
				u.RotaryDim, u.Interleaved, u.Output = 8, true, strings.Replace(u.Output, "7", "11", 1)
			}), 1e4},
			{change(biased(layerOf(1, 4, 2, 16)), func(u *Unfused) {
				u.RotaryDim, u.Interleaved, u.Output = 8, true, strings.Replace(u.Output, "7", "9", 1)
			}), 1e4},
		}},
		{"testdata/unfused/new-smollm3.onnx.gz", []want{{layerOf(0, 4, 2, 16), 2e6}, {change(layerOf(1, 4, 2, 16), func(u *Unfused) { u.RotaryDim = 0 }), 0}}},
		{"testdata/unfused/new-yarn.onnx.gz", []want{
			{change(layerOf(0, 4, 4, 16), func(u *Unfused) { u.RotaryScale, u.Output = 1.1386294, strings.Replace(u.Output, "7", "3", 1) }), 0},
			{change(layerOf(1, 4, 4, 16), func(u *Unfused) { u.RotaryScale, u.Output = 1.1386294, strings.Replace(u.Output, "7", "3", 1) }), 0},
		}},
		{"testdata/unfused/4.46-llama.onnx.gz", llama},
		{"testdata/unfused/4.46-mistral.onnx.gz", []want{
			{change(layerOf(0, 4, 2, 16), func(u *Unfused) { u.Window = 40 }), 1e4}, {change(layerOf(1, 4, 2, 16), func(u *Unfused) { u.Window = 40 }), 1e4},
		}},
		{"testdata/unfused/4.41-qwen2.onnx.gz", []want{{biased(layerOf(0, 4, 2, 16)), 1e4}, {biased(layerOf(1, 4, 2, 16)), 1e4}}}, // tables of cosines
		{"testdata/unfused/4.41-phi3.onnx.gz", []want{{change(layerOf(0, 4, 2, 16), sliced), 1e4}, {change(layerOf(1, 4, 2, 16), sliced), 1e4}}},
	}
	for _, test := range tests {
		t.Run(strings.Trim(strings.ReplaceAll(test.path, "/", " "), ". "), func(t *testing.T) {
			o := openGraph(t, test.path)
			got, err := o.find()
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("got %d layers, want %d", len(got), len(test.want))
			}
			for i, u := range got {
				test.want[i].check(t, u)
			}
			o.agrees(t, got)
			unused := []string{o.spec.Mask}
			if o.spec.Positions != "" { // Gemma 3 counts them from the cache
				unused = append(unused, o.spec.Positions)
			}
			if got := UnusedInputs(o.Graph, got); !reflect.DeepEqual(got, unused) {
				t.Errorf("unused: got %q, want %q", got, unused)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for path, why := range map[string]string{
		"../testdata/a-nocache/onnx/model.onnx": "no cache",
		"../testdata/b-fp32/model.onnx":         "no softmax over the cache",
		"testdata/unfused/new-gpt2.onnx.gz":     `Gather "/transformer/wpe/Gather": it needs the positions "position_ids", outside of attention`,
		"testdata/unfused/new-mpt.onnx.gz":      "a mask of shape [4 1 128]", // a bias for each head
	} {
		o := openGraph(t, path)
		if o.spec.HeadDim < 0 {
			o.spec.HeadDim = 32 // layout B leaves it open
		}
		_, err := o.find()
		if !errors.Is(err, ErrUnfused) || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line of ErrUnfused with %q", path, err, why)
		}
	}
}

func TestString(t *testing.T) {
	u := Unfused{Layer: 3, Heads: 14, KVHeads: 2, HeadDim: 64, RotaryDim: 32, Interleaved: true, RotaryScale: 1.25, Scale: 0.125, Softcap: 50, Window: 512}
	if got, want := u.String(), "layer 3: 14 heads over 2 of 64, scale 0.125, rotary over 32 in neighbours times 1.25, soft cap 50, window of 512"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (Unfused{Heads: 4, KVHeads: 4, HeadDim: 8, Scale: 1, Window: -1}).String(), "layer 0: 4 heads over 4 of 8, scale 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nothing of the graph changes, whatever comes out.
func TestFindChangesNothing(t *testing.T) {
	o, again := openGraph(t, "../testdata/a-fp32/onnx/model.onnx"), openGraph(t, "../testdata/a-fp32/onnx/model.onnx")
	if _, err := o.find(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(o.Graph, again.Graph) {
		t.Error("the graph was changed")
	}
	o.Functions = []onnx.Function{{Domain: "local", Name: "f"}}
	if _, err := o.find(); err == nil || !strings.Contains(err.Error(), "functions of its own") {
		t.Errorf("with functions: %v", err)
	}
}

// Nodes far wider than real ones take no more time than there are names in them.
func TestWideNodes(t *testing.T) {
	const width = 100_000
	o := openGraph(t, "../testdata/a-fp32/onnx/model.onnx")
	wide := op("Split", "wide", o.spec.InputIDs)
	for i := range width {
		wide.Inputs, wide.Outputs = append(wide.Inputs, fmt.Sprint("in", i)), append(wide.Outputs, fmt.Sprint("out", i))
	}
	i := slices.IndexFunc(o.Graph.Nodes, func(n onnx.Node) bool { return n.Op == "Softmax" })
	soft := o.Graph.Nodes[i]
	joined := op("Concat", "joined", wide.Outputs[1:]...)
	o.insert(t, &o.Graph.Nodes[i], soft.Inputs[0], "joined", wide, joined)
	for i := range width / 5 { // each looks back to it
		o.Graph.Nodes = append(o.Graph.Nodes, op("MatMul", fmt.Sprint("look", i), soft.Outputs[0], "out0"))
	}
	if _, err := o.find(); !errors.Is(err, ErrUnfused) {
		t.Errorf("got %v, want %v", err, ErrUnfused)
	}
}
