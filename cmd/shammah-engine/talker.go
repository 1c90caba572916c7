package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/bootstrap"
	"github.com/shammah/shammah-engine/internal/claude"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/repl"
	"github.com/shammah/shammah-engine/internal/router"
	"github.com/shammah/shammah-engine/internal/sys"
)

// talker is who answers in a conversation: the model of this machine, which loads in the background, or Claude.
type talker struct {
	c       *cli.Context
	ctx     context.Context // of the whole conversation
	mode    router.Mode
	remote  router.Remote
	notices *repl.Notices
	kept    *kept // the session that the conversation is, nil: none
	raw     bool  // prompts go to the model as they are, without what was said before
	plain   bool  // it was said that this model has no template
	adapted *adapted

	name      string   // of the model, as it was asked for
	pending   *pending // what waits for the model, nil: nothing
	refused   error    // why one was not taken up
	machine   *bootstrap.Machine[*opened]
	announced chan struct{} // closed when all was told about machine
	dropped   int           // turns that did not fit at the last answer
	drawing   string        // what is to be told about how tokens are chosen
	drawn     string        // what was told of it last
}

// start begins to load a model and tells how it gets on.
func (t *talker) start(name string, before func() error) {
	t.name = name
	t.machine = newLocal(t.c, name, before)
	t.announced = make(chan struct{})
	lines, announced := bootstrap.Announce(t.machine.Watch(t.ctx)), t.announced
	go func() {
		defer close(announced)
		for line := range lines {
			t.notices.Add(line)
		}
	}()
	t.machine.Start(t.ctx)
}

// Close gives up loading, or closes the model.
func (t *talker) Close() error {
	err := t.machine.Close()
	<-t.announced
	return err
}

// Use loads another model when the one that is there is closed, all in the background.
func (t *talker) Use(name string) error {
	if _, err := hub.Resolve(name, hubEnv(t.c)); err != nil && !hub.IsFetchable(err) {
		return fmt.Errorf("/model: %w", err)
	}
	if names := t.adapted.names(); len(names) > 0 {
		t.adapted.uses = nil
		t.notices.Add("no adapter from now on: " + strings.Join(names, ", ") + " belonged to the model before")
	}
	old, told := t.machine, t.announced
	t.dropped, t.plain = 0, false
	t.start(name, func() error {
		err := old.Close()
		<-told
		return err
	})
	return nil
}

// Models are the aliases of the catalogue.
func (t *talker) Models() (names []string) {
	for _, e := range hub.Catalogue() {
		names = append(names, e.Alias)
	}
	return names
}

// SetMode says who is to answer.
func (t *talker) SetMode(name string) error {
	mode, err := router.ParseMode(name)
	if err != nil {
		return err
	}
	if err := t.remote.Available(); mode == router.Claude && err != nil {
		return err
	}
	t.mode = mode
	return nil
}

// Status says how things stand.
func (t *talker) Status() repl.Status {
	state := t.machine.State()
	s := repl.Status{Model: t.adapted.titled(state.Model), Provider: state.Provider, Mode: string(t.mode)}
	if m, ok := t.machine.Model(); ok {
		s.Context = m.Context()
	} else {
		s.State = state.String()
	}
	if usage, err := sys.ReadUsage(); err == nil {
		s.Used = usage.Resident
	}
	if memory, err := sys.ReadMemory(); err == nil {
		s.Free = memory.Available
	}
	return s
}

// Describe is the model in lines.
func (t *talker) Describe() []string {
	m, ok := t.machine.Model()
	if !ok {
		state := t.machine.State()
		return []string{state.Model + " " + oneLine(state.String())}
	}
	spec := m.Spec()
	row := func(name, format string, a ...any) string {
		return fmt.Sprintf("%-12s %s", name, fmt.Sprintf(format, a...))
	}
	lines := []string{
		row("model", "%s, variant %s", spec.Name, cmp.Or(spec.Variant, "as it is")),
		row("family", "%s", cmp.Or(spec.Family, "not named")),
		row("provider", "%s, %d threads", m.Provider(), m.Threads()),
		row("placement", "%s", m.Placement()),
		row("context", "%d of at most %d tokens", m.Context(), spec.ContextMax),
		row("size", "%s of files", size(spec.Bytes)),
	}
	if spec.Parameters > 0 {
		lines = append(lines, row("parameters", "%.1f million", float64(spec.Parameters)/1e6))
	}
	if bytes, err := m.Peak(model.Use{}); err == nil {
		lines = append(lines, row("memory", "at most about %s", size(bytes)))
	}
	if bytes, err := m.DeviceBytes(); err == nil && bytes > 0 {
		lines = append(lines, row("of device", "about %s", size(bytes)))
	}
	if names := t.adapted.names(); len(names) > 0 {
		lines = append(lines, row("adapters", "%s", strings.Join(names, ", ")))
	}
	return lines
}

