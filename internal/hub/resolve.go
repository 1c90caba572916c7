package hub

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/filesystem"
)

// ErrNotFound is wrapped by errors about a model that is not on this machine.
var ErrNotFound = errors.New("not found on this machine")

// Env says where this machine keeps things.
type Env struct {
	Home  string // the user's folder
	Cache string // the Hub's cache: models--owner--name/{refs,snapshots,blobs}
	Own   string // imported models, each by its name; "" for none
}

// Environment reads the variables that Hugging Face's own programs read: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME. As for them, the user's
// folder is that of the system's list of users where HOME is not set.
func Environment(getenv func(string) string) Env {
	e := Env{Home: userHome(getenv)}
	if e.Cache = filesystem.Expand(getenv("HF_HUB_CACHE"), e.Home); e.Cache == "" {
		e.Cache = filepath.Join(hubHome(getenv), "hub")
	}
	return e
}

func userHome(getenv func(string) string) string {
	if home := getenv("HOME"); home != "" {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

// hubHome is the folder that Hugging Face's programs share.
func hubHome(getenv func(string) string) string {
	home := userHome(getenv)
	switch {
	case getenv("HF_HOME") != "":
		return filesystem.Expand(getenv("HF_HOME"), home)
	case getenv("XDG_CACHE_HOME") != "":
		return filepath.Join(filesystem.Expand(getenv("XDG_CACHE_HOME"), home), "huggingface")
	}
	return filepath.Join(home, ".cache", "huggingface")
}

var (
	repoName = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,95})/([A-Za-z0-9][A-Za-z0-9._-]{0,95})$`)
	commit   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// Resolve finds the folder of a model that is named by a path, an alias of the catalogue, the name of an imported model, or
// owner/name[@revision] of the Hub. It looks on this machine only. The embedded model has no folder: its name gives "" and no error.
func Resolve(name string, e Env) (dir string, err error) {
	if isPath(name) {
		return e.folder(name)
	}
	if _, ok := Lookup(name); !ok {
		if e.IsOwn(name) {
			return e.own(name)
		}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return name, nil
		}
	}
	s, err := locate(name)
	if err != nil || s.repo == "" {
		return "", err
	}
	if dir, err = e.snapshot(s.repo, s.revision, name); err != nil {
		return "", err
	}
	return s.entry.within(dir)
}

// source is where a model comes from.
type source struct {
	entry    Entry  // of the catalogue, or only with the repository
	repo     string // owner/name, "" for the embedded model
	revision string // branch, tag or commit
}

// locate reads the name of a model of the Hub: an alias or owner/name, each with @revision or without.
func locate(name string) (source, error) {
	alias, revision, _ := strings.Cut(name, "@")
	s := source{revision: revision}
	if s.revision == "" {
		s.revision = "main"
	}
	if entry, ok := Lookup(alias); ok {
		s.entry, s.repo = entry, entry.Repo
	} else if m := repoName.FindStringSubmatch(alias); m != nil && !isPath(name) && !strings.Contains(m[1]+m[2], "--") && !strings.Contains(m[1]+m[2], "..") {
		s.repo = alias
		s.entry.Repo = alias
	} else {
		hint := "an alias, owner/name or a folder was expected"
		if near := Nearest(name); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		return s, fmt.Errorf("hub: find model %q: %w: %s", name, errName, hint)
	}
	if !isSafe(s.revision) || len(s.revision) > 200 {
		return s, fmt.Errorf("hub: find model %q: the revision %q is no branch, tag or commit", name, s.revision)
	}
	return s, nil
}

// errName is an ErrNotFound that no download can help.
var errName = fmt.Errorf("%w", ErrNotFound)

// IsFetchable says whether an error of Resolve is about a model that the Hub may have.
func IsFetchable(err error) bool { return errors.Is(err, ErrNotFound) && !errors.Is(err, errName) }

// isPath says whether a name can only mean a place on disk.
func isPath(name string) bool {
	return name == "." || name == ".." || name == "~" || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") ||
		strings.HasPrefix(name, "~/") || filepath.IsAbs(name)
}

func (e Env) folder(name string) (string, error) {
	dir := filesystem.Expand(name, e.Home)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("hub: find model %q: %w: the folder does not exist", name, errName)
	case err != nil:
		return "", fmt.Errorf("hub: find model %q: %w", name, err)
	case !info.IsDir():
		return "", fmt.Errorf("hub: find model %q: %w: it is a file; give the folder that it lies in", name, errName)
	}
	return dir, nil
}

// snapshot is the folder of a repository's revision in the cache.
func (e Env) snapshot(repo, revision, name string) (string, error) {
	base := filepath.Join(e.Cache, "models--"+strings.ReplaceAll(repo, "/", "--"))
	missing := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("hub: find model %q: %w: %s; fetch it with: %s", name, ErrNotFound, fmt.Sprintf(format, args...), fetch(name))
	}
	if _, err := os.Stat(base); err != nil {
		return missing("%s is not in the cache %s", repo, e.Cache)
	}
	hash := revision
	if !commit.MatchString(hash) {
		b, err := os.ReadFile(filepath.Join(base, "refs", filepath.FromSlash(revision)))
		if err != nil {
			return missing("the cache %s has no revision %s of %s", e.Cache, revision, repo)
		}
		if hash = strings.TrimSpace(string(b)); !commit.MatchString(hash) {
			return missing("refs/%s of %s in the cache %s names no commit", revision, repo, e.Cache)
		}
	}
	dir := filepath.Join(base, "snapshots", hash)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return missing("the cache %s has no files of %s at %.12s", e.Cache, repo, hash)
	}
	return dir, nil
}

// within is the folder of one model in a repository of several.
func (e Entry) within(dir string) (string, error) {
	if e.Folder == "" {
		return dir, nil
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("hub: find model %q: %w", e.Alias, err)
	}
	for _, d := range list {
		if d.IsDir() && e.holds(d.Name()) {
			return filepath.Join(dir, d.Name()), nil
		}
	}
	return "", fmt.Errorf("hub: find model %q: %w: %s has no folder for %s; fetch it with: %s",
		e.Alias, ErrNotFound, dir, e.Folder, fetch(e.Alias))
}

// holds says whether a folder of a repository of several models is this one's.
func (e Entry) holds(folder string) bool {
	words := strings.FieldsFunc(strings.ToLower(folder), func(r rune) bool { return r == '-' || r == '_' })
	return slices.Contains(words, e.Folder)
}

// fetch is the command that brings a model.
func fetch(name string) string { return "shammah-engine pull " + name }
