package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/ort"
)

// ErrNoAdapter is wrapped by errors about an adapter that is not loaded.
var ErrNoAdapter = errors.New("no such adapter")

// ErrNoPlaces is wrapped by errors about an adapter for a model that was opened without Options.Adapters, and needs them.
var ErrNoPlaces = errors.New("opened without places for adapters")

// AdapterUse is an adapter that a request computes with, and what its own scale is multiplied by.
type AdapterUse struct {
	Name  string
	Scale float32 // 1 is as it was trained; 0 would add nothing, and is refused
}

// places is where adapters go in a model's graph, and the adapters that are loaded. Loading and removing are safe for concurrent use; use
// is for whoever has the model's turn.
type places struct {
	graph   *cpu.Graph
	modules *derive.Modules
	used    []adapted // what the graph was told last
	unknown bool      // the graph could not be told, and may have kept what it was told before
	mu      sync.Mutex
	loaded  map[string]*adapter // nil once the model is closed
}

// adapter is one that was loaded, packed for the kernels. Its memory is freed when it was removed and no request uses it any more.
type adapter struct {
	packed *cpu.Adapter
	memory *ort.Buffer
	uses   int    // of requests, and one as long as it is loaded
	where  string // which outputs of which targets it is for
	print  string // of that and the memory, "" until it is asked for
}

// adapted is what one sequence computes with, in the order in which it is added: that of their names.
type adapted []struct {
	*adapter
	scale float32
}

func (a adapted) same(b adapted) bool { return slices.Equal(a, b) }

func newPlaces(g *cpu.Graph, plan *derive.Plan, spec *model.Spec) *places {
	return &places{graph: g, modules: plan.Modules(spec), loaded: map[string]*adapter{}}
}

// LoadAdapter makes an adapter known by a name that requests use, once it is checked and packed: within tens of milliseconds. It may be
// called while requests run.
func (m *Model) LoadAdapter(name string, a *lora.Adapter) error {
	if err := m.loadAdapter(name, a); err != nil {
		return fmt.Errorf("engine: load adapter %q: %w", name, err)
	}
	return nil
}

func (m *Model) loadAdapter(name string, a *lora.Adapter) error {
	switch {
	case m.places == nil && m.Provider() != "CPU":
		return fmt.Errorf("adapters are computed on the CPU alone for now, and %s runs on %s; open it with the CPU's provider", m.spec.Name, m.Provider())
	case m.places == nil:
		return fmt.Errorf("the runtime computes %s, and it was %w: open it anew with --lora (Options.Adapters)", m.spec.Name, ErrNoPlaces)
	case name == "":
		return errors.New("it needs a name")
	}
	list, err := m.places.additions(a)
	if err != nil {
		return err
	}
	if err := m.places.free(name); err != nil {
		return err
	}
	bytes, err := cpu.AdapterBytes(list)
	if err != nil {
		return err
	}
	made := &adapter{uses: 1, where: where(list)}
	if made.memory, err = m.env.NewHugeBuffer(bytes); err != nil {
		return err
	}
	if made.packed, err = cpu.NewAdapter(made.memory.Bytes(), list); err != nil {
		return errors.Join(err, made.memory.Close())
	}
	m.places.mu.Lock()
	defer m.places.mu.Unlock()
	if err := m.places.isFree(name); err != nil {
		made.drop()
		return err
	}
	m.places.loaded[name] = made
	return nil
}

// additions is an adapter as the kernels take it, after everything in it was checked against the graph.
func (p *places) additions(a *lora.Adapter) (list []cpu.Addition, err error) {
	if a == nil || len(a.Modules) == 0 {
		return nil, errors.New("it has no modules")
	}
	seen := map[string]bool{}
	for _, m := range a.Modules {
		if seen[m.Name] {
			return nil, fmt.Errorf("module %q is there twice", m.Name)
		}
		seen[m.Name] = true
		if m.Rank < 1 || len(m.A) != m.Rank*m.Inputs || len(m.B) != m.Outputs*m.Rank {
			return nil, fmt.Errorf("module %q: A has %d values and B %d, expected (%d, %d) and (%d, %d)", m.Name, len(m.A), len(m.B), m.Rank, m.Inputs, m.Outputs, m.Rank)
		}
		if m.Scale == 0 { // whoever forgot it would get the base without a word
			return nil, fmt.Errorf("module %q has the scale 0, expected alpha / rank", m.Name)
		}
		at, err := p.modules.Find(m.Name, m.Inputs, m.Outputs)
		if err != nil {
			return nil, err
		}
		for _, place := range at {
			list = append(list, cpu.Addition{
				Target: place.Target, First: place.First, Outputs: place.Outputs, Inputs: m.Inputs, Rank: m.Rank, Narrow: p.modules.Target(place.Target).Kernels,
				Scale: m.Scale, A: m.A, B: m.B[place.From*m.Rank : (place.From+place.Outputs)*m.Rank],
			})
		}
	}
	return list, nil
}

