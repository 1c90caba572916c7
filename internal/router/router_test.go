package router

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/bootstrap"
	"github.com/shammah/shammah-engine/internal/claude"
	fake "github.com/shammah/shammah-engine/internal/claude/claudetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errMemory = errors.New("12 GB are needed, 8 are free")
	errLong   = fmt.Errorf("decode: generate: %w: 5000 tokens, the context holds 4096", decode.ErrContext)
	errNoKey  = errors.New("claude: there is no API key (E_CLAUDE_KEY)")
)

func TestDecide(t *testing.T) {
	state := func(p bootstrap.Phase, err error) bootstrap.State {
		return bootstrap.State{Phase: p, Model: "Qwen", File: 2, Files: 5, Bytes: 4e8, Total: 1e9, Err: err}
	}
	ready := state(bootstrap.Ready, nil)
	nobody := "router: nobody can answer: "
	for _, c := range []struct {
		name      string
		situation Situation
		who       Who
		line      string // why, or the error
	}{
		{"auto, ready", Situation{Auto, ready, nil, nil}, ByLocal, "Qwen is ready and the prompt fits"},
		{"auto, ready, no key", Situation{Auto, ready, nil, errNoKey}, ByLocal, "Qwen is ready and the prompt fits"},
		{"auto, initializing", Situation{Auto, state(bootstrap.Initializing, nil), nil, nil}, ByClaude, "Qwen is being prepared"},
		{"auto, downloading", Situation{Auto, state(bootstrap.Downloading, nil), nil, nil}, ByClaude, "Qwen is being downloaded (file 2 of 5, 40% of 1.0 GB)"},
		{"auto, loading", Situation{Auto, state(bootstrap.Loading, nil), nil, nil}, ByClaude, "Qwen is being loaded"},
		{"auto, failed", Situation{Auto, state(bootstrap.Failed, errMemory), nil, nil}, ByClaude, "Qwen could not be loaded: 12 GB are needed, 8 are free"},
		{"auto, not available", Situation{Auto, state(bootstrap.NotAvailable, errors.New("offline")), nil, nil}, ByClaude, "Qwen is not available: offline"},
		{"auto, no model at all", Situation{Auto, bootstrap.State{Phase: bootstrap.NotAvailable}, nil, nil}, ByClaude, "the model of this machine is not available"},
		{"auto, too long", Situation{Auto, ready, errLong, nil}, ByClaude, "the prompt does not fit Qwen: " + errLong.Error()},
		{"auto, template refuses", Situation{Auto, ready, errors.New("roles must alternate"), nil}, ByClaude, "Qwen cannot take the prompt: roles must alternate"},
		{"auto, loading, no key", Situation{Auto, state(bootstrap.Loading, nil), nil, errNoKey}, "", nobody + "Qwen is being loaded; " + errNoKey.Error()},
		{"auto, failed, no key", Situation{Auto, state(bootstrap.Failed, errMemory), nil, errNoKey}, "", nobody + "Qwen could not be loaded: " + errMemory.Error() + "; " + errNoKey.Error()},
		{"auto, too long, no key", Situation{Auto, ready, errLong, errNoKey}, "", nobody + "the prompt does not fit Qwen: " + errLong.Error() + "; " + errNoKey.Error()},
		{"local, ready", Situation{Local, ready, nil, nil}, ByLocal, "the mode is local"},
		{"local, loading", Situation{Local, state(bootstrap.Loading, nil), nil, nil}, "", nobody + "the mode is local, and Qwen is being loaded"},
		{"local, failed", Situation{Local, state(bootstrap.Failed, errMemory), nil, nil}, "", nobody + "the mode is local, and Qwen could not be loaded: " + errMemory.Error()},
		{"local, too long", Situation{Local, ready, errLong, nil}, "", nobody + "the mode is local, and the prompt does not fit Qwen: " + errLong.Error()},
		{"claude", Situation{Claude, ready, nil, nil}, ByClaude, "the mode is claude"},
		{"claude, local failed", Situation{Claude, state(bootstrap.Failed, errMemory), errLong, nil}, ByClaude, "the mode is claude"},
		{"claude, no key", Situation{Claude, ready, nil, errNoKey}, "", nobody + "the mode is claude, and " + errNoKey.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Decide(c.situation)
			line := got.Why
			if err != nil {
				line = err.Error()
				if !errors.Is(err, ErrNobody) {
					t.Errorf("%v is not ErrNobody", err)
				}
			}
			if got.Who != c.who || line != c.line {
				t.Errorf("got %q: %q\nwant %q: %q", got.Who, line, c.who, c.line)
			}
		})
	}
}