// Answer waits for the model of this machine when nobody else can answer, and then lets the router decide.
func (t *talker) Answer(ctx context.Context, q repl.Question) iter.Seq2[repl.Event, error] {
	return func(yield func(repl.Event, error) bool) {
		if !t.wait(ctx, func(text string) bool { return yield(repl.Event{Waiting: text}, nil) }) {
			if ctx.Err() != nil {
				yield(repl.Event{}, ctx.Err())
			}
			return
		}
		dropped := 0
		question := router.Question{
			Mode: t.mode, Remote: t.remote,
			Machine: &local{machine: t.machine, request: func(m *engine.Model) (r engine.Request, err error) {
				r, dropped, err = t.request(m, q)
				return r, err
			}},
			Request: claude.Request{Messages: q.Messages, MaxTokens: q.Settings.MaxTokens, Stop: q.Settings.Stop},
		}
		first := true
		for p, err := range router.Answer(ctx, question) {
			if first && err == nil {
				first = false
				if refused := t.refused; refused != nil {
					t.refused = nil
					if !yield(repl.Event{Note: oneLine(refused.Error())}, nil) {
						return
					}
				}
				if note := t.note(p, dropped); note != "" && !yield(repl.Event{Note: note}, nil) {
					return
				}
			}
			if p.Text != "" && !yield(repl.Event{Text: p.Text}, nil) {
				return
			}
			if p.Done != nil && !yield(repl.Event{Done: t.done(p)}, nil) {
				return
			}
			if err != nil {
				yield(repl.Event{}, err)
				return
			}
		}
	}
}

// wait waits while the model is on its way and nobody else can answer. False: whoever asked has left.
func (t *talker) wait(ctx context.Context, tell func(string) bool) bool {
	if t.mode == router.Claude || t.mode == router.Auto && t.remote.Available() == nil {
		return true
	}
	for s := range t.machine.Watch(ctx) {
		if s.Phase >= bootstrap.Ready {
			break
		}
		if !tell(fmt.Sprintf("⏳ %s %s · Ctrl-C gives up waiting", s.Model, s)) {
			return false
		}
	}
	return ctx.Err() == nil
}

// request is what the model of this machine is asked: the conversation cut to its context, and the settings on top of the flags.
func (t *talker) request(m *engine.Model, q repl.Question) (r engine.Request, dropped int, err error) {
	t.refused = t.restore(m)
	if r, err = generationRequest(t.c); err != nil {
		return r, 0, err
	}
	if err = sampling(t.c, m.Spec(), &r); err != nil {
		return r, 0, err
	}
	r.Sampling = q.Settings.Sampling(r.Sampling)
	t.drawing = draw(m.Spec(), &r.Sampling, cmp.Or(filterSetting(q.Settings), filterFlag(t.c)), t.c.IsSet("temperature") || q.Settings.Temperature != nil)
	if q.Settings.Seed != nil {
		r.Sampling.Seed = *q.Settings.Seed
	}
	if q.Settings.Stop != nil {
		r.Stop = q.Settings.Stop
	}
	if r.Adapters, err = t.adapted.on(m); err != nil {
		return r, 0, err
	}
	r.MaxTokens = cmp.Or(q.Settings.MaxTokens, r.MaxTokens)
	if t.raw || m.Spec().Template == "" {
		r.Prompt = q.Messages[len(q.Messages)-1].Content
		return r, 0, nil
	}
	if r.Messages = q.Messages; !t.c.IsSet("overflow") {
		r.Messages, dropped, err = fit(m, q.Messages, r)
	}
	return r, dropped, err
}

// filterSetting is filterFlag of what /set has set.
func filterSetting(g config.Generation) string {
	switch {
	case g.TopK != nil:
		return "/set top_k"
	case g.TopP != nil:
		return "/set top_p"
	case g.MinP != nil:
		return "/set min_p"
	}
	return ""
}

// note is what the reader should know before an answer: that Claude gives it, or that the model was not told all.
func (t *talker) note(p router.Piece, dropped int) string {
	defer func() { t.dropped = dropped }()
	switch {
	case p.Who == router.ByClaude && t.mode != router.Claude:
		return fmt.Sprintf("%s answers: %s", p.Model, oneLine(p.Why))
	case p.Who == router.ByLocal && !t.plain && !t.raw && !t.hasTemplate():
		t.plain = true
		return p.Model + " has no chat template: what you write is continued as it is, and what was said before is not told"
	case p.Who == router.ByLocal && t.drawing != t.drawn:
		t.drawn = t.drawing
		return t.drawing
	case p.Who == router.ByLocal && dropped > t.dropped:
		return fmt.Sprintf("the %d oldest messages do not fit the context any more and are left out", dropped)
	}
	return ""
}

func (t *talker) hasTemplate() bool {
	m, ok := t.machine.Model()
	return !ok || m.Spec().Template != ""
}

func (t *talker) done(p router.Piece) *repl.Done {
	d := &repl.Done{By: p.Model, Prompt: p.Done.Prompt, Generated: p.Done.Generated, Finish: string(p.Done.Finish)}
	switch p.Who {
	case router.ByClaude:
		d.Why = p.Why
	case router.ByLocal:
		d.By = t.adapted.titled(p.Model)
	}
	if s := p.Done.Local; s != nil {
		d.Rate, d.FirstMS, d.Reused = s.DecodeRate(), s.FirstToken.Seconds()*1e3, s.Reused
		d.Proposed, d.Accepted = s.Proposed, s.Accepted
		if m, ok := t.machine.Model(); ok {
			d.Context = m.Context()
		}
	}
	return d
}
