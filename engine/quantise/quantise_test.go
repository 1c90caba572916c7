package quantise

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// What 4 bits in blocks of 32 leave of normally distributed weights, and 8 bits.
const off4, off8 = 0.11, 0.01

func TestTiedModel(t *testing.T) {
	g := decoder()
	embed, w := numbers(g.Tensors[0]), numbers(g.Tensors[1])
	p, got := convert(t, folder(t, g))
	if p.Matrices != 2 || p.HeadBits != 8 || p.TableBits != 8 || !p.Shared || p.Widened || len(p.Kept) > 0 {
		t.Errorf("got %+v, want two matrices, head and table one of 8 bits", p)
	}
	var ops []string
	for _, n := range got.Graph.Nodes {
		ops = append(ops, n.Op)
	}
	if want := []string{"Reshape", "GatherBlockQuantized", "MatMulNBits", "MatMulNBits"}; !slices.Equal(ops, want) {
		t.Fatalf("got the nodes %v, want %v", ops, want)
	}
	if e := off(got.matrix(t, &got.Graph.Nodes[2]), turned(w, hidden)); e > off4 {
		t.Errorf("the matrix is off by %g, at most %g was expected", e, off4)
	}
	if e := off(got.matrix(t, &got.Graph.Nodes[3]), embed); e > off8 {
		t.Errorf("the head is off by %g, at most %g was expected", e, off8)
	}
	if got.Graph.Nodes[0].Inputs[0] != got.Graph.Nodes[3].Inputs[1] {
		t.Error("the embedding has not the head's codes")
	}
	if !slices.Contains(got.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1}) {
		t.Errorf("the graph imports %v only", got.Opsets)
	}
}

// Each way in which a graph holds a matrix gives its numbers.
func TestMatricesInEveryForm(t *testing.T) {
	set := func(g *onnxtest.Graph, tensors []onnxtest.Tensor, nodes ...onnxtest.Node) {
		g.Nodes = slices.Replace(g.Nodes, 1, 2, nodes...)
		g.Tensors = append(g.Tensors[:1], tensors...)
	}
	one := func(x onnxtest.Tensor) []onnxtest.Tensor { return []onnxtest.Tensor{x} }
	w := tensor("w", weights(2, hidden, hidden), hidden, hidden)
	straight, across := numbers(w), turned(numbers(w), hidden)
	half := halves("w", 2, hidden, hidden)
	narrow := []onnxtest.Tensor{tensor("w", weights(3, hidden, 40), hidden, 40), tensor("w2", weights(4, 40, hidden), 40, hidden)}
	tests := []struct {
		name   string
		change func(g *onnxtest.Graph)
		want   []float32
		nodes  int // MatMulNBits before the head
	}{
		{"product", func(g *onnxtest.Graph) {}, across, 1},
		{"turned", func(g *onnxtest.Graph) {
			set(g, one(w), node("Transpose", []string{"w"}, "t", nil), node("MatMul", []string{"x", "t"}, "y", nil))
		}, straight, 1},
		{"turned twice", func(g *onnxtest.Graph) {
			set(g, one(w), node("Transpose", []string{"w"}, "t", nil), node("Identity", []string{"t"}, "i", nil), node("Transpose", []string{"i"}, "u", map[string]any{"perm": []int{1, 0}}),
				node("MatMul", []string{"x", "u"}, "y", nil))
		}, across, 1},
		{"cast from float16", func(g *onnxtest.Graph) {
			set(g, one(half), node("Cast", []string{"w"}, "c", map[string]any{"to": 1}), node("MatMul", []string{"x", "c"}, "y", nil))
		}, turned(numbers(half), hidden), 1},
		{"Gemm", func(g *onnxtest.Graph) {
			set(g, append(one(w), tensor("b", weights(5, hidden), hidden)), node("Gemm", []string{"x", "w", "b"}, "y", map[string]any{"transB": 1, "alpha": float32(1)}))
		}, straight, 1},
		{"Constant", func(g *onnxtest.Graph) {
			inner := w
			inner.Name = ""
			set(g, nil, node("Constant", nil, "w", map[string]any{"value": inner}), node("MatMul", []string{"x", "w"}, "y", nil))
		}, across, 1},
		{"used twice", func(g *onnxtest.Graph) {
			set(g, one(w), node("MatMul", []string{"x", "w"}, "z", nil), node("MatMul", []string{"z", "w"}, "y", nil))
		}, across, 2},
		{"inputs that do not fill a block", func(g *onnxtest.Graph) {
			set(g, narrow, node("MatMul", []string{"x", "w"}, "z", nil), node("MatMul", []string{"z", "w2"}, "y", nil))
		}, turned(numbers(narrow[0]), 40), 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := decoder()
			test.change(&g)
			_, got := convert(t, folder(t, g))
			found := got.products()
			if len(found) != test.nodes+1 {
				t.Fatalf("got %d products, want %d", len(found), test.nodes+1)
			}
			if e := off(got.matrix(t, found[0]), test.want); e > off4 {
				t.Errorf("the matrix is off by %g, at most %g was expected", e, off4)
			}
			for name := range got.byName {
				if name == "w" {
					t.Error("the old weights are still there")
				}
			}
			if len(test.want) == hidden*40 {
				if e := off(got.matrix(t, found[1]), turned(numbers(narrow[1]), hidden)); e > off4 {
					t.Errorf("the second matrix is off by %g, at most %g was expected", e, off4)
				}
			}
		})
	}
}

