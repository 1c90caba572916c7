package repl

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rivo/uniseg"
)

// Control sequences that every terminal since the VT100 knows.
const (
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
	clearScreen = "\x1b[H\x1b[2J"
)

// Screen is input from a terminal in raw mode: an editor with the status line below it, both drawn anew when something changes.
type Screen struct {
	Size    func() (width, height int)
	Resize  <-chan os.Signal // may be nil
	Suspend func()           // stops the process until it is continued; may be nil
	Tick    time.Duration    // how often the status line is looked at

	mu         sync.Mutex
	typed      []byte
	err        error // of the source: nothing more comes
	reading    bool
	wake       chan struct{}
	interrupts chan struct{}

	// What the last draw left on the terminal: the columns of its rows, and where the cursor stands.
	drawn       []int
	row, column int
	status      string
}

// NewScreen makes the input; Feed brings what is typed.
func NewScreen(size func() (width, height int)) *Screen {
	return &Screen{Size: size, Tick: time.Second, wake: make(chan struct{}, 1), interrupts: make(chan struct{}, 2)}
}

// Feed takes what was typed. What comes while no Read runs is kept for the next one, up to the last Ctrl-C, which is an interrupt then.
func (s *Screen) Feed(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range b {
		if c == 3 && !s.reading {
			s.typed = nil
			select {
			case s.interrupts <- struct{}{}:
			default:
			}
			continue
		}
		s.typed = append(s.typed, c)
	}
	s.signal()
}

// End says why nothing more will be typed.
func (s *Screen) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.signal()
}

func (s *Screen) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ReadFrom feeds all that comes from in, to its end.
func (s *Screen) ReadFrom(in io.Reader) (int64, error) {
	total := int64(0)
	for b := make([]byte, 4096); ; {
		n, err := in.Read(b)
		s.Feed(b[:n])
		total += int64(n)
		if err != nil {
			s.End(err)
			return total, err
		}
	}
}

// Interrupts gives a value for each Ctrl-C while no Read runs.
func (s *Screen) Interrupts() <-chan struct{} { return s.interrupts }

// Interactive is true: a person types.
func (s *Screen) Interactive() bool { return true }

// press takes the next key, if a whole one was typed.
func (s *Screen) press() (p press, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.typed) == 0 {
		return press{}, false, s.err
	}
	p, n := next(s.typed)
	s.typed = s.typed[n:]
	if n == 0 {
		return press{}, false, s.err
	}
	return p, true, nil
}

func (s *Screen) setReading(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = on
}

// Read edits one input.
func (s *Screen) Read(ctx context.Context, session *Session) (string, error) {
	select {
	case <-s.interrupts: // one that came when the answer had just ended
		return "", ErrInterrupted
	default:
	}
	s.setReading(true)
	defer s.setReading(false)
	e := &editor{history: session.History.entries}
	out := session.Output
	tick := time.NewTicker(s.Tick)
	defer tick.Stop()
	session.tell()
	s.drawn, s.row, s.column = nil, 0, 0
	s.draw(e, session)
	for {
		text, done, err := s.keys(e, session)
		if done || err != nil {
			s.finish(e, out)
			return text, err
		}
		select {
		case <-s.wake:
		case <-s.Resize:
			s.draw(e, session)
		case <-session.Notices.wake:
			s.erase(out)
			session.tell()
			s.draw(e, session)
		case <-tick.C:
			if width, _ := s.Size(); session.status(width-1) != s.status {
				s.draw(e, session)
			}
		case <-ctx.Done():
			s.finish(e, out)
			return "", ctx.Err()
		}
	}
}

// keys works off what was typed, and draws once.
func (s *Screen) keys(e *editor, session *Session) (text string, done bool, err error) {
	changed := false
	for {
		p, ok, err := s.press()
		if !ok {
			if changed {
				s.draw(e, session)
			}
			return "", false, err
		}
		changed = true
		switch p.action {
		case interrupt:
			if e.text == "" {
				return "", false, ErrInterrupted
			}
			s.finish(e, session.Output)
			*e = editor{history: e.history}
		case endOfInput:
			if e.text == "" {
				return "", false, io.EOF
			}
			e.do(p)
		case submit:
			if !open(e.text) {
				return e.text, true, nil
			}
			e.insert("\n")
		case complete:
			if choice := e.complete(session.complete); choice != nil {
				s.erase(session.Output)
				session.Output.Note(strings.Join(choice, "  "))
			}
		case suspend:
			if s.Suspend != nil {
				s.erase(session.Output)
				s.Suspend()
			}
		case redraw:
			session.Output.write(session.Output.Notes, clearScreen)
			s.drawn, s.row, s.column = nil, 0, 0
		default:
			e.do(p)
		}
	}
}

// draw shows the text with the cursor in it, and the status line below.
func (s *Screen) draw(e *editor, session *Session) {
	width, height := s.Size()
	s.status = session.status(width - 1)
	rows, row, column := e.layout(width)
	if most := max(height-1, 1); len(rows) > most { // only the part around the cursor fits
		first := min(max(row-most/2, 0), len(rows)-most)
		rows, row = rows[first:first+most], row-first
	}
	var b strings.Builder
	b.WriteString(s.home(width))
	s.drawn = s.drawn[:0]
	for _, text := range rows {
		b.WriteString(text + eraseLine + "\n")
		s.drawn = append(s.drawn, uniseg.StringWidth(text))
	}
	b.WriteString(session.Output.dim(s.status) + eraseBelow + "\r")
	s.drawn = append(s.drawn, uniseg.StringWidth(s.status))
	b.WriteString(move(len(rows)-row, 'A') + move(column, 'C'))
	s.row, s.column = row, column
	session.Output.write(session.Output.Notes, b.String())
}

// home moves to where the last draw began. A terminal that became narrower has broken its rows.
func (s *Screen) home(width int) string {
	above := s.column / width
	for _, columns := range s.drawn[:min(s.row, len(s.drawn))] {
		above += max(columns-1, 0)/width + 1
	}
	return "\r" + move(above, 'A')
}

// erase takes away what was drawn.
func (s *Screen) erase(out *Output) {
	width, _ := s.Size()
	out.write(out.Notes, s.home(width)+eraseBelow)
	s.drawn, s.row, s.column = nil, 0, 0
}

// finish leaves the text on the terminal, without the status line, and goes to the line below it.
func (s *Screen) finish(e *editor, out *Output) {
	s.erase(out)
	width, _ := s.Size()
	rows, _, _ := e.layout(width)
	out.write(out.Notes, strings.Join(rows, "\n")+"\n")
}

func move(n int, direction byte) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%d%c", n, direction)
}
