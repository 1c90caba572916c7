package hub

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shammah/shammah-engine/engine/model"
)

// Local is one revision of a model in the cache, or an imported model.
type Local struct {
	Repo     string    `json:"repo"`
	Commit   string    `json:"commit"`
	Own      bool      `json:"imported,omitempty"` // it is an imported model, and Repo its name
	Linked   string    `json:"linked,omitempty"`   // the user's folder that it is
	Refs     []string  `json:"refs"`               // branches and tags that are this commit, as far as was asked
	Dir      string    `json:"dir"`
	Variants []string  `json:"variants"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// List lists the models that can be run: imported ones, then those in the cache, each by name. others counts the repositories that hold something else.
func List(e Env) (models []Local, others int, err error) {
	repos, err := e.repos()
	if err != nil {
		return nil, 0, err
	}
	if models, others, err = e.owns(); err != nil {
		return nil, 0, err
	}
	for _, r := range repos {
		found := false
		refs := r.refs()
		for _, hash := range r.commits() {
			variants, err := model.Variants(os.DirFS(r.snapshot(hash)))
			if err != nil {
				continue
			}
			found = true
			l := Local{Repo: r.name, Commit: hash, Dir: r.snapshot(hash), Variants: variants, Refs: []string{}}
			for _, name := range slices.Sorted(maps.Keys(refs)) {
				if refs[name] == hash {
					l.Refs = append(l.Refs, name)
				}
			}
			l.measure()
			models = append(models, l)
		}
		if !found {
			others++
		}
	}
	return models, others, nil
}

// measure sums up the files, each content once.
func (l *Local) measure() {
	seen := map[string]bool{}
	dir, err := filepath.EvalSymlinks(l.Dir) // an imported one may be a link itself
	if err != nil {
		return
	}
	for path := range files(dir) {
		real, err := filepath.EvalSymlinks(path)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		if info, err := os.Stat(real); err == nil {
			l.Bytes += info.Size()
			if info.ModTime().After(l.Modified) {
				l.Modified = info.ModTime()
			}
		}
	}
}

// files walks what lies in a folder and is no folder itself.
func files(dir string) iter.Seq2[string, fs.DirEntry] {
	return func(yield func(string, fs.DirEntry) bool) {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !yield(path, d) {
				return fs.SkipAll
			}
			return nil
		})
	}
}

// Holds says whether the cache has anything of a repository.
func (e Env) Holds(name string) bool { return len(e.repo(name).commits()) > 0 }

// repos lists the model repositories in the cache, by name.
func (e Env) repos() (repos []repo, err error) {
	entries, err := os.ReadDir(e.Cache)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, diskError("list the cache "+e.Cache, err)
	}
	for _, entry := range entries {
		if name, ok := strings.CutPrefix(entry.Name(), "models--"); ok && entry.IsDir() {
			repos = append(repos, e.repo(strings.Replace(name, "--", "/", 1)))
		}
	}
	return repos, nil
}

// commits are the revisions that a repository has files of.
func (r repo) commits() (hashes []string) {
	entries, _ := os.ReadDir(filepath.Join(r.dir, "snapshots"))
	for _, entry := range entries {
		if entry.IsDir() && commit.MatchString(entry.Name()) {
			hashes = append(hashes, entry.Name())
		}
	}
	return hashes
}

// refs are the branches and tags that were asked for, with their commits.
func (r repo) refs() map[string]string {
	refs := map[string]string{}
	dir := filepath.Join(r.dir, "refs")
	for path := range files(dir) {
		if name, err := filepath.Rel(dir, path); err == nil {
			b, _ := os.ReadFile(path)
			refs[filepath.ToSlash(name)] = strings.TrimSpace(string(b))
		}
	}
	return refs
}

// Checked is the result of looking at one file.
type Checked struct {
	Path   string `json:"path"` // in the model's folder
	Size   int64  `json:"size"`
	Fault  string `json:"fault,omitempty"`  // "" when the file is right
	Unsure bool   `json:"unsure,omitempty"` // it lies there without a link, so that nothing says what it should hash to
}

// Verify hashes every file of a model in the cache. An error is about the model, a Fault about a file.
func Verify(ctx context.Context, name string, e Env) iter.Seq2[Checked, error] {
	return func(yield func(Checked, error) bool) {
		dir, err := Resolve(name, e)
		if err == nil && dir == "" {
			err = fmt.Errorf("hub: verify %q: this model is inside the program", name)
		}
		if err == nil && !strings.HasPrefix(dir, e.Cache+string(filepath.Separator)) {
			err = fmt.Errorf("hub: verify %q: only what lies in the cache %s has hashes to compare with", name, e.Cache)
		}
		if err != nil {
			yield(Checked{}, err)
			return
		}
		for path := range files(dir) {
			c, err := verify(ctx, path)
			if rel, relErr := filepath.Rel(dir, path); relErr == nil {
				c.Path = filepath.ToSlash(rel)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

func verify(ctx context.Context, path string) (c Checked, err error) {
	info, err := os.Stat(path)
	target, linkErr := os.Readlink(path)
	switch {
	case os.IsNotExist(err):
		c.Fault = "missing: the link leads nowhere"
		return c, nil
	case err != nil:
		c.Fault = plain(err)
		return c, nil
	case !info.Mode().IsRegular():
		c.Fault = "no file: something else lies in its place"
		return c, nil
	}
	c.Size = info.Size()
	f := File{Path: path, Size: info.Size(), Blob: filepath.Base(target)}
	if linkErr != nil || len(f.Blob) != 40 && len(f.Blob) != 64 {
		c.Unsure = true
		return c, nil
	}
	sum, err := sumFile(ctx, path, f)
	if err != nil && ctx.Err() != nil {
		return c, err
	}
	if err != nil {
		c.Fault = plain(err)
	} else if sum != f.Blob {
		c.Fault = fmt.Sprintf("damaged: its hash is %.12s, expected %.12s", sum, f.Blob)
	}
	return c, nil
}
