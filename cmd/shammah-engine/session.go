package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/session"
)

func sessionFlag() cli.Flag {
	return &cli.StringFlag{Name: "session", Usage: "go on with the conversation in this `FILE`, and keep it there with what was computed for it"}
}

// kept is the session that --session names. Nil: none is.
type kept struct {
	*session.File
	talk    session.Talk // as it was when the program began
	written bool         // since then
}

// beginSession reads the session before anything else is done: its model and its system message count where no flag names others.
func beginSession(c *cli.Context) (*kept, error) {
	path := c.String("session")
	switch {
	case !c.IsSet("session"):
		return nil, nil
	case path == "":
		return nil, fmt.Errorf("%w: --session has no file name", errUsage)
	case c.Bool("raw"):
		return nil, fmt.Errorf("%w: %s: --session keeps a conversation, and --raw has none", errUsage, c.Command.Name)
	}
	file, talk, err := session.Begin(path)
	if err != nil {
		return nil, err
	}
	k := &kept{File: file, talk: talk}
	if talk.Turns == nil { // it begins now
		return k, nil
	}
	flags := map[string]string{"system": talk.System}
	if talk.Model != "" && (!c.IsSet("model") || modelTitle(c, c.String("model")) == talk.Model) {
		flags["model"] = talk.Model
		flags["variant"] = talk.Variant
		if err := k.adapt(c); err != nil {
			return nil, err
		}
	}
	for flag, value := range flags {
		if c.IsSet(flag) {
			continue
		}
		if err := c.Set(flag, value); err != nil {
			return nil, fmt.Errorf("use %s for --%s: %w", path, flag, err)
		}
	}
	return k, nil
}

// adapt goes on with the adapters of the session, where no flag names others.
func (k *kept) adapt(c *cli.Context) error {
	if c.IsSet("lora") || len(k.talk.Adapters) == 0 {
		return nil
	}
	if _, err := findAdapters(k.talk.Adapters); err != nil {
		return fmt.Errorf("go on with %s as it was: %s; --lora off goes on without adapters", k.Path(), afterUsage(err))
	}
	for _, adapter := range k.talk.Adapters {
		if err := c.Set("lora", adapter); err != nil {
			return fmt.Errorf("use %s for --lora: %w", k.Path(), err)
		}
	}
	return nil
}

// tell says what a conversation goes on with.
func (k *kept) tell() string {
	return fmt.Sprintf("%d messages from %s", len(k.talk.Turns), k.Path())
}

// changed says whether there is something to keep that the file does not have. Other adapters alone begin no session.
func (k *kept) changed(said chat.Conversation, adapters []string) bool {
	return k.written || len(said.Turns) > 0 && !slices.Equal(adapters, k.talk.Adapters) || said.System != k.talk.System || !slices.Equal(said.Turns, k.talk.Turns)
}

// modelTitle is how a session names a model: a folder by its whole path, so that it is found from everywhere.
func modelTitle(c *cli.Context, name string) string {
	dir, err := hub.Resolve(name, hubEnv(c))
	if err != nil {
		return name
	}
	given, err := os.Stat(name)
	found, foundErr := os.Stat(dir)
	if path, absErr := filepath.Abs(name); err == nil && foundErr == nil && absErr == nil && os.SameFile(given, found) {
		return path
	}
	return name
}

// saveCache writes what m holds of messages. It may do so after whoever asked has been interrupted.
func saveCache(ctx context.Context, m *engine.Model, messages []chat.Message, w io.Writer) error {
	if m.Spec().Template == "" || len(messages) == 0 {
		return nil
	}
	ids, err := m.Encode(engine.Request{Messages: messages, Overflow: decode.OverflowTruncate}) // without a limit: only their beginning counts
	if err == nil {
		_, err = m.Save(context.WithoutCancel(ctx), w, ids)
	}
	return err
}

// restoreCache takes up what the session at path has for m with adapters. The error says why all will be computed again.
func restoreCache(ctx context.Context, m *engine.Model, path string, uses []engine.AdapterUse) error {
	r, err := session.Cache(path)
	if errors.Is(err, io.EOF) {
		return nil // it has nothing but what was said
	}
	if err == nil {
		defer r.Close()
		_, err = m.Restore(ctx, r, uses...)
	}
	if err != nil {
		return fmt.Errorf("what was computed for %s cannot be used, it is computed again: %w", path, err)
	}
	return nil
}

