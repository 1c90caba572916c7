package hub

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/engine/model"
)

// PlanOptions choose what of a repository is wanted.
type PlanOptions struct {
	Variant  string // as model.Variants names them; "" is the best for Provider that fits into Memory
	Provider string // "cuda", "coreml"; all else is the CPU
	Memory   int64  // bytes that a model may take, 0 when that does not matter
}

// Plan is what a download would bring.
type Plan struct {
	Name     string `json:"name"` // as it was asked for
	Repo     string `json:"repo"`
	Revision string `json:"revision"`
	Commit   string `json:"commit"`
	Dir      string `json:"dir"` // where the model will lie
	Variant  string `json:"variant"`
	Files    []File `json:"files"`
	// Missing is how many bytes are still to come, as far as sizes tell.
	Missing  int64    `json:"missing"`
	Warnings []string `json:"warnings,omitempty"`

	root  string // folder of the model in the repository, "." for all
	graph string // path of the graph in the repository
	tree  map[string]File
}

// Total is the size of all files.
func (p *Plan) Total() (n int64) {
	for _, f := range p.Files {
		n += f.Size
	}
	return n
}

// genaiBytesMax is enough for a genai_config.json.
const genaiBytesMax = 1 << 20

// Plan asks the hub for a model's files, pinned to the commit that its revision is now, and chooses those that are needed.
func (c *Client) Plan(ctx context.Context, name string, o PlanOptions) (*Plan, error) {
	s, err := locate(name)
	if err != nil {
		return nil, err
	}
	if s.repo == "" {
		return nil, fmt.Errorf("hub: download %q: this model is inside the program already", name)
	}
	p := &Plan{Name: name, Repo: s.repo, Revision: s.revision}
	if p.Commit, err = c.commitOf(ctx, p.Repo, p.Revision); err != nil {
		return nil, err
	}
	if p.tree, err = c.tree(ctx, p.Repo, p.Commit); err != nil {
		return nil, err
	}
	if p.root, err = s.folderIn(p.tree); err != nil {
		return nil, err
	}
	list := newListFS(p.tree, p.root)
	if err := c.readConfigs(ctx, p, list); err != nil {
		return nil, err
	}
	candidates, err := model.Candidates(list, "", model.FindOptions{Variant: o.Variant, Provider: o.Provider})
	if err != nil {
		return nil, fail(CodeEntry, "choose the files of %s: %s", p.Repo, strings.Replace(plain(err), "model: find a model in the embedded files: ", "", 1)).because(err).silently()
	}
	p.choose(candidates, o)
	r := c.env.repo(p.Repo)
	p.Dir = r.link(p.Commit, p.root)
	for _, f := range p.Files {
		if err := checkFile(p, f); err != nil {
			return nil, err
		}
		if !seemsHere(r, p.Commit, f) {
			p.Missing += f.Size - leftOf(r, f)
		}
	}
	return p, nil
}

// readConfigs reads the configurations that variants are told apart by.
func (c *Client) readConfigs(ctx context.Context, p *Plan, list *listFS) (err error) {
	total, configs := int64(0), map[string]File{}
	for at, f := range list.files {
		if path.Base(at) == "genai_config.json" && f.Size <= genaiBytesMax {
			configs[at] = f
			total += f.Size
		}
	}
	if total > listBytesMax {
		return fail(CodeTree, "choose the files of %s: it has %d files genai_config.json, more than %d MiB in all, which is no model's repository", p.Repo, len(configs), listBytesMax>>20)
	}
	for at, f := range configs {
		if list.text[at], err = c.readSmall(ctx, p, f); err != nil {
			return err
		}
	}
	return nil
}

func (e *Error) silently() *Error {
	e.quiet = true
	return e
}

// checkFile refuses what cannot be downloaded.
func checkFile(p *Plan, f File) error {
	if f.xet && f.Size > xetOnly {
		return fail(CodeXet, "download %s of %s: it has %s, and the hub serves files above 50 GB over the Xet protocol only, which this program does not speak; get it with: hf download %s %s",
			f.Path, p.Repo, humanize.Bytes(uint64(f.Size)), p.Repo, f.Path)
	}
	for _, other := range p.Files {
		if other.Path != f.Path && strings.EqualFold(other.Path, f.Path) {
			return fail(CodeTree, "choose the files of %s: %s and %s differ in letter case only", p.Repo, f.Path, other.Path)
		}
	}
	return nil
}

// seemsHere says whether a file of the right size is in the cache.
func seemsHere(r repo, hash string, f File) bool {
	for _, path := range []string{r.blob(f.Blob), r.link(hash, f.Path)} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			return true
		}
	}
	return false
}