// Constant nodes may give their tensors one name; what they hold is told apart all the same.
func TestConstantsOfOneName(t *testing.T) {
	g := decoder()
	first, second := tensor("value", weights(6, hidden, hidden), hidden, hidden), tensor("value", weights(7, hidden, hidden), hidden, hidden)
	g.Tensors = g.Tensors[:1]
	g.Nodes = slices.Replace(g.Nodes, 1, 2,
		node("Constant", nil, "w", map[string]any{"value": first}), node("MatMul", []string{"x", "w"}, "z", nil),
		node("Constant", nil, "w2", map[string]any{"value": second}), node("MatMul", []string{"z", "w2"}, "y", nil))
	_, got := convert(t, folder(t, g))
	for i, want := range []onnxtest.Tensor{first, second} {
		if e := off(got.matrix(t, got.products()[i]), turned(numbers(want), hidden)); e > off4 {
			t.Errorf("matrix %d is off by %g, at most %g was expected", i, e, off4)
		}
	}
	// The embedding and the head, of the same shape and name and other numbers, are two as well.
	table, head := tensor("value", weights(8, vocab, hidden), vocab, hidden), tensor("value", weights(9, vocab, hidden), vocab, hidden)
	g = decoder()
	g.Tensors = g.Tensors[1:]
	g.Nodes[2].Inputs[0] = "h"
	g.Nodes = append([]onnxtest.Node{node("Constant", nil, "embed", map[string]any{"value": table}), node("Constant", nil, "h", map[string]any{"value": head})}, g.Nodes...)
	if p, _ := convert(t, folder(t, g)); p.Shared {
		t.Error("the embedding has the codes of another head")
	}
}

// Nodes that nothing reads go at once, however many of them follow each other.
func TestLongIdleChain(t *testing.T) {
	g := decoder()
	last := "x"
	for i := range 30_000 {
		next := fmt.Sprint("idle", i)
		g.Nodes = append(g.Nodes, node("Identity", []string{last}, next, nil))
		last = next
	}
	_, got := convert(t, folder(t, g))
	for _, n := range got.Graph.Nodes {
		if n.Op == "Identity" {
			t.Fatalf("%q is still there", n.Outputs)
		}
	}
}