// goOn answers a prompt as the next question of a session, and keeps what is said, stopped or whole.
func (j *job) goOn(ctx context.Context, prompt string) error {
	said := j.kept.talk.Clone()
	said.System = j.system
	if len(said.Turns) > 0 {
		fmt.Fprintln(j.log, j.kept.tell())
		if err := restoreCache(ctx, j.model, j.kept.Path(), j.request.Adapters); err != nil {
			fmt.Fprintln(j.log, oneLine(err.Error()))
		}
	}
	said.Ask(prompt)
	q, dropped, err := j.request, 0, error(nil)
	if q.Messages = said.Messages(); !j.c.IsSet("overflow") {
		if q.Messages, dropped, err = fit(j.model, q.Messages, q); err != nil {
			return err
		}
	}
	if dropped > 0 {
		fmt.Fprintf(j.log, "the %d oldest messages do not fit the context any more and are left out\n", dropped)
	}
	text, stats, err := j.answer(ctx, q)
	if text == "" {
		return j.end(text, stats, err)
	}
	said.Answer(text)
	told := append(q.Messages, said.Turns[len(said.Turns)-1])
	talk := session.Talk{Model: modelTitle(j.c, j.c.String("model")), Variant: j.c.String("variant"), Adapters: j.adapted.lasting(), Conversation: said}
	keepErr := j.kept.Write(talk, func(w io.Writer) error { return saveCache(ctx, j.model, told, w) })
	return afterKeeping(j.log, j.end(text, stats, err), keepErr)
}

// afterKeeping is err, or else that a session could not be kept. What only costs time later, or comes beside another failure, is told and no more.
func afterKeeping(log io.Writer, err, keepErr error) error {
	switch {
	case keepErr == nil:
		return err
	case err == nil && !errors.Is(keepErr, session.ErrCache) && !errors.Is(keepErr, session.ErrElsewhere):
		return keepErr
	}
	fmt.Fprintln(log, oneLine(keepErr.Error()))
	return err
}

// Save keeps a conversation, with what the model of this machine has computed for it.
func (t *talker) Save(path string, said chat.Conversation) error {
	if t.kept != nil && t.kept.Is(path) {
		return t.write(said, t.computed(said))
	}
	return session.Write(path, t.talk(said), t.computed(said))
}

// computed writes what the model of this machine has computed for a conversation, nil without one.
func (t *talker) computed(said chat.Conversation) func(io.Writer) error {
	m, ready := t.machine.Model()
	if ready && !t.raw {
		_ = t.restore(m.Model) // nobody has asked the model yet: what waits for it is kept as well
	}
	if !ready || t.raw || t.pending != nil {
		return t.waiting(said)
	}
	return func(w io.Writer) error {
		messages := said.Messages()
		if !t.c.IsSet("overflow") {
			var err error
			if messages, _, err = fit(m.Model, messages, engine.Request{}); err != nil {
				return nil // the model was never told so much
			}
		}
		return saveCache(t.ctx, m.Model, messages, w)
	}
}

// pending is what was computed for a conversation, as it lies in a file until there is a model that takes it up.
type pending struct {
	path string
	said chat.Conversation
}

// waiting writes what still waits for the model as it is, nil where nothing does. It goes with no other conversation: what was taken back is
// to be nowhere any more.
func (t *talker) waiting(said chat.Conversation) func(io.Writer) error {
	p := t.pending
	if p == nil || said.System != p.said.System || len(said.Turns) < len(p.said.Turns) || !slices.Equal(said.Turns[:len(p.said.Turns)], p.said.Turns) {
		return nil
	}
	return func(w io.Writer) error {
		r, err := session.Cache(p.path)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	}
}

// Restore takes up what was computed for the conversation in a file: at once, or when the model is ready and asked.
func (t *talker) Restore(path string) error {
	t.pending = nil
	talk, err := session.Read(path)
	if err != nil {
		return err
	}
	t.pending = &pending{path, talk.Conversation}
	if m, ready := t.machine.Model(); ready {
		return t.restore(m.Model)
	}
	return nil
}

// restore takes up what waits for the model.
func (t *talker) restore(m *engine.Model) error {
	p := t.pending
	if p == nil {
		return nil
	}
	uses, err := t.adapted.on(m)
	if err != nil { // the next answer says it too: what waits goes on waiting
		return err
	}
	t.pending = nil
	return restoreCache(t.ctx, m, p.path, uses)
}

// keep writes the session, if there is one and something was said; with what was computed for it, or without.
func (t *talker) keep(said chat.Conversation, computed bool) error {
	if t.kept == nil || !t.kept.changed(said, t.adapted.lasting()) {
		return nil
	}
	cache := t.waiting(said)
	if computed {
		cache = t.computed(said)
	}
	return t.write(said, cache)
}

// write writes the session, whether or not something was said.
func (t *talker) write(said chat.Conversation, cache func(io.Writer) error) error {
	t.kept.written = true
	return t.kept.Write(t.talk(said), cache)
}

// Keep keeps what was said in the session, if there is one, so that a program that is killed loses nothing of it. What was computed is
// written when the conversation ends: it can be had again, and is a hundred times as much.
func (t *talker) Keep(said chat.Conversation) error { return t.keep(said, false) }

func (t *talker) talk(said chat.Conversation) session.Talk {
	return session.Talk{Model: modelTitle(t.c, t.name), Variant: t.c.String("variant"), Adapters: t.adapted.lasting(), Conversation: said}
}
