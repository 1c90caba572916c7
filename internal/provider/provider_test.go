package provider

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func names(list []Candidate) (out []string) {
	for _, c := range list {
		out = append(out, c.Name)
	}
	return out
}

func TestChain(t *testing.T) {
	for _, c := range []struct {
		asked string
		want  []string
	}{{"auto", Names()}, {"", Names()}, {CPU, []string{CPU}}, {Build, []string{Build}}, {"metal", []string{CPU}}} {
		got, err := Chain(c.asked)
		if err != nil || !slices.Equal(names(got), c.want) {
			t.Errorf("chain %q = %v, %v; want %v", c.asked, names(got), err, c.want)
		}
	}
	if Names()[len(Names())-1] != CPU {
		t.Errorf("names %v, want the CPU last", Names())
	}
	for _, asked := range []string{"gpu", "CPU", "rocm"} {
		if _, err := Chain(asked); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "expected auto or one of") {
			t.Errorf("chain %q: %v, want ErrUnknown with what there is", asked, err)
		}
	}
	if (Wish{Name: "metal"}).Notice() != NoMetal || (Wish{Name: CPU}).Notice() != "" {
		t.Error("Metal is noticed, and nothing else")
	}
	for name, c := range map[string]struct{ system, want string }{CUDA: {"linux", ", for Linux"}, CoreML: {"darwin", ", for a Mac"}} {
		if got := strings.Contains(Made(name), c.want); got != (runtime.GOOS != c.system) {
			t.Errorf("%s is made so: %s", name, Made(name))
		}
	}
	if Build == CPU {
		if _, err := Chain(CUDA); err == nil || !strings.Contains(err.Error(), "make cuda") {
			t.Errorf("chain cuda: %v, want it to name the build that has it", err)
		}
	}
}

// Each kind takes its own options, whatever this binary is.
func TestCandidates(t *testing.T) {
	for _, c := range []struct {
		wish    Wish
		kind    string
		options map[string]string
		err     string
	}{
		{Wish{Options: map[string]string{"device": "1"}}, CUDA, map[string]string{"device_id": "1"}, ""},
		{Wish{Options: map[string]string{"units": "gpu"}}, CUDA, nil, `cuda: option "units"`},
		{Wish{Options: map[string]string{"units": "gpu"}}, CoreML, map[string]string{"MLComputeUnits": "CPUAndGPU"}, ""},
		{Wish{Options: map[string]string{"units": "?"}}, CoreML, nil, "coreml: option units"},
		{Wish{Name: CPU, Options: map[string]string{"units": "gpu"}}, CPU, nil, "cpu takes no options"},
		{Wish{}, CPU, nil, ""},
	} {
		got, err := c.wish.candidate(c.kind)
		if c.err != "" {
			if !errors.Is(err, ErrOption) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s with %v: %v, want ErrOption with %q", c.kind, c.wish.Options, err, c.err)
			}
			continue
		}
		for key, want := range c.options {
			if got.Provider.Options[key] != want {
				t.Errorf("%s with %v: options %v, want %s=%s", c.kind, c.wish.Options, got.Provider.Options, key, want)
			}
		}
		if (len(got.Providers()) == 0) != (c.kind == CPU) || err != nil {
			t.Errorf("%s: providers %v, %v", c.kind, got.Providers(), err)
		}
	}
}

func TestPluginCandidate(t *testing.T) {
	chain, err := Wish{Name: "auto", Library: "lib/libmlx_ep.so.1", Options: map[string]string{"device": "gpu", "fast": "1"}}.Chain()
	if err != nil || len(chain) != 1 {
		t.Fatalf("chain %v, %v", chain, err)
	}
	c := chain[0]
	if p := c.Provider; c.Name != "mlx_ep" || !filepath.IsAbs(p.Plugin) || p.Device != "gpu" || p.Name != "" || len(p.Options) != 1 || p.Options["fast"] != "1" {
		t.Errorf("candidate %+v, want mlx_ep of an absolute path, on the GPU, with one option of its own", c)
	}
	if chain, err = (Wish{Name: "MLX", Library: "x.so"}).Chain(); err != nil || chain[0].Provider.Name != "MLX" {
		t.Errorf("by name: %+v, %v; want that provider of the library", chain, err)
	}
	if _, err = (Wish{Library: "x.so", Options: map[string]string{"device": "fpga"}}).Chain(); !errors.Is(err, ErrOption) {
		t.Errorf("a device of an unknown kind: %v", err)
	}
}

func TestForOneModel(t *testing.T) {
	c := Candidate{Name: CoreML, Kind: CoreML}
	if _, err := c.For(filepath.Join(t.TempDir(), "none.onnx"), "cache"); err == nil {
		t.Error("a graph that is not there has a cache")
	}
	got, err := c.For("provider_test.go", "cache")
	if dir := got.Provider.Options["ModelCacheDirectory"]; err != nil || filepath.Dir(dir) != "cache" {
		t.Errorf("cache folder %q, %v; want one below cache", dir, err)
	}
	if got, err := (Candidate{Name: CPU, Kind: CPU}).For("none", "cache"); err != nil || len(got.Providers()) != 0 {
		t.Errorf("the CPU: %v, %v; want nothing to do", got, err)
	}
}
