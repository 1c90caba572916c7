// Package engine runs language models on this machine through ONNX Runtime.
//
//	env, err := ort.Open(ort.Options{})
//	model, err := engine.Open(env, "models/smollm2", engine.Options{})
//	for token, err := range model.Generate(ctx, engine.Request{Messages: []chat.Message{{Role: "user", Content: "Hello"}}}) {
//		fmt.Print(token.Text)
//	}
//
// A model is a folder as it is found in the wild: onnxruntime-genai's, Optimum's and transformers.js's, with or without a cache.
// Names, types and shapes come from the graph and are checked against the configuration files before anything is computed.
//
// The files of an open model are mapped: another file may take their names, but whoever cuts one short where it lies ends the process.
package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/kv"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/text"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

// ContextDefault is the context of a model that was opened without a wish for another, unless its own maximum is smaller.
const ContextDefault = 4096

// PromptBytesMax is the longest text of a prompt, whatever the context.
const PromptBytesMax = text.BytesMax

// ErrMemory says that a model needs more memory than this machine has free.
var ErrMemory = errors.New("not enough memory")

// Options is how a model is opened. The zero value is right for most.
type Options struct {
	Name      string         // how the model is called in messages and results; "" is its folder's name
	Variant   string         // which of several graphs: "q4", "int8", "fp32"; "" chooses
	Context   int            // tokens that a sequence may hold; 0 is ContextDefault or the model's maximum if smaller
	Threads   int            // 0: one for each physical core that this process may use
	Chunk     int            // tokens of one prefill run; 0 chooses
	Providers []ort.Provider // in order of preference; none is the CPU
	Spin      *bool          // whether idle threads wait actively between steps; nil is yes
	Kernels   Kernels        // who computes on the CPU; the zero value is our own kernels where they are right
	HalfCache bool           // keys and values in float16: half the memory, and less to read at each token; only with our kernels
	Adapters  bool           // places for adapters where the runtime computes, too; our kernels have them anyway
	Force     bool           // open even if memory seems too small
	Draft     *Model         // guesses for this one, which must have the same vocabulary; once this one is open, its Close closes both
	NoText    bool           // no tokenizer and no template: requests carry Tokens and ask for TokensOnly
	Log       zerolog.Logger

	device ort.Device // for tests: a memory that stands in for a GPU's
	record bool       // for tests: whether its provider records
}

// Model is an open model. It is safe for concurrent use: requests take turns.
type Model struct {
	env       *ort.Env
	session   *ort.Session
	tokenizer *text.Tokenizer
	template  *text.Template
	spec      *model.Spec
	context   int
	chunk     int
	threads   int
	placement Placement
	device    ort.Device // whose memory the provider computes in; no name: this process's
	log       zerolog.Logger
	kernels   string   // why our kernels do not compute, "" if they do
	packed    *derived // the graph for our kernels, nil: the original runs
	notes     []string // warnings about how it was opened
	exact     bool
	compared  int64    // bytes that the original was foreseen to take, if it was opened first to be compared with
	topped    *derived // the original with the choice of tokens appended, nil: whole rows of logits are given alone
	transfer  *transfer
	records   bool     // whether the device's provider shall record one-token steps
	bare      *derived // the original with places for adapters, nil: none were wished for, or our kernels have them
	places    *places  // for adapters, nil: none
	stepBytes int64
	cache     *kv.Cache
	runner    *runner
	draft     *Model        // nil: none
	turn      chan struct{} // holds one token: who takes it may use runner and session
	closed    chan struct{}
	named     func() (string, error) // what a saved cache must have been computed with
}

// Open opens the model in folder dir.
func Open(env *ort.Env, dir string, o Options) (*Model, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("engine: open model: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("engine: open model: %s is a file, expected the folder that holds the model", dir)
	}
	return open(env, os.DirFS(dir), dir, o)
}

// OpenFS opens a model whose files all lie in fsys, such as one embedded in the program. Its graph must hold its weights itself.
func OpenFS(env *ort.Env, fsys fs.FS, o Options) (*Model, error) {
	return open(env, fsys, "", o)
}

func open(env *ort.Env, fsys fs.FS, dir string, o Options) (*Model, error) {
	files, err := model.Find(fsys, dir, model.FindOptions{Variant: o.Variant, Provider: wanted(o.Providers)})
	if err != nil {
		return nil, err
	}
	m, err := openFiles(env, files, o)
	if err != nil || o.Draft == nil {
		return m, err
	}
	if err := m.checkDraft(o.Draft); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.draft = o.Draft
	return m, nil
}

