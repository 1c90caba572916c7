package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// operator is the runtime's GroupQueryAttention with the same attributes, over one sequence whose past and present share memory.
type operator struct {
	call                                 *ort.Call
	env                                  *ort.Env
	a                                    cpu.Attention
	keys, values, cos, sin, sink, length *ort.Value
}

func attentionGraph(a cpu.Attention) []byte {
	node := onnxtest.Node{Op: "GroupQueryAttention", Domain: "com.microsoft",
		Inputs:  []string{"q", "k", "v", "keys", "values", "seqlens", "total", "cos", "sin", "", "", "sink"},
		Outputs: []string{"y", "keys_out", "values_out"},
		Attributes: map[string]any{"num_heads": a.Heads, "kv_num_heads": a.KVHeads, "scale": a.Scale, "softcap": a.Softcap,
			"local_window_size": a.Window, "do_rotary": 1}}
	if a.Interleaved {
		node.Attributes["rotary_interleaved"] = 1
	}
	cache := []any{1, a.KVHeads, "capacity", a.HeadDim}
	g := onnxtest.Graph{
		Inputs: []onnxtest.Value{
			{Name: "q", Type: onnx.Float32, Dims: []any{1, "n", a.Heads * a.HeadDim}},
			{Name: "k", Type: onnx.Float32, Dims: []any{1, "n", a.KVHeads * a.HeadDim}},
			{Name: "v", Type: onnx.Float32, Dims: []any{1, "n", a.KVHeads * a.HeadDim}},
			{Name: "keys", Type: onnx.Float32, Dims: cache}, {Name: "values", Type: onnx.Float32, Dims: cache},
			{Name: "seqlens", Type: onnx.Int32, Dims: []any{1}}, {Name: "total", Type: onnx.Int32, Dims: []any{1}},
			{Name: "cos", Type: onnx.Float32, Dims: []any{"positions", a.RotaryDim / 2}},
			{Name: "sin", Type: onnx.Float32, Dims: []any{"positions", a.RotaryDim / 2}},
			{Name: "sink", Type: onnx.Float32, Dims: []any{a.Heads}},
		},
		Outputs: []onnxtest.Value{{Name: "y", Type: onnx.Float32, Dims: []any{1, "n", a.Heads * a.HeadDim}},
			{Name: "keys_out", Type: onnx.Float32, Dims: cache}, {Name: "values_out", Type: onnx.Float32, Dims: cache}},
		Nodes: []onnxtest.Node{node},
	}
	if a.Sink == nil {
		g.Nodes[0].Inputs = node.Inputs[:9]
		g.Inputs = g.Inputs[:9]
	}
	return onnxtest.Encode(g)
}

