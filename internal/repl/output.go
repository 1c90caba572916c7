package repl

import (
	"io"
	"strings"
	"sync"
	"unicode"
)

// Output shows a conversation. Answers and all else may go to different places.
type Output struct {
	Answers, Notes io.Writer
	Live           bool // a line can be replaced by another
	Color          bool
	NoProgress     bool       // nobody watches
	Width          func() int // of a terminal; nil is 80 columns

	midLine  bool   // an answer has not ended its line
	progress string // the line that is to be replaced
}

// write does not report a failure: a terminal that is gone ends the input too.
func (o *Output) write(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// Answer shows a piece of an answer.
func (o *Output) Answer(text string) {
	if text = printable(text); text == "" {
		return
	}
	o.write(o.Answers, text)
	o.midLine = !strings.HasSuffix(text, "\n")
}

// EndAnswer makes sure that what follows begins on a line of its own.
func (o *Output) EndAnswer() {
	if o.midLine {
		o.write(o.Answers, "\n")
		o.midLine = false
	}
}

// Note tells the user something that is no answer.
func (o *Output) Note(text string) {
	o.clear()
	o.EndAnswer()
	o.write(o.Notes, o.dim(printable(text))+"\n")
}

// Problem tells the user what failed.
func (o *Output) Problem(text string) { o.Note("✗ " + text) }

// List shows lines that the user asked for.
func (o *Output) List(lines []string) {
	for _, l := range lines {
		o.write(o.Notes, printable(l)+"\n")
	}
}

// Progress shows what is waited for, in place of what it showed before; "" takes it away. Where lines cannot be replaced, only what is
// new before a parenthesis is shown.
func (o *Output) Progress(text string) {
	switch {
	case text == o.progress || o.NoProgress:
	case o.Live && text == "":
		o.clear()
	case o.Live:
		o.write(o.Notes, "\r"+eraseLine+o.dim(cut(printable(text), o.width()-1)))
	case text != "" && subject(text) != subject(o.progress):
		o.write(o.Notes, printable(text)+"\n")
	}
	if o.Live || text != "" {
		o.progress = text
	}
}

func (o *Output) width() int {
	if o.Width == nil {
		return 80
	}
	return o.Width()
}

func subject(text string) string {
	before, _, _ := strings.Cut(text, " (")
	return before
}

// clear takes the line of Progress away.
func (o *Output) clear() {
	if o.Live && o.progress != "" {
		o.write(o.Notes, "\r"+eraseLine)
		o.progress = ""
	}
}

func (o *Output) dim(text string) string {
	if !o.Color {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}

// printable is text without what a terminal takes as a command: a model, or a file, must not move the cursor or set a title.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// Notices are lines from the background. They are shown when nothing else is being written. Safe for concurrent use.
type Notices struct {
	mu    sync.Mutex
	lines []string
	wake  chan struct{}
}

// NewNotices makes an empty list.
func NewNotices() *Notices { return &Notices{wake: make(chan struct{}, 1)} }

// Add appends a line, and never waits.
func (n *Notices) Add(line string) {
	n.mu.Lock()
	n.lines = append(n.lines, line)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Write makes each line that is written a notice.
func (n *Notices) Write(p []byte) (int, error) {
	for l := range strings.Lines(string(p)) {
		if l = strings.TrimRight(l, "\r\n"); l != "" {
			n.Add(l)
		}
	}
	return len(p), nil
}

func (n *Notices) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}