// Names of new tensors are new also where one matrix becomes several.
func TestNamesAreNew(t *testing.T) {
	square := func() onnxtest.Graph {
		g := decoder()
		g.Nodes = slices.Replace(g.Nodes, 1, 2, node("MatMul", []string{"x", "w"}, "z", nil), node("Transpose", []string{"w"}, "t", nil), node("MatMul", []string{"z", "t"}, "y", nil))
		return g
	}
	hiddenHead := func() onnxtest.Graph { // behind an operation that the search for it does not know
		g := decoder()
		g.Nodes[3].Outputs[0] = "l"
		g.Nodes = append(g.Nodes, node("Neg", []string{"l"}, "logits", nil))
		return g
	}
	for name, g := range map[string]onnxtest.Graph{"both ways": square(), "a tied head that is not recognised": hiddenHead()} {
		_, got := convert(t, folder(t, g))
		if len(got.byName) != len(got.Graph.Initializers) {
			t.Errorf("%s: %d tensors have %d names", name, len(got.Graph.Initializers), len(got.byName))
		}
	}
}

// What a core holds is bounded, however wide a matrix is.
func TestCuts(t *testing.T) {
	for _, m := range []matrix{{rows: 1000, columns: 32}, {rows: 3000, columns: 4096}, {rows: 300, columns: 1 << 20}, {rows: 3, columns: sizeMax}} {
		for _, m.byInput = range []bool{false, true} {
			at := 0
			for _, c := range m.cuts() {
				if c.from != at || c.to <= c.from || c.to-c.from > 1 && (c.to-c.from)*m.columns*4 > 4*pieceBytes {
					t.Errorf("(%d, %d), by input %v: the cut %+v follows %d", m.rows, m.columns, m.byInput, c, at)
				}
				at = c.to
			}
			if at != m.rows {
				t.Errorf("(%d, %d), by input %v: %d rows are in no cut", m.rows, m.columns, m.byInput, m.rows-at)
			}
		}
	}
}

// Whoever sweeps beside it takes nothing from a Write that begins.
func TestHoldBesideSweep(t *testing.T) {
	parent, done := t.TempDir(), make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_, _ = Sweep(parent, false)
				}
			}
		})
	}
	for i := range 300 {
		dir, free, err := hold(parent, "new")
		if err != nil {
			t.Errorf("time %d: %v", i, err)
			break
		}
		for range 3 {
			if _, err = os.Stat(dir); err != nil {
				t.Errorf("time %d: what is held was swept: %v", i, err)
			}
			runtime.Gosched()
		}
		_ = os.RemoveAll(dir)
		free()
	}
	close(done)
	group.Wait()
}

// Some exports write a tied head as a matrix of its own; one with other numbers is another.
func TestHeadOfItsOwn(t *testing.T) {
	for _, same := range []bool{true, false} {
		g := decoder()
		embed := numbers(g.Tensors[0])
		head := turned(embed, hidden)
		if !same {
			head[len(head)-1]++
		}
		g.Nodes = slices.Delete(g.Nodes, 2, 3)
		g.Tensors = append(g.Tensors, tensor("head", head, hidden, vocab))
		p, got := convert(t, folder(t, g))
		if p.Shared != same || p.TableBits != 8 {
			t.Errorf("the same numbers %v: shared %v with %d bits, want %v with 8", same, p.Shared, p.TableBits, same)
		}
		lookup, codes := got.find(t, "GatherBlockQuantized"), map[string]bool{}
		for name := range got.byName {
			if strings.HasSuffix(name, "_Q8") {
				codes[name] = true
			}
		}
		if want := map[bool]int{true: 1, false: 2}[same]; len(codes) != want || len(lookup.Inputs) != 4 {
			t.Errorf("the same numbers %v: got the codes %v, want %d", same, codes, want)
		}
	}
}

