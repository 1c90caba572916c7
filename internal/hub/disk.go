package hub

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/shammah/shammah-engine/internal/filesystem"
)

// disk is the few file operations that change the cache, so that a test can fail or stop at each of them.
type disk interface {
	MkdirAll(dir string) error
	Open(path string, flag int) (diskFile, error)
	Rename(from, to string) error
	Symlink(target, path string) error
	Remove(path string) error
	SyncDir(dir string) error
}

// diskFile is an open file of the cache.
type diskFile interface {
	io.Reader
	io.Writer
	io.Seeker
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

// realDisk is the operating system's.
type realDisk struct{}

func (realDisk) MkdirAll(dir string) error         { return os.MkdirAll(dir, 0o777) }
func (realDisk) Rename(from, to string) error      { return os.Rename(from, to) }
func (realDisk) Symlink(target, path string) error { return os.Symlink(target, path) }
func (realDisk) Remove(path string) error          { return os.Remove(path) }
func (realDisk) SyncDir(dir string) error          { return filesystem.SyncDir(dir) }

func (realDisk) Open(path string, flag int) (diskFile, error) {
	f, err := os.OpenFile(path, flag, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// lock is an advisory lock on a file, freed by the system when its holder dies.
type lock interface {
	TryLock() (bool, error)
	Unlock() error
}

// freeSpace is how many bytes this user can still write on the folder's file system.
func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
