package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// Rows of a batch have their own adapters, in every way in which a batch is computed.
func TestAdaptersInABatch(t *testing.T) {
	g := readGolden(t)
	for _, folder := range []string{"b-int4", "b-fp32", "a-fp32", "a-keep", "a-nocache"} {
		t.Run(folder, func(t *testing.T) {
			m := openFixture(t, folder, Options{Adapters: true, Threads: 2})
			load(t, m, "a", randomAdapter(t, m, 4, 0.5, 1, allModules(2)...))
			load(t, m, "b", randomAdapter(t, m, 2, 0.5, 2, allModules(1)...))
			sets := [][]AdapterUse{nil, {{"a", 1}}, {{"b", 0.5}, {"a", 1}}, {{"b", -1}}}
			var requests []Request
			var want [][]int32
			for i, set := range sets {
				q := Request{Tokens: g.Prompts[i%2], MaxTokens: 24, IgnoreEnd: true, Adapters: set}
				requests, want = append(requests, q), append(want, tokens(t, m, q))
			}
			if slices.Equal(want[0], want[2]) || slices.Equal(want[1], want[3]) {
				t.Fatalf("the adapters change nothing: %v", want)
			}
			got := batch(t, m, requests)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("row %d with %v:\ngot  %v\nwant %v", i, sets[i], got[i], want[i])
				}
			}
		})
	}
}

// What the cache holds of a prompt is used again with the same adapters alone.
func TestAdaptersAndTheCache(t *testing.T) {
	m := openFixture(t, "b-int4", Options{})
	g := readGolden(t)
	load(t, m, "a", randomAdapter(t, m, 4, 0.5, 1, allModules(2)...))
	prompt := g.Prompts[2]
	ask := func(uses ...AdapterUse) ([]int32, int) {
		ids, stats, err := result(t.Context(), m, Request{Tokens: prompt, MaxTokens: 16, IgnoreEnd: true, Adapters: uses})
		if err != nil {
			t.Fatal(err)
		}
		return ids, stats.Reused
	}
	plain, _ := ask()
	with, _ := ask(AdapterUse{"a", 1})
	for i, c := range []struct {
		uses   []AdapterUse
		want   []int32
		reused bool
	}{{[]AdapterUse{{"a", 1}}, with, true}, {nil, plain, false}, {nil, plain, true}, {[]AdapterUse{{"a", 1}}, with, false}, {[]AdapterUse{{"a", 0.5}}, nil, false}} {
		got, reused := ask(c.uses...)
		if (reused > 0) != c.reused || c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("request %d with %v: reused %d tokens, got %v; want some reused: %v, and %v", i, c.uses, reused, got, c.reused, c.want)
		}
	}
	if err := m.RemoveAdapter("a"); err != nil {
		t.Fatal(err)
	}
	load(t, m, "a", randomAdapter(t, m, 4, 0.5, 9, allModules(2)...))
	ask(AdapterUse{"a", 0.5})
	if got, _ := ask(AdapterUse{"a", 1}); slices.Equal(got, with) {
		t.Error("another adapter of the same name gives the tokens of the first")
	}
}