func TestFloat16GraphBecomesFloat32(t *testing.T) {
	g := decoder()
	g.Tensors = []onnxtest.Tensor{halves("embed", 1, vocab, hidden), halves("w", 2, hidden, hidden), halves("small", 3, hidden), halves("large", 4, 1, 16, hidden)}
	g.Nodes[1].Outputs[0] = "p"
	g.Nodes = slices.Insert(g.Nodes, 2,
		node("Mul", []string{"p", "small"}, "q", nil),
		node("Constant", nil, "one", map[string]any{"value": onnxtest.Tensor{Type: onnx.Float16, Dims: []int64{}, Raw: []byte{0, 0x3c}}}),
		node("Add", []string{"q", "one"}, "r", nil),
		node("Cast", []string{"r"}, "s", map[string]any{"to": int(onnx.Float16)}),
		node("Add", []string{"s", "large"}, "y", nil))
	g.Outputs[0].Type = onnx.Float16
	small, large := numbers(g.Tensors[2]), numbers(g.Tensors[3])
	p, got := convert(t, folder(t, g))
	if !p.Widened || got.Graph.Outputs[0].Type != onnx.Float32 || got.find(t, "Cast").Attribute("to").Int != int64(onnx.Float32) {
		t.Errorf("widened %v, logits %v", p.Widened, got.Graph.Outputs[0].Type)
	}
	for name, want := range map[string][]float32{"small": small, "large": large} {
		b, err := got.tensors.Read(got.byName[name])
		must(t, err)
		if x := (onnxtest.Tensor{Type: got.byName[name].Type, Raw: b}); x.Type != onnx.Float32 || !slices.Equal(numbers(x), want) {
			t.Errorf("%s is not as it was", name)
		}
	}
	if b, err := got.tensors.Read(got.find(t, "Constant").Attribute("value").Tensor); err != nil || !slices.Equal(b, []byte{0, 0, 0x80, 0x3f}) {
		t.Errorf("the constant is % x (%v), want 1 in float32", b, err)
	}
}

func TestRefusals(t *testing.T) {
	bad := func(value float32) func(g *onnxtest.Graph) {
		return func(g *onnxtest.Graph) {
			x := weights(2, hidden, hidden)
			x[5*hidden+7] = value
			g.Tensors[1] = tensor("w", x, hidden, hidden)
		}
	}
	branch := onnxtest.Graph{Nodes: []onnxtest.Node{node("Cast", []string{"x"}, "h", map[string]any{"to": int(onnx.Float16)})}}
	tests := []struct {
		name   string
		change func(g *onnxtest.Graph)
		want   string
	}{
		{"NaN", bad(float32(math.NaN())), `tensor "w": output 7 has a weight among inputs 0 to 31 that is no finite number`},
		{"infinity", bad(float32(math.Inf(-1))), "no finite number"},
		{"quantised already", func(g *onnxtest.Graph) { g.Nodes[1].Op, g.Nodes[1].Domain = "MatMulNBits", "com.microsoft" }, "quantised already"},
		{"no constant matrix", func(g *onnxtest.Graph) {
			g.Nodes = []onnxtest.Node{node("Gather", []string{"embed", "input_ids"}, "logits", nil)}
		}, "no product with a constant matrix"},
		{"weights of zero size", func(g *onnxtest.Graph) {
			g.Nodes = g.Nodes[:2]
			g.Nodes[1].Outputs[0] = "logits"
			g.Tensors[1] = onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{hidden, 0}, Raw: []byte{}}
		}, "no product with a constant matrix"},
		{"bfloat16", func(g *onnxtest.Graph) {
			g.Tensors = append(g.Tensors, onnxtest.Tensor{Name: "b", Type: onnx.BFloat16, Dims: []int64{1}, Raw: []byte{0, 0}})
			g.Nodes = append(g.Nodes, node("Identity", []string{"b"}, "c", nil), node("Shape", []string{"c"}, "d", nil))
		}, "bfloat16"},
		{"float16 in a branch", func(g *onnxtest.Graph) {
			g.Nodes = append(g.Nodes, node("If", []string{"x"}, "z", map[string]any{"then_branch": branch}))
		}, "float16 in a branch"},
		{"functions", func(g *onnxtest.Graph) { g.Functions = []onnx.Function{{Domain: "own", Name: "f"}} }, "functions of its own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := decoder()
			test.change(&g)
			to := filepath.Join(t.TempDir(), "new")
			p, err := plan(t, folder(t, g))
			if err == nil {
				err = p.Write(t.Context(), to, Origin{}, nil)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, test.want)
			}
			nothingLeft(t, filepath.Dir(to))
		})
	}
}

