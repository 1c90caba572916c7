package repl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shammah/shammah-engine/engine/chat"
)

// command is a word after a slash.
type command struct {
	name, arguments, meaning string
	run                      func(s *Session, ctx context.Context, rest string) error
	completes                func(s *Session) []string
}

func commands() []command {
	mode := func(name string) func(*Session, context.Context, string) error {
		return func(s *Session, _ context.Context, _ string) error { return s.mode(name) }
	}
	return []command{
		{"help", "", "show this", (*Session).help, nil},
		{"model", "[NAME]", "show the model, or load another in the background", (*Session).model, func(s *Session) []string { return s.Backend.Models() }},
		{"lora", "[NAME[:SCALE]...|off]", "show adapters, or use these from now on", (*Session).lora, adapterNames},
		{"system", "[TEXT]", `tell the model what to be; "" takes it back`, (*Session).system, nil},
		{"set", "[NAME VALUE]", "list settings, or change one; default resets it", (*Session).set, settingNames},
		{"show", "[settings|system|model]", "show what was said, or one of these", (*Session).show, func(*Session) []string { return []string{"settings", "system", "model"} }},
		{"clear", "", "forget what was said", (*Session).clear, nil},
		{"save", "FILE", "keep the conversation in a file, with what was computed for it", (*Session).save, nil},
		{"load", "FILE", "go on with a conversation from a file", (*Session).load, nil},
		{"retry", "", "ask the last question again", (*Session).retry, nil},
		{"undo", "", "take back the last question and its answer", (*Session).undo, nil},
		{"good", "", "note that the last answer is good, for lora train", (*Session).good, nil},
		{"bad", "", "note that it is bad", (*Session).bad, nil},
		{"correct", "TEXT", "note what it should have been", (*Session).correct, nil},
		{"auto", "", "the model here answers, Claude when it cannot", mode("auto"), nil},
		{"local", "", "only the model here answers", mode("local"), nil},
		{"claude", "", "only Claude answers", mode("claude"), nil},
		{"stats", "", "show tokens, speed and memory", (*Session).stats, nil},
		{"bye", "", "leave, as Ctrl-D does", func(*Session, context.Context, string) error { return errBye }, nil},
	}
}

func settingNames(*Session) (names []string) {
	for _, setting := range settings() {
		names = append(names, setting.name)
	}
	return names
}

// splitCommand takes a command apart. A slash with something else than a word after it is no command: /etc/passwd can be asked about.
func splitCommand(text string) (name, rest string, ok bool) {
	after, found := strings.CutPrefix(text, "/")
	if !found {
		return "", "", false
	}
	name, rest, _ = strings.Cut(after, " ")
	name = strings.TrimSpace(name)
	if strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && r != '?' }) {
		return "", "", false
	}
	return name, strings.TrimSpace(rest), true
}

func (s *Session) command(ctx context.Context, name, rest string) error {
	switch name {
	case "?", "":
		name = "help"
	case "exit", "quit":
		name = "bye"
	}
	var names []string
	for _, c := range commands() {
		if c.name == name {
			if c.arguments == "" && rest != "" {
				return fmt.Errorf("/%s takes nothing after it, found %q", name, rest)
			}
			return c.run(s, ctx, rest)
		}
		names = append(names, c.name)
	}
	return fmt.Errorf("there is no /%s%s; /help lists all; a space before it makes it a question", name, didYouMean(name, names))
}

func (s *Session) help(context.Context, string) error {
	var lines []string
	for _, c := range commands() {
		lines = append(lines, fmt.Sprintf("%-30s %s", "/"+c.name+" "+c.arguments, c.meaning))
	}
	s.Output.List(append(lines, "",
		`""" begins a text of several lines and ends it; pasted lines stay together.`,
		"Ctrl-C stops an answer and keeps it, twice it leaves. Ctrl-D leaves.",
		"Up and Down go through what was typed before, Tab completes a command."))
	return nil
}

func (s *Session) model(_ context.Context, name string) error {
	if name == "" {
		s.Output.List(s.Backend.Describe())
		return nil
	}
	return s.Backend.Use(name)
}

func (s *Session) system(_ context.Context, text string) error {
	switch text = message(text); text {
	case "":
		s.showSystem()
		return nil
	case `""`:
		text = ""
	}
	s.Conversation.System = text
	s.Output.Note("from now on")
	return nil
}