// where says what a list adds to, which its packed numbers do not.
func where(list []cpu.Addition) string {
	var s strings.Builder
	for _, x := range list {
		fmt.Fprintln(&s, x.Target, x.First, x.Outputs, x.Inputs, x.Rank)
	}
	return s.String()
}

// free says whether a name may be given.
func (p *places) free(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isFree(name)
}

func (p *places) isFree(name string) error {
	if p.loaded == nil {
		return ErrClosed
	}
	if p.loaded[name] != nil {
		return errors.New("one of that name is loaded; remove it first")
	}
	return nil
}

// RemoveAdapter forgets an adapter. Requests that use it go on with it; its memory is freed after the last of them.
func (m *Model) RemoveAdapter(name string) error {
	if m.places == nil {
		return fmt.Errorf("engine: remove adapter %q: %w: none is loaded", name, ErrNoAdapter)
	}
	m.places.mu.Lock()
	defer m.places.mu.Unlock()
	if m.places.loaded == nil {
		return fmt.Errorf("engine: remove adapter %q: %w", name, ErrClosed)
	}
	a := m.places.loaded[name]
	if a == nil {
		return fmt.Errorf("engine: remove adapter %q: %w: %s", name, ErrNoAdapter, m.places.names())
	}
	delete(m.places.loaded, name)
	a.drop()
	return nil
}

// Adapters lists the adapters that are loaded, by name.
func (m *Model) Adapters() []string {
	if m.places == nil {
		return nil
	}
	m.places.mu.Lock()
	defer m.places.mu.Unlock()
	return slices.Sorted(maps.Keys(m.places.loaded))
}

// names is what is loaded, for a message.
func (p *places) names() string {
	if len(p.loaded) == 0 {
		return "none is loaded"
	}
	return fmt.Sprintf("loaded are %q", slices.Sorted(maps.Keys(p.loaded)))
}

// drop gives up one use of an adapter; the caller has the lock, or the only use.
func (a *adapter) drop() {
	if a.uses--; a.uses == 0 {
		a.packed.Close()
		a.memory.Close() // closing memory cannot fail
	}
}