// Whoever asks can tell the causes apart.
func TestDecideKeepsTheCauses(t *testing.T) {
	_, err := Decide(Situation{Auto, bootstrap.State{Phase: bootstrap.Failed, Err: errMemory}, nil, errNoKey})
	if !errors.Is(err, errMemory) || !errors.Is(err, errNoKey) {
		t.Errorf("%v has lost a cause", err)
	}
	_, err = Decide(Situation{Local, bootstrap.State{Phase: bootstrap.Ready}, errLong, nil})
	if !errors.Is(err, decode.ErrContext) {
		t.Errorf("%v has lost its cause", err)
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "local": Local, "claude": Claude} {
		if got, err := ParseMode(text); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"remote", "AUTO", " auto"} {
		if got, err := ParseMode(text); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

// machine is a scripted model.
type machine struct {
	state  bootstrap.State
	fits   error
	tokens []string
	fails  error // after the tokens
	fitted int   // times that Fits was called
	asked  int
	left   bool
}

func (m *machine) State() bootstrap.State { return m.state }

func (m *machine) Fits() error {
	m.fitted++
	return m.fits
}

func (m *machine) Answer(ctx context.Context) iter.Seq2[decode.Token, error] {
	return func(yield func(decode.Token, error) bool) {
		m.asked++
		for i, text := range m.tokens {
			if !yield(decode.Token{ID: int32(i), Text: text}, nil) {
				m.left = true
				return
			}
		}
		err := m.fails
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		yield(decode.Token{ID: -1, Stats: &decode.Stats{PromptTokens: 7, Generated: len(m.tokens), Finish: decode.FinishEnd}}, err)
	}
}

// remote is Anthropic's own client against a scripted API.
func remote(t *testing.T, key string, steps ...fake.Step) (*claude.Client, *fake.API) {
	t.Helper()
	api := fake.New(steps...)
	k, err := claude.NewKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := claude.New(claude.Options{Key: k, BaseURL: api.Serve(t), Model: "claude-x"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, api
}

func question(mode Mode, m *machine, r Remote) Question {
	return Question{Mode: mode, Machine: m, Remote: r, Request: claude.Request{Messages: []chat.Message{{Role: chat.User, Content: "Hello"}}}}
}

var isReady = bootstrap.State{Phase: bootstrap.Ready, Model: "tiny", Provider: "CPU"}

func TestAnswer(t *testing.T) {
	half := fake.Then(fake.Stream(fake.Start(3), fake.Delta("half of ")), fake.Cut)
	overloaded := fake.Status(529, "overloaded_error", "busy", "X-Should-Retry", "false")
	whole := fake.Answer("remote", " text")
	broken := errors.New("numeric fault")
	for _, c := range []struct {
		name    string
		mode    Mode
		machine machine
		step    fake.Step
		who     Who
		model   string
		why     string
		text    string
		err     string // a part of it
		local   int    // times that each was asked
		remote  int
	}{
		{"local answers", Auto, machine{state: isReady, tokens: []string{"local", " ", "", "text"}}, whole,
			ByLocal, "tiny", "tiny is ready and the prompt fits", "local text", "", 1, 0},
		{"claude while loading", Auto, machine{state: bootstrap.State{Phase: bootstrap.Loading, Model: "tiny"}}, whole,
			ByClaude, "claude-x", "tiny is being loaded", "remote text", "", 0, 1},
		{"claude for a long prompt", Auto, machine{state: isReady, fits: errLong}, whole,
			ByClaude, "claude-x", "the prompt does not fit tiny: " + errLong.Error(), "remote text", "", 0, 1},
		{"claude alone does not ask whether the prompt fits", Claude, machine{state: isReady, fits: broken}, whole,
			ByClaude, "claude-x", "the mode is claude", "remote text", "", 0, 1},
		{"local fails before its first text", Auto, machine{state: isReady, tokens: []string{"", ""}, fails: broken}, whole,
			ByClaude, "claude-x", "tiny failed: numeric fault", "remote text", "", 1, 1},
		{"F: local fails in the middle, never spliced", Auto, machine{state: isReady, tokens: []string{"half"}, fails: broken}, whole,
			ByLocal, "tiny", "tiny is ready and the prompt fits", "half", "numeric fault", 1, 0},
		{"local alone fails before its first text", Local, machine{state: isReady, fails: broken}, whole,
			ByLocal, "tiny", "the mode is local", "", "numeric fault", 1, 0},
		{"F: claude breaks in the middle, never spliced", Auto, machine{state: bootstrap.State{}, tokens: []string{"local"}}, half,
			ByClaude, "claude-x", "the model of this machine is being prepared", "half of ", "E_CLAUDE_BROKEN", 0, 1},
		{"F: claude fails at once, and its error is no answer", Claude, machine{state: isReady, tokens: []string{"local"}}, overloaded,
			ByClaude, "claude-x", "the mode is claude", "", "overloaded: busy", 0, 1},
		{"both fail", Auto, machine{state: isReady, fails: broken}, overloaded,
			ByClaude, "claude-x", "tiny failed: numeric fault", "", "overloaded: busy", 1, 1},
		{"nobody", Local, machine{state: bootstrap.State{Phase: bootstrap.Loading, Model: "tiny"}}, whole,
			"", "", "", "", "tiny is being loaded", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, api := remote(t, fake.Canary, c.step)
			text, ended := "", false
			var last Piece
			var err error
			for piece, pieceErr := range Answer(t.Context(), question(c.mode, &c.machine, r)) {
				if ended {
					t.Errorf("%+v after the end", piece)
				}
				if piece.Who != c.who || piece.Model != c.model || piece.Why != c.why {
					t.Errorf("got %s %q: %q\nwant %s %q: %q", piece.Who, piece.Model, piece.Why, c.who, c.model, c.why)
				}
				text += piece.Text
				last, err = piece, pieceErr
				ended = err != nil || piece.Done != nil
			}
			if c.err == "" && (err != nil || last.Done == nil || last.Done.Finish != decode.FinishEnd || last.Done.Prompt == 0) {
				t.Errorf("got %+v, %v at the end, want figures", last, err)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got error %v, want %q in it", err, c.err)
			}
			if c.machine.fitted > 0 && (c.mode == Claude || c.machine.state.Phase != bootstrap.Ready) {
				t.Error("the local model was given the prompt though it does not count")
			}
			if text != c.text || c.machine.asked != c.local || len(api.Requests()) != c.remote {
				t.Errorf("got %q, %d local, %d remote\nwant %q, %d, %d", text, c.machine.asked, len(api.Requests()), c.text, c.local, c.remote)
			}
		})
	}
}

// A user who stops the local model before its first text has not asked for Claude.
func TestAnswerStoppedIsNotFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, api := remote(t, fake.Canary, fake.Answer("never"))
	for piece, err := range Answer(ctx, question(Auto, &machine{state: isReady}, r)) {
		if piece.Who != ByLocal || !errors.Is(err, context.Canceled) {
			t.Errorf("got %+v, %v", piece, err)
		}
	}
	if n := len(api.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestAnswerLeft(t *testing.T) {
	m := machine{state: isReady, tokens: []string{"a", "b"}}
	r, _ := remote(t, "")
	for range Answer(t.Context(), question(Auto, &m, r)) {
		break
	}
	if !m.left {
		t.Error("the model went on after its reader had left")
	}
}

// F: without a key a local failure is the answer's error, and nothing is sent.
func TestFAnswerWithoutKey(t *testing.T) {
	r, api := remote(t, "", fake.Answer("never"))
	m := machine{state: isReady, fails: errMemory}
	var last error
	for _, err := range Answer(t.Context(), question(Auto, &m, r)) {
		last = err
	}
	if !errors.Is(last, errMemory) || len(api.Requests()) != 0 {
		t.Errorf("got %v, %d requests", last, len(api.Requests()))
	}
}

func TestFinish(t *testing.T) {
	for word, want := range map[string]decode.Finish{"end_turn": decode.FinishEnd, "stop_sequence": decode.FinishStop, "max_tokens": decode.FinishLength,
		"model_context_window_exceeded": decode.FinishLength, "refusal": "refusal"} {
		if got := finish(word); got != want {
			t.Errorf("%s: got %s, want %s", word, got, want)
		}
	}
}
