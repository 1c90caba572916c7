package repl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/internal/filesystem"
	"github.com/shammah/shammah-engine/internal/session"
)

// save writes the conversation, whole or not at all.
func (s *Session) save(_ context.Context, name string) error {
	path, err := place("save", name)
	if err != nil {
		return err
	}
	err = s.Backend.Save(path, s.Conversation)
	if err != nil && !errors.Is(err, session.ErrCache) {
		return fmt.Errorf("/save: %w", err)
	}
	s.Output.Note(fmt.Sprintf("%d messages are in %s", len(s.Conversation.Turns), path))
	if err != nil {
		s.Output.Note(line(err))
	}
	return nil
}

// load takes up a conversation that save wrote. One that cannot be used changes nothing.
func (s *Session) load(_ context.Context, name string) error {
	path, err := place("load", name)
	if err != nil {
		return err
	}
	talk, err := session.Read(path)
	if err != nil {
		return fmt.Errorf("/load: %w", err)
	}
	s.Conversation, s.unanswered, s.used = talk.Conversation, "", 0
	s.by, s.verdict = "", ""
	s.Output.Note(fmt.Sprintf("%d messages from %s", len(talk.Turns), path))
	if err := s.Backend.Restore(path); err != nil {
		s.Output.Note(line(err))
	}
	return nil
}

// place is the path that a user means.
func place(command, name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("/%s: there is no file name", command)
	}
	path, err := filesystem.ExpandHome(name)
	if err != nil {
		return "", fmt.Errorf("/%s: %w", command, err)
	}
	return path, nil
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