func (s *Session) set(_ context.Context, rest string) error {
	name, value, _ := strings.Cut(rest, " ")
	value = strings.TrimSpace(value)
	switch {
	case name == "":
		s.Output.List(s.settingLines())
		return nil
	case value == "":
		return fmt.Errorf("/set %s: there is no value; %s takes the setting back", name, modelsOwn)
	}
	if err := s.change(name, value); err != nil {
		return err
	}
	s.Output.Note(name + " is " + value)
	return nil
}

func (s *Session) show(_ context.Context, what string) error {
	switch what {
	case "":
		s.showConversation()
	case "settings":
		s.Output.List(s.settingLines())
	case "system":
		s.showSystem()
	case "model":
		s.Output.List(s.Backend.Describe())
	default:
		return fmt.Errorf("/show: found %q, expected settings, system, model or nothing", what)
	}
	return nil
}

func (s *Session) showConversation() {
	if len(s.Conversation.Turns) == 0 && s.Conversation.System == "" {
		s.Output.Note("nothing was said yet")
		return
	}
	for _, m := range s.Conversation.Messages() {
		mark := map[string]string{chat.System: "system: ", chat.User: promptFirst}[m.Role]
		s.Output.List(strings.Split(mark+strings.TrimRight(m.Content, "\n"), "\n"))
	}
}

func (s *Session) showSystem() {
	if s.Conversation.System == "" {
		s.Output.Note("the model is told nothing")
		return
	}
	s.Output.List(strings.Split(s.Conversation.System, "\n"))
}

func (s *Session) clear(context.Context, string) error {
	s.Conversation.Turns = nil
	s.unanswered, s.used = "", 0
	s.Output.Note("forgotten")
	return nil
}

func (s *Session) retry(ctx context.Context, _ string) error {
	if question := s.unanswered; question != "" {
		return s.ask(ctx, question)
	}
	before := s.Conversation.Clone()
	if !s.Conversation.Retry() {
		return errors.New("/retry: nothing was asked yet")
	}
	question := s.Conversation.Turns[len(s.Conversation.Turns)-1].Content
	s.Conversation.Undo()
	err := s.askInstead(ctx, question, before)
	s.unanswered = "" // it has its answer, the new one or the old
	return err
}

func (s *Session) undo(context.Context, string) error {
	turns := s.Conversation.Turns
	if !s.Conversation.Undo() {
		return errors.New("/undo: nothing was asked yet")
	}
	s.by, s.verdict = "", ""
	question, _, _ := strings.Cut(turns[len(s.Conversation.Turns)].Content, "\n")
	s.Output.Note("took back: " + cut(question, 60))
	return nil
}

func (s *Session) mode(name string) error {
	if err := s.Backend.SetMode(name); err != nil {
		return err
	}
	s.Output.Note("answers: " + name)
	return nil
}

func (s *Session) stats(context.Context, string) error {
	s.Output.List(s.figures())
	return nil
}

// complete gives what the last word of text may become: the place where it begins, and the words.
func (s *Session) complete(text string) (from int, words []string) {
	after, found := strings.CutPrefix(text, "/")
	if !found || strings.Contains(text, "\n") {
		return 0, nil
	}
	name, rest, argument := strings.Cut(after, " ")
	for _, c := range commands() {
		if !argument && strings.HasPrefix(c.name, name) {
			words = append(words, "/"+c.name)
		}
		if argument && c.name == name && c.completes != nil {
			from = len(text) - len(rest)
			for _, word := range c.completes(s) {
				if strings.HasPrefix(word, rest) {
					words = append(words, word)
				}
			}
		}
	}
	return from, words
}

// didYouMean names the word that a mistyped one most likely is.
func didYouMean(word string, among []string) string {
	for _, candidate := range among {
		if word != "" && (strings.HasPrefix(candidate, word) || near(word, candidate)) {
			return fmt.Sprintf(" (did you mean %s?)", candidate)
		}
	}
	return ""
}

// near says whether one letter was left out, added, changed, or swapped with the next.
func near(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	return len(a) > 0 && a[1:] == b || len(b) > 0 && b[1:] == a || len(a) > 0 && len(b) > 0 && a[1:] == b[1:] ||
		len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
}
