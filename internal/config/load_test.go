package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/sample"
)

// canary is a key that must never be seen.
const canary = "sk-ant-canary-0123456789"

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func write(t testing.TB, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, text string) (*Settings, error) {
	t.Helper()
	return Load(Options{Path: write(t, text, 0o600), Env: env()})
}

func numbered(line string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, line, i)
	}
	return b.String()
}

func TestDefaults(t *testing.T) {
	home := t.TempDir()
	s, err := Load(Options{Env: env("HOME", home)})
	if err != nil {
		t.Fatal(err)
	}
	if s.Path != filepath.Join(home, ".shammah", "config.toml") {
		t.Errorf("the file is %s", s.Path)
	}
	var want Config
	want.Model.Backend, want.Generation.Overflow, want.Generation.Speculate, want.Router.Mode = "auto", "error", "auto", "auto"
	want.Claude.Enabled, want.Claude.APIKeyEnv = true, "ANTHROPIC_API_KEY"
	want.Server.Address = "127.0.0.1:8000"
	want.UI = UI{Color: "auto", Status: true, History: true}
	if !reflect.DeepEqual(s.Config, want) || len(s.Warnings) > 0 {
		t.Errorf("got %+v %q, want %+v", s.Config, s.Warnings, want)
	}
	if _, err := os.Stat(filepath.Join(home, ".shammah")); err == nil {
		t.Error("reading made the folder")
	}
}

// TestBad is K of the faults: the key, the line and the nearest right name are said, in one line.
func TestBad(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[model]\nfamly = 'x'\n", "line 2: unknown key model.famly, did you mean model.family?"},
		{"[model]\n\n# c\nFamily = 'x'\n", "line 4: unknown key model.Family, did you mean model.family?"},
		{"[model]\ntemperature = 1\n", "unknown key model.temperature, did you mean generation.temperature?"},
		{"temperature = 1\n", "line 1: unknown key temperature, did you mean generation.temperature?"},
		{"[modle]\nfamily = 'x'\n", "line 1: unknown table [modle], did you mean model?"},
		{"modle.family = 'x'\n", "line 1: unknown key modle.family, did you mean model.family?"},
		{"[model]\nzzzzzzzz = 1\n", "unknown key model.zzzzzzzz"},
		{"[model.family]\nx = 1\n", "line 1: unknown table [model.family]"},
		{"'model.family' = 'x'\n", `unknown key "model.family"`},
		{"\"a\\nb\" = 'x'\n", `unknown key "a\nb"`},
		{"model = 3\n", "line 1: model is an integer, expected a table [model]"},
		{"[[model]]\nfamily = 'x'\n", "line 1: model is an array of tables, expected one table [model]"},
		{"[model]\nfamily = 3\n", "line 2: model.family is an integer, expected a string"},
		{"model = { family = 'x',\nsize = true }\n", "line 2: model.size is a boolean, expected one of small, medium, large"},
		{"[model]\nsize = 'larg'\n", `line 2: model.size is "larg", expected one of small, medium, large, did you mean large?`},
		{"[router]\nmode = ''\n", `router.mode is "", expected one of auto, local, claude`},
		{"[generation]\ncontext = 4096.5\n", "generation.context is a number, expected an integer from 0"},
		{"[generation]\ncontext = -1\n", "generation.context is -1, expected an integer from 0"},
		{"[generation]\ncontext = 9999999999999\n", "generation.context is 9999999999999, expected an integer from 0 to 2147483647"},
		{"[generation]\ncontext = 99999999999999999999999\n", "line 2, column 11: "},
		{"[generation]\ntemperature = 'hot'\n", "generation.temperature is a string, expected a number"},
		{"[generation]\ntemperature = nan\n", "generation.temperature is NaN, expected 0 (greedy) or a finite number above it (from "},
		{"[generation]\n\ntop_p = 1.5\n", "line 3)"},
		{"[generation]\ntop_p = 0\n", "generation.top_p is 0, expected a number above 0"},
		{"[generation]\nstop = ['']\n", "number 1 is empty"},
		{"[generation]\nstop = [1]\n", "generation.stop is an array, expected an array of strings"},
		{"[generation]\nseed = 1.0\n", "generation.seed is a number, expected an integer of 64 bits"},
		{"[ui]\nstatus = 'yes'\n", "ui.status is a string, expected true or false"},
		{"[claude]\napi_key = '${ANTHROPIC_API_KEY}'\n", "is not expanded here: put its name into claude.api_key_env"},
		{"[claude]\nbase_url = 'https://u:p@h'\n", "claude.base_url is no address"},
		{"[claude]\nbase_url = 'example.org'\n", "claude.base_url is no address"},
		{"[claude]\napi_key = 1979-05-27\n", "claude.api_key is a date or time, expected a string"},
		{"[model]\nfamily = 'x'\nfamily = 'y'\n", "family"},
		{"[model]\nfamily = 'x\n", "line 2, column "},
		{"[model\n", "line 1, column "},
		{"[model]\nfamily = \n", "line 2, column "},
		{"[model]\nfamily = '\xff'\n", "line 2, column "},
		{"[model]\nfamily = '\x00'\n", "line 2, column "},
		{"\xff\xfe[\x00", "it is UTF-16, expected UTF-8"},
		{"x = " + strings.Repeat("[", 60000), "nested"},
		{strings.Repeat("\n[x]", 10000), "line 3, column "},
		{"[[x]]" + strings.Repeat("\n[[x]]", 9000), "line 1: unknown table [x] (and 19 more)"},
		{numbered("k%d = 1\n", 5000), "line 1: unknown key k0 (and 19 more)"},
		{"a = 1\nb = 2\n[model]\nc = 3\n", "line 1: unknown key a (and 2 more)"},
		{"[model]\nb = 1\n[modle]\na = 1\nc = 2\n", "line 2: unknown key model.b (and 1 more)"},
	} {
		_, err := load(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "config: ") {
			t.Errorf("%.60q: got %v, want one line with %q", c.text, err, c.want)
		}
	}
}

