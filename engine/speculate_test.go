package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// said is all of an answer that must be the same with and without speculation, and what the cache holds after it.
type said struct {
	ids    []int32
	text   string
	finish decode.Finish
	err    string
	held   []int32
}

// say runs a request until it ends, or until it is left or cancelled after so many tokens; 0 is never. With p, p guesses on a
// steady machine; else those who guess for the model do.
func say(t *testing.T, m *Model, q Request, leave, cancel int, p decode.Proposer) (s said, stats Stats) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	answer := m.Generate(ctx, q)
	if p != nil {
		r, done, err := m.prepare(q)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		cancel, release, err := m.take(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		m.runner.cancel = cancel
		clocked := &steady{runner: m.runner}
		r.Proposers, r.Now = []decode.Proposer{p}, clocked.now
		answer = decode.Generate(ctx, clocked, r)
	}
	for token, err := range answer {
		s.text += token.Text
		if err != nil {
			s.err = err.Error()
		}
		if token.Stats != nil {
			stats, s.finish = *token.Stats, token.Stats.Finish
			continue
		}
		if s.ids = append(s.ids, token.ID); len(s.ids) == cancel {
			stop()
		}
		if len(s.ids) == leave {
			break
		}
	}
	s.held = slices.Clone(m.runner.Held())
	return s, stats
}

// seer knows the answer, and is wrong at times.
type seer struct {
	prompt int
	answer []int32
	random *rand.Rand
	at     int
}

func (s *seer) Begin(_ context.Context, prompt []int32) error {
	s.prompt = len(prompt)
	return nil
}

func (s *seer) Odds(sequence []int32, most int) []float64 {
	s.at = max(len(sequence)-s.prompt, 0)
	return slices.Repeat([]float64{1}, max(most, 0))
}