// Adapters come and go while requests run, some of them cancelled; nothing is freed that is in use, and all is freed in the end.
func TestAdaptersComeAndGo(t *testing.T) {
	env := ortest.Env(t)
	before := ort.Live()
	m, err := Open(env, "testdata/b-int4", Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	g := readGolden(t)
	a := randomAdapter(t, m, 4, 0.5, 1, allModules(2)...)
	load(t, m, "stays", a)
	request := func(uses ...AdapterUse) Request {
		return Request{Tokens: g.Prompts[1], MaxTokens: 8, IgnoreEnd: true, Adapters: uses}
	}
	plain, with := tokens(t, m, request()), tokens(t, m, request(AdapterUse{"stays", 1}))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 30 {
				name := fmt.Sprint("goes", w)
				load(t, m, name, a)
				ctx, cancel := context.WithCancel(t.Context())
				n, finished := 0, error(nil)
				var got []int32
				for token, err := range m.Generate(ctx, request(AdapterUse{name, 1})) {
					if n++; n == 2 {
						if err := m.RemoveAdapter(name); err != nil { // in use
							t.Error(err)
						}
						if i%3 == 0 {
							cancel()
						}
					}
					if finished = err; token.ID >= 0 {
						got = append(got, token.ID)
					}
				}
				cancel()
				if i%3 == 0 != errors.Is(finished, context.Canceled) || finished == nil && !slices.Equal(got, with) {
					t.Errorf("worker %d, request %d: got %v, %v; want %v", w, i, got, finished, with)
				}
				if got := tokens(t, m, request()); !slices.Equal(got, plain) {
					t.Errorf("worker %d, without: got %v, want %v", w, got, plain)
				}
			}
		})
	}
	wg.Wait()
	if got := m.Adapters(); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("left are %v", got)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := m.LoadAdapter("late", a); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
	if err := m.RemoveAdapter("stays"); !errors.Is(err, ErrClosed) {
		t.Errorf("removed after Close: got %v, want ErrClosed", err)
	}
	if _, _, err := result(t.Context(), m, request(AdapterUse{"stays", 1})); !errors.Is(err, ErrClosed) {
		t.Errorf("asked after Close: got %v, want ErrClosed", err)
	}
	if after := ort.Live(); after != before {
		t.Errorf("live handles before %+v, after %+v", before, after)
	}
}

// A graph that could not be told of adapters, for want of memory, is told again.
func TestAdaptersAfterAFailedUse(t *testing.T) {
	m := openFixture(t, "b-int4", Options{})
	load(t, m, "a", randomAdapter(t, m, 4, 0.5, 1, allModules(2)...))
	plain, with := logitsWith(t, m), logitsWith(t, m, AdapterUse{"a", 1})
	m.places.used, m.places.unknown = nil, true
	if got := logitsWith(t, m); !sameRows(got, plain) || sameRows(got, with) {
		t.Error("it computes with what it was told before")
	}
	if m.places.unknown {
		t.Error("what it was told is still not known")
	}
}

// A draft guesses without the adapters of its own last request, which may be gone by now.
func TestDraftForgetsItsAdapters(t *testing.T) {
	d := openFixture(t, "b-int4", Options{Threads: 1})
	m := openFixture(t, "b-int4", Options{Threads: 1, Draft: d})
	q := Request{Tokens: readGolden(t).Prompts[1], MaxTokens: 24, IgnoreEnd: true}
	want, stats, err := result(t.Context(), m, q)
	if err != nil {
		t.Fatal(err)
	}
	load(t, d, "a", randomAdapter(t, d, 4, 2, 1, allModules(2)...))
	own := q
	own.Adapters = []AdapterUse{{"a", 1}}
	tokens(t, d, own)
	if err := d.RemoveAdapter("a"); err != nil {
		t.Fatal(err)
	}
	got, again, err := result(t.Context(), m, q)
	if err != nil || !slices.Equal(got, want) || again.Accepted != stats.Accepted || stats.Accepted == 0 {
		t.Errorf("got %v with %d guesses right, %v; want %v with %d", got, again.Accepted, err, want, stats.Accepted)
	}
	if len(d.runner.adapters) > 0 {
		t.Error("the draft still has the adapter that was removed")
	}
}

// The probe is of the model itself, whatever the last request computed with.
func TestProbeWithoutAdapters(t *testing.T) {
	m := openFixture(t, "b-int4", Options{Threads: 1})
	want, err := m.probe()
	if err != nil {
		t.Fatal(err)
	}
	load(t, m, "a", randomAdapter(t, m, 4, 0.5, 1, allModules(2)...))
	tokens(t, m, Request{Tokens: []int32{1, 2}, MaxTokens: 2, IgnoreEnd: true, Adapters: []AdapterUse{{"a", 1}}})
	if got, err := m.probe(); err != nil || !sameRows(got, want) {
		t.Errorf("it is computed with an adapter (%v)", err)
	}
}

