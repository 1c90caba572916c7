package filesystem

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Hold makes a folder to work in that Seize leaves alone until free is called, or the process ends in whatever way: it is locked. On a file
// system without locks it is a folder like any other, and Seize takes none. Another name is asked for where the folder was taken before the lock.
func Hold(mkdir func() (string, error)) (dir string, free func(), err error) {
	for {
		if dir, err = mkdir(); err != nil {
			return "", nil, err
		}
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) { // somebody seized it before the lock
			continue
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		err = flock(f, unix.LOCK_EX) // somebody may look at it just now
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOLCK) {
			return "", nil, errors.Join(err, f.Close(), os.RemoveAll(dir))
		}
		if isAt(f, dir) {
			return dir, func() { _ = f.Close() }, nil
		}
		_ = f.Close()
	}
}

// Seize takes the lock of a folder that nobody holds, to remove it; ok is false where somebody does, or nothing is there.
func Seize(dir string) (free func(), ok bool) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, false
	}
	if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil && isAt(f, dir) {
		return func() { _ = f.Close() }, true
	}
	_ = f.Close()
	return nil, false
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// isAt says whether an open folder is still the one at that path.
func isAt(f *os.File, dir string) bool {
	opened, err := f.Stat()
	there, thereErr := os.Stat(dir)
	return err == nil && thereErr == nil && os.SameFile(opened, there)
}