// openFiles opens a model that was found: with our kernels where they are right, else with the runtime's.
func openFiles(env *ort.Env, files model.Files, o Options) (*Model, error) {
	m, err := prepareModel(env, files, o)
	if err != nil {
		return nil, err
	}
	check, err := m.beginCheck(files, o)
	if err == nil {
		err = m.checkCache(o)
	}
	if err != nil {
		return nil, errors.Join(err, m.closeDerived())
	}
	if err := m.load(files, o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.runner.trial = m.newTrial(files, o)
	m.turn <- struct{}{}
	if why := m.endCheck(check); why != "" {
		if err := m.Close(); err != nil {
			return nil, err
		}
		o.Kernels = KernelsOff
		if m, err = openFiles(env, files, o); err != nil {
			return nil, fmt.Errorf("%w (our kernels do not compute it: %s)", err, why)
		}
		m.kernels = why
		m.spec.Warnings = append(slices.Clip(m.spec.Warnings), unlike(why))
	}
	return m, err
}

// prepareModel checks what can be checked before any weight is read.
func prepareModel(env *ort.Env, files model.Files, o Options) (*Model, error) {
	// What the graph's file declares comes first; the session's own word follows.
	spec, err := files.Load(model.Signature{})
	if err != nil {
		return nil, err
	}
	device, err := deviceOf(o.Providers)
	if err != nil {
		return nil, err
	}
	if o.device.Name != "" {
		device = o.device
	}
	m := &Model{env: env, spec: spec, threads: o.Threads, exact: o.Kernels == KernelsExact, device: device, log: o.Log, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	if m.threads <= 0 {
		m.threads = sys.ReadCPU().Threads()
	}
	m.named = m.identity(files, o)
	if device.Name != "" {
		m.transfer, m.records = newTransfer(env, o.Providers), records(o.Providers) || o.record
	}
	if err := m.planKernels(files, o); err != nil {
		return nil, err
	}
	if err := m.planAdapters(files, o); err != nil {
		return nil, errors.Join(err, m.closeDerived())
	}
	if err := m.planTop(files); err != nil {
		return nil, errors.Join(err, m.closeDerived())
	}
	if err := m.plan(o); err != nil {
		return nil, errors.Join(err, m.closeDerived())
	}
	return m, nil
}

// load opens tokenizer and session side by side, then checks one against the other.
func (m *Model) load(files model.Files, o Options) error {
	type loaded struct {
		tokenizer *text.Tokenizer
		err       error
	}
	tokenizer := make(chan loaded, 1)
	go func() {
		var l loaded
		if !o.NoText {
			l.tokenizer, l.err = loadTokenizer(files)
		}
		tokenizer <- l
	}()
	sessionErr := errors.Join(m.openSession(files, o), m.closeDerived())
	t := <-tokenizer
	m.tokenizer = t.tokenizer
	if err := errors.Join(t.err, sessionErr); err != nil {
		return err
	}
	if err := m.settle(files); err != nil {
		return err
	}
	m.spec.Warnings = append(slices.Clip(m.spec.Warnings), m.notes...)
	if o.Name != "" {
		m.spec.Name = o.Name
	}
	if m.spec.Template != "" && !o.NoText {
		if !strings.Contains(m.spec.Template, "messages") { // a web page or a pointer of git-lfs is a template too, and shows no prompt
			return fmt.Errorf("engine: open %s: chat template: %s never mentions messages: it is no chat template", name(files), m.spec.TemplateSource)
		}
		var err error
		if m.template, err = text.ParseTemplate(m.spec.Template); err != nil {
			return fmt.Errorf("engine: open %s: chat template: %w", name(files), err)
		}
	}
	return m.openRunner()
}

// settle checks the session's own word about its inputs and outputs.
func (m *Model) settle(files model.Files) (err error) {
	if m.packed != nil {
		return m.checkDerived()
	}
	if m.spec, err = files.Load(original(signature(m.session))); err == nil {
		m.stepBytes = m.spec.StepBytes
	}
	return err
}

// plan chooses context and chunk, and checks that there is memory for weights and cache.
func (m *Model) plan(o Options) error {
	m.context = o.Context
	switch limit := m.spec.ContextMax; {
	case o.Context < 0:
		return fmt.Errorf("engine: open %s: a context of %d tokens was asked for, expected a positive number", m.spec.Name, o.Context)
	case o.Context == 0:
		m.context = ContextDefault
		if limit > 0 {
			m.context = min(m.context, limit)
		}
	case limit > 0 && o.Context > limit:
		return fmt.Errorf("engine: open %s: a context of %d tokens was asked for, the model knows at most %d", m.spec.Name, o.Context, limit)
	}
	available := int64(math.MaxInt64) // what cannot be known is not refused
	if memory, err := sys.ReadMemory(); err == nil && !o.Force {
		available = memory.Available
	}
	if err := m.fitContext(o, available); err != nil {
		return err
	}
	m.chunk = o.Chunk
	if m.chunk <= 0 {
		m.chunk = m.spec.ChunkTokens()
	}
	m.chunk = min(m.chunk, m.context)
	return nil
}

// openCache allocates a cache for rows sequences.
func (m *Model) openCache(rows int) (*kv.Cache, error) {
	plan, element := m.cachePlan(rows)
	return kv.Open(m.env, plan, element)
}

func (m *Model) cachePlan(rows int) (kv.Plan, ort.ElementType) {
	element := elementType(m.spec.KVType)
	return kv.Plan{
		Layers: m.spec.Layers, Heads: m.spec.KVHeads, HeadDim: m.spec.HeadDim, Capacity: m.context, Rows: rows,
		Element: element.Size(), Combined: m.spec.Combined, Shared: m.spec.Shared,
	}, element
}

func (m *Model) openRunner() error {
	var err error
	if len(m.spec.Past) > 0 {
		if m.cache, err = m.openSingle(); err != nil {
			return err
		}
	}
	if m.runner, err = newRunner(m, 1, m.cache); err != nil || !m.records {
		return err
	}
	if err := m.openRecording(m.runner); err != nil {
		m.spec.Warnings = append(slices.Clip(m.spec.Warnings), "steps are not recorded: "+err.Error())
	}
	return nil
}

// Spec is what was found in the model's files and graph.
func (m *Model) Spec() *model.Spec { return m.spec }

// Context is the number of tokens that a sequence may hold.
func (m *Model) Context() int { return m.context }

// Threads is the number of threads that compute.
func (m *Model) Threads() int { return m.threads }

// Provider names the execution provider that truly computes, or several with their shares.
func (m *Model) Provider() string { return m.placement.Short() }

// Placement is which execution provider holds what of the graph.
func (m *Model) Placement() Placement { return m.placement }

// Kernels says why the runtime computes the matrix products and not package cpu's kernels; "" if these do.
func (m *Model) Kernels() string { return m.kernels }

// StepBytes is the bytes of weights that computing one token reads: packed matrices, where our kernels compute. Over the machine's read
// bandwidth it is the time that a token takes at least.
func (m *Model) StepBytes() int64 { return m.stepBytes }

// Kept lists what the runtime computes although the kernels have an operator for it, and why.
func (m *Model) Kept() []derive.Kept {
	if m.packed == nil {
		return nil
	}
	return m.packed.plan.Kept
}

// Tokenizer is the model's tokenizer, valid until Close; nil if the model was opened without text.
func (m *Model) Tokenizer() *text.Tokenizer { return m.tokenizer }

// Close waits for a request that runs, and frees everything. It may be called twice.
func (m *Model) Close() error {
	if m.runner != nil {
		select {
		case <-m.closed:
			return nil
		case <-m.turn:
		}
	}
	close(m.closed)
	m.places.close()
	var errs []error
	if m.runner != nil {
		errs = append(errs, m.runner.Close())
	}
	if m.cache != nil {
		errs = append(errs, m.cache.Close())
	}
	errs = append(errs, m.transfer.Close())
	if m.session != nil {
		errs = append(errs, m.session.Close())
	}
	if m.draft != nil {
		errs = append(errs, m.draft.Close())
	}
	if m.template != nil {
		m.template.Close()
	}
	if m.tokenizer != nil {
		m.tokenizer.Close()
	}
	return errors.Join(errs...)
}

// wanted is the kind of provider that a variant is chosen for, as package model names it.
func wanted(providers []ort.Provider) string {
	if len(providers) == 0 {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(providers[0].Name, "ExecutionProvider"))
}

// name is how a model is called in messages before it is loaded.
func name(files model.Files) string {
	if files.Dir == "" {
		return "the embedded model"
	}
	return files.Dir
}

func loadTokenizer(files model.Files) (*text.Tokenizer, error) {
	if files.Tokenizer == "" {
		return nil, fmt.Errorf("engine: open %s: it has no tokenizer.json beside or above %s; fetch the model again with all its files", name(files), files.Graph)
	}
	if files.Dir != "" {
		return text.Load(files.Path(files.Tokenizer))
	}
	data, err := fs.ReadFile(files.FS, files.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("engine: read the tokenizer: %w", err)
	}
	return text.Parse(data)
}

var _ decode.WideModel = (*runner)(nil)