// M-14: what does not fit a model is refused in one line that says why, and nothing is loaded.
func TestAdaptersThatAreRefused(t *testing.T) {
	m := openFixture(t, "b-int4", Options{})
	good := func() *lora.Adapter { return randomAdapter(t, m, 2, 0.1, 1, allModules(1)...) }
	change := func(f func(x *lora.Module)) *lora.Adapter {
		a := good()
		f(&a.Modules[0])
		return a
	}
	load(t, m, "there", good())
	nan := float32(math.NaN())
	for _, c := range []struct {
		name, as string
		a        *lora.Adapter
		want     string
	}{
		{"none", "x", nil, "no modules"},
		{"empty", "x", &lora.Adapter{}, "no modules"},
		{"no name", "", good(), "needs a name"},
		{"taken", "there", good(), "remove it first"},
		{"unknown module", "x", change(func(x *lora.Module) { x.Name = "model.layers.7.self_attn.q_proj" }),
			`no module "model.layers.7.self_attn.q_proj" that adapters can add to; it has attn.k_proj, attn.o_proj, attn.q_proj, attn.qkv_proj, attn.v_proj, lm_head, mlp.down_proj, mlp.gate_proj, mlp.gate_up_proj, mlp.up_proj in 2 layers`},
		{"another model's inputs", "x", change(func(x *lora.Module) { x.Inputs, x.A = 32, x.A[:64] }), "has 32 inputs, expected 64"},
		{"another model's outputs", "x", change(func(x *lora.Module) { x.Outputs, x.B = 64, x.B[:128] }), "has 64 outputs, expected 128"},
		{"short A", "x", change(func(x *lora.Module) { x.A = x.A[1:] }), "A has 127 values"},
		{"rank 0", "x", change(func(x *lora.Module) { x.Rank, x.A, x.B = 0, nil, nil }), "expected (0, 64)"},
		{"rank 2^31", "x", change(func(x *lora.Module) { x.Rank = 1 << 31 }), "A has 128 values"},
		{"NaN", "x", change(func(x *lora.Module) { x.A[3] = nan }), "NaN or infinite"},
		{"infinite", "x", change(func(x *lora.Module) { x.B[3] = float32(math.Inf(-1)) }), "NaN or infinite"},
		{"scale 0", "x", change(func(x *lora.Module) { x.Scale = 0 }), "has the scale 0, expected alpha / rank"},
		{"scale NaN", "x", change(func(x *lora.Module) { x.Scale = nan }), "NaN or infinite"},
		{"twice", "x", &lora.Adapter{Modules: append(good().Modules, good().Modules[1])}, "there twice"},
	} {
		err := m.LoadAdapter(c.as, c.a)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v; want one line with %q", c.name, err, c.want)
		}
	}
	if got := m.Adapters(); !slices.Equal(got, []string{"there"}) {
		t.Errorf("loaded are %v", got)
	}
	for _, c := range []struct {
		uses []AdapterUse
		want string
	}{
		{[]AdapterUse{{"here", 1}}, `no such adapter: "here"; loaded are ["there"]`},
		{[]AdapterUse{{"there", 1}, {"there", 2}}, "named twice"},
		{[]AdapterUse{{"there", 0}}, "scale 0"},
		{[]AdapterUse{{"there", nan}}, "scale NaN"},
	} {
		if _, _, err := result(t.Context(), m, Request{Tokens: []int32{1}, MaxTokens: 1, Adapters: c.uses}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v; want %q", c.uses, err, c.want)
		}
	}
	if err := m.RemoveAdapter("here"); !errors.Is(err, ErrNoAdapter) {
		t.Errorf("removed one that is not there: %v", err)
	}
	bare := openFixture(t, "b-fp32", Options{})
	if err := bare.LoadAdapter("x", good()); !errors.Is(err, ErrNoPlaces) || !strings.Contains(err.Error(), "Options.Adapters") {
		t.Errorf("a model without places: got %v", err)
	}
	for _, p := range []ort.Provider{{Name: "CUDAExecutionProvider"}, {Plugin: "/there/libx.so"}, {Name: "cpu", Plugin: "/there/libx.so"}} {
		_, err := Open(ortest.Env(t), filepath.Join("testdata", "b-fp32"), Options{Adapters: true, Providers: []ort.Provider{p}})
		if name := cmp.Or(p.Name, p.Plugin); err == nil || !strings.Contains(err.Error(), "CPU alone for now; leave out either them or the provider "+name) {
			t.Errorf("the provider %+v: got %v", p, err)
		}
	}
}