func newOperator(t testing.TB, env *ort.Env, a cpu.Attention, threads int) *operator {
	t.Helper()
	session, err := env.OpenSessionBytes(attentionGraph(a), ort.SessionOptions{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	inputs := []string{"q", "k", "v", "keys", "values", "seqlens", "total", "cos", "sin"}
	if a.Sink != nil {
		inputs = append(inputs, "sink")
	}
	call, err := session.NewCall(inputs, []string{"y", "keys_out", "values_out"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { call.Close() })
	o := &operator{call: call, env: env, a: a}
	cache := []int64{1, int64(a.KVHeads), int64(a.Capacity), int64(a.HeadDim)}
	size := a.KVHeads * a.Capacity * a.HeadDim
	o.keys, o.values = o.tensor(t, make([]float32, size), cache...), o.tensor(t, make([]float32, size), cache...)
	half := int64(a.RotaryDim / 2)
	o.cos, o.sin = o.tensor(t, a.Cos, int64(len(a.Cos))/half, half), o.tensor(t, a.Sin, int64(len(a.Sin))/half, half)
	for i, v := range map[int]*ort.Value{3: o.keys, 4: o.values, 7: o.cos, 8: o.sin} {
		call.SetInput(i, v)
	}
	if a.Sink != nil {
		call.SetInput(9, o.tensor(t, a.Sink, int64(a.Heads)))
	}
	call.SetOutput(1, o.keys)
	call.SetOutput(2, o.values)
	return o
}

func (o *operator) tensor(t testing.TB, x []float32, shape ...int64) *ort.Value {
	t.Helper()
	v, err := o.env.NewTensor(ort.Float32, shape...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	copy(ort.View[float32](v), x)
	return v
}

func (o *operator) lengths(t testing.TB, value int) *ort.Value {
	t.Helper()
	v, err := o.env.NewTensor(ort.Int32, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	ort.View[int32](v)[0] = int32(value)
	return v
}

// prepare sets all that a run of these tokens needs; y is where its output will lie.
func (o *operator) prepare(t testing.TB, q, k, v []float32, past int) (y []float32) {
	t.Helper()
	heads, kv := int64(o.a.Heads*o.a.HeadDim), int64(o.a.KVHeads*o.a.HeadDim)
	n := int64(len(q)) / heads
	o.call.SetInput(0, o.tensor(t, q, 1, n, heads))
	o.call.SetInput(1, o.tensor(t, k, 1, n, kv))
	o.call.SetInput(2, o.tensor(t, v, 1, n, kv))
	o.call.SetInput(5, o.lengths(t, past+int(n)-1))
	o.call.SetInput(6, o.lengths(t, past+int(n)))
	out := o.tensor(t, nil, 1, n, heads)
	o.call.SetOutput(0, out)
	return ort.View[float32](out)
}

func (o *operator) run(t testing.TB, q, k, v []float32, past int) []float32 {
	t.Helper()
	y := o.prepare(t, q, k, v, past)
	if err := o.call.Run(nil); err != nil {
		t.Fatal(err)
	}
	return y
}

func randoms(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// rotary fills in the tables for as many positions as the cache has.
func rotary(a cpu.Attention) cpu.Attention {
	half := a.RotaryDim / 2
	for i := range a.Capacity * half {
		angle := float64(i/half) * math.Pow(10000, -float64(i%half)/float64(half))
		a.Cos, a.Sin = append(a.Cos, float32(math.Cos(angle))), append(a.Sin, float32(math.Sin(angle)))
	}
	return a
}

func furthest(x, y []float32) (distance float64) {
	for i := range x {
		d := math.Abs(float64(x[i]) - float64(y[i]))
		if !(d <= distance) {
			distance = d
		}
	}
	return distance
}

// The operator that this one takes the place of, on random data: prompts, what follows a prompt, and single tokens.
func TestAttentionIsTheRuntimes(t *testing.T) {
	env := ortest.Env(t)
	shapes := []cpu.Attention{
		{Heads: 14, KVHeads: 2, HeadDim: 64, RotaryDim: 64, Window: -1},
		{Heads: 12, KVHeads: 2, HeadDim: 128, RotaryDim: 128, Window: -1, Softcap: 20},
		{Heads: 4, KVHeads: 4, HeadDim: 80, RotaryDim: 80, Window: -1, Interleaved: true},
		{Heads: 6, KVHeads: 3, HeadDim: 64, RotaryDim: 32, Window: 50},
		{Heads: 8, KVHeads: 1, HeadDim: 16, RotaryDim: 16, Window: 1},
		{Heads: 8, KVHeads: 2, HeadDim: 96, RotaryDim: 96, Window: 128, Sink: []float32{1, 0, -1, 2, 3, 0.5, -3, 4}},
		{Heads: 4, KVHeads: 1, HeadDim: 256, RotaryDim: 256, Window: 300, Softcap: 50},
	}
	const distanceMax = 1e-5
	for _, a := range shapes {
		a.Capacity, a.Scale = 700, float32(1/math.Sqrt(float64(a.HeadDim)))
		a = rotary(a)
		name := fmt.Sprintf("%d of %d heads of %d, window %d", a.Heads, a.KVHeads, a.HeadDim, a.Window)
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(a.HeadDim)))
			o := newOperator(t, env, a, 2)
			size := a.KVHeads * a.Capacity * a.HeadDim
			keys, values := make([]float32, size), make([]float32, size)
			past := 0
			for _, n := range []int{17, 1, 300, 1, 2, 100, 1, 16, 1, 200, 1} {
				q, k, v := randoms(r, n*a.Heads*a.HeadDim), randoms(r, n*a.KVHeads*a.HeadDim), randoms(r, n*a.KVHeads*a.HeadDim)
				y := make([]float32, len(q))
				a.Run(q, k, v, past, keys, values, y)
				want := o.run(t, q, k, v, past)
				if d := furthest(y, want); !(d <= distanceMax) {
					t.Errorf("%d tokens behind %d: %g from the runtime's, at most %g is allowed", n, past, d, distanceMax)
				}
				past += n
			}
			if d := furthest(keys, ort.View[float32](o.keys)); !(d <= distanceMax) {
				t.Errorf("the keys are %g from the runtime's, at most %g is allowed", d, distanceMax)
			}
			if !slices.Equal(values, ort.View[float32](o.values)) {
				t.Error("the values are not the runtime's")
			}
		})
	}
}

// On one thread, beside the runtime's operator; the cache stays near, as it does not in a model.
func BenchmarkAttention(b *testing.B) {
	env := ortest.Env(b)
	shapes := map[string]cpu.Attention{
		"0.5B": {Heads: 14, KVHeads: 2, HeadDim: 64, RotaryDim: 64, Window: -1, Capacity: 4096, Scale: 0.125},
		"1.5B": {Heads: 12, KVHeads: 2, HeadDim: 128, RotaryDim: 128, Window: -1, Capacity: 4096, Scale: 0.09},
	}
	for name, a := range shapes {
		a = rotary(a)
		o := newOperator(b, env, a, 1)
		for _, at := range []struct{ past, n int }{{0, 512}, {0, 2048}, {1023, 1}, {4095, 1}} {
			r := rand.New(rand.NewPCG(1, 1))
			q, k := randoms(r, at.n*a.Heads*a.HeadDim), randoms(r, at.n*a.KVHeads*a.HeadDim)
			keys, values, y := ort.View[float32](o.keys), ort.View[float32](o.values), make([]float32, len(q))
			b.Run(fmt.Sprintf("%s/%d behind %d/ours", name, at.n, at.past), func(b *testing.B) {
				for b.Loop() {
					a.Run(q, k, k, at.past, keys, values, y)
				}
			})
			b.Run(fmt.Sprintf("%s/%d behind %d/runtime", name, at.n, at.past), func(b *testing.B) {
				o.prepare(b, q, k, k, at.past)
				for b.Loop() {
					if err := o.call.Run(nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
