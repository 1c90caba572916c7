package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// ErrElsewhere says that a conversation is kept, in another file than was asked for: somebody else had written that one.
var ErrElsewhere = errors.New("somebody else has written it meanwhile")

// File is a session that a program goes on with. Another program, or an editor, may have the same file: it is replaced only as long as it
// is what was read or written here last. A File is not safe for concurrent use.
type File struct {
	path string
	seen fs.FileInfo // nil: there was none
}

// Begin reads the session at path. Where there is nothing yet it gives an empty one, after it has seen that a file can be written there.
func Begin(path string) (*File, Talk, error) {
	var t Talk
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		if t, err = Read(path); err != nil {
			return nil, t, err
		}
	} else if err == nil && !info.Mode().IsRegular() {
		return nil, t, fmt.Errorf("session: read %s: expected a file, found %s", path, kind(info))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, t, fmt.Errorf("session: %w", err)
	}
	f, err := create(path)
	if err == nil {
		err = f.Cleanup()
	}
	if err != nil {
		return nil, t, fmt.Errorf("session: nothing could be kept in %s: %w", path, cause(err))
	}
	return &File{path, info}, t, nil
}

// Path is where the session is kept.
func (s *File) Path() string { return s.path }

// Is says whether path is another way to name this session's file, whether or not it is there yet. Two names of one file in a folder are two
// files as soon as one is written, unless the file system takes capital and small letters for the same.
func (s *File) Is(path string) bool {
	ours, theirs := target(s.path), target(path)
	if !sameFile(filepath.Dir(ours), filepath.Dir(theirs)) {
		return false
	}
	ourName, theirName := filepath.Base(ours), filepath.Base(theirs)
	return ourName == theirName || strings.EqualFold(ourName, theirName) && sameFile(ours, theirs)
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// Write is Write for this session. Where somebody else has written the file meanwhile, theirs stays: this conversation goes to a new file
// beside it, now and from now on, and the error is an ErrElsewhere.
func (s *File) Write(t Talk, cache func(io.Writer) error) error {
	asked := s.path
	err := write(s.path, t, cache, s.replace)
	if s.path != asked {
		elsewhere := fmt.Errorf("session: write %s: %w: this conversation is kept in %s", asked, ErrElsewhere, s.path)
		if err != nil {
			return fmt.Errorf("%w; %w", elsewhere, err)
		}
		return elsewhere
	}
	return err
}

// replace compares and replaces.
func (s *File) replace(f *renameio.PendingFile) error {
	now, err := os.Stat(s.path)
	if err == nil && !same(now, s.seen) {
		return s.divert(f)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	s.seen, err = os.Stat(s.path)
	return err
}

// lock takes the lock of a folder, which whoever closes it gives back. Where a file system has none, or somebody keeps it for other work,
// there is none to hold: comparing still finds all but what happens in the same moment.
func lock(dir string) *os.File {
	folder, err := os.Open(dir)
	if err != nil {
		return nil
	}
	for range 20 {
		if err = unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK && err != unix.EINTR {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return folder
}

// same says whether a file is the one that was seen, and nobody has written to it.
func same(now, seen fs.FileInfo) bool {
	return seen != nil && os.SameFile(now, seen) && now.Size() == seen.Size() && now.ModTime().Equal(seen.ModTime())
}

// divert gives the file a name of its own: notes-2.session beside notes.session, or beside what that is a link to, where f lies too.
func (s *File) divert(f *renameio.PendingFile) error {
	ours := target(s.path)
	ext := filepath.Ext(ours)
	for n := 2; ; n++ {
		path := fmt.Sprintf("%s-%d%s", strings.TrimSuffix(ours, ext), n, ext)
		taken, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(taken.Close(), os.Rename(f.Name(), path)); err != nil {
			_ = os.Remove(path)
			return err
		}
		s.path = path
		s.seen, err = os.Stat(path)
		return err
	}
}
