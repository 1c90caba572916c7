package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestEdit(t *testing.T) {
	for _, c := range []struct {
		name, text string
		values     map[string]string
		want       string
	}{
		{"empty", "", map[string]string{"model.family": "qwen"}, "[model]\nfamily = \"qwen\"\n"},
		{"several", "", map[string]string{"ui.color": "never", "model.size": "small", "model.family": "q"},
			"[model]\nfamily = \"q\"\nsize = \"small\"\n\n[ui]\ncolor = \"never\"\n"},
		{"in its place", "# mine\n[model] # m\nfamily   =  'x'  # why\nsize = 'small'\n", map[string]string{"model.family": "y"},
			"# mine\n[model] # m\nfamily   =  \"y\"  # why\nsize = 'small'\n"},
		{"at the end of its table", "[model]\nfamily = 'x' # f\n\n# about ui\n[ui]\nstatus = true\n", map[string]string{"model.size": "large"},
			"[model]\nfamily = 'x' # f\nsize = \"large\"\n\n# about ui\n[ui]\nstatus = true\n"},
		{"in an empty table", "[model]\n[ui]\n", map[string]string{"model.size": "large"}, "[model]\nsize = \"large\"\n[ui]\n"},
		{"in a new table", "[ui]\nstatus = true", map[string]string{"model.size": "large"}, "[ui]\nstatus = true\n\n[model]\nsize = \"large\"\n"},
		{"no newline at the end", "[model]\nfamily = 'x'", map[string]string{"model.size": "large"}, "[model]\nfamily = 'x'\nsize = \"large\"\n"},
		{"CRLF", "[model]\r\nfamily = 'x'\r\n", map[string]string{"model.size": "large"}, "[model]\r\nfamily = 'x'\r\nsize = \"large\"\r\n"},
		{"mark", "\ufeff[model]\nfamily = 'x'\n", map[string]string{"model.family": "y"}, "\ufeff[model]\nfamily = \"y\"\n"},
		{"an array of several lines", "[generation]\nstop = [\n 'a', # a\n 'b',\n]\ntop_k = 3\n", map[string]string{"generation.stop": "x"},
			"[generation]\nstop = [\"x\"]\ntop_k = 3\n"},
		{"inline", "model = { family = 'x', size = 'small' }\n", map[string]string{"model.family": "y"}, "model = { family = \"y\", size = 'small' }\n"},
		{"dotted", "model.family = 'x'\n", map[string]string{"model.family": "y"}, "model.family = \"y\"\n"},
		{"kinds", "[generation]\n", map[string]string{"generation.temperature": "0.5", "generation.seed": "18446744073709551615", "generation.top_k": "40", "generation.stop": `["a\nb", "c"]`},
			"[generation]\ntemperature = 0.5\ntop_k = 40\nseed = -1\nstop = [\"a\\nb\", \"c\"]\n"},
		{"quoting", "", map[string]string{"generation.system": "a\"b\\c\nd\te\x01\u00e9'"}, "[generation]\nsystem = \"a\\\"b\\\\c\\nd\\te\\u0001\u00e9'\"\n"},
		{"same value", "[ui]\nstatus = false\n", map[string]string{"ui.status": "false"}, "[ui]\nstatus = false\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Edit([]byte(c.text), c.values)
			if err != nil || string(got) != c.want {
				t.Fatalf("got %q, %v; want %q", got, err, c.want)
			}
			again, err := Edit(got, c.values)
			if err != nil || string(again) != c.want {
				t.Errorf("the second time: %q, %v", again, err)
			}
			s, err := load(t, string(got))
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range c.values {
				if v, _ := s.Get(name); v != text {
					t.Errorf("%s is %q, want %q", name, v, text)
				}
			}
		})
	}
}

func TestEditRefuses(t *testing.T) {
	for _, c := range []struct {
		text       string
		key, value string
		want       string
	}{
		{"", "model.famly", "x", "unknown key model.famly, did you mean model.family?"},
		{"", "model", "x", "unknown key model, it is a table: name a key of it"},
		{"", "router.mode", "remote", `router.mode is "remote", expected one of auto, local, claude`},
		{"", "model.lora", "pirate:0", `model.lora: adapters: read "pirate:0": the scale is "0", expected a number`},
		{"", "generation.top_p", "2", "generation.top_p is 2, expected"},
		{"", "generation.top_p", "NaN", "generation.top_p is NaN"},
		{"", "generation.top_p", "", `generation.top_p is "", expected a number`},
		{"", "generation.system", "a\xff", "generation.system is not valid UTF-8"},
		{"[model]\nx = 1\n", "model.family", "x", "line 2: unknown key model.x"},
		{"[model\n", "model.family", "x", "line 1, column"},
		{"model = { family = 'x' }\n", "model.size", "small", "change it by hand"},
		{"model.family = 'x'\n", "model.size", "small", "change it by hand"},
	} {
		if got, err := Edit([]byte(c.text), map[string]string{c.key: c.value}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %s = %q: got %q, %v; want %q", c.text, c.key, c.value, got, err, c.want)
		}
	}
}

