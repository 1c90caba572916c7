package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// repo is one repository's folder in the cache.
type repo struct {
	name  string // owner/name
	dir   string // models--owner--name, with blobs, refs and snapshots
	locks string // beside all repositories: .locks/models--owner--name
}

func (e Env) repo(name string) repo {
	folder := "models--" + strings.ReplaceAll(name, "/", "--")
	return repo{name: name, dir: filepath.Join(e.Cache, folder), locks: filepath.Join(e.Cache, ".locks", folder)}
}

func (r repo) blobs() string               { return filepath.Join(r.dir, "blobs") }
func (r repo) blob(name string) string     { return filepath.Join(r.dir, "blobs", name) }
func (r repo) snapshot(hash string) string { return filepath.Join(r.dir, "snapshots", hash) }
func (r repo) lockOf(blob string) string   { return filepath.Join(r.locks, blob+".lock") }
func (r repo) ref(revision string) string {
	return filepath.Join(r.dir, "refs", filepath.FromSlash(revision))
}
func (r repo) link(hash, path string) string {
	return filepath.Join(r.snapshot(hash), filepath.FromSlash(path))
}

// incomplete ends the names of all files that are not whole yet. They lie among the blobs, where nobody looks for a model.
const incomplete = ".incomplete"

// fresh is a new name among the blobs that nobody else uses, even where locks do not work.
func (r repo) fresh(blob string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return r.blob(blob + "." + hex.EncodeToString(b[:]) + incomplete)
}

// prepare makes the repository's folders.
func (c *Client) prepare(r repo, hash string) error {
	for _, dir := range []string{r.blobs(), r.snapshot(hash), r.locks} {
		if err := c.disk.MkdirAll(dir); err != nil {
			return diskError("make the folder "+dir+" of the cache", err)
		}
	}
	return nil
}

const lockPause = 100 * time.Millisecond

// hold takes a lock, and calls wait once when somebody else has it, who may remove the folder that it lies in. free gives it back.
func (c *Client) hold(ctx context.Context, path string, wait func()) (free func(), err error) {
	l := c.lock(path)
	for waited := false; ; waited = true {
		if err := c.disk.MkdirAll(filepath.Dir(path)); err != nil {
			return nil, diskError("make the folder "+filepath.Dir(path)+" of the cache", err)
		}
		ok, err := l.TryLock()
		if isLockless(err) {
			return func() {}, nil
		}
		if err != nil {
			return nil, diskError("lock "+path, err)
		}
		if ok {
			return func() { _ = l.Unlock() }, nil
		}
		if !waited && wait != nil {
			wait()
		}
		if err := c.sleep(ctx, lockPause); err != nil {
			return nil, err
		}
	}
}

// isLockless says that a file system has no locks. Then nobody waits, and nobody goes on with what another one has left.
func isLockless(err error) bool {
	return errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENOTSUP)
}

// locksWork says whether a lock keeps others out in this folder. On some file systems of clusters it keeps out nobody.
func (c *Client) locksWork(r repo) bool {
	path := filepath.Join(r.locks, "probe.lock")
	one, two := c.lock(path), c.lock(path)
	for range 50 { // another process may be probing, which is a good sign
		ok, err := one.TryLock()
		if err != nil {
			return false
		}
		if !ok {
			return true
		}
		twice, err := two.TryLock()
		if twice {
			_ = two.Unlock()
		}
		_ = one.Unlock()
		return err == nil && !twice
	}
	return true
}

// place puts a blob into the snapshot, where it can be seen as a file of the model: as a link or, on a file system
// without links, the verified file itself.
func (c *Client) place(r repo, p *Plan, f File) error {
	to := r.link(p.Commit, f.Path)
	what := "put " + f.Path + " into the snapshot " + r.snapshot(p.Commit)
	if err := c.disk.MkdirAll(filepath.Dir(to)); err != nil {
		return diskError(what, err)
	}
	target, err := filepath.Rel(filepath.Dir(to), r.blob(f.Blob))
	if err != nil {
		return diskError(what, err)
	}
	if now, err := os.Readlink(to); err == nil && now == target {
		return nil
	}
	info, err := os.Lstat(to)
	if err == nil && info.Mode().IsRegular() && !exists(r.blob(f.Blob)) {
		return nil // placed without a link before, and verified since
	}
	if err == nil && info.IsDir() {
		if err := os.RemoveAll(to); err != nil {
			return diskError(what, err)
		}
	}
	temporary := r.fresh("link")
	err = c.disk.Symlink(target, temporary)
	switch {
	case err == nil:
		err = c.disk.Rename(temporary, to)
	case !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTSUP) && !errors.Is(err, syscall.ENOSYS):
	case p.uses(f.Blob) > 1:
		if err = c.copyFile(r.blob(f.Blob), temporary); err == nil {
			err = c.disk.Rename(temporary, to)
		}
	default: // as the Hub's own client does
		return diskError(what, c.disk.Rename(r.blob(f.Blob), to))
	}
	if err != nil {
		_ = c.disk.Remove(temporary)
	}
	return diskError(what, err)
}

// uses is how many files of the plan have this content.
func (p *Plan) uses(blob string) (n int) {
	for _, f := range p.Files {
		if f.Blob == blob {
			n++
		}
	}
	return n
}

// copyFile copies a verified file.
func (c *Client) copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.disk.Open(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = io.Copy(onlyWriter{out}, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// setRef notes which commit a branch or tag is, without the line end, as the Hub's own client does.
func (c *Client) setRef(r repo, revision, hash string) error {
	if commit.MatchString(revision) {
		return nil
	}
	to := r.ref(revision)
	if now, err := os.ReadFile(to); err == nil && string(now) == hash {
		return nil
	}
	what := fmt.Sprintf("note in %s that %s is the commit %.12s", to, revision, hash)
	if err := c.disk.MkdirAll(filepath.Dir(to)); err != nil {
		return diskError(what, err)
	}
	temporary := r.fresh("ref")
	f, err := c.disk.Open(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return diskError(what, err)
	}
	_, err = f.Write([]byte(hash))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = c.disk.Rename(temporary, to)
	}
	if err != nil {
		_ = c.disk.Remove(temporary)
		return diskError(what, err)
	}
	return diskError(what, c.disk.SyncDir(filepath.Dir(to)))
}
