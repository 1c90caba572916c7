package repl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/engine/chat"
)

// fileBytesMax bounds a conversation that is read.
const fileBytesMax = 64 << 20

// save writes the conversation, whole or not at all.
func (s *Session) save(_ context.Context, name string) error {
	path, err := place("save", name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s.Conversation); err != nil {
		return fmt.Errorf("/save: %w", err)
	}
	if err := renameio.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("/save: %w", err)
	}
	s.Output.Note(fmt.Sprintf("%d messages are in %s", len(s.Conversation.Turns), path))
	return nil
}

// load takes up a conversation that save wrote. One that cannot be used changes nothing.
func (s *Session) load(_ context.Context, name string) error {
	path, err := place("load", name)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("/load: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return fmt.Errorf("/load: %w", err)
	}
	if len(data) > fileBytesMax {
		return fmt.Errorf("/load: %s has more than %d MiB", path, fileBytesMax>>20)
	}
	conversation, err := parseConversation(data)
	if err != nil {
		return fmt.Errorf("/load: read %s: %w", path, err)
	}
	s.Conversation, s.unanswered = conversation, ""
	s.Output.Note(fmt.Sprintf("%d messages from %s", len(conversation.Turns), path))
	return nil
}

func parseConversation(data []byte) (c chat.Conversation, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("not a conversation: %w", err)
	}
	if c.Turns == nil {
		return c, errors.New(`not a conversation: expected an object with "turns"`)
	}
	for i, m := range c.Turns {
		if want := [...]string{chat.User, chat.Assistant}[i%2]; m.Role != want {
			return c, fmt.Errorf("message %d is of %q, expected %q: user and assistant take turns", i+1, m.Role, want)
		}
	}
	if len(c.Turns)%2 != 0 {
		return c, errors.New("the last question has no answer; take it out of the file")
	}
	return c, nil
}

// place is the path that a user means.
func place(command, name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("/%s: there is no file name", command)
	}
	rest, found := strings.CutPrefix(name, "~/")
	if !found {
		return name, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("/%s: %w", command, err)
	}
	return filepath.Join(home, rest), nil
}

// History is what was typed, the newest last. The zero value keeps nothing between runs.
type History struct {
	path    string
	entries []string
}

// historyMax is how many entries are kept.
const historyMax = 1000

// OpenHistory reads a history, which need not be there yet. What is typed goes to the file at once, so that several programs can share it.
func OpenHistory(path string) (*History, error) {
	h := &History{path: path}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &History{}, fmt.Errorf("repl: read the history: %w", err)
	}
	lines := 0
	for l := range strings.Lines(strings.ToValidUTF8(string(data), "\ufffd")) {
		lines++
		h.add(decodeEntry(strings.TrimRight(l, "\n")))
	}
	if lines <= 2*historyMax {
		return h, nil
	}
	var b strings.Builder
	for _, entry := range h.entries {
		b.WriteString(encodeEntry(entry))
	}
	if err := renameio.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return h, fmt.Errorf("repl: shorten the history: %w", err)
	}
	return h, nil
}

// Add appends an entry, unless it is the one before again.
func (h *History) Add(entry string) error {
	if !h.add(entry) || h.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(encodeEntry(entry))
	return errors.Join(err, f.Close())
}

func (h *History) add(entry string) bool {
	if n := len(h.entries); entry == "" || n > 0 && h.entries[n-1] == entry {
		return false
	}
	h.entries = append(h.entries, entry)
	if n := len(h.entries); n > historyMax {
		h.entries = h.entries[n-historyMax:]
	}
	return true
}

// An entry is a line as it was typed; one that has several lines, or could be taken for a quoted one, is quoted.
func encodeEntry(entry string) string {
	if strings.ContainsAny(entry, "\r\n") || strings.HasPrefix(entry, `"`) {
		entry = strconv.Quote(entry)
	}
	return entry + "\n"
}

func decodeEntry(line string) string {
	if text, err := strconv.Unquote(line); err == nil && strings.HasPrefix(line, `"`) {
		return text
	}
	return line
}
