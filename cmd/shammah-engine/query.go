package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/bootstrap"
	"github.com/shammah/shammah-engine/internal/claude"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/router"
)

func queryCommand() *cli.Command {
	return completeAdapters(&cli.Command{
		Name:      "query",
		Usage:     "answer one prompt on this machine, or by Claude where that cannot be",
		ArgsUsage: "[prompt]",
		Description: "The prompt is the arguments, or standard input, or both. A model that is here is loaded and answers. Claude is asked\n" +
			"when the model is not here, cannot be loaded or is too small for the prompt, and there is a key: then a line on\n" +
			"standard error says so. --router local asks nobody else. The answer goes to standard output, all else to standard error.",
		Flags:        append(append(append(modelFlags(), loraFlag()), generationFlags()...), queryFlags()...),
		OnUsageError: usageError,
		Action:       queryAction,
	})
}

func queryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "router", Value: string(router.Auto), Usage: "who answers: `auto` asks Claude only when the model of this machine cannot, local, claude"},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object with the answer, who gave it and why"},
		&cli.BoolFlag{Name: "stats", Usage: "print figures after the answer"},
	}
}

func queryAction(c *cli.Context) error {
	settings, err := configured(c)
	if err != nil {
		return err
	}
	request, err := generationRequest(c)
	if err != nil {
		return err
	}
	// The model's own defaults are not known yet: what the flags say is checked here, before anything is loaded or sent.
	if err := sampling(c, &model.Spec{Vocab: math.MaxInt32}, &engine.Request{}); err != nil {
		return err
	}
	prompt, err := readPrompt(c, isTerminal(c.App.Reader))
	if err != nil {
		return err
	}
	if prompt == "" {
		return fmt.Errorf("%w: query: there is no prompt: give it as an argument or on standard input", errUsage)
	}
	mode, err := router.ParseMode(c.String("router"))
	if err != nil {
		return fmt.Errorf("%w: --router: %w", errUsage, err)
	}
	adapted, err := flaggedAdapters(c)
	if err != nil {
		return err
	}
	remote, err := claudeClient(settings, logger(c.App.ErrWriter, c.Bool("verbose")))
	if err != nil {
		return err
	}
	defer remote.Close()
	ctx, stop := interruptible(c.Context)
	defer stop()

	a := &asked{state: bootstrap.State{Phase: bootstrap.NotAvailable, Model: c.String("model")}}
	if mode != router.Claude {
		closeModel, err := a.open(ctx, c, mode == router.Auto && remote.Available() == nil)
		if err != nil {
			return err
		}
		defer closeModel()
	}
	if a.model != nil {
		if request.Adapters, err = adapted.on(a.model); err != nil {
			return err
		}
		adapted.say(c)
	}
	messages := conversation(c.String("system"), prompt)
	if err := a.ask(c, request, messages); err != nil {
		return err
	}
	q := &query{c: c, model: a.model, adapted: adapted, out: c.App.Writer, log: c.App.ErrWriter}
	return q.answer(ctx, router.Question{
		Mode: mode, Machine: a, Remote: remote,
		Request: claude.Request{Messages: messages, MaxTokens: request.MaxTokens, Stop: request.Stop},
	})
}

func conversation(system, prompt string) []chat.Message {
	c := chat.Conversation{System: system}
	c.Ask(prompt)
	return c.Messages()
}

// asked is the model of this machine, as far as it came, with the one question for it.
type asked struct {
	state   bootstrap.State
	model   *engine.Model // nil unless ready
	request engine.Request
	refused error // why the model cannot be asked this at all
}

// open finds and loads the model. What goes wrong there is a state for the router, but for what the user has to mend: a flag, or a
// name that no model has. If another can answer, nobody is asked to download.
func (a *asked) open(ctx context.Context, c *cli.Context, another bool) (close func(), err error) {
	nothing := func() {}
	if another && !c.Bool("pull") {
		if _, err := hub.Resolve(c.String("model"), hubEnv(c)); hub.IsFetchable(err) {
			a.state.Err = err
			return nothing, nil
		} else if err != nil {
			return nothing, err
		}
	}
	m, closeModel, err := openModel(ctx, c)
	switch {
	case ctx.Err() != nil:
		if closeModel != nil {
			closeModel()
		}
		return nothing, errInterrupted
	case errors.Is(err, errUsage), errors.Is(err, errInterrupted):
		return nothing, err
	case errors.Is(err, hub.ErrNotFound):
		a.state.Err = err
		return nothing, nil
	case err != nil:
		a.state.Phase, a.state.Err = bootstrap.Failed, err
		return nothing, nil
	}
	a.model = m
	a.state = bootstrap.State{Phase: bootstrap.Ready, Model: m.Spec().Name, Provider: m.Provider()}
	return closeModel, nil
}

