package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Garbage is what was removed from the cache, or would be.
type Garbage struct {
	Paths []string `json:"paths"`
	Bytes int64    `json:"bytes"`
}

func (g *Garbage) add(path string, size int64) {
	g.Paths = append(g.Paths, path)
	g.Bytes += size
}

// ErrInUse says that another program is at work on a repository.
var ErrInUse = errors.New("another program is at work on it")

// Remove removes a model from the cache: the one revision that name gives, or all. What other models share is kept.
// References go first and contents last, so that nothing points at what is gone if it is interrupted.
func (c *Client) Remove(name string) (g Garbage, err error) {
	s, err := locate(name)
	if err != nil {
		return g, err
	}
	if s.repo == "" {
		return g, fmt.Errorf("hub: remove %q: this model is inside the program", name)
	}
	r := c.env.repo(s.repo)
	if _, err := os.Stat(r.dir); err != nil {
		return g, fmt.Errorf("hub: remove %q: %w: %s is not in the cache %s", name, errName, s.repo, c.env.Cache)
	}
	l := c.lock(r.pullLock())
	if err := c.disk.MkdirAll(r.locks); err != nil {
		return g, diskError("lock "+r.dir, err)
	}
	if ok, err := l.TryLock(); err != nil || !ok {
		return g, errors.Join(err, fmt.Errorf("hub: remove %q: %w", name, ErrInUse))
	}
	defer func() { _ = l.Unlock() }()
	hashes := r.commits()
	if strings.Contains(name, "@") {
		hash := s.revision
		if !commit.MatchString(hash) {
			hash = r.refs()[s.revision]
		}
		if _, err := os.Stat(r.snapshot(hash)); err != nil || !commit.MatchString(hash) {
			return g, fmt.Errorf("hub: remove %q: %w: the cache has no revision %s of %s", name, errName, s.revision, s.repo)
		}
		hashes = []string{hash}
	}
	for _, hash := range hashes {
		if err := c.removeRevision(r, s, hash, &g); err != nil {
			return g, err
		}
	}
	if err := c.collect(r, 0, false, &g); err != nil {
		return g, err
	}
	if len(r.commits()) == 0 {
		err = errors.Join(os.RemoveAll(r.dir), os.RemoveAll(r.locks))
	}
	return g, diskError("remove "+r.dir, err)
}

// removeRevision removes the links of one revision, or of the model's folder in it.
func (c *Client) removeRevision(r repo, s source, hash string, g *Garbage) error {
	dir := r.snapshot(hash)
	if s.entry.Folder != "" {
		in, err := s.entry.within(dir)
		if err != nil {
			return nil // this revision does not have it
		}
		if err := removeTree(in, g); err != nil {
			return err
		}
		for range files(dir) {
			return nil // another model is left
		}
	}
	for name, to := range r.refs() {
		if to == hash {
			if err := c.disk.Remove(r.ref(name)); err != nil {
				return diskError("remove "+r.ref(name), err)
			}
		}
	}
	return removeTree(dir, g)
}

// removeTree removes a folder of a snapshot; files that are no links count as freed.
func removeTree(dir string, g *Garbage) error {
	for path, entry := range files(dir) {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			g.add(path, info.Size())
		}
	}
	return diskError("remove "+dir, os.RemoveAll(dir))
}

// Collect removes what no model in the cache needs: blobs that no revision links to, and what interrupted downloads left
// behind a week ago (or ever, with all). What another program works on is never touched. With dry it only says what it would.
func (c *Client) Collect(all, dry bool) (g Garbage, busy []string, err error) {
	repos, err := c.env.repos()
	if err != nil {
		return g, nil, err
	}
	age := staleAfter
	if all {
		age = 0
	}
	for _, r := range repos {
		if err := c.disk.MkdirAll(r.locks); err != nil {
			return g, busy, diskError("lock "+r.dir, err)
		}
		l := c.lock(r.pullLock())
		if ok, err := l.TryLock(); err != nil || !ok {
			busy = append(busy, r.name)
			continue
		}
		err := c.collect(r, age, dry, &g)
		_ = l.Unlock()
		if err != nil {
			return g, busy, err
		}
	}
	return g, busy, nil
}

// collect cleans one repository, which the caller has locked.
func (c *Client) collect(r repo, age time.Duration, dry bool, g *Garbage) error {
	c.sweep(r, age, dry, g)
	used := map[string]bool{}
	for path, entry := range files(filepath.Join(r.dir, "snapshots")) {
		if entry.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return diskError("read the link "+path, err) // to be wrong here would cost a model
			}
			used[filepath.Base(target)] = true
		}
	}
	entries, err := os.ReadDir(r.blobs())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("list "+r.blobs(), err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || used[entry.Name()] || strings.Contains(entry.Name(), ".") {
			continue
		}
		c.removeBlob(r, entry.Name(), info.Size(), dry, g)
	}
	return nil
}

// removeBlob removes a blob that nothing links to, unless somebody is just about to.
func (c *Client) removeBlob(r repo, name string, size int64, dry bool, g *Garbage) {
	l := c.lock(r.lockOf(name))
	if ok, err := l.TryLock(); err != nil || !ok {
		return
	}
	defer func() { _ = l.Unlock() }()
	if dry || c.disk.Remove(r.blob(name)) == nil {
		g.add(r.blob(name), size)
	}
}
