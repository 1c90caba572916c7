package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// copyFixture copies one of testdata's models so that a test may damage it.
func copyFixture(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edited is a copy of a fixture whose graph was changed.
func edited(t *testing.T, fixture string, change func(m *onnx.Model, tensors *model.Tensors)) string {
	t.Helper()
	dir := copyFixture(t, fixture)
	files, err := model.Find(nil, dir, model.FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, tensors, err := files.ReadGraph()
	if err != nil {
		t.Fatal(err)
	}
	defer tensors.Close()
	change(m, tensors)
	source, err := tensors.Graph()
	if err != nil {
		t.Fatal(err)
	}
	out, err := onnx.Write(m, source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, files.Graph), out, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// result runs a request to its end.
func result(ctx context.Context, m *Model, q Request) (ids []int32, stats *Stats, err error) {
	for token, e := range m.Generate(ctx, q) {
		if err = e; token.ID >= 0 {
			ids = append(ids, token.ID)
		}
		stats = token.Stats
	}
	return ids, stats, err
}

// M-08: a row of the rotary table holds a NaN, so that every sequence fails when it comes to that position, and only then.
func TestNaNEndsTheRequestAndLeavesTheModel(t *testing.T) {
	const position, rowBytes, cosCache = 20, 16 * 4, 66816
	dir := copyFixture(t, "b-fp32")
	file := filepath.Join(dir, "model.onnx.data")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(data[cosCache+position*rowBytes:], math.Float32bits(float32(math.NaN())))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Kernels: KernelsOff, device: cpuDevice}} {
		m, err := Open(ortest.Env(t), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		failsAndGoesOn(t, m)
	}
}

// checkCleared expects zeros alone in a cache on a device: what lies beyond the tokens must be numbers there.
func checkCleared(t *testing.T, m *Model) {
	t.Helper()
	if m.cache.Device() == "" {
		return
	}
	var all bytes.Buffer
	if err := m.cache.WriteTokens(&all, m.context); err != nil || slices.ContainsFunc(all.Bytes(), func(b byte) bool { return b != 0 }) {
		t.Errorf("the cache is not cleared (%v)", err)
	}
}

// failsAndGoesOn has a model fail twice, and answer after it as if nothing had been.
func failsAndGoesOn(t *testing.T, m *Model) {
	t.Helper()
	g := readGolden(t)
	want := g.Outputs[0].IDs[1]
	for range 2 {
		ids, stats, err := result(t.Context(), m, Request{Tokens: g.Prompts[1], MaxTokens: 64, IgnoreEnd: true})
		if !errors.Is(err, sample.ErrNumeric) || stats.Finish != decode.FinishError || !slices.Equal(ids, want[:len(ids)]) || len(ids) < 10 {
			t.Errorf("got %v, %+v, %v; want the first tokens of %v, then ErrNumeric", ids, stats, err, want)
		}
		checkCleared(t, m)
		ids, _, err = result(t.Context(), m, Request{Tokens: g.Prompts[1], MaxTokens: 10, IgnoreEnd: true})
		if err != nil || !slices.Equal(ids, want[:10]) {
			t.Errorf("after the fault: got %v, %v; want %v", ids, err, want[:10])
		}
	}
	if _, err := m.Score(t.Context(), make([]int32, 30)); !errors.Is(err, sample.ErrNumeric) || len(m.runner.Held()) > 0 {
		t.Errorf("scored: %v, and %d tokens are held", err, len(m.runner.Held()))
	}
	checkCleared(t, m)
}

// A request that was cancelled just before its fault was seen leaves no tokens behind without their keys and values.
func TestClearedCacheHoldsNoTokens(t *testing.T) {
	m := openFixture(t, "b-fp32", Options{Kernels: KernelsOff, device: cpuDevice})
	q := Request{Tokens: []int32{9, 8, 7, 6, 5, 4, 3}, MaxTokens: 12, IgnoreEnd: true}
	want := tokens(t, m, q)
	if err := m.cleared(sample.ErrNumeric); !errors.Is(err, sample.ErrNumeric) {
		t.Errorf("the fault became %v", err)
	}
	if got := tokens(t, m, q); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRequestsTakeTurns(t *testing.T) {
	m := openFixture(t, "b-fp32", Options{Threads: 1})
	g := readGolden(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			row := i % len(g.Prompts)
			ids, _, err := result(t.Context(), m, Request{Tokens: g.Prompts[row], MaxTokens: 32, IgnoreEnd: true})
			if want := g.Outputs[0].IDs[row][:32]; err != nil || !slices.Equal(ids, want) {
				t.Errorf("request %d: got %v, %v; want %v", i, ids, err, want)
			}
		})
	}
	wg.Wait()
}

// G-06: cancelled at any step, the model answers the next request as if nothing had been.
func TestCancelAtAnyStep(t *testing.T) {
	for _, folder := range []string{"a-fp32", "b-fp32", "a-nocache", "b-fp32 on a device"} {
		o := Options{Threads: 1, Chunk: 16}
		folder, on := strings.CutSuffix(folder, " on a device")
		if on {
			o.Kernels, o.device = KernelsOff, cpuDevice
		}
		m := openFixture(t, folder, o)
		g := readGolden(t)
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 200 {
			row, at := random.IntN(len(g.Prompts)), random.IntN(12)
			ctx, cancel := context.WithCancel(t.Context())
			if at == 0 {
				cancel()
			}
			n := 0
			var last Token
			var lastErr error
			for token, err := range m.Generate(ctx, Request{Tokens: g.Prompts[row], MaxTokens: 16, IgnoreEnd: true}) {
				last, lastErr = token, err
				if token.ID >= 0 {
					if n++; n == at {
						cancel()
					}
				}
			}
			cancel()
			if !errors.Is(lastErr, context.Canceled) || last.Stats == nil || last.Stats.Finish != decode.FinishCancelled || n != at {
				t.Fatalf("%s, cancel %d after %d tokens: got %d tokens, %+v, %v", folder, i, at, n, last.Stats, lastErr)
			}
		}
		ids, _, err := result(t.Context(), m, Request{Tokens: g.Prompts[2], MaxTokens: 64, IgnoreEnd: true})
		if want := g.Outputs[0].IDs[2]; err != nil || !slices.Equal(ids, want) {
			t.Errorf("%s after the cancelled ones: got %v, %v; want %v", folder, ids, err, want)
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	m := openFixture(t, "b-fp32", Options{Context: 64})
	for _, c := range []struct {
		name string
		q    Request
		want string
	}{
		{"nothing to continue", Request{}, "exactly one of messages, prompt and tokens, found 0"},
		{"two prompts", Request{Prompt: "a", Tokens: []int32{1}}, "found 2"},
		{"T-12 id beyond the vocabulary", Request{Tokens: []int32{1, 320}}, "token 1 is 320, expected an id from 0 to 319"},
		{"T-12 negative id", Request{Tokens: []int32{-1}}, "token 0 is -1"},
		{"G-01 prompt and budget beyond the context", Request{Tokens: []int32{1, 2}, MaxTokens: 63}, "2 tokens and up to 63 more are asked for, the context holds 64"},
		{"G-01 text beyond the context", Request{Prompt: strings.Repeat("a", 100)}, "context too small: the prompt has 100 tokens and up to 1 more"},
		{"T-10 megabytes", Request{Prompt: strings.Repeat("what is this? ", 200_000), MaxTokens: 5}, "context too small: the prompt has at least "},
		{"T-10 megabytes in messages", Request{Messages: []chat.Message{{Role: "user", Content: strings.Repeat("家", 200_000)}}}, "context too small: the prompt has at least "},
		{"T-10 beyond any context", Request{Prompt: strings.Repeat("a", PromptBytesMax+1)}, "4194305 bytes, at most 4194304"},
		{"G-01 a budget that is the whole context", Request{Tokens: []int32{1}, MaxTokens: 64}, "1 tokens and up to 64 more are asked for, the context holds 64"},
		{"G-02 negative budget", Request{Tokens: []int32{1}, MaxTokens: -1}, "must not be negative"},
		{"G-02 huge budget", Request{Tokens: []int32{1}, MaxTokens: 1 << 31}, "the context holds 64"},
		{"G-03 temperature", Request{Tokens: []int32{1}, Sampling: sample.Params{Temperature: -1}}, "temperature"},
		{"G-03 NaN", Request{Tokens: []int32{1}, Sampling: sample.Params{Temperature: float32(math.NaN())}}, "temperature"},
		{"G-03 bias", Request{Tokens: []int32{1}, Sampling: sample.Params{LogitBias: map[int32]float32{320: 1}}}, "320"},
		{"G-03 stop strings without text", Request{Tokens: []int32{1}, Stop: []string{"a"}, TokensOnly: true}, "stop"},
		{"G-03 empty stop", Request{Tokens: []int32{1}, Stop: []string{""}}, "stop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := m.Encode(c.q); strings.HasPrefix(c.name, "G-01") && !errors.As(err, new(*decode.ContextError)) {
				t.Errorf("encode: %v, want a ContextError", err)
			}
			ids, stats, err := result(t.Context(), m, c.q)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(ids) > 0 || stats == nil || stats.Finish != decode.FinishError {
				t.Errorf("got %v, %+v, %v; want an error with %q and no token", ids, stats, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
		})
	}
	if ids, _, err := result(t.Context(), m, Request{Tokens: []int32{1}, MaxTokens: 3, IgnoreEnd: true}); err != nil || len(ids) != 3 {
		t.Errorf("after the refusals: %v, %v; want three tokens", ids, err)
	}
}

func TestModelWithoutText(t *testing.T) {
	m := openFixture(t, "b-fp32", Options{NoText: true})
	g := readGolden(t)
	ids, _, err := result(t.Context(), m, Request{Tokens: g.Prompts[1], TokensOnly: true, MaxTokens: 8, IgnoreEnd: true})
	if want := g.Outputs[0].IDs[1][:8]; err != nil || !slices.Equal(ids, want) {
		t.Errorf("got %v, %v; want %v", ids, err, want)
	}
	for name, q := range map[string]Request{"text wanted": {Tokens: []int32{1}}, "prompt as text": {Prompt: "a", TokensOnly: true}} {
		if _, _, err := result(t.Context(), m, q); err == nil || !strings.Contains(err.Error(), "without its tokenizer") {
			t.Errorf("%s: %v, want an error that says there is no tokenizer", name, err)
		}
	}
}

func TestClosedModel(t *testing.T) {
	m, err := Open(ortest.Env(t), "testdata/b-fp32", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, q := range map[string]Request{
		"tokens": {Tokens: []int32{1}, MaxTokens: 1}, "text": {Prompt: "a", MaxTokens: 1}, "messages": {Messages: []chat.Message{{Role: "user", Content: "a"}}, MaxTokens: 1},
		"adapters": {Tokens: []int32{1}, Adapters: []AdapterUse{{Name: "a", Scale: 1}}},
	} {
		if _, _, err := result(t.Context(), m, q); !errors.Is(err, ErrClosed) {
			t.Errorf("generate with %s on a closed model: %v, want ErrClosed", name, err)
		}
		for _, err := range m.GenerateBatch(t.Context(), []Request{q}) {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("a batch with %s on a closed model: %v, want ErrClosed", name, err)
			}
		}
		if _, err := m.Encode(q); len(q.Tokens) == 0 && !errors.Is(err, ErrClosed) {
			t.Errorf("encode %s with a closed model: %v, want ErrClosed", name, err)
		}
	}
	_, scoreErr := m.Score(t.Context(), []int32{1, 2})
	_, saveErr := m.Save(t.Context(), io.Discard, nil)
	_, restoreErr := m.Restore(t.Context(), strings.NewReader(""))
	for i, err := range []error{scoreErr, saveErr, restoreErr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d on a closed model: %v, want ErrClosed", i, err)
		}
	}
}

func TestOpenGivesEverythingBack(t *testing.T) {
	env := ortest.Env(t)
	before := ort.Live()
	for _, folder := range []string{"a-fp32", "b-fp32", "a-nocache", "b-int4"} {
		m, err := Open(env, filepath.Join("testdata", folder), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range m.GenerateBatch(t.Context(), []Request{{Tokens: []int32{1, 2}, MaxTokens: 3}, {Tokens: []int32{4}, MaxTokens: 2}}) {
		}
		for range m.Generate(t.Context(), Request{Tokens: []int32{1, 2, 3}, MaxTokens: 3}) {
			break
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := ort.Live(); after != before {
		t.Errorf("live handles before %+v, after %+v", before, after)
	}
}

func TestOpenRefuses(t *testing.T) {
	env := ortest.Env(t)
	for _, c := range []struct {
		name string
		dir  func(t *testing.T) string
		o    Options
		is   error
		want string
	}{
		{"no such folder", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, Options{}, os.ErrNotExist, "none"},
		{"a file", func(t *testing.T) string { return "testdata/golden.json" }, Options{}, nil, "expected the folder"},
		{"no model inside", func(t *testing.T) string { return t.TempDir() }, Options{}, model.ErrNoModel, ""},
		{"context beyond the model's", func(t *testing.T) string { return "testdata/b-fp32" }, Options{Context: 513}, nil, "513 tokens was asked for, the model knows at most 512"},
		{"negative context", func(t *testing.T) string { return "testdata/b-fp32" }, Options{Context: -1}, nil, "expected a positive number"},
		{"unknown variant", func(t *testing.T) string { return "testdata/a-fp32" }, Options{Variant: "q9"}, nil, "q9"},
		{"T-03 truncated tokenizer", func(t *testing.T) string { return cut(t, "tokenizer.json", 1000) }, Options{}, nil, "tokenizer"},
		{"no tokenizer", func(t *testing.T) string {
			dir := copyFixture(t, "b-fp32")
			if err := os.Remove(filepath.Join(dir, "tokenizer.json")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, Options{}, nil, "no tokenizer.json"},
		{"M-04 a graph of the future", func(t *testing.T) string {
			return rewrite(t, "a-fp32", "onnx/model.onnx", "\x08\x08\x12", "\x08\x7f\x12")
		}, Options{}, nil, "model.onnx failed: Unsupported model IR version: 127"},
		{"C-03 template with an unknown filter", func(t *testing.T) string {
			return write(t, "chat_template.jinja", "{{ messages | no_such_filter }}")
		}, Options{}, nil, "no_such_filter"},
		{"M-07 heads of another size", func(t *testing.T) string {
			return rewrite(t, "b-fp32", "genai_config.json", `"head_size": 32`, `"head_size": 16`)
		}, Options{}, model.ErrContract, "head_dim: expected 32 as in"},
		{"M-07 heads of another size, int4", func(t *testing.T) string {
			return rewrite(t, "b-int4", "genai_config.json", `"head_size": 32`, `"head_size": 16`)
		}, Options{}, model.ErrContract, "head_dim: expected 32 as in"},
		{"M-01 template that is a pointer of git-lfs", func(t *testing.T) string {
			return write(t, "chat_template.jinja", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
		}, Options{}, nil, "chat_template.jinja never mentions messages"},
		{"M-01 graph of four bytes", func(t *testing.T) string { return cut(t, "model.onnx", 4) }, Options{}, nil, "model.onnx"},
		{"M-02 short external data", func(t *testing.T) string { return cut(t, "model.onnx.data", 1000) }, Options{}, nil, "model.onnx.data"},
		{"M-12 more memory than there is", func(t *testing.T) string {
			return rewrite(t, "a-fp32", "config.json", `"max_position_embeddings": 512`, `"max_position_embeddings": 1000000000`)
		}, Options{Context: 1000000000}, ErrMemory, "are available"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := ort.Live()
			m, err := Open(env, c.dir(t), c.o)
			if err == nil {
				m.Close()
				t.Fatal("it opened")
			}
			if (c.is != nil && !errors.Is(err, c.is)) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q; want one line with %q, wrapping %v", err, c.want, c.is)
			}
			if after := ort.Live(); after != before {
				t.Errorf("live handles before %+v, after %+v", before, after)
			}
		})
	}
}

// cut gives a fixture whose file has only its first n bytes.
func cut(t *testing.T, file string, n int64) string {
	t.Helper()
	dir := copyFixture(t, "b-fp32")
	if err := os.Truncate(filepath.Join(dir, file), n); err != nil {
		t.Fatal(err)
	}
	return dir
}

// write gives a fixture with one file replaced.
func write(t *testing.T, file, content string) string {
	t.Helper()
	dir := copyFixture(t, "b-fp32")
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rewrite gives a fixture with a piece of one file replaced.
func rewrite(t *testing.T, folder, file, old, new string) string {
	t.Helper()
	dir := copyFixture(t, folder)
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(string(data), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRealModel(t *testing.T) {
	dir := ortest.Shared(t, "models/smollm2-135m-instruct")
	m, err := Open(ortest.Env(t), filepath.Join(dir, "genai-int4"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var text string
	var stats *Stats
	for token, err := range m.Generate(t.Context(), Request{Messages: []chat.Message{{Role: "user", Content: "What is the capital of France?"}}, MaxTokens: 32}) {
		if err != nil {
			t.Fatal(err)
		}
		text += token.Text
		stats = token.Stats
	}
	if text != "The capital of France is Paris." || stats.Finish != decode.FinishEnd {
		t.Errorf("got %q, ended by %s; want %q, ended by itself", text, stats.Finish, "The capital of France is Paris.")
	}
}