// ask makes the model's request. One without a chat template continues the prompt as it is.
func (a *asked) ask(c *cli.Context, request engine.Request, messages []chat.Message) error {
	if a.model == nil {
		return nil
	}
	spec := a.model.Spec()
	if err := sampling(c, spec, &request); err != nil {
		return err
	}
	if note := draw(spec, &request.Sampling, filterFlag(c), c.IsSet("temperature")); note != "" {
		fmt.Fprintln(c.App.ErrWriter, note)
	}
	switch {
	case spec.Template != "":
		request.Messages = messages
	case len(messages) > 1:
		a.refused = errors.New("--system needs a chat template, which it does not have")
	default:
		fmt.Fprintf(c.App.ErrWriter, "%s has no chat template: the prompt is continued as it is\n", spec.Name)
		request.Prompt = messages[0].Content
	}
	a.request = request
	return nil
}

// State is the model's; it is what it is when query asks.
func (a *asked) State() bootstrap.State { return a.state }

// Fits says whether prompt and answer fit the model's context.
func (a *asked) Fits() error {
	if a.refused != nil {
		return a.refused
	}
	_, err := a.model.Encode(a.request)
	return err
}

// Answer is the model's answer.
func (a *asked) Answer(ctx context.Context) iter.Seq2[decode.Token, error] {
	return a.model.Generate(ctx, a.request)
}

// query shows one answer.
type query struct {
	c        *cli.Context
	model    *engine.Model
	adapted  *adapted
	out, log io.Writer
	text     strings.Builder
	told     bool // who answers
}

func (q *query) answer(ctx context.Context, question router.Question) error {
	quiet := q.c.Bool("json")
	var last router.Piece
	var failure error
	for p, err := range router.Answer(ctx, question) {
		q.tell(p)
		q.text.WriteString(p.Text)
		if !quiet && p.Text != "" {
			if _, err := io.WriteString(q.out, p.Text); err != nil {
				return fmt.Errorf("query: write the answer: %w", err)
			}
		}
		last, failure = p, err
	}
	text := q.text.String()
	if !quiet && text != "" && !strings.HasSuffix(text, "\n") {
		fmt.Fprintln(q.out)
	}
	if failure != nil && text != "" && !errors.Is(failure, context.Canceled) {
		failure = fmt.Errorf("query: the answer broke off: %w", failure)
	}
	if quiet && last.Who != "" {
		return errors.Join(q.printJSON(last, failure), interrupted(failure))
	}
	if failure == nil {
		q.note(last.Done)
	}
	return interrupted(failure)
}

// tell says once who answers and why: with --verbose always, and whenever the prompt leaves this machine.
func (q *query) tell(p router.Piece) {
	if q.told || p.Who == "" || p.Who == router.ByLocal && !q.c.Bool("verbose") {
		return
	}
	q.told = true
	who := p.Model + " on this machine"
	if p.Who == router.ByClaude {
		who = "Claude (" + p.Model + ")"
	}
	fmt.Fprintf(q.log, "%s answers: %s\n", who, oneLine(p.Why))
}

// note says what the reader of the answer should know.
func (q *query) note(d *router.Done) {
	switch {
	case d == nil:
		return
	case d.Local != nil:
		(&job{c: q.c, model: q.model, log: q.log}).note(d.Local)
		return
	case d.Finish == "refusal":
		fmt.Fprintln(q.log, "Claude declined to answer")
	case d.Finish == decode.FinishLength && q.c.Int("max-tokens") == 0:
		fmt.Fprintf(q.log, "the answer has reached %d tokens and ends here\n", d.Generated)
	}
	if q.c.Bool("stats") {
		fmt.Fprintf(q.log, "prompt %d tokens · answer %d tokens · ended by %s\n", d.Prompt, d.Generated, d.Finish)
	}
}

// queried is what --json prints.
type queried struct {
	By              string   `json:"answered_by"` // local or claude
	Why             string   `json:"why"`
	Model           string   `json:"model"`
	Adapters        []string `json:"adapters,omitempty"`
	Provider        string   `json:"provider,omitempty"`
	Text            string   `json:"text"`
	Finish          string   `json:"finish"`
	PromptTokens    int      `json:"prompt_tokens"`
	GeneratedTokens int      `json:"generated_tokens"`
	Broken          bool     `json:"broken,omitempty"` // the text is a fragment
	Error           string   `json:"error,omitempty"`
}

func (q *query) printJSON(p router.Piece, err error) error {
	r := queried{By: string(p.Who), Why: oneLine(p.Why), Model: p.Model, Text: q.text.String()}
	if p.Who == router.ByLocal {
		r.Provider, r.Adapters = q.model.Provider(), q.adapted.names()
	}
	if d := p.Done; d != nil {
		r.Finish, r.PromptTokens, r.GeneratedTokens = string(d.Finish), d.Prompt, d.Generated
	}
	if err != nil {
		r.Error, r.Broken = oneLine(err.Error()), r.Text != ""
		r.Finish = cmp.Or(r.Finish, string(decode.FinishError))
	}
	e := json.NewEncoder(q.out)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
