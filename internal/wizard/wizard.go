// Package wizard asks a new user what the program has to know: what to run on, which model, and whether Claude may help.
//
// A Wizard is the questions and what follows from the answers, and nothing else: it reads no file, opens no connection and draws
// nothing. Run brings it together with a Screen, which asks a person, and with Effects, which check and save.
package wizard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/sys"
)

// Facts are what the questions depend on.
type Facts struct {
	Processor string
	CPU       sys.CPU
	Memory    sys.Memory // the zero value where it is not known
	Disk      int64      // bytes free where models are kept, 0 where that is not known
	Models    string     // the folder where they are kept
	Backends  []Backend  // all that there are, also for other machines
	Path      string     // of the configuration
	File      []byte     // what is in it now
	Old       config.Config
	Env       func(string) string
	// Repo checks the name of a model, and gives it as it is kept.
	Repo func(name string) (string, error)
}

// Backend is hardware that models may run on.
type Backend struct {
	Name    string // as the configuration has it
	Found   string // what running the embedded model on it showed
	Trouble string // why it cannot run here, "" if it can
}

// Kind says how a question is answered.
type Kind int

// The kinds of questions.
const (
	Choose Kind = iota
	Write
	Secret
)

// Question is one screen.
type Question struct {
	Step    Step
	Title   string
	Notice  string   // what the last answer led to
	Text    []string // what there is to know
	Kind    Kind
	Options []Option
	Default string
	Back    bool // whether there is a question before it
}

// Option is one of several answers.
type Option struct {
	Value, Label string
	Trouble      string // why it cannot be chosen, "" if it can
}

// Answers is what was answered so far. Presets are answers, too: they become the defaults.
type Answers struct {
	Backend string // auto, cpu, cuda, coreml
	Family  string // as the configuration has it, or Own, or hub.Tiny
	Size    string
	Repo    string // of Own
	Claude  string // byVariable, byFile or nobody
	KeyEnv  string // name of the variable with the key
	Key     string // the key itself
	Check   bool
	Force   bool // take a model that is too large
	Later   bool // download nothing now
	// NoClaude is a preset.
	NoClaude bool
}

// Own is the family of a repository that the user names.
const Own = "own"

// Where the key for Claude is.
const (
	byVariable = "variable"
	byFile     = "file"
	nobody     = "none"
)

// Wizard is a conversation about the configuration. It is not safe for concurrent use.
type Wizard struct {
	facts  Facts
	a      Answers
	step   Step
	trail  []Step // the questions before this one
	notice string
	wanted bool
}

// New begins with the first question. What is preset is the default of its question, and so is what the configuration has now.
func New(f Facts, preset Answers) (*Wizard, error) {
	w := &Wizard{facts: f, a: preset}
	old := f.Old
	if err := w.presetBackend(cmp.Or(preset.Backend, old.Model.Backend, "auto")); err != nil {
		return nil, err
	}
	if err := w.presetModel(old.Model); err != nil {
		return nil, err
	}
	w.a.KeyEnv = cmp.Or(preset.KeyEnv, old.Claude.APIKeyEnv, "ANTHROPIC_API_KEY")
	switch {
	case preset.NoClaude:
		w.a.Claude = nobody
	case preset.KeyEnv != "":
		w.a.Claude = byVariable
	case !old.Claude.Enabled:
		w.a.Claude = nobody
	case old.Claude.APIKey != "":
		w.a.Claude = byFile
	default:
		w.a.Claude = byVariable
	}
	return w, nil
}

func (w *Wizard) presetBackend(name string) error {
	w.a.Backend = strings.ToLower(name)
	if w.a.Backend == "metal" {
		w.a.Backend, w.notice = "cpu", noMetal
	}
	known := []string{"auto"}
	for _, b := range w.facts.Backends {
		known = append(known, b.Name)
	}
	if !slices.Contains(known, w.a.Backend) {
		return fmt.Errorf("wizard: choose the backend: found %q, expected one of %s", name, strings.Join(known, ", "))
	}
	return nil
}

const noMetal = "ONNX Runtime cannot run on Metal: the CPU is taken instead. On a Mac, coreml uses the GPU."

// presetModel takes the model from the presets, or else from the configuration.
func (w *Wizard) presetModel(old config.Model) error {
	switch {
	case w.a.Repo != "":
		w.a.Family = Own
	case w.a.Family != "":
		family, err := familyOf(w.a.Family)
		if err != nil {
			return err
		}
		w.a.Family = family
	case w.a.Size != "":
		w.a.Family = defaultFamily
	case old.Path != "" || old.Repo != "":
		w.presetRepo(cmp.Or(old.Path, old.Repo))
	default:
		family, err := familyOf(cmp.Or(old.Family, defaultFamily))
		if err != nil { // it was written by hand: Load says nothing about it
			family = defaultFamily
		}
		w.a.Family, w.a.Size = family, old.Size
		return nil
	}
	if s := w.a.Size; s != "" && len(w.family()) > 0 && w.chosen().Alias == "" {
		var there []string
		for _, e := range w.family() {
			there = append(there, e.Size)
		}
		return fmt.Errorf("wizard: choose the size: found %q, and the family %s has: %s", s, w.family()[0].Family, strings.Join(there, ", "))
	}
	return nil
}

