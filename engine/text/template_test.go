package text

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const chatML = `{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

func parseTemplate(t testing.TB, src string) *Template {
	t.Helper()
	tmpl, err := ParseTemplate(src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tmpl.Close() })
	return tmpl
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Thirty real templates, and what Python's Jinja2 made of them.
func TestTemplatesEqualJinja2(t *testing.T) {
	var file struct {
		Messages            json.RawMessage `json:"messages"`
		AddGenerationPrompt bool            `json:"add_generation_prompt"`
		Cases               []struct {
			Name     string  `json:"name"`
			Template string  `json:"template_str"`
			BOS      string  `json:"bos_token"`
			EOS      string  `json:"eos_token"`
			Want     *string `json:"python_jinja2_output"`
		} `json:"cases"`
	}
	readJSON(t, shared(t, "data/chat_templates/llama.cpp/test-chat-template.cases.json"), &file)
	compared := 0
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := parseTemplate(t, c.Template).Render(map[string]any{
				"messages": file.Messages, "add_generation_prompt": file.AddGenerationPrompt,
				"bos_token": c.BOS, "eos_token": c.EOS,
			})
			if c.Want == nil {
				if err == nil {
					t.Errorf("got %q, want an error as Jinja2 gives", got)
				}
				return
			}
			compared++
			if err != nil || got != *c.Want {
				t.Errorf("got  %q (%v)\nwant %q", got, err, *c.Want)
			}
		})
	}
	if compared < 20 {
		t.Errorf("only %d cases were compared", compared)
	}
}

// Snippets over the whole language; testdata/jinja2_oracle.py made the answers. C-06 is among them.
func TestSnippetsEqualJinja2(t *testing.T) {
	var golden struct {
		Variables map[string]json.RawMessage `json:"variables"`
		Cases     []struct {
			Source, Error string
			Want          *string
		} `json:"cases"`
	}
	readJSON(t, "testdata/jinja2.json", &golden)
	vars := map[string]any{}
	for name, value := range golden.Variables {
		vars[name] = value
	}
	for _, c := range golden.Cases {
		var got string
		tmpl, err := ParseTemplate(c.Source)
		if err == nil {
			got, err = tmpl.Render(vars)
			tmpl.Close()
		}
		switch {
		case c.Want == nil && err == nil:
			t.Errorf("%q: got %q, want an error (%s)", c.Source, got, c.Error)
		case c.Want != nil && (err != nil || got != *c.Want):
			t.Errorf("%q:\ngot  %q (%v)\nwant %q", c.Source, got, err, *c.Want)
		}
	}
}

// Real templates with tools, thoughts, odd orders and empty content (C-05, C-07), by digest.
func TestModelTemplatesEqualJinja2(t *testing.T) {
	var golden struct {
		Models    map[string]string            `json:"models"`
		Dialogues map[string]json.RawMessage   `json:"dialogues"`
		Options   []map[string]json.RawMessage `json:"options"`
		Renders   []struct {
			Model, Dialogue, Error, SHA256 string
			Option, Length                 int
		} `json:"renders"`
	}
	readJSON(t, "testdata/models.json", &golden)
	templates := map[string]*Template{}
	for model, path := range golden.Models {
		templates[model] = parseTemplate(t, readTemplate(t, shared(t, path)))
	}
	for _, r := range golden.Renders {
		vars := map[string]any{"messages": golden.Dialogues[r.Dialogue], "bos_token": "<s>", "eos_token": "</s>"}
		for name, value := range golden.Options[r.Option] {
			vars[name] = value
		}
		got, err := templates[r.Model].Render(vars)
		if r.Error != "" {
			if err == nil {
				t.Errorf("%s %s %d: got %q, want an error (%s)", r.Model, r.Dialogue, r.Option, got, r.Error)
			}
			continue
		}
		sum := sha256.Sum256([]byte(got))
		if err != nil || hex.EncodeToString(sum[:]) != r.SHA256 {
			t.Errorf("%s %s %d: got %q (%v), want %d bytes with another digest", r.Model, r.Dialogue, r.Option, got, err, r.Length)
		}
	}
}

// readTemplate is the template in a .jinja file or a tokenizer_config.json.
func readTemplate(t testing.TB, path string) string {
	t.Helper()
	if filepath.Ext(path) == ".json" {
		var config struct {
			ChatTemplate string `json:"chat_template"`
		}
		readJSON(t, path, &config)
		return config.ChatTemplate
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct {
		name, source, want string
		line               int
		raised             bool
	}{
		{"C-03 filter", "a\n{% if false %}\n{{ x | frobnicate }}{% endif %}", "filter frobnicate is unknown", 3, false},
		{"C-03 test", "{{ x is frobnicated }}", "test frobnicated is unknown", 1, false},
		{"C-03 filter in a macro", "{% macro f() %}\n{{ x|nope }}{% endmacro %}", "filter nope is unknown", 2, false},
		{"C-03 tag", "\n{% frobnicate %}", "unknown statement frobnicate", 2, false},
		{"C-03 function", "\n\n{{ frobnicate() }}", "frobnicate is unknown", 3, false},
		{"C-04", "\n{{ raise_exception('roles must\nalternate') }}", "roles must alternate", 2, true},
		{"syntax", "{% if %}", "syntax error", 1, false},
		{"no end", "{% if x %}\n", "syntax error", 1, false},
		{"include", "{% include 'x' %}", "unknown statement include", 1, false},
		{"undefined", "\n{{ a.b }}", "undefined", 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl, err := ParseTemplate(c.source)
			if err == nil {
				defer tmpl.Close()
				_, err = tmpl.Render(nil)
			}
			var te *TemplateError
			if !errors.As(err, &te) {
				t.Fatalf("got %v, want a TemplateError", err)
			}
			if !strings.Contains(te.Msg, c.want) || te.Line != c.line || te.Raised != c.raised || strings.Contains(te.Error(), "\n") {
				t.Errorf("got %q in line %d, raised %t; want %q in line %d, raised %t in one line", te.Msg, te.Line, te.Raised, c.want, c.line, c.raised)
			}
		})
	}
}

func TestTemplateTime(t *testing.T) {
	tmpl := parseTemplate(t, "{{ strftime_now('%d %b %Y %H:%M') }}")
	zone := time.FixedZone("", 2*3600)
	tmpl.Now = func() time.Time { return time.Date(2026, 11, 24, 3, 4, 5, 0, zone) }
	got, err := tmpl.Render(nil)
	if want := "24 Nov 2026 03:04"; err != nil || got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

// Values that Go cannot pass as they are: NUL, lone surrogates, bytes that are no UTF-8.
func TestTemplateText(t *testing.T) {
	tmpl := parseTemplate(t, "{{ x }}")
	for _, c := range []struct {
		x    any
		want string
	}{
		{"a\x00b", "a\x00b"},
		{"a\xffb", "a\ufffdb"},
		{json.RawMessage(`"a\ud800b"`), "a\ufffdb"},
		{json.RawMessage(`"\ud83e\udd99\ud83e"`), "🦙\ufffd"},
		{json.RawMessage("\"a\xffb\""), "a\ufffdb"},
		{json.RawMessage(`"\\ud800"`), `\ud800`},
		{[]string{"b", "a"}, "['b', 'a']"},
	} {
		got, err := tmpl.Render(map[string]any{"x": c.x})
		if err != nil || got != c.want {
			t.Errorf("%v: got %q (%v), want %q", c.x, got, err, c.want)
		}
	}
	if _, err := tmpl.Render(map[string]any{"x": func() {}}); err == nil {
		t.Error("a function as a variable: want an error")
	}
}

func TestTemplateClosed(t *testing.T) {
	tmpl, err := ParseTemplate("x")
	if err != nil {
		t.Fatal(err)
	}
	if tmpl.Close() != nil || tmpl.Close() != nil {
		t.Error("closing twice fails")
	}
	if _, err := tmpl.Render(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
