package hub

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// staleAfter is when a partial that nobody works on is given up.
const staleAfter = 7 * 24 * time.Hour

func (r repo) pullLock() string { return filepath.Join(r.locks, "pull.lock") }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// leftOf is how many bytes an earlier download has left of a file.
func leftOf(r repo, f File) (most int64) {
	left, _ := filepath.Glob(filepath.Join(r.blobs(), f.Blob+"*"+incomplete))
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() <= f.Size {
			most = max(most, info.Size())
		}
	}
	return most
}

// sweep removes what interrupted downloads left behind and nobody has touched for so long; a time in the future is a clock
// that was wrong, and no reason. With found it only counts.
func (c *Client) sweep(r repo, age time.Duration, found func(path string, size int64)) {
	entries, err := os.ReadDir(r.blobs())
	if err != nil {
		return
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".etag")
		info, err := entry.Info()
		if !strings.HasSuffix(name, incomplete) || err != nil || c.now().Sub(info.ModTime()) < age {
			continue
		}
		c.remove(r, entry, info, found)
	}
}

func (c *Client) remove(r repo, entry fs.DirEntry, info fs.FileInfo, found func(path string, size int64)) {
	path := filepath.Join(r.blobs(), entry.Name())
	if info.Mode().IsRegular() && !strings.HasSuffix(path, ".etag") {
		blob, _, _ := strings.Cut(entry.Name(), ".")
		for _, at := range []string{r.lockOf(blob), path} {
			l := c.lock(at)
			if ok, err := l.TryLock(); err != nil || !ok {
				return // in use
			}
			defer func() { _ = l.Unlock() }()
		}
	}
	if found != nil {
		found(path, info.Size())
		return
	}
	_ = c.disk.Remove(path)
}
