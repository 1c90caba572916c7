package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
	"github.com/shammah/shammah-engine/internal/provider"
)

func TestProviderFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--provider", "gpu"}, exitUsage, `choose "gpu"`},
		{[]string{"--provider", "ROCm"}, exitUsage, "expected auto or one of " + strings.Join(provider.Names(), ", ")},
		{[]string{"--require-provider", "0.5"}, exitUsage, "needs a provider by name"},
		{[]string{"--provider", "cpu", "--require-provider", "0"}, exitUsage, "expected a share above 0"},
		{[]string{"--provider", "cpu", "--require-provider", "NaN"}, exitUsage, "expected a share"},
		{[]string{"--provider", "cpu", "--require-provider", "90%"}, exitUsage, `"90%"`},
		{[]string{"--provider", "cpu", "--provider-option", "device"}, exitUsage, "expected KEY=VALUE"},
		{[]string{"--provider", "cpu", "--provider-option", "a=1", "--provider-option", "a=2"}, exitUsage, "each key once"},
		{[]string{"--provider", "cpu", "--provider-option", "a=1"}, exitUsage, "cpu takes no options"},
		{[]string{"--provider-library", ""}, exitUsage, "--provider-library has no file name"},
		{[]string{"--provider-library", "none.so"}, exitFailure, "none.so: no such file"},
		{[]string{"--provider-library", "provider_test.go"}, exitFailure, "not a shared library"},
		{[]string{"--provider-library", "none.so", "--provider-option", "device=fpga"}, exitUsage, "expected cpu, gpu or npu"},
		{[]string{"--provider", "cpu", "--require-provider", "1"}, 0, "CPU"},
		{[]string{"--provider", "CPU", "--require-provider", "1"}, 0, "CPU"},
		{[]string{"--provider", "Metal"}, 0, provider.NoMetal},
		{[]string{"--provider", "metal"}, 0, "tiny · genai · CPU"},
		{[]string{"-v"}, 0, "placement: CPU "},
	} {
		if provider.Build != provider.CPU && c.code == 0 && len(c.args) == 1 {
			continue // tries more than the CPU
		}
		got := command(t, "", append([]string{"run", "-n", "2", "hi"}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.problems, c.want) || c.code != 0 && (got.out != "" || strings.Count(got.problems, "\n") != 1) {
			t.Errorf("%v: got %d %q %q; want %d and %q, in one line where it fails", c.args, got.code, got.out, got.problems, c.code, c.want)
		}
	}
}

// The CUDA build on a machine without the driver: by name an error in one line that says so, else the CPU and the reason.
func TestCUDAWithoutADriver(t *testing.T) {
	if provider.Build != provider.CUDA {
		t.Skip("this is the program for " + provider.Build + ": go test -tags cuda tests CUDA's")
	}
	if provider.Machine().Present() {
		t.Skip("this machine has NVIDIA's driver")
	}
	got := command(t, "", "run", "--provider", "cuda", "hi")
	if got.code != exitFailure || got.out != "" || strings.Count(got.problems, "\n") != 1 || !strings.Contains(got.problems, "no NVIDIA driver") {
		t.Errorf("by name: %d %q %q, want 1 and one line that there is no NVIDIA driver", got.code, got.out, got.problems)
	}
	got = command(t, "", "run", "-n", "2", "hi")
	if got.code != 0 || got.out == "" || !strings.Contains(got.problems, "cuda does not run this model, cpu is tried: ") || !strings.Contains(got.problems, "no NVIDIA driver") || !strings.Contains(got.problems, "· CPU,") {
		t.Errorf("auto: %d %q %q, want an answer of the CPU and why", got.code, got.out, got.problems)
	}
	got = command(t, "", "doctor")
	if got.code != 0 || !strings.Contains(got.out, "no NVIDIA driver (install") {
		t.Errorf("doctor: %d\n%s\nwant 0, since nobody asked for CUDA, and what to do", got.code, got.out)
	}
	if got = command(t, "", "doctor", "--provider", "cuda"); got.code != exitFailure {
		t.Errorf("doctor --provider cuda: %d\n%s\nwant 1", got.code, got.out)
	}
}

