package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shammah/shammah-engine/engine/model"
)

// ErrTaken is wrapped by errors about a name that an imported model has already.
var ErrTaken = errors.New("the name is taken")

// Models that were imported have names of their own in Env.Own: a folder that was written there, or a link to one of the user's.
var ownName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)

// CheckOwn says whether an imported model may have this name.
func (e Env) CheckOwn(name string) error {
	switch _, alias := Lookup(name); {
	case !ownName.MatchString(name):
		return fmt.Errorf("hub: name a model %.100q: expected letters, digits, and . _ - between them; give one with --name", name)
	case alias:
		return fmt.Errorf("hub: name a model %q: %w by the catalogue; give another with --name", name, ErrTaken)
	case e.Own == "":
		return fmt.Errorf("hub: name a model %q: there is no folder for imported models: set HOME or SHAMMAH_HOME", name)
	}
	return nil
}

// Folder is the absolute path of a folder that is named by a path.
func Folder(name string, e Env) (string, error) {
	dir, err := e.folder(name)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("hub: find model %q: %w", name, err)
	}
	return dir, nil
}

// OwnDir is where an imported model of this name lies, or would.
func (e Env) OwnDir(name string) string { return filepath.Join(e.Own, name) }

// IsOwn says whether an imported model has this name.
func (e Env) IsOwn(name string) bool {
	if e.Own == "" || !ownName.MatchString(name) {
		return false
	}
	_, err := os.Lstat(e.OwnDir(name))
	return err == nil
}

// Linked is the user's folder that an imported model is, "" for one that was written here.
func (e Env) Linked(name string) string {
	target, _ := os.Readlink(e.OwnDir(name))
	return target
}

// own is the folder of an imported model.
func (e Env) own(name string) (string, error) {
	dir := e.OwnDir(name)
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir, nil
	}
	if target := e.Linked(name); target != "" {
		return "", fmt.Errorf("hub: find model %q: %w: it was imported from %s, which is gone; forget it with: shammah-engine rm %s", name, errName, target, name)
	}
	return "", fmt.Errorf("hub: find model %q: %w: %s is no folder", name, errName, dir)
}

// Link gives a folder of the user's a name. Once more with the same folder it changes nothing, and fresh is false.
func (e Env) Link(name, dir string) (fresh bool, err error) {
	if err := e.CheckOwn(name); err != nil {
		return false, err
	}
	if err := os.MkdirAll(e.Own, 0o777); err != nil {
		return false, diskError("import "+dir, err)
	}
	err = os.Symlink(dir, e.OwnDir(name))
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrExist):
		return false, diskError("import "+dir, err)
	case e.Linked(name) == dir:
		return false, nil
	}
	return false, e.Taken(name)
}

// Taken is the error about a name that another imported model has.
func (e Env) Taken(name string) error {
	return fmt.Errorf("hub: import as %q: %w by another model; give this one another --name, or remove that one with: shammah-engine rm %s", name, ErrTaken, name)
}

// RemoveOwn removes an imported model: what was written here is deleted, a folder of the user's is only forgotten.
func (e Env) RemoveOwn(name string) (g Garbage, err error) {
	dir := e.OwnDir(name)
	if e.Linked(name) != "" {
		g.Paths = append(g.Paths, dir)
		return g, diskError("remove "+dir, os.Remove(dir))
	}
	// The name goes first, so that nothing finds half a model.
	gone := filepath.Join(e.Own, "."+name+".removed")
	if err := os.RemoveAll(gone); err != nil {
		return g, diskError("remove "+dir, err)
	}
	if err := os.Rename(dir, gone); err != nil {
		return g, diskError("remove "+dir, err)
	}
	err = removeTree(gone, &g)
	return g, err
}

// owns lists the imported models, by name.
func (e Env) owns() (models []Local, others int, err error) {
	if e.Own == "" {
		return nil, 0, nil
	}
	entries, err := os.ReadDir(e.Own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, diskError("list "+e.Own, err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		l := Local{Repo: entry.Name(), Dir: e.OwnDir(entry.Name()), Linked: e.Linked(entry.Name()), Own: true, Refs: []string{}}
		if l.Variants, err = model.Variants(os.DirFS(l.Dir)); err != nil {
			others++
			continue
		}
		l.measure()
		models = append(models, l)
	}
	return models, others, nil
}
