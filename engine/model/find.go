package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// FindOptions choose among the variants of a model.
type FindOptions struct {
	// Variant asks for one by name, as Variants lists them; "" is the best one for Provider.
	Variant string
	// Provider is "cuda" or "coreml"; all else means the CPU.
	Provider string
}

const (
	entriesMax = 20_000 // files and folders looked at
	depthMax   = 6      // folders below the root
)

// Find finds the model in fsys and checks that its files are all there, whole, and where they may be. dir is the folder on
// disk that fsys shows, "" for an embedded model; a nil fsys means os.DirFS(dir).
func Find(fsys fs.FS, dir string, o FindOptions) (Files, error) {
	all, err := Candidates(fsys, dir, o)
	if err != nil {
		return Files{}, err
	}
	f := all[0]
	if err := f.readGraph(); err != nil {
		return Files{}, err
	}
	if err := f.findData(); err != nil {
		return Files{}, err
	}
	f.warn(o.Provider)
	return f, nil
}

// Candidates lists the models in fsys that o allows, the best first; the first is what Find takes. No graph is opened: the
// names of the files and the text of each genai_config.json are enough, so that a download can be chosen before it is made.
func Candidates(fsys fs.FS, dir string, o FindOptions) ([]Files, error) {
	if fsys == nil {
		fsys = os.DirFS(dir)
	}
	f := Files{FS: fsys, Dir: dir}
	t, err := list(f)
	if err != nil {
		return nil, err
	}
	found, err := t.candidates()
	if err != nil {
		return nil, err
	}
	if found, err = choose(found, o); err != nil {
		return nil, fmt.Errorf("model: find a model in %s: %w", f.name(), err)
	}
	all := make([]Files, len(found))
	for i, c := range found {
		all[i] = f
		all[i].Graph, all[i].Layout, all[i].Variant = c.graph, c.layout, c.variant
		t.beside(&all[i], c.root)
	}
	return all, nil
}

// Variants lists the variants of the model in fsys, the best for the CPU first.
func Variants(fsys fs.FS) ([]string, error) {
	t, err := list(Files{FS: fsys})
	if err != nil {
		return nil, err
	}
	found, err := t.candidates()
	if err != nil {
		return nil, err
	}
	rank(found, "")
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = c.variant
	}
	return names, nil
}

// name is the model's folder in messages.
func (f Files) name() string {
	if f.Dir == "" {
		return "the embedded files"
	}
	return f.Dir
}

// tree is what lies in a model's folder.
type tree struct {
	f     Files
	names map[string]bool
	onnx  map[string][]string // folder -> names of its .onnx files
	other []string            // models of other programs
}

// list walks the folder. Links to files are listed, links to folders are not followed.
func list(f Files) (*tree, error) {
	t := &tree{f: f, names: map[string]bool{}, onnx: map[string][]string{}}
	entries := 0
	err := fs.WalkDir(f.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name == "." {
				return err
			}
			return nil // an unreadable corner holds nothing that can be used
		}
		if entries++; entries > entriesMax {
			return fmt.Errorf("more than %d files, which is no model's folder", entriesMax)
		}
		base := path.Base(name)
		if d.IsDir() {
			hidden := strings.HasPrefix(base, ".") && name != "."
			if hidden || base == "__pycache__" || strings.Count(name, "/") >= depthMax {
				return fs.SkipDir
			}
			return nil
		}
		t.names[name] = true
		switch ext := path.Ext(base); {
		case ext == ".onnx":
			t.onnx[path.Dir(name)] = append(t.onnx[path.Dir(name)], base)
		case slices.Contains([]string{".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ort", ".mlpackage"}, ext):
			t.other = append(t.other, name)
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: the folder does not exist", ErrNoModel)
	case err != nil:
		err = fmt.Errorf("%w: %s", ErrNoModel, cause(err))
	}
	if err != nil {
		return nil, fmt.Errorf("model: find a model in %s: %w", f.name(), err)
	}
	return t, nil
}

// nearest is the named file in the folder or the closest one above it, "" when there is none.
func (t *tree) nearest(name, dir string) string {
	for {
		if p := path.Join(dir, name); t.names[p] {
			return p
		}
		if dir == "." {
			return ""
		}
		dir = path.Dir(dir)
	}
}

// beside fills in the configuration files that belong to a graph whose configuration lies in root.
func (t *tree) beside(f *Files, root string) {
	f.Config = t.nearest("config.json", root)
	f.GenerationConfig = t.nearest("generation_config.json", root)
	f.Tokenizer = t.nearest("tokenizer.json", root)
	f.TokenizerConfig = t.nearest("tokenizer_config.json", root)
	if f.Layout == LayoutB {
		f.GenAIConfig = path.Join(root, "genai_config.json")
	}
	if f.ChatTemplate = t.nearest("chat_template.jinja", root); f.ChatTemplate == "" {
		f.ChatTemplate = t.nearest("chat_template.json", root)
	}
}

// candidates are the graphs that could be run. None is an error that says what there is instead.
func (t *tree) candidates() ([]candidate, error) {
	var found []candidate
	var refused error
	dirs := map[string]bool{}
	for dir := range t.onnx {
		dirs[dir] = true
	}
	for name := range t.names {
		if path.Base(name) == "genai_config.json" {
			dirs[path.Dir(name)] = true
		}
	}
	order := make([]string, 0, len(dirs))
	for dir := range dirs {
		order = append(order, dir)
	}
	slices.Sort(order)
	for _, dir := range order {
		var c []candidate
		var err error
		if t.names[path.Join(dir, "genai_config.json")] {
			c, err = t.genaiCandidate(dir)
		} else {
			c, err = t.plainCandidates(dir)
		}
		found = append(found, c...)
		if refused == nil {
			refused = err
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if refused != nil {
		return nil, refused
	}
	what := "no .onnx file"
	switch {
	case len(t.names) == 0:
		what = "the folder is empty"
	case len(t.other) > 0:
		slices.Sort(t.other)
		what += ", but " + listing(t.other) + ": a model for another program, which must be exported to ONNX first"
	}
	return nil, fmt.Errorf("model: find a model in %s: %w: %s", t.f.name(), ErrNoModel, what)
}

// listing names a few of the names.
func listing(names []string) string {
	if n := len(names); n > 4 {
		return jsonobject.Printable(strings.Join(names[:4], ", ")) + fmt.Sprintf(" and %d more", n-4)
	}
	return jsonobject.Printable(strings.Join(names, ", "))
}
