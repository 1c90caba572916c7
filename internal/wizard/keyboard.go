package wizard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// keyboard is the terminal's input in raw mode for one form. It stands between the terminal and Bubble Tea because a program of that
// (2.0.2) may leave a goroutine behind that waits for input, on an epoll descriptor whose number the next program gets, and then
// swallows keys. Here a read ends with the form that began it, and what is typed ahead stays for the next one.
type keyboard struct {
	fd         int
	before     *term.State
	stop, quit *os.File // quit is closed to end a read, which sees that at stop

	reading sync.Mutex
	closed  bool // guarded by reading
}

func openKeyboard(terminal *os.File) (*keyboard, error) {
	k := &keyboard{fd: int(terminal.Fd())}
	var err error
	if k.stop, k.quit, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("wizard: read the keyboard: %w", err)
	}
	if k.before, err = term.MakeRaw(k.fd); err != nil {
		return nil, errors.Join(fmt.Errorf("wizard: read the keyboard: %w", err), k.quit.Close(), k.stop.Close())
	}
	// Raw mode is for what is typed. Lines that are written still begin at the left: Bubble Tea relies on it where it did not set the mode.
	t, err := unix.IoctlGetTermios(k.fd, getTermios)
	if err == nil {
		t.Oflag |= unix.OPOST | unix.ONLCR
		err = unix.IoctlSetTermios(k.fd, setTermios, t)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wizard: read the keyboard: %w", err), k.Close())
	}
	return k, nil
}

// Read waits for keys, or for Close.
func (k *keyboard) Read(p []byte) (int, error) {
	k.reading.Lock()
	defer k.reading.Unlock()
	for !k.closed {
		var ready unix.FdSet
		stop := int(k.stop.Fd())
		ready.Set(k.fd)
		ready.Set(stop)
		_, err := unix.Select(max(k.fd, stop)+1, &ready, nil, nil, nil) // poll does not know terminals on macOS
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wizard: wait for a key: %w", err)
		case ready.IsSet(stop):
			return 0, io.EOF
		default:
			n, err := unix.Read(k.fd, p)
			if n == 0 && err == nil {
				err = io.EOF
			}
			return max(n, 0), err
		}
	}
	return 0, io.EOF
}

// Close ends a read that waits, and gives the terminal back as it was.
func (k *keyboard) Close() error {
	err := k.quit.Close()
	k.reading.Lock()
	defer k.reading.Unlock()
	k.closed = true
	return errors.Join(err, k.stop.Close(), term.Restore(k.fd, k.before))
}
