package repl

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/muesli/cancelreader"
	"golang.org/x/term"
)

// Control sequences that switch bracketed paste.
const (
	pasteOn  = "\x1b[?2004h"
	pasteOff = "\x1b[?2004l"
)

// Open gives the input and output of a conversation that begins on in. Where in and out are one terminal that can do more than show
// lines, there is an editor; otherwise lines are read, answers go to out and all else to problems. Close must be called, and may be
// called twice and from any goroutine: it gives the terminal back as it was.
func Open(in io.Reader, out, problems io.Writer, env func(string) string) (Input, *Output, func(), error) {
	source, sourceOK := in.(*os.File)
	target, targetOK := out.(*os.File)
	terminal := sourceOK && term.IsTerminal(int(source.Fd()))
	if terminal && targetOK && term.IsTerminal(int(target.Fd())) && !dumb(env("TERM")) {
		return openScreen(source, target, env("NO_COLOR") == "")
	}
	signals, interrupts := make(chan os.Signal, 2), make(chan struct{}, 2)
	signal.Notify(signals, os.Interrupt)
	stopped := forward(signals, func() {
		select {
		case interrupts <- struct{}{}:
		default:
		}
	})
	lines := NewLines(in, terminal, interrupts)
	closeLines := sync.OnceFunc(func() {
		stopped()
		lines.Close()
	})
	return lines, &Output{Answers: out, Notes: problems, NoProgress: !terminal}, closeLines, nil
}

// dumb says whether a terminal only shows lines.
func dumb(name string) bool { return name == "" || name == "dumb" || strings.HasPrefix(name, "dumb-") }

func openScreen(in, out *os.File, color bool) (Input, *Output, func(), error) {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("repl: prepare the terminal: %w", err)
	}
	reader, err := cancelreader.NewReader(in)
	if err != nil {
		_ = term.Restore(fd, before)
		return nil, nil, nil, fmt.Errorf("repl: read from the terminal: %w", err)
	}
	size := func() (width, height int) {
		if width, height, err := term.GetSize(int(out.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
		return 80, 24
	}
	screen := NewScreen(size)
	resized, signals := make(chan os.Signal, 1), make(chan os.Signal, 2)
	signal.Notify(resized, syscall.SIGWINCH)
	signal.Notify(signals, os.Interrupt)
	screen.Resize = resized
	screen.Suspend = func() {
		continued := make(chan os.Signal, 1)
		signal.Notify(continued, syscall.SIGCONT)
		defer signal.Stop(continued)
		fmt.Fprint(out, pasteOff)
		_ = term.Restore(fd, before)
		if syscall.Kill(0, syscall.SIGTSTP) == nil {
			select {
			case <-continued:
			case <-time.After(100 * time.Millisecond): // without a shell to continue it, a process is not stopped
			}
		}
		_, _ = term.MakeRaw(fd)
		fmt.Fprint(out, pasteOn)
	}
	stopSignals := forward(signals, func() { screen.Feed([]byte{3}) })
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		_, _ = screen.ReadFrom(reader)
	}()
	fmt.Fprint(out, pasteOn)
	restore := sync.OnceFunc(func() {
		signal.Stop(resized)
		stopSignals()
		if reader.Cancel() {
			<-typed
		}
		fmt.Fprint(out, pasteOff)
		_ = term.Restore(fd, before)
	})
	lines := rawWriter{out}
	return screen, &Output{Answers: lines, Notes: lines, Live: true, Color: color, Width: func() int { w, _ := size(); return w }}, restore, nil
}

// forward calls to for each signal until it is stopped, and waits for the last call.
func forward(signals chan os.Signal, to func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-signals:
				to()
			case <-done:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		<-ended
	})
}

// rawWriter writes to a terminal in raw mode, which needs a carriage return before each line feed.
type rawWriter struct{ out io.Writer }

func (w rawWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.out, strings.ReplaceAll(string(p), "\n", "\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}