// readSmall reads a small file into memory and checks it.
func (c *Client) readSmall(ctx context.Context, p *Plan, f File) (text []byte, err error) {
	q := query{repo: p.Repo, revision: p.Commit, file: f.Path, toHub: true}
	err = c.insist(ctx, nil, func() (bool, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		a, err := c.get(ctx, c.address(p, f), nil)
		if err != nil {
			return false, err
		}
		defer a.Body.Close()
		if err := c.checkStatus(a, q); err != nil {
			return false, err
		}
		if text, err = io.ReadAll(io.LimitReader(newSteady(a.Body, cancel), f.Size+1)); err != nil {
			return false, c.bodyError(ctx, q, err)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	h := newHash(f)
	_, _ = io.Copy(h, bytes.NewReader(text))
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.Blob {
		return nil, fail(CodeHash, "%s: its hash is %s, expected %s%s", q, sum, f.Blob, looks(text))
	}
	return text, nil
}

// dataName is what follows a graph's name in the names of its external data.
var dataName = regexp.MustCompile(`^[._]data(_\d+)?$`)

// choose takes the first candidate that fits into the memory, or the smallest, and lists its files: the graph last.
func (p *Plan) choose(candidates []model.Files, o PlanOptions) {
	size := func(m model.Files) (n int64) {
		for _, f := range p.graphFiles(m.Graph) {
			n += f.Size
		}
		return n
	}
	chosen := candidates[0]
	if o.Memory > 0 && o.Variant == "" && Needs(size(chosen)) > o.Memory {
		smallest := slices.MinFunc(candidates, func(a, b model.Files) int { return int(min(max(size(a)-size(b), -1), 1)) })
		fits := slices.IndexFunc(candidates, func(m model.Files) bool { return Needs(size(m)) <= o.Memory })
		switch {
		case fits >= 0:
			p.warn("%s would need about %s of memory and %s are available; %s is taken instead", chosen.Variant, bytesText(Needs(size(chosen))), bytesText(o.Memory), candidates[fits].Variant)
			chosen = candidates[fits]
		default:
			chosen = smallest
			p.warn("even %s needs about %s of memory, and %s are available: it may not load here", chosen.Variant, bytesText(Needs(size(chosen))), bytesText(o.Memory))
		}
	}
	p.Variant, p.graph = chosen.Variant, p.full(chosen.Graph)
	want := map[string]bool{}
	for _, name := range []string{chosen.Config, chosen.GenerationConfig, chosen.GenAIConfig, chosen.Tokenizer, chosen.TokenizerConfig, chosen.ChatTemplate} {
		if name != "" {
			want[p.full(name)] = true
		}
		if name != "" && name == chosen.Tokenizer {
			want[path.Join(path.Dir(p.full(name)), "special_tokens_map.json")] = true // for Python's tokenizers
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if f, ok := p.tree[name]; ok {
			p.Files = append(p.Files, f)
		}
	}
	p.Files = append(p.Files, p.graphFiles(chosen.Graph)...)
}

// full is the path in the repository of a name below the model's folder.
func (p *Plan) full(name string) string { return path.Join(p.root, name) }

// graphFiles are the external data that a graph has by its name, and the graph.
func (p *Plan) graphFiles(graph string) (files []File) {
	graph = p.full(graph)
	stem := strings.TrimSuffix(graph, ".onnx")
	for _, name := range slices.Sorted(maps.Keys(p.tree)) {
		rest, ok := strings.CutPrefix(name, graph)
		if !ok {
			rest, ok = strings.CutPrefix(name, stem)
		}
		if ok && dataName.MatchString(rest) {
			files = append(files, p.tree[name])
		}
	}
	return append(files, p.tree[graph])
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// Needs is about what a model of this size takes once it is loaded: weights are copied in part into the layout that the
// kernels like, and the runtime and a short context come on top. Loading measures again, and better.
func Needs(size int64) int64 { return size + size/4 + 300<<20 }

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// folderIn is the folder of the tree that the model lies in, "." unless the repository holds several models.
func (s source) folderIn(tree map[string]File) (string, error) {
	if s.entry.Folder == "" {
		return ".", nil
	}
	tops := map[string]bool{}
	for name := range tree {
		if top, _, ok := strings.Cut(name, "/"); ok {
			tops[top] = true
		}
	}
	for _, top := range slices.Sorted(maps.Keys(tops)) {
		if s.entry.holds(top) {
			return top, nil
		}
	}
	return "", fail(CodeEntry, "choose the files of %s: no folder for %s among %s", s.repo, s.entry.Folder, strings.Join(slices.Sorted(maps.Keys(tops)), ", "))
}

// graphNames reads from a graph that was downloaded which files hold its weights, and returns those that the plan lacks.
func (p *Plan) graphNames(graphFile string) ([]File, error) {
	names, err := externalData(graphFile)
	if err != nil {
		return nil, fail(CodeEntry, "read the graph %s of %s for the names of its weights", p.graph, p.Repo).because(err)
	}
	var more []File
	for _, name := range names {
		full := path.Join(path.Dir(p.graph), name)
		f, ok := p.tree[full]
		if !filepath.IsLocal(filepath.FromSlash(name)) || !ok {
			return nil, fail(CodeEntry, "download %s of %s: the graph has weights in %.200q, and the repository has no such file", p.graph, p.Repo, name)
		}
		if !slices.ContainsFunc(p.Files, func(have File) bool { return have.Path == full }) {
			if err := checkFile(p, f); err != nil {
				return nil, err
			}
			more = append(more, f)
		}
	}
	return more, nil
}

var errNoPlan = errors.New("BUG: a plan that Client.Plan did not make")
