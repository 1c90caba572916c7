package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// allModules is the modules that adapters mostly go to, of a model of so many layers.
func allModules(layers int) (names []string) {
	for i := range layers {
		for _, module := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			names = append(names, fmt.Sprintf("model.layers.%d.%s", i, module))
		}
	}
	return names
}

// randomAdapter is one whose additions are about as large as size times what they are added to.
func randomAdapter(t testing.TB, m *Model, rank int, size float64, seed uint64, names ...string) *lora.Adapter {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	a := &lora.Adapter{Rank: rank}
	for _, name := range names {
		inputs, outputs := sizes(t, m, name)
		x := lora.Module{Name: name, Rank: rank, Inputs: inputs, Outputs: outputs, Scale: 2}
		for range rank * inputs {
			x.A = append(x.A, float32(r.NormFloat64()/math.Sqrt(float64(inputs))))
		}
		for range outputs * rank {
			x.B = append(x.B, float32(r.NormFloat64()*size/math.Sqrt(float64(rank))/2))
		}
		a.Modules = append(a.Modules, x)
	}
	return a
}

// sizes is what a module must have, as refusals say it.
func sizes(t testing.TB, m *Model, name string) (inputs, outputs int) {
	t.Helper()
	wanted := func(inputs int) (n int) {
		_, err := m.places.modules.Find(name, inputs, 0)
		if err == nil || !strings.Contains(err.Error(), "expected ") {
			t.Fatalf("%s: got %v", name, err)
		}
		if _, err := fmt.Sscanf(err.Error()[strings.Index(err.Error(), "expected "):], "expected %d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	inputs = wanted(0)
	return inputs, wanted(inputs)
}

// logitsWith is the probe's logits, computed with adapters.
func logitsWith(t testing.TB, m *Model, uses ...AdapterUse) [][]float32 {
	t.Helper()
	set, done, err := m.adapted(uses)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	rows, err := m.probe(set)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func load(t testing.TB, m *Model, name string, a *lora.Adapter) {
	t.Helper()
	if err := m.LoadAdapter(name, a); err != nil {
		t.Fatal(err)
	}
}

func sameRows(a, b [][]float32) bool {
	return slices.EqualFunc(a, b, func(x, y []float32) bool {
		return slices.EqualFunc(x, y, func(v, w float32) bool { return math.Float32bits(v) == math.Float32bits(w) })
	})
}

// farthest is the largest difference.
func farthest(a, b [][]float32) (most float64) {
	for r := range a {
		for i := range a[r] {
			most = max(most, math.Abs(float64(a[r][i])-float64(b[r][i])))
		}
	}
	return most
}

// merged is a copy of a float32 model whose weights have the adapters added, in float64.
func merged(t *testing.T, folder string, adapters []*lora.Adapter, scales []float64) string {
	t.Helper()
	dir := copyFixture(t, folder)
	files, err := model.Find(nil, dir, model.FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	graph, tensors, err := files.ReadGraph()
	if err != nil {
		t.Fatal(err)
	}
	defer tensors.Close()
	for i, a := range adapters {
		for _, x := range a.Modules {
			weights, first := "", 0
			plain := strings.ReplaceAll(x.Name, ".self_attn.", ".attn.")
			for _, n := range graph.Graph.Nodes {
				node := strings.ReplaceAll(strings.ReplaceAll(n.Name, "/", "."), ".self_attn.", ".attn.")
				if node == "."+plain+".MatMul" {
					weights = n.Inputs[1]
				}
				if at := slices.Index([]string{"q_proj", "k_proj", "v_proj"}, plain[strings.LastIndexByte(plain, '.')+1:]); at >= 0 &&
					node == "."+plain[:strings.LastIndexByte(plain, '.')]+".qkv_proj.MatMul" {
					weights, first = n.Inputs[1], []int{0, 128, 192}[at]
				}
			}
			at := slices.IndexFunc(graph.Graph.Initializers, func(w onnx.Tensor) bool { return w.Name == weights })
			if at < 0 {
				t.Fatalf("%s has no weights of %s", folder, x.Name)
			}
			w := &graph.Graph.Initializers[at]
			f, place, err := tensors.Place(w)
			if err != nil {
				t.Fatal(err)
			}
			addTo(t, f.Name, place, int(w.Dims[1]), first, x, scales[i])
		}
	}
	return dir
}

// addTo adds scale * B A to columns of the weights (inputs, columns) in a file.
func addTo(t *testing.T, file string, place int64, columns, first int, x lora.Module, scale float64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4*x.Inputs*columns)
	if _, err := f.ReadAt(b, place); err != nil {
		t.Fatal(err)
	}
	for k := range x.Inputs {
		for n := range x.Outputs {
			at := b[4*(k*columns+first+n):]
			sum := float64(math.Float32frombits(binary.LittleEndian.Uint32(at)))
			for j := range x.Rank {
				sum += scale * float64(x.Scale) * float64(x.B[n*x.Rank+j]) * float64(x.A[j*x.Inputs+k])
			}
			binary.LittleEndian.PutUint32(at, math.Float32bits(float32(sum)))
		}
	}
	if _, err := f.WriteAt(b, place); err != nil {
		t.Fatal(err)
	}
}

// Places for adapters change nothing as long as there is none, to the last bit, and neither does one that was used and left.
func TestAdaptersAbsent(t *testing.T) {
	for _, c := range []struct {
		folder  string
		kernels Kernels
	}{{"a-fp32", KernelsAuto}, {"a-fp16", KernelsOff}, {"a-keep", KernelsAuto}, {"a-combined", KernelsAuto}, {"a-nocache", KernelsAuto}, {"b-fp32", KernelsAuto},
		{"b-int4", KernelsAuto}, {"b-int4", KernelsOff}, {"b-int4", KernelsExact}} {
		t.Run(fmt.Sprint(c.folder, c.kernels), func(t *testing.T) {
			want := logitsWith(t, openFixture(t, c.folder, Options{Kernels: c.kernels, Threads: 2}))
			m := openFixture(t, c.folder, Options{Kernels: c.kernels, Threads: 2, Adapters: true})
			if got := logitsWith(t, m); !sameRows(got, want) {
				t.Errorf("with places: other logits, the farthest by %g", farthest(got, want))
			}
			load(t, m, "a", randomAdapter(t, m, 4, 0.5, 1, allModules(2)...))
			if !sameRows(logitsWith(t, m), want) {
				t.Error("one is loaded: other logits")
			}
			if with := logitsWith(t, m, AdapterUse{"a", 1}); farthest(with, want) < 0.1 {
				t.Error("it is used: the logits are the same")
			}
			if err := m.RemoveAdapter("a"); err != nil {
				t.Fatal(err)
			}
			if !sameRows(logitsWith(t, m), want) {
				t.Error("it was removed: other logits")
			}
		})
	}
}

// A float32 model with adapters is the model whose weights they were added to, one or two of them, with scales.
func TestAdaptersMerged(t *testing.T) {
	for _, folder := range []string{"a-fp32", "b-fp32", "c-fp32"} {
		t.Run(folder, func(t *testing.T) {
			m := openFixture(t, folder, Options{Adapters: true, Threads: 2})
			names := allModules(2)
			one, two := randomAdapter(t, m, 8, 0.4, 1, names...), randomAdapter(t, m, 3, 0.3, 2, names[3:9]...)
			load(t, m, "one", one)
			load(t, m, "two", two)
			base := logitsWith(t, m)
			for _, c := range []struct {
				uses     []AdapterUse
				adapters []*lora.Adapter
				scales   []float64
			}{
				{[]AdapterUse{{"one", 1}}, []*lora.Adapter{one}, []float64{1}},
				{[]AdapterUse{{"two", -0.5}}, []*lora.Adapter{two}, []float64{-0.5}},
				{[]AdapterUse{{"two", 0.75}, {"one", 0.5}}, []*lora.Adapter{one, two}, []float64{0.5, 0.75}},
			} {
				whole, err := Open(ortest.Env(t), merged(t, folder, c.adapters, c.scales), Options{Threads: 2})
				if err != nil {
					t.Fatal(err)
				}
				want := logitsWith(t, whole)
				whole.Close()
				got := logitsWith(t, m, c.uses...)
				t.Logf("%v: moves the logits by %.3f, and is at most %.2g from the merged model", c.uses, farthest(base, want), farthest(got, want))
				if far := farthest(got, want); !(far <= 1e-3) || farthest(base, want) < 0.1 {
					t.Errorf("%v: at most %g from the merged model, want 1e-3 (it moves them by %g)", c.uses, far, farthest(base, want))
				}
				if slices.Reverse(c.uses); !sameRows(logitsWith(t, m, c.uses...), got) {
					t.Errorf("%v: other logits when named in another order", c.uses)
				}
			}
		})
	}
}

// With our kernels an adapter does what it does in the original graph with exact activations, as nearly as the model itself does.
func TestAdaptersOnKernels(t *testing.T) {
	env := ortest.Env(t)
	for name, open := range map[string]func(t *testing.T, o Options) (*Model, error){
		"tiny":   func(t *testing.T, o Options) (*Model, error) { return OpenFS(env, tiny.FS(), o) },
		"b-int4": func(t *testing.T, o Options) (*Model, error) { return Open(env, "testdata/b-int4", o) },
		"a-q4":   func(t *testing.T, o Options) (*Model, error) { return Open(env, quantised(t, "a-fp32"), o) },
		"real":   func(t *testing.T, o Options) (*Model, error) { return Open(env, realModel(t), o) },
	} {
		t.Run(name, func(t *testing.T) {
			with := func(o Options) *Model {
				o.NoText, o.Threads = true, 2
				m, err := open(t, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { m.Close() })
				return m
			}
			ours, exact := with(Options{}), with(Options{Kernels: KernelsExact, Adapters: true})
			if ours.Kernels() != "" || exact.places == nil {
				t.Fatalf("got kernels %q, places %v", ours.Kernels(), exact.places)
			}
			names := append(allModules(ours.spec.Layers), "lm_head")
			for _, m := range []*Model{ours, exact} {
				load(t, m, "a", randomAdapter(t, m, 4, 0.2, 1, names...))
				load(t, m, "b", randomAdapter(t, m, 7, 0.2, 2, names[:3]...))
			}
			plain := logitsWith(t, exact)
			for _, uses := range [][]AdapterUse{{{"a", 1}}, {{"b", -1}, {"a", 1}}} {
				want := logitsWith(t, exact, uses...)
				got, moved := compare(want, logitsWith(t, ours, uses...)), compare(want, plain)
				t.Logf("%v: ours %v; without the adapter %v", uses, got, moved)
				if !got.ok() || moved.Error < 2*got.Error {
					t.Errorf("%v: got %v; want it within the limits, and well below the model without, %v", uses, got, moved)
				}
			}
		})
	}
}

// Our kernels give the same tokens with an adapter however the work is cut, and on every rung.
func TestAdaptersSameTokens(t *testing.T) {
	g := readGolden(t)
	best := cpu.Rung()
	defer cpu.SetRung(best)
	var want [][]int32
	for _, rung := range cpu.Rungs() {
		if err := cpu.SetRung(rung); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{Threads: 1}, {Threads: 3, Chunk: 7}, {Threads: 2, Chunk: 1}} {
			m := openFixture(t, "b-int4", o)
			load(t, m, "a", randomAdapter(t, m, 5, 0.3, 1, append(allModules(2), "lm_head")...))
			var got [][]int32
			for _, prompt := range g.Prompts {
				got = append(got, tokens(t, m, Request{Tokens: prompt, MaxTokens: 32, IgnoreEnd: true, Adapters: []AdapterUse{{"a", 1}}}))
			}
			if want == nil {
				want = got
			}
			if !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("%s, %d threads, chunks of %d:\ngot  %v\nwant %v", rung, o.Threads, o.Chunk, got, want)
			}
		}
	}
}
