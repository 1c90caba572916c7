// Package provider knows which execution providers this binary was built for (one tagged file each says so), and chooses the one that
// runs a model: what is tried, what must be true of it, and what is said.
package provider

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/shammah/shammah-engine/coreml"
	"github.com/shammah/shammah-engine/cuda"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

// The providers by the names that are asked for. Every binary has the CPU; Plugin is whatever a library brings.
const (
	CPU    = "cpu"
	CUDA   = "cuda"
	CoreML = "coreml"
	Plugin = "plug-in"
)

// ErrUnknown says that a provider was asked for that this binary does not have.
var ErrUnknown = errors.New("no such provider")

// ErrOption says that an option was given that the provider does not have, or with a value that it does not take.
var ErrOption = errors.New("wrong provider option")

// Wish is what was asked for.
type Wish struct {
	Name    string            // auto or "", cpu, cuda, coreml, metal; with a Library, which of its providers, if it has several
	Library string            // of a plug-in
	Options map[string]string // the provider's: as cuda.Parse and coreml.Parse read them; a plug-in gets them as they are, but for "device"
	Least   float64           // the share of the compute that the provider must hold, 0 for the rules of Judge
	Force   bool              // take what runs, however little of it the provider holds
}

// named says whether one provider was asked for: then it is an error if it cannot run.
func (w Wish) named() bool { return w.Library != "" || w.Name != "" && w.Name != "auto" }

// Candidate is a provider that may run a model.
type Candidate struct {
	Name     string       // as it is asked for: cpu, cuda, coreml, or the title of a plug-in's library
	Kind     string       // CPU, CUDA, CoreML or Plugin
	Provider ort.Provider // the zero value for the CPU
	coreML   coreml.Options
}

// Names lists the providers of this binary, the preferred one first.
func Names() []string {
	if Build == CPU {
		return []string{CPU}
	}
	return []string{Build, CPU}
}

// Chain is what to try for the name that was asked for, in order. "auto" is every provider of this binary;
// one that is asked for by name is tried alone, so that it fails instead of something else running in its place.
func Chain(name string) ([]Candidate, error) { return Wish{Name: name}.Chain() }

// NoMetal is what to say where Metal was asked for.
const NoMetal = "ONNX Runtime has no Metal provider: the CPU is taken instead; on a Mac, coreml uses the GPU"

// Notice is what the user should know about the wish itself, "" for nothing.
func (w Wish) Notice() string {
	if w.Name == "metal" && w.Library == "" {
		return NoMetal
	}
	return ""
}

// Chain is what to try, in order.
func (w Wish) Chain() ([]Candidate, error) {
	names := Names()
	switch {
	case w.Library != "":
		return w.plugin()
	case w.Name == "metal":
		names = []string{CPU}
	case w.named():
		if w.Name != CPU && w.Name != Build {
			return nil, unknown(w.Name)
		}
		names = []string{w.Name}
	}
	var chain []Candidate
	for _, name := range names {
		c, err := w.candidate(name)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

func unknown(name string) error {
	hint := "expected auto or one of " + strings.Join(Names(), ", ")
	if name == CUDA || name == CoreML {
		hint = fmt.Sprintf("this binary is for %s; %s", Build, Made(name))
	}
	return fmt.Errorf("provider: choose %q: %w: %s", name, ErrUnknown, hint)
}

// Made says how a program with a provider is had that this one does not have, and where it runs, if that is not here.
func Made(name string) string {
	home := map[string]struct{ system, title string }{CUDA: {"linux", "Linux"}, CoreML: {"darwin", "a Mac"}}[name]
	text := fmt.Sprintf("`make %s` makes one", name)
	if home.system != runtime.GOOS {
		text += ", for " + home.title
	}
	return text
}

// candidate is a provider of this binary with the options that were given. In a chain these are the first one's.
func (w Wish) candidate(name string) (Candidate, error) {
	c := Candidate{Name: name, Kind: name}
	var err error
	switch name {
	case CUDA:
		var o cuda.Options
		if o, err = cuda.Parse(w.Options); err == nil {
			c.Provider = o.Provider(Machine())
		}
	case CoreML:
		if c.coreML, err = coreml.Parse(w.Options); err == nil {
			c.Provider = c.coreML.Provider()
		}
	default:
		if len(w.Options) > 0 && (w.named() || Build == CPU) {
			err = fmt.Errorf("provider: %s takes no options", name)
		}
	}
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrOption, err)
	}
	return c, nil
}

// Machine is this one, for package cuda.
func Machine() cuda.Machine { return cuda.Machine{Root: os.DirFS("/"), Env: os.Getenv} }

// plugin is the provider of a library.
func (w Wish) plugin() ([]Candidate, error) {
	path, err := filepath.Abs(w.Library)
	if err != nil {
		return nil, fmt.Errorf("provider: %s: %w", w.Library, err)
	}
	c := Candidate{Name: w.Name, Kind: Plugin, Provider: ort.Provider{Plugin: path, Options: map[string]string{}}}
	if w.Name == "" || w.Name == "auto" {
		c.Name, _, _ = strings.Cut(strings.TrimPrefix(filepath.Base(path), "lib"), ".")
	} else {
		c.Provider.Name = w.Name
	}
	for key, value := range w.Options {
		if key != "device" {
			c.Provider.Options[key] = value
			continue
		}
		if value != "cpu" && value != "gpu" && value != "npu" {
			return nil, fmt.Errorf("%w: provider: option device is %q, expected cpu, gpu or npu", ErrOption, value)
		}
		c.Provider.Device = value
	}
	return []Candidate{c}, nil
}

// Driver is the version of what the candidate computes through, for remembering what worked with it: NVIDIA's driver and cards, or the system.
func (c Candidate) Driver() string {
	if c.Kind == CUDA {
		d := Machine().Driver()
		return strings.Join(append([]string{d.Version}, d.Devices...), ", ")
	}
	return sys.Release()
}

// Wanted is the kind of provider that a download is best made for: the first of the chain of which this machine shows any sign.
func Wanted(chain []Candidate) string {
	for _, c := range chain[:len(chain)-1] {
		if c.Kind != CUDA || Machine().Present() {
			return c.Kind
		}
	}
	return chain[len(chain)-1].Kind
}

// For is the candidate for one model, whose graph lies in a file: what CoreML compiles is kept below cache.
func (c Candidate) For(graph, cache string) (Candidate, error) {
	if c.Kind != CoreML {
		return c, nil
	}
	o, err := c.coreML.For(graph, cache)
	c.Provider = o.Provider()
	return c, err
}

// Explain puts what can be done into an error of the candidate's.
func (c Candidate) Explain(err error) error {
	if c.Kind == CUDA {
		return cuda.Explain(err)
	}
	return err
}

// Providers is the list that a session is opened with.
func (c Candidate) Providers() []ort.Provider {
	if c.Kind == CPU {
		return nil
	}
	return []ort.Provider{c.Provider}
}