func TestShowPlacement(t *testing.T) {
	model := fixture(t, "b-int4")
	got := command(t, "", "show", model, "--placement", "--provider", "cpu")
	if got.code != 0 || !strings.Contains(got.out, "placement") || !strings.Contains(got.out, "CPU ") {
		t.Errorf("got %d %q %q, want where the nodes are", got.code, got.out, got.problems)
	}
	got = command(t, "", "show", model, "--provider", "coreml") // needs no Mac
	for _, want := range []string{"CoreML can take at most ", "MatMulNBits (", "weights of 4 bits in blocks"} {
		if got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("got %d %q %q, want %q", got.code, got.out, got.problems, want)
		}
	}
	if got = command(t, "", "show", model); got.code != 0 || strings.Contains(got.out, "placement") {
		t.Errorf("got %d %q, want nothing of what was not asked for", got.code, got.out)
	}
}

// examined is what doctor --json prints.
type examined struct {
	Build    string
	Well     bool
	Findings []finding
}

func (e examined) find(name string) (list []finding) {
	for _, f := range e.Findings {
		if f.Name == name {
			list = append(list, f)
		}
	}
	return list
}

func examine(t *testing.T, code int, args ...string) (e examined) {
	t.Helper()
	got := command(t, "", append([]string{"doctor", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(got.out), &e); err != nil || got.code != code || e.Well != (code == 0) {
		t.Fatalf("doctor %v: %d, %v\n%s%s\nwant %d and an object that says so", args, got.code, err, got.out, got.problems, code)
	}
	return e
}

func TestDoctor(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	e := examine(t, 0)
	for _, name := range []string{"program", "processor", "features", "kernels", "memory", "config", "models", "cache", "hub", "python", "runtime", "built in", "cpu"} {
		if list := e.find(name); len(list) == 0 || list[0].Found == "" || list[0].State == failed {
			t.Errorf("%s: %+v, want something that was found", name, list)
		}
	}
	if cpu := e.find("cpu"); len(cpu) != 1 || !strings.HasPrefix(cpu[0].Found, "right on CPU") {
		t.Errorf("the CPU: %+v", cpu)
	}
	if provider.Build == provider.CPU {
		if cuda := e.find("cuda"); len(cuda) != 1 || cuda[0].State != note || !strings.Contains(cuda[0].Fix, "make cuda") {
			t.Errorf("CUDA: %+v, want that another build has it", cuda)
		}
	}
	text := command(t, "", "doctor")
	for _, f := range e.Findings {
		if !strings.Contains(text.out, f.Name) {
			t.Errorf("as text %s is missing:\n%s", f.Name, text.out)
		}
	}
	if hub := e.find("hub"); hub[0].Found != "not asked" {
		t.Errorf("the hub: %+v, want it left alone", hub)
	}
	e = examine(t, exitFailure, "--provider-library", "provider_test.go")
	if plugin := e.find("plug-in"); len(plugin) != 1 || plugin[0].State != failed {
		t.Errorf("a plug-in that is none: %+v", plugin)
	}
	if asked := e.find("provider_test"); len(asked) != 1 || asked[0].State != failed || !strings.HasPrefix(asked[0].Fix, "without --provider-library") {
		t.Errorf("it is tried as %+v", asked)
	}
	e = examine(t, exitFailure, "--provider-option", "x")
	if asked := e.find("provider"); len(asked) != 1 || strings.Contains(asked[0].Found, errUsage.Error()) || !strings.HasPrefix(asked[0].Fix, "leave the option out") {
		t.Errorf("an option that is none: %+v", asked)
	}
	e = examine(t, exitFailure, "--provider", "rocm")
	if asked := e.find("provider"); len(asked) != 1 || asked[0].State != failed || asked[0].Fix == "" || len(e.find("cpu")) != 1 {
		t.Errorf("a provider that does not exist: %+v, want it failed, and the others tried", asked)
	}
}

func TestDoctorLooksAtFiles(t *testing.T) {
	home := t.TempDir()
	t.Setenv("SHAMMAH_HOME", home)
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(home, "config.toml"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("[claude]\napi_key = \"sk-1\"\n", 0o644)
	config := examine(t, 0).find("config")
	if len(config) != 2 || !strings.Contains(config[0].Found, "0644") || config[1].State != note {
		t.Errorf("a key that all may read: %+v, want a note", config)
	}
	write("[model]\nbackend = \"abacus\"\n", 0o600)
	if config := examine(t, exitFailure).find("config"); len(config) != 1 || config[0].State != failed || !strings.Contains(config[0].Found, "abacus") {
		t.Errorf("a value that does not exist: %+v", config)
	}
	cache := filepath.Join(home, "cache")
	if err := os.WriteFile(cache, nil, 0o600); err != nil { // a file where a folder should be
		t.Fatal(err)
	}
	write("", 0o600)
	t.Setenv("XDG_CACHE_HOME", cache)
	if found := examine(t, 0).find("cache"); len(found) != 1 || found[0].State != note || !strings.Contains(found[0].Found, "cannot be written") {
		t.Errorf("a cache that is a file: %+v", found)
	}
}

// Where nothing can be kept doctor says so, and each fix is one that works: --install cannot bring Python itself.
func TestDoctorOfABareMachine(t *testing.T) {
	home := t.TempDir()
	t.Setenv("SHAMMAH_HOME", home)
	t.Setenv("PATH", t.TempDir())
	t.Setenv("SHAMMAH_PYTHON", "")
	if python := examine(t, 0).find("python"); len(python) != 1 || !strings.HasPrefix(python[0].Found, "find Python: ") ||
		!strings.HasPrefix(python[0].Fix, "install Python 3.11 or newer") || strings.Contains(python[0].Fix, "--install") {
		t.Errorf("without Python: %+v", python)
	}
	t.Setenv("SHAMMAH_PYTHON", fakePython(t, ""))
	if python := examine(t, 0).find("python"); len(python) != 1 || python[0].State != fine {
		t.Errorf("with Python: %+v", python)
	}
	bare := filepath.Join(home, "python3")
	if err := os.WriteFile(bare, []byte("#!/bin/sh\necho torch peft\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHAMMAH_PYTHON", bare)
	if python := examine(t, 0).find("python"); len(python) != 1 || !strings.HasSuffix(python[0].Found, "packages are missing: torch, peft") ||
		!strings.HasPrefix(python[0].Fix, "`shammah-engine lora train --install` puts them into "+home) {
		t.Errorf("without the packages: %+v", python)
	}
	for _, name := range []string{"HOME", "SHAMMAH_HOME", "SHAMMAH_CONFIG"} {
		t.Setenv(name, "")
	}
	if config := examine(t, 0).find("config"); len(config) != 1 || config[0].State != note || !strings.Contains(config[0].Fix, "SHAMMAH_HOME") {
		t.Errorf("without a home: %+v", config)
	}
}

func TestDoctorAsksTheHub(t *testing.T) {
	h := hubtest.New(t)
	t.Setenv("HF_ENDPOINT", h.URL)
	if hub := examine(t, 0, "--network").find("hub"); hub[0].State != fine || !strings.Contains(hub[0].Found, "answers") {
		t.Errorf("a hub that is there: %+v", hub)
	}
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	if hub := examine(t, exitFailure, "--network").find("hub"); hub[0].State != failed || hub[0].Fix == "" {
		t.Errorf("a hub that is not there: %+v", hub)
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	if hub := examine(t, 0, "--network").find("hub"); hub[0].State != note {
		t.Errorf("offline: %+v", hub)
	}
}

func TestHugePagesAreNamed(t *testing.T) {
	for text, want := range map[string]string{"always [madvise] never\n": fine, "[always] madvise never": fine, "always madvise [never]": note, "": note, "broken": note} {
		p := &patient{show: func(finding) error { return nil }}
		p.hugePages(fstest.MapFS{"sys/kernel/mm/transparent_hugepage/enabled": {Data: []byte(text)}})
		if len(p.list) != 1 || p.list[0].State != want || want == note && p.list[0].Fix == "" {
			t.Errorf("%q: %+v, want %s", text, p.list, want)
		}
	}
}
