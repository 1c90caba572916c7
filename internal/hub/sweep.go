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

// left are the files that interrupted downloads have left of a blob. Names are compared, for a pattern would take in the folder's own.
func (r repo) left(blob string) (paths []string) {
	entries, _ := os.ReadDir(r.blobs())
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), blob) && strings.HasSuffix(entry.Name(), incomplete) {
			paths = append(paths, r.blob(entry.Name()))
		}
	}
	return paths
}

// leftOf is how many bytes an earlier download has left of a file.
func leftOf(r repo, f File) (most int64) {
	for _, path := range r.left(f.Blob) {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() <= f.Size {
			most = max(most, info.Size())
		}
	}
	return most
}

// sweep removes what interrupted downloads left behind and nobody has touched for so long; a time in the future is a clock
// that was wrong, and no reason.
func (c *Client) sweep(r repo, age time.Duration, dry bool, g *Garbage) {
	entries, err := os.ReadDir(r.blobs())
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if !strings.HasSuffix(entry.Name(), incomplete) || err != nil || age > 0 && c.now().Sub(info.ModTime()) < age {
			continue
		}
		c.sweepOne(r, entry.Name(), info, dry, g)
	}
	for _, entry := range entries { // etags whose partials are gone
		if name, ok := strings.CutSuffix(entry.Name(), incomplete+etagSuffix); ok && !dry && !exists(r.blob(name+incomplete)) {
			_ = c.disk.Remove(r.blob(entry.Name()))
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sweepOne removes a partial, unless its blob or the file itself is locked.
func (c *Client) sweepOne(r repo, name string, info fs.FileInfo, dry bool, g *Garbage) {
	if info.Mode().IsRegular() {
		blob, _, _ := strings.Cut(name, ".")
		for _, at := range []string{r.lockOf(blob), r.blob(name)} {
			l := c.lock(at)
			if ok, err := l.TryLock(); err != nil || !ok {
				return
			}
			defer func() { _ = l.Unlock() }()
		}
	}
	if dry || c.disk.Remove(r.blob(name)) == nil {
		g.add(r.blob(name), info.Size())
	}
}