func TestSet(t *testing.T) {
	mode := func(path string) os.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	path := filepath.Join(t.TempDir(), "new", "config.toml")
	if err := Set(path, map[string]string{"model.family": "qwen"}); err != nil {
		t.Fatal(err)
	}
	if m := mode(path); m != 0o600 {
		t.Errorf("a new file has mode %o", m)
	}
	if m := mode(filepath.Dir(path)); m != 0o700 {
		t.Errorf("a new folder has mode %o", m)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Set(path, map[string]string{"model.size": "small"}); err != nil || mode(path) != 0o644 {
		t.Errorf("without a key: mode %o, %v; want it kept", mode(path), err)
	}
	if err := Set(path, map[string]string{"claude.api_key": canary}); err != nil || mode(path) != 0o600 {
		t.Errorf("with a key: mode %o, %v; want 600", mode(path), err)
	}
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Set(link, map[string]string{"ui.status": "false"}); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link became %q, %v", target, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Set(path, map[string]string{"router.mode": "x"}); err == nil {
		t.Error("a wrong value was written")
	}
	after, _ := os.ReadFile(path)
	entries, _ := os.ReadDir(filepath.Dir(path))
	if string(after) != string(before) || len(entries) != 1 {
		t.Errorf("a refused change left %q and %d files", after, len(entries))
	}
	if s, err := Load(Options{Path: link, Env: env()}); err != nil || s.Model.Family != "qwen" || s.Claude.APIKey != canary || s.UI.Status {
		t.Errorf("read again: %+v, %v", s, err)
	}
}

// TestKeys: the table that the tags make has no slips.
func TestKeys(t *testing.T) {
	variables := map[string]bool{"SHAMMAH_HOME": true, "SHAMMAH_ORT_LIB": true, "SHAMMAH_CPU_RUNG": true}
	for _, k := range keys() {
		if k.section == "" || k.name == "" || k.doc == "" || k.name != strings.ToLower(k.name) || variables[k.env] {
			t.Errorf("%+v is not complete, or its variable is taken", k)
		}
		variables[k.env] = k.env != ""
		if k.expected() == "" || k.kind.Kind() == reflect.Struct {
			t.Errorf("%s has a type that is not known", k)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"", "[model]\nfamily = 'x' # c\n", "model = {family = 'x', path = \"y\"}\n", "a.b.c = 1", "[[model]]\n[model.x]\n", "\ufeff[generation]\r\nstop = ['a', \"b\"]\r\nseed = -1\r\n",
		"[generation]\ntemperature = 1e9\ntop_p = nan\n", "[claude]\napi_key = '''\nx'''\n", "\"model\".'family' = \"\\u0041\"", "model.family = 1979-05-27T07:32:00Z", "x = [[[{a=[{}]}]]]", "[ui]\nstatus=true#\n#",
	} {
		f.Add(seed, "generation.temperature", "0.5")
		f.Add(seed, "model.family", "q\"\n")
	}
	f.Fuzz(func(t *testing.T, text, name, value string) {
		var s Settings
		s.Config, s.sources, s.env = defaults(), map[string]Source{}, env()
		if err := s.readDocument([]byte(text)); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: the error has several lines: %q", text, err)
			}
			if _, err := Edit([]byte(text), map[string]string{name: value}); err == nil {
				t.Errorf("%q cannot be read, but was edited", text)
			}
			return
		}
		changed, err := Edit([]byte(text), map[string]string{name: value})
		if err != nil {
			return
		}
		for _, line := range strings.Split(text, "\n") {
			if at := strings.Index(line, "#"); at == 0 && !strings.Contains(text, "'''") && !strings.Contains(text, `"""`) && !strings.Contains(text, "[\n") {
				if !strings.Contains(string(changed), line) {
					t.Errorf("%q: the comment %q is gone from %q", text, line, changed)
				}
			}
		}
		var again Settings
		again.Config, again.sources = defaults(), map[string]Source{}
		if err := again.readDocument(changed); err != nil {
			t.Fatalf("%q became %q: %v", text, changed, err)
		}
		k, err := find(name)
		if err != nil {
			t.Fatal(err)
		}
		k.field(&s.Config).Set(k.field(&again.Config))
		if !reflect.DeepEqual(s.Config, again.Config) {
			t.Errorf("%q became %q: more than %s changed", text, changed, name)
		}
	})
}
