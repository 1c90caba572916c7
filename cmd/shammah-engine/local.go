package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/bootstrap"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

// opened is a model with the environment that it lives in.
type opened struct {
	*engine.Model
	env *ort.Env
}

func (o *opened) Close() error { return errors.Join(o.Model.Close(), o.env.Close()) }

// source brings a model to life in the background, as the flags of c say.
type source struct {
	c      *cli.Context
	name   string
	before func() error // what must end first: the model that was there until now
	dir    string       // found by Fetch; "" is the embedded model
}

// newLocal makes the machine that loads a model.
func newLocal(c *cli.Context, name string, before func() error) *bootstrap.Machine[*opened] {
	first := bootstrap.State{Model: title(name)}
	if e, ok := entry(name); ok && e.Repo != "" {
		first = bootstrap.State{Model: path.Base(e.Repo), Family: e.Family}
	}
	return bootstrap.New(first, &source{c: c, name: name, before: before})
}

// entry finds a model of the catalogue by its alias or its repository.
func entry(name string) (hub.Entry, bool) {
	repo, _, _ := strings.Cut(name, "@")
	for _, e := range hub.Catalogue() {
		if strings.EqualFold(e.Alias, name) || e.Repo != "" && strings.EqualFold(e.Repo, repo) {
			return e, true
		}
	}
	return hub.Entry{}, false
}

// title is how a model is called before it is there: the last part of its name.
func title(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if base := filepath.Base(filepath.Clean(name)); base != "." && base != string(filepath.Separator) {
		return base
	}
	return name
}

// Fetch finds the model's folder, and downloads it if the Hub has it and it is not here.
func (s *source) Fetch(ctx context.Context, progress func(bootstrap.Progress)) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	env := hubEnv(s.c)
	dir, err := hub.Resolve(s.name, env)
	if err == nil || !hub.IsFetchable(err) {
		s.dir = dir
		return err
	}
	access, accessErr := hub.AccessFrom(os.Getenv)
	switch {
	case accessErr != nil:
		return accessErr
	case access.Offline:
		return bootstrap.Unavailable(fmt.Errorf("%w; HF_HUB_OFFLINE forbids to download it", err))
	}
	if err := s.download(ctx, progress); err != nil {
		return err
	}
	s.dir, err = hub.Resolve(s.name, env)
	return err
}

func (s *source) download(ctx context.Context, progress func(bootstrap.Progress)) error {
	client, err := hubClient(s.c)
	if err != nil {
		return err
	}
	defer client.Close()
	chain, err := provider.Chain(s.c.String("provider"))
	if err != nil {
		return err
	}
	o := hub.PlanOptions{Variant: s.c.String("variant"), Provider: provider.Wanted(chain)}
	if memory, err := sys.ReadMemory(); err == nil && o.Provider == provider.CPU {
		o.Memory = memory.Available
	}
	plan, err := client.Plan(ctx, s.name, o)
	if err != nil {
		return err
	}
	for e, err := range client.Pull(ctx, plan) {
		if err != nil {
			return err
		}
		progress(bootstrap.Progress{File: min(e.Ready+1, e.Files), Files: e.Files, Bytes: e.Done, Total: e.Total})
	}
	return nil
}

// Load opens library and model. What ONNX Runtime does there cannot be interrupted.
func (s *source) Load(ctx context.Context) (*opened, string, error) {
	env, err := ort.Open(ort.Options{Log: logger(s.c.App.ErrWriter, s.c.Bool("verbose"))})
	if err != nil {
		return nil, "", err
	}
	m, err := openIn(ctx, env, s.c, s.dir)
	if errors.Is(err, engine.ErrMemory) {
		err = s.suggest(err)
	}
	if err != nil {
		return nil, "", errors.Join(err, env.Close())
	}
	for _, w := range m.Spec().Warnings {
		fmt.Fprintf(s.c.App.ErrWriter, "warning: %s\n", oneLine(w))
	}
	return &opened{m, env}, m.Provider(), nil
}

// suggest names the model of the catalogue that would fit instead.
func (s *source) suggest(err error) error {
	memory, memoryErr := sys.ReadMemory()
	if memoryErr != nil {
		return err
	}
	if fits := smaller(s.name, memory.Available); fits != "" {
		return fmt.Errorf("%w; %s would fit", err, fits)
	}
	return err
}

// smaller is the largest model of the same family that fits into so many bytes of memory, or else the one inside the program. Empty
// where not even that fits.
func smaller(name string, available int64) string {
	than, _ := entry(name)
	var best hub.Entry
	if tinyMemory <= available {
		best.Alias = tinyName
	}
	for _, e := range hub.Catalogue() {
		if e.Family == than.Family && e.Bytes > best.Bytes && e.Bytes < than.Bytes && e.Memory() <= available {
			best = e
		}
	}
	return best.Alias
}

// local is one question for the model of this machine, as package router asks it.
type local struct {
	machine *bootstrap.Machine[*opened]
	request func(*engine.Model) (engine.Request, error) // is called when the model is ready

	ready   bool
	prepped engine.Request
	err     error
}

// State is the model's.
func (l *local) State() bootstrap.State { return l.machine.State() }

// Fits says whether prompt and answer fit the model's context.
func (l *local) Fits() error {
	m, q, err := l.prepare()
	if err != nil {
		return err
	}
	_, err = m.Encode(q)
	return err
}

// Answer is the model's answer.
func (l *local) Answer(ctx context.Context) iter.Seq2[decode.Token, error] {
	m, q, err := l.prepare()
	if err != nil {
		return func(yield func(decode.Token, error) bool) { yield(decode.Token{ID: -1}, err) }
	}
	return m.Generate(ctx, q)
}

// prepare makes the request once: cutting a conversation to the context takes time.
func (l *local) prepare() (*engine.Model, engine.Request, error) {
	m, ok := l.machine.Model()
	if !ok {
		return nil, engine.Request{}, fmt.Errorf("%s %s", l.State().Model, l.State())
	}
	if !l.ready {
		l.prepped, l.err = l.request(m.Model)
		l.ready = true
	}
	return m.Model, l.prepped, l.err
}

// fit leaves out the oldest turns that the context has no room for, beside the answer.
func fit(m *engine.Model, messages []chat.Message, q engine.Request) (kept []chat.Message, dropped int, err error) {
	answer := q.MaxTokens
	if answer == 0 {
		answer = min(m.Context()/4, answerRoom)
	}
	kept, dropped, err = chat.Fit(messages, m.Context()-answer, func(messages []chat.Message) (int, error) {
		q.Messages = messages
		ids, err := m.Encode(q)
		var long *decode.ContextError
		if errors.As(err, &long) {
			return long.Prompt, nil
		}
		return len(ids), err
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", decode.ErrContext, err)
	}
	return kept, dropped, err
}

// answerRoom is how many tokens are kept free for an answer whose length nobody limits.
const answerRoom = 512
