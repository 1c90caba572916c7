package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/internal/repl"
	"github.com/shammah/shammah-engine/internal/session"
	"github.com/shammah/shammah-engine/ort"
)

// What was computed for a session waits for its model, which may never come: it stays in the file whatever is said and saved meanwhile, as long
// as the conversation is the one that it was computed for.
func TestSessionWhoseCacheWaits(t *testing.T) {
	alone(t)
	const computed = "what was computed"
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "notes.session"), filepath.Join(dir, "copy")
	asked := func(c *chat.Conversation) {
		c.Ask("And now?")
		c.Answer("Now too.")
	}
	for name, c := range map[string]struct {
		model    string
		adapters []string
		change   func(*chat.Conversation)
		keep     func(*talker, chat.Conversation) error
		file     string
		want     string
	}{
		"after an answer":         {"", nil, asked, (*talker).Keep, path, computed},
		"at the end":              {"", nil, asked, func(t *talker, c chat.Conversation) error { return t.keep(c, true) }, path, computed},
		"after both":              {"", nil, asked, func(t *talker, c chat.Conversation) error { return errors.Join(t.Keep(c), t.keep(c, true)) }, path, computed},
		"saved to the session":    {"", nil, asked, func(t *talker, c chat.Conversation) error { return t.Save(path, c) }, path, computed},
		"saved to another file":   {"", nil, asked, func(t *talker, c chat.Conversation) error { return t.Save(copied, c) }, copied, computed},
		"an adapter does not fit": {"tiny", []string{tinyAdapter(t, 7)}, asked, func(t *talker, c chat.Conversation) error { return t.Save(copied, c) }, copied, computed},
		"a question taken back":   {"", nil, func(c *chat.Conversation) { c.Undo(); asked(c) }, (*talker).Keep, path, ""},
		"all of it taken back":    {"", nil, func(c *chat.Conversation) { c.Undo() }, func(t *talker, c chat.Conversation) error { return t.keep(c, true) }, path, ""},
		"another system message":  {"", nil, func(c *chat.Conversation) { c.System = "Be kind." }, func(t *talker, c chat.Conversation) error { return t.Save(copied, c) }, copied, ""},
	} {
		talk := session.Talk{Model: "qwen-1.5b"}
		talk.System = "Be brief."
		talk.Ask("hello")
		talk.Answer("Hello.")
		if err := session.Write(path, talk, func(w io.Writer) error { _, err := io.WriteString(w, computed); return err }); err != nil {
			t.Fatal(err)
		}
		talker := newTalker(t, path, c.model, c.adapters...)
		if err := talker.Restore(path); (err != nil) != (c.adapters != nil) {
			t.Errorf("%s: %v", name, err)
		}
		said := talk.Clone()
		c.change(&said)
		if err := c.keep(talker, said); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if kept := keptIn(t, c.file); kept.System != said.System || !slices.Equal(kept.Turns, said.Turns) {
			t.Errorf("%s: kept %+v, want %+v", name, kept, said)
		}
		if got := cacheIn(t, c.file); got != c.want {
			t.Errorf("%s: what was computed became %q, want %q", name, got, c.want)
		}
	}
}