// nothingLeft checks that a folder is empty.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%v is left behind (%v)", entries, err)
	}
}

func TestDataCutShortWhileItIsRead(t *testing.T) {
	dir := folder(t, decoder())
	p, err := plan(t, dir)
	must(t, err)
	must(t, os.Truncate(filepath.Join(dir, "onnx", "model.onnx_data"), 5000))
	to := filepath.Join(t.TempDir(), "new")
	if err := p.Write(t.Context(), to, Origin{}, nil); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v, want an unexpected end", err)
	}
	nothingLeft(t, filepath.Dir(to))
}

func TestWriteIsAllOrNothing(t *testing.T) {
	p, err := plan(t, folder(t, decoder()))
	must(t, err)
	parent := t.TempDir()
	to := filepath.Join(parent, "new")

	ctx, cancel := context.WithCancel(t.Context())
	if err := p.Write(ctx, to, Origin{}, func(int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	nothingLeft(t, parent)

	p.free = func(string) (int64, error) { return 1 << 20, nil }
	if err := p.Write(t.Context(), to, Origin{}, nil); err == nil || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("a full disk: got %v", err)
	}
	nothingLeft(t, parent)
	p.free = func(string) (int64, error) { return 1 << 40, nil }

	stale := filepath.Join(parent, ".new.1"+unfinished)
	put(t, stale, "onnx/half", "a model")
	held, free, err := hold(parent, "other")
	must(t, err)
	if n, err := Sweep(parent, true); n != 7 || err != nil {
		t.Errorf("%d bytes could be swept (%v), want 7", n, err)
	}
	var last int64
	must(t, p.Write(t.Context(), to, Origin{From: "here"}, func(done int64) { last = max(last, done) }))
	if _, err := os.Stat(stale); err == nil {
		t.Error("what an earlier run left is still there")
	}
	if _, err := os.Stat(held); err != nil {
		t.Error("what another run writes is gone")
	}
	free()
	if o, ok := ReadOrigin(to); !ok || o.String() != "quantised here from here, int4 block 32, language head int8, embedding int8" {
		t.Errorf("got the origin %v, %v", o, ok)
	}
	if b, err := os.ReadFile(filepath.Join(to, "LICENSE")); err != nil || string(b) != "free\n" {
		t.Errorf("got the licence %q, %v", b, err)
	}
	if last <= 0 || last > p.Bytes {
		t.Errorf("the last progress is %d of %d bytes", last, p.Bytes)
	}
	if err := p.Write(t.Context(), to, Origin{}, nil); !errors.Is(err, ErrExists) {
		t.Errorf("a second time: got %v, want ErrExists", err)
	}
	if err := p.Write(t.Context(), filepath.Join(to, "config.json", "new"), Origin{}, nil); err == nil {
		t.Error("below a file: no error")
	}
}

// FuzzNew takes graphs apart: whatever they hold, the outcome is an error or a model that can be read.
func FuzzNew(f *testing.F) {
	g := decoder()
	f.Add(onnxtest.Encode(g))
	for i := range g.Tensors {
		g.Tensors[i] = halves(g.Tensors[i].Name, 1, g.Tensors[i].Dims...)
	}
	f.Add(onnxtest.Encode(g))
	f.Fuzz(func(t *testing.T, graph []byte) {
		dir := t.TempDir()
		put(t, dir, "config.json", configText)
		put(t, dir, "tokenizer.json", tokenizerText)
		put(t, dir, "onnx/model.onnx", string(graph))
		p, err := plan(t, dir)
		if err == nil {
			err = p.Write(t.Context(), filepath.Join(t.TempDir(), "new"), Origin{}, nil)
		}
		if err != nil && strings.Contains(err.Error(), "BUG:") {
			t.Error(err)
		}
	})
}
