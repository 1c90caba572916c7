package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// newHash is what a blob's name was computed with: sha256, or git's sha1 over a header and the content.
func newHash(f File) hash.Hash {
	if f.large() {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", f.Size)
	return h
}

const etagSuffix = ".etag"

// partial is a blob on its way: the bytes that are on the disk and the hash of them.
type partial struct {
	want File
	path string
	file diskFile
	lock lock // on the file itself, so that nobody else adopts or removes it
	size int64
	hash hash.Hash
	etag string // of the answer that the bytes came from, "" when it gave none that can be compared
	head []byte // the first bytes, to say what a wrong body is
	disk disk
}

// etagFile holds a partial's etag, for a later process.
func (p *partial) etagFile() string { return p.path + etagSuffix }

// adopt takes over what an earlier download has left of the blob, or begins a new one.
func (c *Client) adopt(ctx context.Context, r repo, want File, resume bool) (*partial, error) {
	if resume {
		for _, path := range r.left(want.Blob) {
			p, err := c.takeOver(ctx, want, path)
			if p != nil || err != nil {
				return p, err
			}
		}
	}
	path := r.fresh(want.Blob)
	file, err := c.disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, diskError("make the file "+path, err)
	}
	p := &partial{want: want, path: path, file: file, hash: newHash(want), disk: c.disk, lock: c.lock(path)}
	_, _ = p.lock.TryLock()
	return p, nil
}

// takeOver opens what was left behind and hashes it. It is nil when the file is in use or cannot be a beginning.
func (c *Client) takeOver(ctx context.Context, want File, path string) (*partial, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	l := c.lock(path)
	if ok, err := l.TryLock(); err != nil || !ok {
		return nil, nil
	}
	if info.Size() > want.Size || info.Size() == 0 {
		c.discard(path)
		_ = l.Unlock()
		return nil, nil
	}
	file, err := c.disk.Open(path, os.O_RDWR)
	if err != nil {
		_ = l.Unlock()
		return nil, diskError("open "+path, err)
	}
	p := &partial{want: want, path: path, file: file, hash: newHash(want), disk: c.disk, lock: l}
	if etag, err := os.ReadFile(p.etagFile()); err == nil && isStrong(string(etag)) {
		p.etag = string(etag)
	}
	p.size, err = io.CopyBuffer(onlyWriter{p.hash}, &cancellable{ctx, onlyReader{file}}, make([]byte, 256<<10))
	if err != nil {
		p.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, diskError("read "+path, err)
	}
	return p, nil
}

// onlyWriter and onlyReader hide shortcuts that would copy past the hash or the context.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// isStrong says whether an etag names exact bytes, and can stand in a header.
func isStrong(etag string) bool {
	return len(etag) >= 3 && len(etag) <= 256 && etag[0] == '"' && etag[len(etag)-1] == '"' &&
		!strings.ContainsFunc(etag[1:len(etag)-1], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' })
}

// Write appends to the file and the hash.
func (p *partial) Write(b []byte) (int, error) {
	if n := 512 - len(p.head); n > 0 && int64(len(p.head)) == p.size {
		p.head = append(p.head, b[:min(n, len(b))]...)
	}
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	return n, err
}

// restart throws away what is there.
func (p *partial) restart() error {
	p.size, p.head, p.etag = 0, nil, ""
	p.hash = newHash(p.want)
	err := p.file.Truncate(0)
	if err == nil {
		_, err = p.file.Seek(0, io.SeekStart)
	}
	return diskError("empty "+p.path, err)
}

// setETag notes which answer the bytes come from. A later process reads it; without it the hash alone decides.
func (p *partial) setETag(etag string) {
	if !isStrong(etag) || etag == p.etag {
		return
	}
	p.etag = etag
	f, err := p.disk.Open(p.etagFile(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return
	}
	_, _ = f.Write([]byte(etag))
	_ = f.Close()
}

// Close keeps the file for a later download.
func (p *partial) Close() {
	_ = p.file.Close()
	_ = p.lock.Unlock()
}

// discard removes a partial.
func (c *Client) discard(path string) {
	_ = c.disk.Remove(path)
	_ = c.disk.Remove(path + etagSuffix)
}

// promote gives the blob its name. It is the only way to one: the bytes were hashed as they were written and are what
// the hub's list promises, and they are on the disk before the name is. (Write, fsync, close, rename, fsync of the folder.)
func (p *partial) promote(to string) error {
	if sum := hex.EncodeToString(p.hash.Sum(nil)); p.size != p.want.Size || sum != p.want.Blob {
		return p.wrong(sum)
	}
	what := "store " + p.want.Path + " as " + to
	if err := p.file.Sync(); err != nil {
		return diskError(what, err)
	}
	mine, err := p.file.Stat()
	if err != nil {
		return diskError(what, err)
	}
	named, err := os.Lstat(p.path)
	if err != nil || !os.SameFile(mine, named) || named.Size() != p.want.Size {
		return fail(CodeCache, "%s: the file %s was changed by somebody else", what, p.path)
	}
	if err := p.file.Close(); err != nil {
		return diskError(what, err)
	}
	if info, err := os.Lstat(to); err == nil && info.IsDir() {
		if err := os.RemoveAll(to); err != nil {
			return diskError(what, err)
		}
	}
	if err := p.disk.Rename(p.path, to); err != nil {
		return diskError(what, err)
	}
	if err := p.disk.Remove(p.etagFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(what, err)
	}
	return diskError(what, p.disk.SyncDir(filepath.Dir(to)))
}

// wrong says that the bytes are not those that were promised.
func (p *partial) wrong(sum string) error {
	kind := "git sha1"
	if p.want.large() {
		kind = "sha256"
	}
	e := fail(CodeHash, "download %s: its %s is %s, expected %s%s; the server or something between sends wrong bytes: try again later, or another network",
		p.want.Path, kind, sum, p.want.Blob, looks(p.head))
	return e.retry(againRestart)
}
