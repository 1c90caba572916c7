package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// cpuDevice stands in for a GPU: every machine has it, and what a GPU's memory does it does too, but for being out of sight.
var cpuDevice = ort.Device{Name: "Cpu"}

// openTwice opens a fixture as on the CPU, and as on a device.
func openTwice(t *testing.T, name string) (plain, device *Model) {
	t.Helper()
	o := Options{Context: 100, Kernels: KernelsOff, Chunk: 16}
	plain = openFixture(t, name, o)
	o.device = cpuDevice
	return plain, openFixture(t, name, o)
}

// Whatever the layout and the parameters, the tokens are those of whole rows of logits; and the rows stay where they are, wherever few of
// them are enough.
func TestTokensChosenOnADevice(t *testing.T) {
	prompt := make([]int32, 40) // several chunks
	for i := range prompt {
		prompt[i] = int32(i*7 + 3)
	}
	for _, name := range []string{"a-fp16", "a-fp32", "a-keep", "a-combined", "a-nocache", "b-fp32", "b-int4", "c-fp32"} {
		t.Run(name, func(t *testing.T) {
			plain, device := openTwice(t, name)
			if device.runner.top == nil || plain.runner.top != nil {
				t.Fatal("the choice of tokens is in the wrong graph")
			}
			if device.spec.Shared && device.cache.Device() != "Cpu" {
				t.Fatalf("the cache lies on %q", device.cache.Device())
			}
			for _, p := range []sample.Params{
				{}, {Temperature: 0.8, TopP: 0.9, TopK: 40}, {Temperature: 0.05, TopP: 0.9}, {Temperature: 0.1, TopP: 1, MinP: 0.2},
				{Temperature: 1, TopP: 1}, {RepetitionPenalty: 1.2}, {Temperature: 4, TopP: 0.99},
			} {
				p.Seed = 5
				q := Request{Tokens: prompt, Sampling: p, MaxTokens: 24, MinTokens: 2, IgnoreEnd: true, TokensOnly: true, Cold: true}
				want, _, err := result(context.Background(), plain, q)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := result(context.Background(), device, q)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%+v: got %v, %v; want %v", p, got, err, want)
				}
				if device.runner.top.on {
					t.Error("the choice is on after the request")
				}
			}
			want, err := plain.Score(context.Background(), prompt)
			if err != nil {
				t.Fatal(err)
			}
			got, err := device.Score(context.Background(), prompt)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d scores, %v; want %d", len(got), err, len(want))
			}
			for i := range got {
				if math.Abs(got[i].LogProb-want[i].LogProb) > 1e-5 {
					t.Errorf("score %d: %v, want %v", i, got[i], want[i])
				}
			}
		})
	}
}

// The same with a vocabulary that is cut into parts, of a real model and its own words.
func TestWordsChosenOnADevice(t *testing.T) {
	dir := filepath.Join(ortest.Shared(t, "models/smollm2-135m-instruct"), "genai-int4")
	var want []int32
	for _, d := range []ort.Device{{}, cpuDevice} {
		m, err := Open(ortest.Env(t), dir, Options{Context: 128, Kernels: KernelsOff, device: d})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var got []int32
		for _, p := range []sample.Params{{}, {Temperature: 0.7, TopP: 0.9, Seed: 1}, {Temperature: 1, TopP: 1, TopK: 50, Seed: 2}} {
			ids, _, err := result(context.Background(), m, Request{Prompt: "The capital of France", Sampling: p, MaxTokens: 12})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ids...)
		}
		if want == nil {
			want = got
		} else if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// A greedy request asks for no whole row: what would have to be copied from a GPU.
func TestWholeRowsAreLeftWhereTheyAre(t *testing.T) {
	_, m := openTwice(t, "b-fp32")
	asked := 0
	whole := m.runner.top.given[0].Whole
	m.runner.top.given[0].Whole = func() (sample.Logits, error) {
		asked++
		return whole()
	}
	for _, c := range []struct {
		p    sample.Params
		asks bool
	}{{sample.Params{}, false}, {sample.Params{Temperature: 0.8, TopP: 0.9, TopK: 40}, false}, {sample.Params{Temperature: 5, TopP: 0.999}, true}} {
		asked = 0
		q := Request{Tokens: []int32{5, 6, 7}, Sampling: c.p, MaxTokens: 20, IgnoreEnd: true, TokensOnly: true}
		if _, stats, err := result(context.Background(), m, q); err != nil || stats.Generated != 20 {
			t.Fatal(stats, err)
		}
		if (asked > 0) != c.asks {
			t.Errorf("%+v: %d whole rows were asked for", c.p, asked)
		}
	}
}

// Where a device holds less than half of the compute, cache and rows lie in this process's memory, and the tokens are the same.
func TestTokensChosenBesideADevice(t *testing.T) {
	plain, m := openTwice(t, "b-fp32")
	if err := errors.Join(m.runner.Close(), m.cache.Close()); err != nil {
		t.Fatal(err)
	}
	m.runner, m.cache, m.placement = nil, nil, Placement{{Provider: "Other", Nodes: 2}, {Provider: "CPU", Nodes: 1}}
	if err := m.openRunner(); err != nil {
		t.Fatal(err)
	}
	if m.cache.Device() != "" || m.runner.top.copy != nil {
		t.Error("something lies on the device")
	}
	for _, p := range []sample.Params{{}, {Temperature: 5, TopP: 0.999, Seed: 3}} {
		q := Request{Tokens: []int32{5, 6, 7}, Sampling: p, MaxTokens: 20, IgnoreEnd: true, TokensOnly: true}
		if got, want := tokens(t, m, q), tokens(t, plain, q); !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", p, got, want)
		}
	}
}