func (s *seer) Propose(_ context.Context, n int) (ids []int32, err error) {
	for i := range n {
		id := int32(s.random.IntN(64))
		if s.at+i < len(s.answer) && s.random.IntN(8) > 0 {
			id = s.answer[s.at+i]
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// steady is a runner whose runs take a second each by its own clock, so that what is tried does not depend on the machine.
type steady struct {
	*runner
	clock time.Time
}

func (s *steady) now() time.Time { return s.clock }

func (s *steady) FeedRows(ctx context.Context, ids []int32) ([]sample.Logits, error) {
	s.clock = s.clock.Add(time.Second)
	return s.runner.FeedRows(ctx, ids)
}

// speculating are the models at hand that can speculate: what opens them, and whether they have true sizes.
func speculating(t *testing.T) map[string]func(t *testing.T, o Options) *Model {
	env := ortest.Env(t)
	opened := func(t *testing.T, m *Model, err error) *Model {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	folder := func(dir func(t *testing.T) string) func(t *testing.T, o Options) *Model {
		return func(t *testing.T, o Options) *Model {
			m, err := Open(env, dir(t), o)
			return opened(t, m, err)
		}
	}
	return map[string]func(t *testing.T, o Options) *Model{
		"tiny": func(t *testing.T, o Options) *Model {
			m, err := OpenFS(env, tiny.FS(), o)
			return opened(t, m, err)
		},
		"layout B": folder(func(t *testing.T) string { return "testdata/b-int4" }),
		"layout A": folder(func(t *testing.T) string { return quantised(t, "a-fp32") }),
		"real":     folder(func(t *testing.T) string { return realModel(t) }),
	}
}

// requests are prompts that repeat themselves and that do not, under everything that a request can ask for.
func speculationRequests(m *Model) (list []Request) {
	r := rand.New(rand.NewPCG(5, 6))
	passage := make([]int32, 30)
	for i := range passage {
		passage[i] = r.Int32N(int32(m.spec.Vocab))
	}
	copied := slices.Repeat(passage, 3)
	for i, p := range []sample.Params{
		{}, {RepetitionPenalty: 1.1, FrequencyPenalty: 0.2},
		{Temperature: 0.7, TopP: 0.9, Seed: 1}, {Temperature: 1, TopP: 1, Seed: 2}, {Temperature: 0.3, TopK: 20, TopP: 0.95, MinP: 0.02, RepetitionPenalty: 1.05, PresencePenalty: 0.1, Seed: 3},
	} {
		list = append(list,
			Request{Tokens: copied, MaxTokens: 37, Sampling: p, IgnoreEnd: true},
			Request{Tokens: passage[:5], MaxTokens: 40 + i, MinTokens: 10, Sampling: p},
			Request{Tokens: copied, MaxTokens: 3 + i, Sampling: p, Stop: []string{"e"}},
			Request{Tokens: copied[:88], Sampling: p, IgnoreEnd: true}, // to the end of the context
			Request{Tokens: slices.Repeat(passage, 5), MaxTokens: 20, Sampling: p, Overflow: decode.OverflowTruncate},
			Request{Tokens: copied, MaxTokens: 90, Sampling: p, Overflow: decode.OverflowShift, IgnoreEnd: true},
		)
	}
	return list
}

// Every answer is the same with and without speculation, to the last token and the last word, and so is what the cache holds after it.
func TestSpeculationChangesNothing(t *testing.T) {
	for name, open := range speculating(t) {
		t.Run(name, func(t *testing.T) {
			options, every := []Options{{Threads: 2, Context: 128}, {Threads: 1, Context: 128, HalfCache: true}}, 1
			if name == "real" {
				options, every = options[:1], 11
			}
			for _, o := range options {
				m := open(t, o)
				if why := m.Joint(); why != "" {
					t.Fatalf("it does not speculate: %s", why)
				}
				accepted, proposed := 0, 0
				for i, q := range speculationRequests(m) {
					if i%every != 0 {
						continue
					}
					leave, cancel := 0, 0
					switch i % 5 {
					case 3:
						leave = 7 + i
					case 4:
						cancel = 7 + i
					}
					q.Speculate = SpeculateOff
					want, stats := say(t, m, q, leave, cancel, nil)
					if stats.Proposed != 0 {
						t.Errorf("request %d: %d guesses, though none were wanted", i, stats.Proposed)
					}
					knows := &seer{answer: want.ids, random: rand.New(rand.NewPCG(uint64(i), 3))}
					got, stats := say(t, m, q, leave, cancel, knows)
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("request %d, %+v:\ngot  %+v\nwant %+v", i, stats, got, want)
					}
					accepted, proposed = accepted+stats.Accepted, proposed+stats.Proposed
					q.Speculate = SpeculateAuto
					if got, stats := say(t, m, q, leave, cancel, nil); fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("request %d, looked up, %+v:\ngot  %+v\nwant %+v", i, stats, got, want)
					}
				}
				if accepted < 50 || proposed-accepted < 10 {
					t.Errorf("%d guesses of %d were right; want many of both kinds, or the test shows little", accepted, proposed)
				}
			}
		})
	}
}

// A model whose rows might differ is not asked for several at once.
func TestSpeculationOnlyWhereRowsAreTheSame(t *testing.T) {
	for folder, o := range map[string]Options{"b-int4": {Kernels: KernelsOff}, "b-fp32": {}, "a-fp32": {}, "a-nocache": {}, "a-combined": {}} {
		m := openFixture(t, folder, o)
		if m.Joint() == "" {
			t.Errorf("%s: it speculates, want a reason why not", folder)
		}
		if _, stats := say(t, m, Request{Tokens: slices.Repeat([]int32{4, 5, 6}, 10), MaxTokens: 30, IgnoreEnd: true}, 0, 0, nil); stats.Proposed != 0 || stats.Generated != 30 {
			t.Errorf("%s: got %+v, want 30 tokens and no guess", folder, stats)
		}
	}
	for _, fixture := range []string{"a-nocache", "a-combined"} {
		m, err := Open(ortest.Env(t), quantised(t, fixture), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if m.kernels != "" || m.Joint() == "" {
			t.Errorf("%s, quantised: kernels %q, joint %q; want our kernels, and a reason", fixture, m.kernels, m.Joint())
		}
		m.Close()
	}
}

// A draft changes nothing either, whatever it is and however little it holds.
func TestDraft(t *testing.T) {
	open := speculating(t)
	for _, c := range []struct {
		name, model string
		draft       func(t *testing.T) *Model
	}{
		{"itself", "layout B", func(t *testing.T) *Model { return open["layout B"](t, Options{Threads: 1}) }},
		{"smaller context", "layout B", func(t *testing.T) *Model { return open["layout B"](t, Options{Threads: 1, Context: 64}) }},
		{"other weights, other layout, the runtime's kernels", "layout B", func(t *testing.T) *Model {
			m, err := Open(ortest.Env(t), "testdata/a-fp32", Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.draft(t)
			m := open[c.model](t, Options{Threads: 1, Context: 128, Draft: d})
			accepted := 0
			for i, q := range speculationRequests(m) {
				q.Speculate = SpeculateOff
				want, _ := say(t, m, q, 0, i%7, nil)
				q.Speculate = SpeculateAuto
				got, stats := say(t, m, q, 0, i%7, nil)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("request %d, %+v:\ngot  %+v\nwant %+v", i, stats, got, want)
				}
				accepted += stats.Accepted
			}
			if accepted == 0 {
				t.Error("no guess was right")
			}
			if _, _, err := result(t.Context(), d, Request{Tokens: []int32{1, 2}, MaxTokens: 2}); err != nil {
				t.Errorf("the draft by itself, after its model's requests: %v", err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if _, _, err := result(t.Context(), d, Request{Tokens: []int32{1, 2}, MaxTokens: 2}); !errors.Is(err, ErrClosed) {
				t.Errorf("the draft after its model was closed: got %v, want ErrClosed", err)
			}
		})
	}
}

func TestDraftRefused(t *testing.T) {
	env := ortest.Env(t)
	good := func(t *testing.T, o Options) *Model { return openFixture(t, "b-int4", o) }
	renamed := func(t *testing.T) string { // the same size, two tokens changed places
		dir := copyFixture(t, "b-int4")
		file := filepath.Join(dir, "tokenizer.json")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, b := `"b":`, `"c":`
		if !strings.Contains(string(data), a) || !strings.Contains(string(data), b) {
			t.Fatal("the tokenizer has no b and c")
		}
		text := strings.NewReplacer(a, b, b, a).Replace(string(data))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for _, c := range []struct {
		name  string
		draft func(t *testing.T) *Model
		o     Options
		want  string
	}{
		{"another vocabulary of the same size", func(t *testing.T) *Model {
			m, err := Open(env, renamed(t), Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			return m
		}, Options{}, "another vocabulary: token"},
		{"closed", func(t *testing.T) *Model {
			m := good(t, Options{})
			m.Close()
			return m
		}, Options{}, "closed"},
		{"without its tokenizer", func(t *testing.T) *Model { return good(t, Options{NoText: true}) }, Options{}, "tokenizer"},
		{"for a model without its tokenizer", func(t *testing.T) *Model { return good(t, Options{}) }, Options{NoText: true}, "tokenizer"},
		{"for a model that the runtime computes", func(t *testing.T) *Model { return good(t, Options{}) }, Options{Kernels: KernelsOff}, "cannot be verified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Draft = c.draft(t)
			m, err := Open(env, "testdata/b-int4", c.o)
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "engine: open ") {
				t.Fatalf("got %v, want one line with %q", err, c.want)
			}
			if _, _, err := result(t.Context(), c.o.Draft, Request{Tokens: []int32{1}, MaxTokens: 1, TokensOnly: true}); err != nil && c.name != "closed" {
				t.Errorf("the refused draft: got %v, want it still open", err)
			}
		})
	}
	t.Run("closed later", func(t *testing.T) {
		d := good(t, Options{})
		m := good(t, Options{Draft: d})
		d.Close()
		_, _, err := result(t.Context(), m, Request{Tokens: []int32{1}, MaxTokens: 3})
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "draft") {
			t.Errorf("got %v, want ErrClosed that names the draft", err)
		}
		if ids, _, err := result(t.Context(), m, Request{Tokens: []int32{1}, MaxTokens: 3, IgnoreEnd: true, Speculate: SpeculateOff}); err != nil || len(ids) != 3 {
			t.Errorf("without it: got %v, %v; want three tokens", ids, err)
		}
	})
}

// Copying, the real model needs far fewer runs than tokens.
func TestRealModelCopies(t *testing.T) {
	m, err := Open(ortest.Env(t), realModel(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	q := Request{MaxTokens: 100, Messages: []chat.Message{{Role: "user", Content: "Repeat this text word for word:\n\n" +
		"The keeper of the lighthouse wrote down the weather every morning. On Monday the wind came from the west, and three boats were on their way home. " +
		"On Tuesday there was fog, so she lit the lamp at noon and rang the bell until evening."}}}
	q.Speculate = SpeculateOff
	want, _ := say(t, m, q, 0, 0, nil)
	q.Speculate = SpeculateAuto
	got, stats := say(t, m, q, 0, 0, nil)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got.text, want.text)
	}
	t.Logf("%q %+v", got.text, stats)
	if stats.Accepted == 0 {
		t.Errorf("got %+v, want guesses that were right", stats)
	}
}