// A session brings its model, variant, adapters and system message, as far as the command line names no others: adapters belong to the model.
func TestSessionBringsItsFlags(t *testing.T) {
	alone(t)
	path := filepath.Join(t.TempDir(), "notes.session")
	pirate, err := filepath.Abs(filepath.Join("..", "..", "engine", "lora", "testdata", "pirate"))
	if err != nil {
		t.Fatal(err)
	}
	pirate += ":0.5"
	talk := session.Talk{Model: "qwen-1.5b", Variant: "q4", Adapters: []string{pirate}}
	talk.System = "Be brief."
	talk.Ask("hello")
	talk.Answer("Hello.")
	for _, c := range []struct {
		talk session.Talk
		args []string
		want string
	}{
		{talk, nil, "qwen-1.5b q4 " + pirate + " Be brief."},
		{talk, []string{"--system", "Be kind."}, "qwen-1.5b q4 " + pirate + " Be kind."},
		{talk, []string{"--variant", "fp16"}, "qwen-1.5b fp16 " + pirate + " Be brief."},
		{talk, []string{"--lora", "chef"}, "qwen-1.5b q4 chef Be brief."},
		{talk, []string{"--model", "tiny"}, "tiny   Be brief."},
		{session.Talk{Adapters: talk.Adapters, Conversation: talk.Conversation}, nil, "   Be brief."},
		{session.Talk{Model: "qwen-1.5b"}, []string{"--model", "tiny", "--system", "Be kind."}, "tiny   Be kind."},
	} {
		if err := session.Write(path, c.talk, nil); err != nil {
			t.Fatal(err)
		}
		got := ""
		app := newApp(strings.NewReader(""), io.Discard, io.Discard)
		app.Command("chat").Action = func(c *cli.Context) error {
			_, err := beginSession(c)
			set := func(flag string) string {
				if c.IsSet(flag) {
					return c.String(flag)
				}
				return ""
			}
			got = strings.Join([]string{set("model"), set("variant"), strings.Join(c.StringSlice("lora"), "+"), set("system")}, " ")
			return err
		}
		if err := app.Run(append([]string{"shammah-engine", "chat", "--session", path}, c.args...)); err != nil || got != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.args, got, err, c.want)
		}
	}
}

// A conversation that begins does not bring an empty system message: the configuration's counts.
func TestNewSessionLeavesTheSystemMessage(t *testing.T) {
	home, _ := alone(t)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte("[generation]\nsystem = 'Be brief.'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "notes.session")
	got := command(t, "", "run", "--session", path, "--model", "tiny", "-n", "2", "hello")
	if talk := keptIn(t, path); got.code != 0 || talk.System != "Be brief." {
		t.Errorf("got %d %q, kept %+v", got.code, got.problems, talk)
	}
}

// What the file does not have is there to be kept, whatever it is; after it was written once, nothing said is too little.
func TestWhatIsToBeKept(t *testing.T) {
	c := chat.Conversation{System: "Be brief."}
	c.Ask("hello")
	c.Answer("Hello.")
	for name, change := range map[string]func(*kept, *chat.Conversation){
		"another system message": func(_ *kept, c *chat.Conversation) { c.System = "" },
		"one turn more":          func(_ *kept, c *chat.Conversation) { c.Ask("And?") },
		"one turn less":          func(_ *kept, c *chat.Conversation) { c.Undo() },
		"another answer":         func(_ *kept, c *chat.Conversation) { c.Retry(); c.Answer("Hi.") },
		"what was at first":      func(k *kept, _ *chat.Conversation) { k.written = true },
	} {
		k, said := &kept{talk: session.Talk{Conversation: c.Clone()}}, c.Clone()
		if k.changed(said, nil) {
			t.Errorf("%s: there is something to keep before", name)
		}
		if change(k, &said); !k.changed(said, nil) {
			t.Errorf("%s: there is nothing to keep", name)
		}
	}
}

// newTalker is who answers in the session at path: with a model that is ready, or ("") with one that never will be.
func newTalker(t *testing.T, path, model string, adapters ...string) *talker {
	t.Helper()
	t.Setenv(ort.LibraryVariable, ortest.Library(t))
	var made *talker
	app := newApp(strings.NewReader(""), io.Discard, io.Discard)
	app.Command("chat").Action = func(c *cli.Context) error {
		kept, err := beginSession(c)
		adapted, adaptedErr := newAdapted(adapters, func(string) {})
		made = &talker{c: c, ctx: t.Context(), notices: repl.NewNotices(), kept: kept, adapted: adapted}
		return errors.Join(err, adaptedErr)
	}
	if err := app.Run([]string{"shammah-engine", "chat", "--session", path}); err != nil {
		t.Fatal(err)
	}
	if model == "" {
		made.machine = newLocal(made.c, "qwen-1.5b", nil)
		return made
	}
	made.start(model, nil)
	t.Cleanup(func() { made.Close() })
	if _, err := made.machine.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return made
}

// cacheIn reads what follows a session's conversation.
func cacheIn(t *testing.T, path string) string {
	t.Helper()
	r, err := session.Cache(path)
	if errors.Is(err, io.EOF) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