// presetRepo finds the family of a model that the configuration names otherwise.
func (w *Wizard) presetRepo(name string) {
	for _, e := range hub.Catalogue() {
		if strings.EqualFold(name, e.Alias) || e.Repo != "" && strings.EqualFold(name, e.Repo) {
			if w.a.Family, w.a.Size = familyKey(e), e.Size; e.Repo == "" {
				w.a.Family = hub.Tiny
			}
			return
		}
	}
	w.a.Family, w.a.Repo = Own, name
}

// Step is where the wizard is.
func (w *Wizard) Step() Step { return w.step }

// Back goes to the question before, and says whether there was one. What was answered is its default.
func (w *Wizard) Back() bool {
	if !w.canGoBack() {
		return false
	}
	last := len(w.trail) - 1
	w.step, w.trail, w.notice = w.trail[last], w.trail[:last], ""
	return true
}

func (w *Wizard) canGoBack() bool { return len(w.trail) > 0 && w.step < Saving }

// go to the next step.
func (w *Wizard) to(next Step) {
	w.trail, w.step = append(w.trail, w.step), next
}

// Key is the key for Claude that was chosen, "" if there is none yet.
func (w *Wizard) Key() string {
	switch w.a.Claude {
	case byVariable:
		return strings.TrimSpace(w.facts.Env(w.a.KeyEnv))
	case byFile:
		return cmp.Or(w.a.Key, w.facts.Old.Claude.APIKey)
	}
	return ""
}

// Checked says what checking the key showed. One that does not work leads back to the question about Claude.
func (w *Wizard) Checked(err error) {
	if err == nil {
		w.step, w.notice = Preview, "The key works."
		return
	}
	w.notice = "The key does not work: choose again, or go on without checking it."
	for w.step != Claude {
		last := len(w.trail) - 1
		w.step, w.trail = w.trail[last], w.trail[:last]
	}
	w.a.Check = false
}

// Saved says that the configuration is written.
func (w *Wizard) Saved() {
	w.step, w.notice = Download, ""
	if w.Model() == hub.Tiny || w.isFolder() {
		w.step = Done
	}
}

// Wanted says whether the model is to be downloaded now.
func (w *Wizard) Wanted() bool { return w.wanted }

// Model is the name of the model that was chosen.
func (w *Wizard) Model() string {
	switch w.a.Family {
	case Own:
		return w.a.Repo
	case hub.Tiny:
		return hub.Tiny
	}
	return w.chosen().Alias
}

func (w *Wizard) isFolder() bool { return w.a.Family == Own && strings.HasPrefix(w.a.Repo, "/") }

// Backend is the provider that was chosen.
func (w *Wizard) Backend() string { return w.a.Backend }

// Values are the keys to write. What is not set now and stays so is not among them.
func (w *Wizard) Values() map[string]string {
	old, values := w.facts.Old, map[string]string{}
	put := func(key, value, before string) {
		if value != "" || before != "" {
			values[key] = value
		}
	}
	put("model.backend", w.a.Backend, "")
	var family, size, repo string
	switch w.a.Family {
	case Own, hub.Tiny:
		repo = w.Model()
	default:
		family, size = w.a.Family, w.a.Size
	}
	put("model.family", family, old.Model.Family)
	put("model.size", size, old.Model.Size)
	put("model.repo", repo, old.Model.Repo)
	put("model.path", "", old.Model.Path)
	if family != old.Model.Family || size != old.Model.Size || repo != old.Model.Repo { // these belong to the model that was
		put("model.variant", "", old.Model.Variant)
		put("model.revision", "", old.Model.Revision)
	}
	put("claude.enabled", fmt.Sprint(w.a.Claude != nobody), "")
	switch w.a.Claude {
	case byVariable:
		put("claude.api_key_env", w.a.KeyEnv, "")
		put("claude.api_key", "", old.Claude.APIKey)
	case byFile:
		put("claude.api_key", w.Key(), "")
	case nobody:
		put("claude.api_key", "", old.Claude.APIKey)
	}
	return values
}

// preview is the file as it will be, but for the keys in it.
func (w *Wizard) preview() ([]string, error) {
	values := w.Values()
	for key, secret := range map[string]string{"claude.api_key": cmp.Or(values["claude.api_key"], w.facts.Old.Claude.APIKey), "server.api_key": w.facts.Old.Server.APIKey} {
		if value, written := values[key]; secret != "" && (!written || value != "") {
			values[key] = "********"
		}
	}
	data, err := config.Edit(w.facts.File, values)
	if err != nil {
		return nil, fmt.Errorf("wizard: change %s: %w", w.facts.Path, err)
	}
	return strings.Split(strings.TrimRight(string(data), "\n"), "\n"), nil
}
