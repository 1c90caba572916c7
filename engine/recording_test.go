package engine

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// openRecorded opens a fixture as on a device whose provider records. The CPU's does not: each replay is a run, of the same tensors.
func openRecorded(t *testing.T, name string) *Model {
	t.Helper()
	return openFixture(t, name, Options{Context: 100, Kernels: KernelsOff, device: cpuDevice, record: true, Chunk: 16})
}

// Steps that are laid out on the device give the tokens of those that are laid out here, whatever the parameters, and wherever a request
// begins; other graphs say why their steps are not recorded.
func TestRecordedSteps(t *testing.T) {
	prompt := make([]int32, 40)
	for i := range prompt {
		prompt[i] = int32(i*7 + 3)
	}
	for _, name := range []string{"b-fp32", "b-int4", "c-fp32", "a-fp32", "a-keep", "a-nocache"} {
		t.Run(name, func(t *testing.T) {
			plain, _ := openTwice(t, name)
			m := openRecorded(t, name)
			g := m.runner.recording
			if (g != nil) != m.spec.Shared {
				t.Fatalf("there is a recording: %v, with warnings %q", g != nil, m.spec.Warnings)
			}
			if g != nil {
				number, err := g.options.Config(ort.RunGraph)
				if err != nil || number != "1" {
					t.Errorf("the recording's number is %q, %v; want 1", number, err)
				}
			} else {
				if !strings.Contains(strings.Join(m.spec.Warnings, "\n"), "steps are not recorded") {
					t.Errorf("the warnings are %q", m.spec.Warnings)
				}
				return
			}
			for i, p := range []sample.Params{
				{}, {Temperature: 0.8, TopP: 0.9, TopK: 40}, {Temperature: 0.05, TopP: 0.9}, {RepetitionPenalty: 1.2}, {Temperature: 4, TopP: 0.99}, {},
			} {
				p.Seed = 5
				q := Request{Tokens: prompt[:40-5*i], Sampling: p, MaxTokens: 24, MinTokens: 2, IgnoreEnd: true, TokensOnly: true}
				before := g.replays
				if got, want := tokens(t, m, q), tokens(t, plain, q); !slices.Equal(got, want) {
					t.Errorf("%+v: got %v, want %v", p, got, want)
				}
				if replayed := g.replays - before; (replayed >= 20) != p.Few(len(m.runner.top.given[0].IDs)) {
					t.Errorf("%+v: %d steps were replayed", p, replayed)
				}
			}
			if g.doubts != 0 || g.why != "" {
				t.Errorf("doubts %d, %q", g.doubts, g.why)
			}
		})
	}
}

// A replay that computes something else is found in the first two steps, and one that fails whenever it does: the tokens are right all the
// same, and no further step is replayed.
func TestRecordingIsCompared(t *testing.T) {
	plain, _ := openTwice(t, "b-fp32")
	q := Request{Tokens: []int32{5, 6, 7}, MaxTokens: 20, IgnoreEnd: true, TokensOnly: true}
	want := tokens(t, plain, q)
	for _, c := range []struct {
		name    string
		trusted bool
		spoil   func(t *testing.T, g *recording)
		why     string
	}{
		{"a token that stays what it was", false, func(t *testing.T, g *recording) {
			still, err := g.m.env.NewTensor(ort.Int64, 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { still.Close() })
			ort.View[int64](still)[0] = 9
			g.call.SetInput(g.runner.at.ids, still)
		}, "computes something else"},
		{"no numbers", false, func(t *testing.T, g *recording) {
			nan, err := g.m.env.NewTensor(ort.Float32, g.runner.cache.Past()[0].Shape()...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { nan.Close() })
			for i, view := 0, ort.View[float32](nan); i < len(view); i++ {
				view[i] = float32(math.NaN())
			}
			g.call.SetInput(g.runner.at.past, nan)
			g.call.SetOutput(g.runner.top.present, nan)
		}, "computes something else"},
		{"a layout that cannot run", false, func(_ *testing.T, g *recording) { g.layout.session.Close() }, "closed"},
		{"a replay that cannot run", false, func(_ *testing.T, g *recording) { g.results[0].Close() }, "closed"},
		{"a replay that no longer runs", true, func(_ *testing.T, g *recording) { g.results[0].Close() }, "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openRecorded(t, "b-fp32")
			g := m.runner.recording
			c.spoil(t, g)
			before := g.replays
			if !c.trusted {
				if err := g.renew(); err != nil {
					t.Fatal(err)
				}
				if err := g.try(); err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("tried: %v, want %q", err, c.why)
				}
			}
			for range 2 {
				if got := tokens(t, m, q); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			}
			if !strings.Contains(g.why, c.why) || g.replays-before > 2 {
				t.Errorf("after %d replays: %q, want %q", g.replays-before, g.why, c.why)
			}
		})
	}
}

// A batch takes memory of the device, which a recording may have used: the next step is recorded anew and compared, a bounded number of times.
func TestRecordingAfterABatch(t *testing.T) {
	plain, _ := openTwice(t, "b-fp32")
	m := openRecorded(t, "b-fp32")
	g := m.runner.recording
	q := Request{Tokens: []int32{5, 6, 7}, MaxTokens: 9, IgnoreEnd: true, TokensOnly: true}
	want := tokens(t, plain, q)
	for i := range recordingsMost + 2 {
		if got := tokens(t, m, q); !slices.Equal(got, want) {
			t.Errorf("round %d: got %v, want %v", i, got, want)
		}
		number := g.number
		for row, got := range batch(t, m, []Request{q, q}) {
			if !slices.Equal(got, want) {
				t.Errorf("round %d, row %d: got %v, want %v", i, row, got, want)
			}
		}
		if g.why == "" && (g.number != number+1 || g.doubts != 2) {
			t.Errorf("round %d: recording %d with %d doubts after recording %d", i, g.number, g.doubts, number)
		}
	}
	if !strings.Contains(g.why, "16 times") {
		t.Errorf("it is still recorded: %d, %q", g.number, g.why)
	}
}

// A request that is cancelled, a restored cache and a fault leave the next request as it is without a recording.
func TestRecordingBetweenRequests(t *testing.T) {
	plain, _ := openTwice(t, "b-fp32")
	m := openRecorded(t, "b-fp32")
	q := Request{Tokens: []int32{5, 6, 7}, MaxTokens: 20, IgnoreEnd: true, TokensOnly: true}
	want := tokens(t, plain, q)
	for most := range 4 {
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		for _, err := range m.Generate(ctx, q) {
			if n++; n > most {
				cancel()
			}
			if err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
		}
		cancel()
		if got := tokens(t, m, q); !slices.Equal(got, want) {
			t.Errorf("cancelled after %d: got %v, want %v", most, got, want)
		}
	}
	longer := Request{Tokens: append([]int32{5, 6, 7}, want[:10]...), MaxTokens: 10, IgnoreEnd: true, TokensOnly: true}
	if got := tokens(t, m, longer); !slices.Equal(got, want[10:]) {
		t.Errorf("gone on in the middle: got %v, want %v", got, want[10:])
	}
}