// The embedded model is what a provider is tested with: its graph comes from memory, and its folder from nowhere.
func TestEmbeddedModelOnADevice(t *testing.T) {
	var want []int32
	for _, d := range []ort.Device{{}, cpuDevice} {
		m, err := OpenFS(ortest.Env(t), tiny.FS(), Options{Kernels: KernelsOff, device: d})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		got, _, err := result(context.Background(), m, Request{Messages: []chat.Message{{Role: "user", Content: "What is the capital of France?"}}, MaxTokens: 24})
		if err != nil || len(got) == 0 {
			t.Fatal(got, err)
		}
		if want == nil {
			want = got
		} else if !slices.Equal(got, want) || m.runner.top == nil {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// What is saved of a cache on a device, a cache there and one in this process take up, and the other way round.
func TestSavedCacheOfADevice(t *testing.T) {
	plain, device := openTwice(t, "b-fp32")
	q := Request{Tokens: []int32{9, 8, 7, 6, 5, 4, 3}, MaxTokens: 12, IgnoreEnd: true, TokensOnly: true}
	want, _, err := result(context.Background(), plain, q)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := result(context.Background(), device, q); err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	if n, err := plain.Save(context.Background(), &a, q.Tokens); err != nil || n != len(q.Tokens) {
		t.Fatal(n, err)
	}
	if n, err := device.Save(context.Background(), &b, q.Tokens); err != nil || n != len(q.Tokens) {
		t.Fatal(n, err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the device saved other bytes")
	}
	for _, m := range []*Model{device, plain} {
		if _, _, err := result(context.Background(), m, Request{Tokens: []int32{1, 2, 3, 4, 5, 6, 7, 8, 9}, MaxTokens: 9, IgnoreEnd: true, TokensOnly: true}); err != nil {
			t.Fatal(err)
		}
		if n, err := m.Restore(context.Background(), bytes.NewReader(b.Bytes())); err != nil || n != len(q.Tokens) {
			t.Fatal(n, err)
		}
		got, stats, err := result(context.Background(), m, q)
		if err != nil || !slices.Equal(got, want) || stats.Reused != len(q.Tokens)-1 {
			t.Errorf("restored on %q: got %v (%d tokens reused), %v; want %v", m.cache.Device(), got, stats.Reused, err, want)
		}
	}
	damaged := bytes.Clone(b.Bytes())
	binary.LittleEndian.PutUint32(damaged[len(damaged)-sha256.Size-4:], math.Float32bits(float32(math.NaN())))
	for _, bad := range [][]byte{b.Bytes()[:b.Len()-40], damaged} {
		if _, err := device.Restore(context.Background(), bytes.NewReader(bad)); err == nil {
			t.Error("a file that is damaged was taken up")
		}
		checkCleared(t, device)
	}
	if got, _, err := result(context.Background(), device, q); err != nil || !slices.Equal(got, want) {
		t.Errorf("after a restore that failed: got %v, %v; want %v", got, err, want)
	}
}

// The rows of a batch on a device are what each request alone gives, and their cache lies there once the prompts are in it.
func TestBatchOnADevice(t *testing.T) {
	ortest.Env(t)
	before := ort.Live()
	for _, name := range []string{"b-fp32", "b-int4", "a-fp32"} {
		plain, device := openTwice(t, name)
		requests := []Request{
			{Tokens: []int32{5, 6, 7}, MaxTokens: 12, Sampling: sample.Params{Temperature: 0.05, TopP: 0.9, Seed: 4}}, {Tokens: []int32{9, 8, 7, 6, 5, 4, 3, 2, 1, 10, 11, 12, 13, 14, 15, 16, 17, 18}, MaxTokens: 4}, {Tokens: []int32{1}, MaxTokens: 9},
			{Tokens: []int32{2, 3}, MaxTokens: 9, Sampling: sample.Params{Temperature: 1, TopP: 1, Seed: 6}},
		}
		var want [4][]int32
		for i := range requests {
			requests[i].IgnoreEnd, requests[i].TokensOnly = true, true
			var err error
			if want[i], _, err = result(context.Background(), plain, requests[i]); err != nil {
				t.Fatal(err)
			}
		}
		got := batch(t, device, requests)
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%s, row %d: got %v, want %v", name, i, got[i], want[i])
			}
		}
		b := newBatchRunner(device, make([]adapted, 2), make([]sample.Params, 2), nil)
		if _, err := b.Start(context.Background(), [][]int32{{1, 2}, {3}}); err != nil {
			t.Fatal(err)
		}
		if on := b.joint.cache.Device() == "Cpu"; on != device.spec.Shared {
			t.Errorf("%s: the cache of the batch is on the device: %v", name, on)
		}
		if logits, err := b.Step(context.Background(), []int32{4, 5}); err != nil || (logits[1].Top != nil) != device.spec.Shared {
			t.Errorf("%s: a step of the batch gives %v, %v", name, logits, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*Model{plain, device} {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after := ort.Live(); after != before {
		t.Errorf("live handles before %+v, after %+v", before, after)
	}
}

// A batch for whose cache the device has no room goes on beside it. Whether it ends, is cancelled or is left, nothing stays open.
func TestBatchThatADeviceHasNoRoomFor(t *testing.T) {
	ortest.Env(t)
	before := ort.Live()
	plain, device := openTwice(t, "b-fp32")
	q := Request{Tokens: []int32{5, 6, 7}, MaxTokens: 12, IgnoreEnd: true, TokensOnly: true}
	want := tokens(t, plain, q)
	for _, room := range []bool{true, false} {
		if !room { // a provider that there is not: nothing can be copied
			if err := device.transfer.Close(); err != nil {
				t.Fatal(err)
			}
			device.transfer = newTransfer(device.env, []ort.Provider{{Name: "NoneExecutionProvider"}})
		}
		for most := range len(want) + 1 {
			ctx, cancel := context.WithCancel(context.Background())
			var got []int32
			for token, err := range device.GenerateBatch(ctx, []Request{q, q}) {
				if err != nil && ctx.Err() == nil {
					t.Fatal(err)
				}
				if token.Row == 1 && token.ID >= 0 {
					got = append(got, token.ID)
				}
				if len(got) >= most && most < len(want) {
					if cancel(); most%2 == 0 {
						break
					}
				}
			}
			cancel()
			if len(got) < most || !slices.Equal(got, want[:len(got)]) {
				t.Errorf("room %v, cancelled after %d tokens: got %v, want %v", room, most, got, want)
			}
		}
	}
	for _, m := range []*Model{plain, device} {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := ort.Live(); after != before {
		t.Errorf("live handles before %+v, after %+v", before, after)
	}
}

// Memory of a device that was used before comes zeroed: what lies beyond the tokens of a cache must be a number.
func TestCacheOnADeviceIsZeroed(t *testing.T) {
	_, m := openTwice(t, "b-fp32")
	plan, element := m.cachePlan(1)
	var dirty []*ort.Value
	nans, err := m.env.NewTensor(element, plan.Shape(1, plan.Capacity)...)
	if err != nil {
		t.Fatal(err)
	}
	defer nans.Close()
	for i, view := 0, ort.View[float32](nans); i < len(view); i++ {
		view[i] = float32(math.NaN())
	}
	for range 2 * plan.Tensors() {
		v, err := m.session.NewDeviceTensor(cpuDevice, element, plan.Shape(1, plan.Capacity)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.transfer.copy(v, nans); err != nil {
			t.Fatal(err)
		}
		dirty = append(dirty, v)
	}
	for _, v := range dirty {
		v.Close()
	}
	c, err := m.openOn(cpuDevice, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, v := range c.Past() {
		if err := m.transfer.copy(nans, v); err != nil {
			t.Fatal(err)
		}
		if view := ort.View[float32](nans); slices.ContainsFunc(view, func(x float32) bool { return x != 0 }) {
			t.Errorf("tensor %d is not zeroed: %v...", i, view[:4])
		}
	}
}

// A limit of the provider's memory is kept before anything is opened: with a shorter context, if none was asked for.
func TestLimitOfADevice(t *testing.T) {
	limited := func(bytes string) Options {
		return Options{Providers: []ort.Provider{{Name: "CUDAExecutionProvider", Options: map[string]string{"gpu_mem_limit": bytes}}}}
	}
	_, err := Open(ortest.Env(t), filepath.Join("testdata", "b-fp32"), limited("5000"))
	if !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "memory of Cuda") {
		t.Errorf("too little: %v", err)
	}
	for _, none := range []string{"", "x", "0", "-1"} {
		if got := deviceLimit(limited(none).Providers); got != math.MaxInt64 {
			t.Errorf("%q limits to %d", none, got)
		}
	}
	_, device := openTwice(t, "b-fp32")
	if bytes, err := device.DeviceBytes(); err != nil || bytes == 0 {
		t.Errorf("%d bytes of the device, %v", bytes, err)
	}
	half, err := device.spec.MemoryEstimate(model.Use{Context: 2048, Text: true, Device: true})
	if err != nil {
		t.Fatal(err)
	}
	device.context = 4096
	if err := device.fitContext(limited(strconv.FormatInt(half.Device, 10)), math.MaxInt64); err != nil || device.context != 2048 {
		t.Errorf("a context of %d, %v; want 2048", device.context, err)
	}
	if want := "of the memory of Cpu that it may have"; !strings.HasSuffix(strings.Join(device.notes, ""), want) {
		t.Errorf("the notes are %q, want one that ends with %q", device.notes, want)
	}
}