func TestGood(t *testing.T) {
	for name, text := range map[string]string{
		"plain":       "[model]\nfamily = 'qwen' # the family\n[generation]\ntemperature = 1\nstop = ['a', 'b']\nseed = -1\n",
		"mark":        "\ufeff[model]\nfamily = 'qwen'\n[generation]\ntemperature = 1.0\nstop = [\n'a', # first\n'b']\nseed = -1\n",
		"CRLF":        "[model]\r\nfamily = 'qwen'\r\n[generation]\r\ntemperature = 1\r\nstop = ['a', 'b']\r\nseed = -1\r\n",
		"dotted":      "model.family = 'qwen'\ngeneration.temperature = 1\ngeneration.stop = ['a', 'b']\ngeneration.seed = -1",
		"inline":      "model = { family = 'qwen' }\ngeneration = { temperature = 1, stop = ['a', 'b'], seed = -1 }",
		"other order": "[generation]\nseed = -1\nstop = ['a', 'b']\ntemperature = 1\n[model]\nfamily = 'qwen'\n",
	} {
		s, err := load(t, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		g := s.Generation
		if s.Model.Family != "qwen" || g.Temperature == nil || *g.Temperature != 1 || !reflect.DeepEqual(g.Stop, []string{"a", "b"}) || *g.Seed != 1<<64-1 {
			t.Errorf("%s: got %+v", name, s.Config)
		}
		if got := s.Source("generation.temperature"); got.Rank != File || got.Line == 0 {
			t.Errorf("%s: temperature came from %v", name, got)
		}
	}
	if s, err := load(t, "[generation]\nsystem = '${HOME} $x'\n"); err != nil || s.Generation.System != "${HOME} $x" {
		t.Errorf("a variable's name in a text: got %q, %v; want it as it is", s.Generation.System, err)
	}
}

// TestOrder: flag, environment, file, default.
func TestOrder(t *testing.T) {
	path := write(t, "[model]\nbackend = 'cuda'\nthreads = 3\n[generation]\nstop = ['a']\n", 0o600)
	for _, c := range []struct {
		name         string
		env          []string
		flags        []FlagValue
		backend      string
		source, stop string
	}{
		{"file", nil, nil, "cuda", path + ", line 2", "a"},
		{"environment", []string{"SHAMMAH_PROVIDER", "coreml", "SHAMMAH_GENERATION_STOP", "b"}, nil, "coreml", "SHAMMAH_PROVIDER", "b"},
		{"empty variable", []string{"SHAMMAH_PROVIDER", ""}, nil, "cuda", path + ", line 2", "a"},
		{"flag", []string{"SHAMMAH_PROVIDER", "coreml"},
			[]FlagValue{{"model.backend", "--provider", "cpu"}, {"generation.stop", "--stop", `["x", "y"]`}}, "cpu", "--provider", `["x", "y"]`},
	} {
		s, err := Load(Options{Path: path, Env: env(c.env...), Flags: c.flags})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		stop, _ := s.Get("generation.stop")
		if got := s.Source("model.backend").String(); s.Model.Backend != c.backend || got != c.source || stop != c.stop {
			t.Errorf("%s: got %s from %s, stop %s; want %s from %s, %s", c.name, s.Model.Backend, got, stop, c.backend, c.source, c.stop)
		}
		if s.Model.Threads != 3 || s.Source("router.mode").String() != "default" {
			t.Errorf("%s: %d threads, mode from %v", c.name, s.Model.Threads, s.Source("router.mode"))
		}
	}
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{Path: path, Env: env("SHAMMAH_PROVIDER", "gpu")}, `config: read the environment: SHAMMAH_PROVIDER: model.backend is "gpu", expected one of auto, cpu, cuda, coreml`},
		{Options{Path: path, Env: env("SHAMMAH_THREADS", "many")}, `SHAMMAH_THREADS: model.threads is "many", expected an integer from 0 to 4096`},
		{Options{Path: path, Env: env(), Flags: []FlagValue{{"generation.temperature", "--temperature", "-1"}}}, "generation.temperature is -1, expected 0 (greedy) or a finite number above it (from --temperature)"},
		{Options{Path: path, Env: env(), Flags: []FlagValue{{"generation.temprature", "--set", "1"}}}, "unknown key generation.temprature, did you mean generation.temperature?"},
		{Options{Path: path, Env: env(), Flags: []FlagValue{{"generation.stop", "--stop", "[1"}}}, "generation.stop is"},
	} {
		if _, err := Load(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestNoHomeIsNoFile(t *testing.T) {
	file := write(t, "", 0o600)
	for name, variables := range map[string]func(string) string{
		"no HOME": env("SHAMMAH_THREADS", "3"), "HOME is a file": env("HOME", file, "SHAMMAH_THREADS", "3"),
	} {
		s, err := Load(Options{Env: variables})
		if err != nil || s.Model.Threads != 3 || s.Model.Backend != "auto" {
			t.Errorf("%s: got %+v, %v; want the defaults and what the environment says", name, s, err)
		}
	}
	if _, err := Home(env()); err == nil || !strings.Contains(err.Error(), "HOME is not set; set it, or SHAMMAH_HOME") {
		t.Errorf("home without HOME: %v, want it to say what to set", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	notFolder := write(t, "", 0o600)
	for _, c := range []struct{ name, path, want string }{
		{"missing but asked for", filepath.Join(dir, "none.toml"), "none.toml: no such file"},
		{"a folder", dir, "it is a folder, expected a file"},
		{"a device", os.DevNull, "it is not a regular file"},
		{"below a file", filepath.Join(notFolder, "config.toml"), "not a directory"},
		{"too large", write(t, strings.Repeat("#\n", fileBytesMax), 0o600), "expected at most 65536"},
	} {
		_, err := Load(Options{Path: c.path, Env: env()})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), c.path) != 1 {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	t.Run("unreadable", func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Skip("root can read everything: another user is missing")
		}
		if _, err := Load(Options{Path: write(t, "", 0), Env: env()}); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("home", func(t *testing.T) {
		path := write(t, "[model]\nfamily = 'x'\n", 0o600)
		s, err := Load(Options{Env: env("SHAMMAH_HOME", filepath.Dir(path))})
		if err != nil || s.Model.Family != "x" {
			t.Errorf("got %v", err)
		}
	})
}

// TestSecrets: keys are nowhere to be seen, and a file that shows them is warned about.
func TestSecrets(t *testing.T) {
	text := "[claude]\napi_key = '" + canary + "'\n"
	for mode, warnings := range map[os.FileMode]int{0o600: 0, 0o640: 1, 0o604: 1, 0o400: 0} {
		s, err := Load(Options{Path: write(t, text, mode), Env: env()})
		if err != nil || len(s.Warnings) != warnings {
			t.Fatalf("mode %o: %d warnings, %v; want %d", mode, len(s.Warnings), err, warnings)
		}
		seen := strings.Join(s.Warnings, "")
		for _, l := range s.Lines() {
			seen += l.Key + l.Value + l.Source + l.Doc
		}
		if v, _ := s.Get("claude.api_key"); v != mask || strings.Contains(seen, canary) {
			t.Errorf("the key is seen: %q", v)
		}
		if key, from := s.ClaudeKey(); key != canary || from.Line != 2 {
			t.Errorf("the key is %q from %v", key, from)
		}
	}
	if s, err := Load(Options{Path: write(t, "[ui]\nstatus = false\n", 0o644), Env: env()}); err != nil || len(s.Warnings) > 0 {
		t.Errorf("a file without a key: %v %v", s.Warnings, err)
	}
	for _, text := range []string{
		"[claude]\napi_key = ['" + canary + "']\n", "[claude]\napi_kei = '" + canary + "'\n", "[claude]\napi_key = '" + canary + "\n", "api_key = '" + canary + "'",
		"[claude]\napi_key = " + canary + "\n", "[claude]\napi_key = '" + canary + "'\n[claude]\n", "[claude]\napi_key = '" + canary + "' x\n", "[ui]\nstatus = '" + canary + "'\n",
	} {
		if _, err := load(t, text); err == nil || strings.Contains(err.Error(), canary[5:12]) {
			t.Errorf("%q: the error is %v", text, err)
		}
	}
}

func TestClaudeKey(t *testing.T) {
	path := write(t, "[claude]\napi_key = 'of the file'\napi_key_env = 'MY_KEY'\n", 0o600)
	for _, c := range []struct {
		env       []string
		key, from string
	}{
		{nil, "of the file", path + ", line 2"},
		{[]string{"ANTHROPIC_API_KEY", "of another variable"}, "of the file", path + ", line 2"},
		{[]string{"MY_KEY", " of the variable\n"}, "of the variable", "MY_KEY"},
	} {
		s, err := Load(Options{Path: path, Env: env(c.env...)})
		if err != nil {
			t.Fatal(err)
		}
		if key, from := s.ClaudeKey(); key != c.key || from.String() != c.from {
			t.Errorf("%v: got %q from %v, want %q from %s", c.env, key, from, c.key, c.from)
		}
	}
	s, err := Load(Options{Env: env("HOME", t.TempDir())})
	if key, from := s.ClaudeKey(); err != nil || key != "" || from.Rank != Default {
		t.Errorf("without any: %q %v %v", key, from, err)
	}
}

func TestChoice(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        []string
		flags      []FlagValue
		want       Choice
	}{
		{"nothing", "", nil, nil, Choice{}},
		{"family", "[model]\nfamily = 'qwen2.5'\nsize = 'small'\nvariant = 'q4'\n", nil, nil, Choice{Family: "qwen2.5", Size: "small", Variant: "q4"}},
		{"repo over family", "[model]\nfamily = 'qwen2.5'\nrepo = 'a/b'\nrevision = 'v1'\n", nil, nil, Choice{Repo: "a/b", Revision: "v1"}},
		{"path over repo", "[model]\npath = '/m'\nrepo = 'a/b'\n", nil, nil, Choice{Path: "/m"}},
		{"variable over path", "[model]\npath = '/m'\nvariant = 'q4'\nrevision = 'v1'\n", []string{"SHAMMAH_MODEL", "c/d"}, nil, Choice{Repo: "c/d"}},
		{"flag over variable", "[model]\nrevision = 'v1'\n", []string{"SHAMMAH_MODEL", "c/d"}, []FlagValue{{"model.repo", "--model", "e"}, {"model.variant", "--variant", "fp16"}}, Choice{Repo: "e", Variant: "fp16"}},
		{"variant alone", "[model]\nrepo = 'a/b'\nvariant = 'q4'\n", nil, []FlagValue{{"model.variant", "--variant", "fp16"}}, Choice{Repo: "a/b", Variant: "fp16"}},
		{"size of the command line", "[model]\nfamily = 'x'\nrepo = 'a/b'\n", nil, []FlagValue{{"model.size", "--size", "large"}}, Choice{Family: "x", Size: "large"}},
	} {
		s, err := Load(Options{Path: write(t, c.file, 0o600), Env: env(c.env...), Flags: c.flags})
		if err != nil {
			t.Fatal(err)
		}
		got := s.Choice()
		got.Source = Source{}
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSampling(t *testing.T) {
	s, err := load(t, "[generation]\ntemperature = 0.5\ntop_k = 0\n")
	if err != nil {
		t.Fatal(err)
	}
	got := s.Generation.Sampling(sample.Params{Temperature: 1, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.1})
	if want := (sample.Params{Temperature: 0.5, TopP: 0.8, RepetitionPenalty: 1.1}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
