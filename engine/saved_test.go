package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// saved is what the model holds, as Save writes it.
func saved(t testing.TB, m *Model, prompt []int32) (data []byte, tokens int) {
	t.Helper()
	var b bytes.Buffer
	tokens, err := m.Save(t.Context(), &b, prompt)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), tokens
}

// afterTurn runs a first turn, and gives the prompt of a second one with what a cold cache answers to it.
func afterTurn(t testing.TB, m *Model) (second, want []int32) {
	t.Helper()
	first := readGolden(t).Prompts[1]
	answer := tokens(t, m, Request{Tokens: first, MaxTokens: 12, IgnoreEnd: true})
	second = slices.Concat(first, answer, []int32{7, 8, 9})
	want = tokens(t, m, Request{Tokens: second, MaxTokens: 12, IgnoreEnd: true, Cold: true})
	tokens(t, m, Request{Tokens: first, MaxTokens: 12, IgnoreEnd: true})
	return second, want
}

// Both kinds of cache, both types, and whoever computes: another process goes on as if it had computed all itself.
func TestSavedCacheGoesOn(t *testing.T) {
	for _, c := range []struct {
		folder string
		o      Options
	}{
		{"a-fp32", Options{}},
		{"a-fp32", Options{Kernels: KernelsOff}},
		{"a-fp16", Options{Kernels: KernelsOff}},
		{"a-combined", Options{}},
		{"a-keep", Options{}},
		{"b-fp32", Options{Kernels: KernelsOff}},
		{"b-int4", Options{}},
		{"b-int4", Options{HalfCache: true}},
		{"b-int4", Options{Kernels: KernelsExact}},
		{"c-fp32", Options{}},
	} {
		c.o.Threads = 1
		one := openFixture(t, c.folder, c.o)
		second, want := afterTurn(t, one)
		data, n := saved(t, one, second)
		if n != len(second)-4 { // three new tokens, and the answer's last, which was never fed
			t.Errorf("%s: %d tokens of %d were saved", c.folder, n, len(second))
		}
		c.o.Context, c.o.Chunk = 200, 16
		two := openFixture(t, c.folder, c.o)
		if got, err := two.Restore(t.Context(), bytes.NewReader(data)); err != nil || got != n {
			t.Errorf("%s: restored %d tokens of %d: %v", c.folder, got, n, err)
			continue
		}
		if again, _ := saved(t, two, nil); !bytes.Equal(again, data) {
			t.Errorf("%s: what was restored is saved as other bytes", c.folder)
		}
		ids, stats, err := result(t.Context(), two, Request{Tokens: second, MaxTokens: 12, IgnoreEnd: true})
		if err != nil || stats.Reused != n || !slices.Equal(ids, want) {
			t.Errorf("%s: got %v, %+v, %v; want %v with %d tokens reused", c.folder, ids, stats, err, want, n)
		}
		if err := errors.Join(one.Close(), two.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Only what prompt begins with is written: the rest was taken back.
func TestSavedCacheHoldsNothingElse(t *testing.T) {
	m := openFixture(t, "b-fp32", Options{})
	second, _ := afterTurn(t, m)
	for _, c := range []struct {
		prompt []int32
		want   int
	}{{second[:5], 5}, {append(slices.Clone(second[:5]), 300), 5}, {[]int32{300}, 0}, {[]int32{}, 0}, {nil, len(second) - 4}} {
		data, n := saved(t, m, c.prompt)
		perToken := 4 + 2*4*m.spec.Layers*m.spec.KVHeads*m.spec.HeadDim
		if n != c.want || n == 0 && len(data) > 0 || len(data) > 512+n*perToken {
			t.Errorf("a prompt of %d tokens: %d were saved in %d bytes, want %d", len(c.prompt), n, len(data), c.want)
		}
	}
	none := openFixture(t, "a-nocache", Options{})
	tokens(t, none, Request{Tokens: second, MaxTokens: 2, IgnoreEnd: true})
	if data, n := saved(t, none, nil); n != 0 || len(data) != 0 {
		t.Errorf("a graph without a cache saved %d tokens, %d bytes", n, len(data))
	}
	if _, err := none.Restore(t.Context(), strings.NewReader(savedMagic)); err == nil {
		t.Error("a graph without a cache restored one")
	}
}

// Whatever is wrong with it is one line, and the model answers as if nothing had been.
func TestSavedCacheIsRefused(t *testing.T) {
	dir := copyFixture(t, "b-int4")
	open := func(dir string, o Options) *Model {
		m, err := Open(ortest.Env(t), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	m := open(dir, Options{Threads: 1})
	second, want := afterTurn(t, m)
	data, n := saved(t, m, nil)
	newer, long := bytes.Clone(data), bytes.Clone(data)
	binary.LittleEndian.PutUint32(newer[len(savedMagic):], savedVersion+1)
	binary.LittleEndian.PutUint32(long[len(savedMagic)+4:], 1<<31)
	damage := func(at int) []byte {
		b := bytes.Clone(data)
		b[at] ^= 0x10
		return b
	}
	foreign := bytes.Replace(data, []byte(`"tokens":`), []byte(`"tokeNs":9999,"x":`), 1)
	other := open(copyFixture(t, "b-fp32"), Options{})
	tokens(t, other, Request{Tokens: second, MaxTokens: 2, IgnoreEnd: true})
	others, _ := saved(t, other, nil)
	for _, c := range []struct {
		name string
		m    *Model
		data []byte
		want string
	}{
		{"empty", m, nil, "it is cut short"},
		{"something else", m, []byte("hello"), "it is none"},
		{"only a beginning", m, []byte(savedMagic[:7]), "it is cut short"},
		{"newer", m, newer, "which a newer program wrote"},
		{"endless header", m, long, "it is damaged"},
		{"header", m, damage(len(savedMagic) + 8), "it is damaged: its header makes no sense"},
		{"tokens beyond the vocabulary", m, damage(bytes.Index(data, []byte("}")) + 4), "tokens that the model does not know"},
		{"token", m, damage(bytes.Index(data, []byte("}")) + 1), "its checksum is another one"},
		{"a value", m, damage(len(data) - 1000), "its checksum is another one"},
		{"the checksum", m, damage(len(data) - 1), "its checksum is another one"},
		{"without its end", m, data[:len(data)-1], "it is cut short"},
		{"without values", m, data[:len(data)/2], "it is cut short"},
		{"more tokens than the context", m, foreign, "it is damaged"},
		{"another model", m, others, `it was saved with "b-fp32", this is b-int4`},
		{"half the numbers", open(dir, Options{HalfCache: true}), data, `float32", expected "`},
		{"a smaller context", open(dir, Options{Context: n - 1}), data, "tokens, the context has room for"},
		{"other kernels", open(dir, Options{Kernels: KernelsOff}), data, "computed by other kernels"},
		{"activations in float32", open(dir, Options{Kernels: KernelsExact}), data, "computed by other kernels"},
	} {
		got, err := c.m.Restore(t.Context(), bytes.NewReader(c.data))
		if got != 0 || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: restored %d, %v; want one line with %q", c.name, got, err, c.want)
		}
	}
	if got := tokens(t, m, Request{Tokens: second, MaxTokens: 12, IgnoreEnd: true}); !slices.Equal(got, want) {
		t.Errorf("after the refusals: got %v, want %v", got, want)
	}
	if err := os.Chtimes(filepath.Join(dir, "model.onnx.data"), time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir, Options{}).Restore(t.Context(), bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "other files of b-int4") {
		t.Errorf("after the weights were replaced: %v", err)
	}
	if _, err := m.Restore(t.Context(), bytes.NewReader(data)); err != nil {
		t.Errorf("the model that was open all the time: %v", err)
	}
}

// Damage anywhere, at every kind of place: never taken for what was saved.
func TestDamagedCacheAnywhere(t *testing.T) {
	for _, folder := range []string{"a-fp32", "b-fp32"} {
		m := openFixture(t, folder, Options{Threads: 1})
		second, want := afterTurn(t, m)
		data, _ := saved(t, m, nil)
		for at := 0; at < len(data); at += 1 + at/16 {
			b := bytes.Clone(data)
			b[at] ^= 1
			if n, err := m.Restore(t.Context(), bytes.NewReader(b)); err == nil {
				t.Errorf("%s: byte %d of %d is another one, and %d tokens were restored", folder, at, len(data), n)
			}
			if n, err := m.Restore(t.Context(), bytes.NewReader(data[:at])); err == nil {
				t.Errorf("%s: %d bytes of %d: %d tokens were restored", folder, at, len(data), n)
			}
		}
		ids, stats, err := result(t.Context(), m, Request{Tokens: second, MaxTokens: 12, IgnoreEnd: true})
		if err != nil || stats.Reused != 0 || !slices.Equal(ids, want) {
			t.Errorf("%s, after the damage: got %v, %+v, %v; want %v, all computed", folder, ids, stats, err, want)
		}
	}
}

// full is a disk that has no room after n bytes.
type full struct{ n int }

var errFull = errors.New("no space left")

func (f *full) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestSaveFails(t *testing.T) {
	m := openFixture(t, "a-fp32", Options{Threads: 1})
	second, want := afterTurn(t, m)
	data, _ := saved(t, m, nil)
	for _, room := range []int{0, 200, len(data) / 2, len(data) - 1} {
		if _, err := m.Save(t.Context(), &full{room}, nil); !errors.Is(err, errFull) {
			t.Errorf("room for %d of %d bytes: %v", room, len(data), err)
		}
	}
	if ids, stats, err := result(t.Context(), m, Request{Tokens: second, MaxTokens: 12, IgnoreEnd: true}); err != nil || stats.Reused == 0 || !slices.Equal(ids, want) {
		t.Errorf("afterwards: got %v, %+v, %v; want %v", ids, stats, err, want)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	_, saveErr := m.Save(t.Context(), io.Discard, nil)
	_, restoreErr := m.Restore(t.Context(), bytes.NewReader(data))
	if !errors.Is(saveErr, ErrClosed) || !errors.Is(restoreErr, ErrClosed) {
		t.Errorf("a closed model: %v and %v, want ErrClosed", saveErr, restoreErr)
	}
}

// talk asks what the last message asks, greedily.
func talk(t *testing.T, m *Model, c *chat.Conversation, cold bool) (string, *Stats) {
	t.Helper()
	var text string
	var stats *Stats
	for token, err := range m.Generate(t.Context(), Request{Messages: c.Messages(), MaxTokens: 10, Cold: cold}) {
		if err != nil {
			t.Fatal(err)
		}
		text += token.Text
		stats = token.Stats
	}
	return text, stats
}

// A conversation with its edits, retries and undos has the answers that a cold cache gives: the model inside the program, a real one, and
// the layout whose past and present take turns.
func TestEditsGiveTheSameTokens(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(t *testing.T) (*Model, error)
	}{
		{"tiny", func(t *testing.T) (*Model, error) { return OpenFS(ortest.Env(t), tiny.FS(), Options{}) }},
		{"tiny, float16 cache", func(t *testing.T) (*Model, error) {
			return OpenFS(ortest.Env(t), tiny.FS(), Options{HalfCache: true})
		}},
		{"SmolLM2", func(t *testing.T) (*Model, error) {
			return Open(ortest.Env(t), filepath.Join(ortest.Shared(t, "models/smollm2-135m-instruct"), "genai-int4"), Options{})
		}},
		{"layout A", func(t *testing.T) (*Model, error) { return Open(ortest.Env(t), "testdata/a-fp32", Options{}) }},
		{"layout A, the runtime's kernels", func(t *testing.T) (*Model, error) {
			return Open(ortest.Env(t), "testdata/a-fp32", Options{Kernels: KernelsOff})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := c.open(t)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var said chat.Conversation
			for i, step := range []struct {
				do     func()
				reuses bool
			}{
				{func() { said.System = "You are helpful."; said.Ask("What is the capital of France?") }, false},
				{func() { said.Ask("And what is a cat?") }, true},
				{func() { said.Retry() }, true},
				{func() { said.Undo(); said.Ask("Tell me a story about a fox.") }, true},
				{func() { said.Turns[1].Content = "It is Lyon."; said.Ask("Why?") }, true},
				{func() { said.System = "Answer in one word."; said.Ask("What is a dog?") }, true},
				{func() { said = chat.Conversation{}; said.Ask("What is the capital of France?") }, true},
			} {
				step.do()
				got, stats := talk(t, m, &said, false)
				data, _ := saved(t, m, nil)
				want, _ := talk(t, m, &said, true)
				if got != want || step.reuses != (stats.Reused > 0) {
					t.Errorf("step %d, %d tokens of %d reused: got %q, want %q", i, stats.Reused, stats.PromptTokens, got, want)
				}
				tokens(t, m, Request{Tokens: []int32{1}, MaxTokens: 1})
				if _, err := m.Restore(t.Context(), bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				said.Answer(got)
			}
		})
	}
}

// A saved cache that anybody has changed is refused or is what was saved; never a panic.
func FuzzRestore(f *testing.F) {
	m := openFixture(f, "a-fp32", Options{Threads: 1, Context: 32})
	tokens(f, m, Request{Tokens: []int32{1, 2, 3}, MaxTokens: 4, IgnoreEnd: true})
	data, n := saved(f, m, nil)
	f.Add(data, 0, byte(0))
	f.Add(data, len(data)-1, byte(1))
	f.Add(data[:len(data)-40], 20, byte(0))
	f.Add([]byte(savedMagic), 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, with byte) {
		if b = bytes.Clone(b); len(b) > 0 {
			b[uint(at)%uint(len(b))] ^= with
		}
		got, err := m.Restore(t.Context(), bytes.NewReader(b))
		if err == nil && (got < 1 || got > 32 || got != len(m.runner.Held())) || bytes.Equal(b, data) && (err != nil || got != n) {
			t.Fatalf("%d tokens were restored, %d are held: %v", got, len(m.runner.Held()), err)
		}
	})
}

// What was computed with adapters is taken up by a model that computes with the same ones, and by no other.
func TestSavedCacheKnowsItsAdapters(t *testing.T) {
	open := func() *Model {
		m := openFixture(t, "b-int4", Options{Threads: 1})
		for i, name := range []string{"x", "y"} {
			if err := m.LoadAdapter(name, randomAdapter(t, m, 4, 0.5, uint64(i), "model.layers.0.self_attn.q_proj")); err != nil {
				t.Fatal(err)
			}
		}
		moved := randomAdapter(t, m, 4, 0.5, 0, "model.layers.0.self_attn.q_proj") // the numbers of x, elsewhere
		moved.Modules[0].Name = "model.layers.1.self_attn.q_proj"
		load(t, m, "moved", moved)
		return m
	}
	request := func(uses ...AdapterUse) Request {
		return Request{Tokens: readGolden(t).Prompts[1], MaxTokens: 4, IgnoreEnd: true, Adapters: uses}
	}
	one := open()
	tokens(t, one, request(AdapterUse{"x", 1}))
	data, n := saved(t, one, nil)
	for _, c := range []struct {
		uses []AdapterUse
		want string // in the error, "" none
	}{
		{nil, "other adapters"}, {[]AdapterUse{{"y", 1}}, "other adapters"}, {[]AdapterUse{{"x", 0.5}}, "other adapters"}, {[]AdapterUse{{"x", 1}, {"y", 1}}, "other adapters"},
		{[]AdapterUse{{"moved", 1}}, "other adapters"}, {[]AdapterUse{{"z", 1}}, "no such adapter"}, {[]AdapterUse{{"x", 1}}, ""},
	} {
		two := open() // as in another process: nothing was asked yet
		got, err := two.Restore(t.Context(), bytes.NewReader(data), c.uses...)
		if c.want == "" && (err != nil || got != n) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("with %v: restored %d tokens of %d, %v; want an error with %q", c.uses, got, n, err, c.want)
		}
		if _, stats, err := result(t.Context(), two, request(AdapterUse{"x", 1})); err != nil || c.want == "" != (stats.Reused > 0) {
			t.Errorf("with %v: the next request reused %d tokens, %v", c.uses, stats.Reused, err)
		}
	}
	if err := one.RemoveAdapter("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Save(t.Context(), io.Discard, nil); err == nil || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("saved what a removed adapter computed: %v", err)
	}
	two := open()
	tokens(t, two, request())
	data, n = saved(t, two, nil)
	if got, err := one.Restore(t.Context(), bytes.NewReader(data)); err != nil || got != n { // its last request used the one that is gone
		t.Errorf("without adapters: restored %d tokens of %d, %v", got, n, err)
	}
}