// adapted takes the adapters that a request names; done gives them back.
func (m *Model) adapted(uses []AdapterUse) (set adapted, done func(), err error) {
	if len(uses) == 0 {
		return nil, func() {}, nil
	}
	p := m.places
	if p == nil {
		return nil, nil, fmt.Errorf("engine: read the request: %w: %q; none is loaded", ErrNoAdapter, uses[0].Name)
	}
	uses = slices.SortedFunc(slices.Values(uses), func(a, b AdapterUse) int { return cmp.Compare(a.Name, b.Name) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded == nil {
		return nil, nil, ErrClosed
	}
	for i, u := range uses {
		a := p.loaded[u.Name]
		switch scale := float64(u.Scale); {
		case a == nil:
			return nil, nil, fmt.Errorf("engine: read the request: %w: %q; %s", ErrNoAdapter, u.Name, p.names())
		case i > 0 && uses[i-1].Name == u.Name:
			return nil, nil, fmt.Errorf("engine: read the request: adapter %q is named twice", u.Name)
		case scale == 0 || math.IsNaN(scale) || math.IsInf(scale, 0):
			return nil, nil, fmt.Errorf("engine: read the request: adapter %q has scale %v, expected a finite number that is not 0; 1 is as it was trained", u.Name, scale)
		}
		set = append(set, struct {
			*adapter
			scale float32
		}{a, u.Scale})
	}
	for _, a := range set {
		a.uses++
	}
	return set, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, a := range set {
			a.drop()
		}
	}, nil
}

// use tells the graph what the rows of the next runs compute with; none for all where there are no rows. Adapters that the graph was told
// of before may be gone by now: it looks at none of them before a run.
func (p *places) use(rows []adapted) error {
	if p == nil || !p.unknown && slices.EqualFunc(p.used, rows, adapted.same) {
		return nil
	}
	lists := make([][]cpu.Use, len(rows))
	for i, row := range rows {
		for _, a := range row {
			lists[i] = append(lists[i], cpu.Use{Adapter: a.packed, Scale: a.scale})
		}
	}
	if !slices.ContainsFunc(rows, func(row adapted) bool { return !row.same(rows[0]) }) {
		lists = lists[:min(len(lists), 1)]
	}
	err := p.graph.Use(lists...)
	if p.unknown = err != nil; p.unknown {
		return fmt.Errorf("engine: %w", err)
	}
	p.used = slices.Clone(rows)
	return nil
}

// printed names what keys and values were computed with: the adapters' content and scales, "" without any. It fails where one of them is gone.
func (p *places) printed(rows []adapted) (string, error) {
	if len(rows) == 0 || len(rows[0]) == 0 {
		return "", nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := sha256.New()
	for _, a := range rows[0] {
		if a.uses == 0 {
			return "", fmt.Errorf("%w: one that they were computed with was removed", ErrNoAdapter)
		}
		if a.print == "" {
			h := sha256.New()
			fmt.Fprintln(h, a.where)
			h.Write(a.memory.Bytes())
			a.print = hex.EncodeToString(h.Sum(nil))
		}
		fmt.Fprintln(h, a.print, a.scale)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// close forgets all adapters. Those of requests that still wait for their turn are freed by these.
func (p *places) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.loaded {
		a.drop()
	}
	p.loaded = nil
}

// adapt says what each row computes with from now on. What was computed with other adapters is forgotten.
func (r *runner) adapt(rows ...adapted) error {
	if !slices.ContainsFunc(rows, func(a adapted) bool { return len(a) > 0 }) {
		rows = nil
	}
	if slices.EqualFunc(r.adapters, rows, adapted.same) {
		return nil
	}
	r.adapters = rows
	return r.Keep(0)
}

// planAdapters makes places for adapters in a graph that the runtime computes, if they are wished for, or if the graph was exported with inputs for
// one, which are taken out of it.
func (m *Model) planAdapters(files model.Files, o Options) error {
	if !o.Adapters && len(m.spec.LoRA) == 0 || m.packed != nil {
		return nil
	}
	if other := elsewhere(o.Providers); other != "" {
		if !o.Adapters {
			return fmt.Errorf("engine: open %s: its graph has inputs for an adapter (%.80q), which are taken out of it on the CPU alone for now; leave out the provider %s", m.spec.Name, m.spec.LoRA[0], other)
		}
		return fmt.Errorf("engine: open %s: adapters are computed on the CPU alone for now; leave out either them or the provider %s", m.spec.Name, other)
	}
	graph, tensors, err := files.ReadGraph()
	if err != nil {
		return err
	}
	plan, err := derive.Adapt(graph)
	if err != nil {
		return errors.Join(fmt.Errorf("engine: open %s for adapters: %w", m.spec.Name, err), tensors.Close())
	}
	m.bare = &derived{plan, tensors}
	return nil
}

// elsewhere names what a model is to run on that is not the CPU, "" for nothing. A plug-in's provider need not have been named.
func elsewhere(providers []ort.Provider) string {
	switch kind := wanted(providers); {
	case len(providers) == 0 || providers[0].Plugin == "" && (kind == "" || kind == "cpu"):
		return ""
	default:
		return cmp.Or(providers[0].Name, providers[0].Plugin)
	}
}

// openAdapted opens the graph as it is but for its places for adapters.
func (m *Model) openAdapted(files model.Files, options ort.SessionOptions) error {
	graph, err := m.bare.write(files)
	if err != nil {
		return err
	}
	g, err := cpu.NewGraph(nil, nil, m.threads)
	if err != nil {
		return err
	}
	m.places = newPlaces(g, m.bare.plan, m.spec)
	options.Operators = &ort.Operators{Domain: derive.Domain, List: g.Operators(), Released: g.Close}
	return m.openWritten(files, graph, options)
}
