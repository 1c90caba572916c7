package wizard_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/internal/wizard"
)

const gib = 1 << 30

// facts are a machine with 8 GB free, where the CPU and CUDA work and the file says what it holds.
func facts(t *testing.T, file string) wizard.Facts {
	t.Helper()
	path := t.TempDir() + "/config.toml"
	if file != "" {
		values := map[string]string{}
		for line := range strings.Lines(file) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[key] = value
		}
		if err := config.Set(path, values); err != nil {
			t.Fatal(err)
		}
	}
	s, err := config.Load(config.Options{Path: path, New: true, Env: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	data, err := config.Edit(nil, nil)
	if file != "" {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return wizard.Facts{
		Processor: "a processor", CPU: sys.CPU{Logical: 8, Physical: 4}, Memory: sys.Memory{Total: 16 * gib, Available: 8 * gib},
		Disk: 100 * gib, Models: "/models", Path: path, File: data, Old: s.Config,
		Backends: []wizard.Backend{{Name: "cpu", Found: "right"}, {Name: "cuda", Found: "right"}, {Name: "coreml", Trouble: "this is no Mac"}},
		Env: func(name string) string {
			if name == "KEY_IS_HERE" {
				return "sk-ant-of-the-variable"
			}
			return ""
		},
		Repo: func(name string) (string, error) {
			if !strings.Contains(name, "/") {
				return "", fmt.Errorf("%q is no model", name)
			}
			return name, nil
		},
	}
}

// script is a Screen that answers from a list: "<" goes back, "^C" interrupts, "" is the default.
type script struct {
	answers []string
	asked   []wizard.Step
	shown   strings.Builder
	wrong   []string
}

func (s *script) Ask(_ context.Context, q wizard.Question) (string, error) {
	s.asked = append(s.asked, q.Step)
	fmt.Fprintln(&s.shown, q.Notice, q.Title, strings.Join(q.Text, "\n"))
	for _, o := range q.Options {
		fmt.Fprintln(&s.shown, o.Label)
	}
	if len(s.answers) == 0 {
		return "", errors.New("the script ended at " + q.Title)
	}
	answer := s.answers[0]
	s.answers = s.answers[1:]
	switch answer {
	case "<":
		return "", wizard.ErrBack
	case "^C":
		return "", context.Canceled
	case "":
		return q.Default, nil
	}
	return answer, nil
}

func (s *script) Wrong(err error) error {
	s.wrong = append(s.wrong, err.Error())
	return nil
}

// play runs a wizard. saved is nil if it saved nothing.
func play(t *testing.T, f wizard.Facts, preset wizard.Answers, s wizard.Screen) (w *wizard.Wizard, saved map[string]string, err error) {
	t.Helper()
	if w, err = wizard.New(f, preset); err != nil {
		return nil, nil, err
	}
	err = wizard.Run(t.Context(), w, s, wizard.Effects{
		Check: func(_ context.Context, key string) error {
			if key != "sk-ant-of-the-variable" {
				return errors.New("the service refuses the key")
			}
			return nil
		},
		Save: func(values map[string]string) error {
			saved = values
			return nil
		},
	})
	return w, saved, err
}

// plainly are the values for a fresh file with everything left as proposed.
func plainly(changes ...string) map[string]string {
	values := map[string]string{
		"model.backend": "auto", "model.family": "qwen2.5", "model.size": "medium", "claude.enabled": "true", "claude.api_key_env": "ANTHROPIC_API_KEY",
	}
	for _, c := range changes {
		key, value, set := strings.Cut(c, "=")
		if delete(values, key); set {
			values[key] = value
		}
	}
	return values
}

func fresh(*wizard.Facts) {}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name   string
		file   string
		change func(*wizard.Facts)
		preset wizard.Answers
		script string
		saved  map[string]string
		wrong  string
		model  string
	}{
		{"everything as proposed", "", fresh, wizard.Answers{}, ",,,,,,", plainly(), "", "qwen-1.5b"},
		{"a choice at each question", "", fresh, wizard.Answers{}, "cuda,qwen3,large,none,yes,no",
			plainly("model.backend=cuda", "model.family=qwen3", "model.size=large", "claude.enabled=false", "claude.api_key_env"), "", "qwen3-4b"},
		{"a hardware that cannot run", "", fresh, wizard.Answers{}, "coreml,cpu,,,none,,", plainly("model.backend=cpu", "claude.enabled=false", "claude.api_key_env"), "this is no Mac", "qwen-1.5b"},
		{"metal becomes the CPU", "", fresh, wizard.Answers{}, "metal,,,none,,", plainly("model.backend=cpu", "claude.enabled=false", "claude.api_key_env"), "", "qwen-1.5b"},
		{"metal as a preset, too", "", fresh, wizard.Answers{Backend: "Metal"}, ",,,none,,", plainly("model.backend=cpu", "claude.enabled=false", "claude.api_key_env"), "", "qwen-1.5b"},
		{"no such answer", "", fresh, wizard.Answers{}, ",,huge,,none,,", plainly("claude.enabled=false", "claude.api_key_env"), "expected one of small, medium, large", "qwen-1.5b"},
		{"back to the first question", "", fresh, wizard.Answers{}, "cuda,llama-3.2,small,<,<,<,<,cpu,,,none,,",
			plainly("model.backend=cpu", "model.family=llama-3.2", "model.size=small", "claude.enabled=false", "claude.api_key_env"), "no question before", "llama-1b"},
		{"another family forgets the size", "", fresh, wizard.Answers{}, ",,large,<,<,llama-3.2,,none,,",
			plainly("model.family=llama-3.2", "model.size=medium", "claude.enabled=false", "claude.api_key_env"), "", "llama-3b"},
		{"a model that is too large, refused", "", fresh, wizard.Answers{}, ",phi,large,no,medium,none,,",
			plainly("model.family=phi", "model.size=medium", "claude.enabled=false", "claude.api_key_env"), "", "phi-4-mini"},
		{"a model that is too large, taken", "", fresh, wizard.Answers{}, ",phi,large,yes,none,,",
			plainly("model.family=phi", "model.size=large", "claude.enabled=false", "claude.api_key_env"), "", "phi-4"},
		{"a repository of one's own", "", fresh, wizard.Answers{}, ",own,nothing,me/mine@v1,none,,",
			plainly("model.family", "model.size", "model.repo=me/mine@v1", "claude.enabled=false", "claude.api_key_env"), `"nothing" is no model`, "me/mine@v1"},
		{"a folder is not downloaded", "", fresh, wizard.Answers{}, ",own,/my/model,none,",
			plainly("model.family", "model.size", "model.repo=/my/model", "claude.enabled=false", "claude.api_key_env"), "", "/my/model"},
		{"the model inside the program", "", fresh, wizard.Answers{}, ",tiny,none,",
			plainly("model.family", "model.size", "model.repo=tiny", "claude.enabled=false", "claude.api_key_env"), "", "tiny"},
		{"a key in a variable, checked", "", fresh, wizard.Answers{}, ",,,variable,KEY_IS_HERE,yes,,", plainly("claude.api_key_env=KEY_IS_HERE"), "", "qwen-1.5b"},
		{"a key in a variable, not checked", "", fresh, wizard.Answers{}, ",,,variable,KEY_IS_HERE,no,,", plainly("claude.api_key_env=KEY_IS_HERE"), "", "qwen-1.5b"},
		{"a key where its variable's name belongs", "", fresh, wizard.Answers{}, ",,,variable,sk-ant-oops,MY KEY,MY_KEY,,", plainly("claude.api_key_env=MY_KEY"), "that is a key", "qwen-1.5b"},
		{"a key in the file", "", fresh, wizard.Answers{}, ",,,file,sk-ant-1,no,,", plainly("claude.api_key_env", "claude.api_key=sk-ant-1"), "", "qwen-1.5b"},
		{"a key that does not work, and none in its place", "", fresh, wizard.Answers{}, ",,,file,sk-ant-1,yes,none,,",
			plainly("claude.enabled=false", "claude.api_key_env"), "the service refuses the key", "qwen-1.5b"},
		{"no key, and then one", "", fresh, wizard.Answers{}, ",,,file,  ,sk-ant-1,no,,", plainly("claude.api_key_env", "claude.api_key=sk-ant-1"), "a key is needed", "qwen-1.5b"},
		{"what the file says is proposed", "model.backend=cpu\nmodel.family=qwen3\nmodel.size=small\nclaude.enabled=false", fresh, wizard.Answers{}, ",,,,,",
			plainly("model.backend=cpu", "model.family=qwen3", "model.size=small", "claude.enabled=false", "claude.api_key_env"), "", "qwen3-0.6b"},
		{"an alias in the file is its family", "model.repo=llama-1b\nmodel.variant=q4", fresh, wizard.Answers{}, ",,,none,,",
			plainly("model.family=llama-3.2", "model.size=small", "model.repo=", "model.variant=", "claude.enabled=false", "claude.api_key_env"), "", "llama-1b"},
		{"a repository in the file stays, with its variant", "model.repo=me/mine\nmodel.variant=q4", fresh, wizard.Answers{}, ",,,none,,",
			plainly("model.family", "model.size", "model.repo=me/mine", "claude.enabled=false", "claude.api_key_env"), "", "me/mine"},
		{"the key in the file stays when nothing is typed", "claude.api_key=sk-ant-old", fresh, wizard.Answers{}, ",,,,,no,,",
			plainly("claude.api_key_env", "claude.api_key=sk-ant-old"), "", "qwen-1.5b"},
		{"the key leaves the file for a variable", "claude.api_key=sk-ant-old", fresh, wizard.Answers{}, ",,,variable,,,", plainly("claude.api_key="), "", "qwen-1.5b"},
		{"presets are proposed", "model.backend=cpu", fresh, wizard.Answers{Backend: "cuda", Family: "Phi", Size: "small", KeyEnv: "KEY_IS_HERE", Check: true}, ",,,,,,,",
			plainly("model.backend=cuda", "model.family=phi", "model.size=small", "claude.api_key_env=KEY_IS_HERE"), "", "phi-3.5"},
		{"a smaller machine gets a smaller model", "", func(f *wizard.Facts) { f.Memory.Available = gib }, wizard.Answers{}, ",,,none,,",
			plainly("model.size=small", "claude.enabled=false", "claude.api_key_env"), "", "qwen-0.5b"},
		{"memory that is not known", "", func(f *wizard.Facts) { f.Memory = sys.Memory{} }, wizard.Answers{}, ",,,none,,", plainly("claude.enabled=false", "claude.api_key_env"), "", "qwen-1.5b"},
		{"a disk that is full", "", func(f *wizard.Facts) { f.Disk = gib }, wizard.Answers{}, ",,medium,no,small,none,,",
			plainly("model.size=small", "claude.enabled=false", "claude.api_key_env"), "", "qwen-0.5b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := facts(t, test.file)
			test.change(&f)
			s := &script{answers: strings.Split(test.script, ",")}
			w, saved, err := play(t, f, test.preset, s)
			if err != nil {
				t.Fatalf("%v, after:\n%s", err, s.shown.String())
			}
			if !maps.Equal(saved, test.saved) || w.Model() != test.model {
				t.Errorf("saved %v for %s\nwant  %v for %s", saved, w.Model(), test.saved, test.model)
			}
			if len(s.answers) > 0 && strings.Join(s.answers, "") != "" {
				t.Errorf("%q was not asked for", s.answers)
			}
			if wrong := strings.Join(s.wrong, "\n"); !strings.Contains(wrong, test.wrong) || (wrong != "") != (test.wrong != "") {
				t.Errorf("the user was told %q, want %q", wrong, test.wrong)
			}
			if shown := s.shown.String(); strings.Contains(shown, "sk-ant-") {
				t.Errorf("a key is shown:\n%s", shown)
			}
		})
	}
}

// The screens say what a user has to know.
func TestShown(t *testing.T) {
	s := &script{answers: []string{"metal", "phi", "large", "no", "small", "file", "sk-ant-1", "no", "yes", "no"}}
	if _, _, err := play(t, facts(t, "ui.color=never"), wizard.Answers{}, s); err != nil {
		t.Fatal(err)
	}
	shown := s.shown.String()
	for _, want := range []string{
		"4 cores", "8.6 GB available of 17 GB", "107 GB free", "coreml     cannot run here: this is no Mac", "ONNX Runtime cannot run on Metal: the CPU is taken",
		"phi-4-mini", "Phi-4-mini-instruct-onnx · 4.9 GB", "Phi-3.5-mini-instruct-onnx · about 2.6 GB", "does not fit", "recommended",
		"phi-4 is too large for this machine: it needs about 9.2 GB of memory and 8.6 GB are available", "phi-4-mini fits",
		"family = \"phi\"", "api_key = \"********\"", "color = \"never\"", "Download phi-3.5 now?", "5/5 · Save this?",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not shown:\n%s", want, shown)
		}
	}
}

// Whoever leaves, wherever, has saved nothing.
func TestLeaving(t *testing.T) {
	whole := []string{"cpu", "phi", "large", "yes", "variable", "KEY_IS_HERE", "no", "yes"}
	for n := range len(whole) {
		s := &script{answers: append(append([]string{}, whole[:n]...), "^C")}
		if _, saved, err := play(t, facts(t, ""), wizard.Answers{}, s); !errors.Is(err, context.Canceled) || saved != nil {
			t.Errorf("interrupted at question %d: saved %v, %v; want nothing saved", n+1, saved, err)
		}
	}
	s := &script{answers: append(append([]string{}, whole[:7]...), "no")}
	if _, saved, err := play(t, facts(t, ""), wizard.Answers{}, s); !errors.Is(err, wizard.ErrDiscarded) || saved != nil {
		t.Errorf("discarded: saved %v, %v", saved, err)
	}
}

// With nobody there the presets and the defaults count, and what a person would be warned of is an error.
func TestDefaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		preset wizard.Answers
		file   string
		saved  map[string]string
		fails  string
	}{
		{"nothing", wizard.Answers{}, "", plainly(), ""},
		{"all", wizard.Answers{Backend: "cuda", Family: "Llama 3.2", Size: "small", KeyEnv: "KEY_IS_HERE", Check: true}, "",
			plainly("model.backend=cuda", "model.family=llama-3.2", "model.size=small", "claude.api_key_env=KEY_IS_HERE"), ""},
		{"the beginning of a family", wizard.Answers{Family: "llama"}, "", plainly("model.family=llama-3.2"), ""},
		{"a size alone", wizard.Answers{Size: "small"}, "model.repo=phi-4", plainly("model.size=small", "model.repo="), ""},
		{"a repository", wizard.Answers{Repo: "me/mine", NoClaude: true}, "", plainly("model.family", "model.size", "model.repo=me/mine", "claude.enabled=false", "claude.api_key_env"), ""},
		{"too large", wizard.Answers{Family: "phi", Size: "large"}, "", nil, "phi-4 is too large for this machine"},
		{"too large and wanted", wizard.Answers{Family: "phi", Size: "large", Force: true}, "", plainly("model.family=phi", "model.size=large"), ""},
		{"no such backend", wizard.Answers{Backend: "tpu"}, "", nil, "expected one of auto, cpu, cuda, coreml"},
		{"a backend that cannot run", wizard.Answers{Backend: "coreml"}, "", nil, "coreml cannot run here: this is no Mac"},
		{"no such family", wizard.Answers{Family: "gpt"}, "", nil, "expected one of tiny, qwen2.5"},
		{"a beginning of two", wizard.Answers{Family: "qwen"}, "", nil, `found "qwen"`},
		{"no such size", wizard.Answers{Size: "huge"}, "", nil, `found "huge", and the family Qwen2.5 has: small, medium, large`},
		{"a size that the family lacks", wizard.Answers{Family: "llama", Size: "large"}, "", nil, "Llama 3.2 has: small, medium"},
		{"a repository that is none", wizard.Answers{Repo: "mine"}, "", nil, `"mine" is no model`},
		{"a key that does not work", wizard.Answers{Check: true}, "claude.api_key=sk-ant-old", nil, "the service refuses the key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := &strings.Builder{}
			_, saved, err := play(t, facts(t, test.file), test.preset, wizard.Defaults{Out: out})
			switch {
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails) || saved != nil):
				t.Errorf("got %v and saved %v, want an error with %q", err, saved, test.fails)
			case test.fails == "" && (err != nil || !maps.Equal(saved, test.saved)):
				t.Errorf("got %v, saved %v; want %v", err, saved, test.saved)
			}
		})
	}
}

// Numbers, values, defaults, b and q, as lines of a pipe.
func TestPlain(t *testing.T) {
	for _, test := range []struct {
		name, lines string
		saved       map[string]string
		fails       error
		failure     string
	}{
		{"defaults", "\n\n\n\n\n\n\n", plainly(), nil, ""},
		{"numbers and values", "2\nllama-3.2\n1\nB\n1\n3\n1\n2\n", plainly("model.backend=cpu", "model.family=llama-3.2", "model.size=small", "claude.enabled=false", "claude.api_key_env"), nil, ""},
		{"no line end at the end", "\n\n\n3\n\n2", plainly("claude.enabled=false", "claude.api_key_env"), nil, ""},
		{"a number that is no option", "7\n\n\n\n3\n\n2\n", plainly("claude.enabled=false", "claude.api_key_env"), nil, ""},
		{"q", "\n\nq\n", nil, context.Canceled, ""},
		{"the end too early", "\n\n", nil, nil, "the answers ended before the questions did"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := &strings.Builder{}
			_, saved, err := play(t, facts(t, ""), wizard.Answers{}, wizard.NewPlain(strings.NewReader(test.lines), out, nil))
			if test.fails != nil && !errors.Is(err, test.fails) || test.failure != "" && (err == nil || !strings.Contains(err.Error(), test.failure)) ||
				test.fails == nil && test.failure == "" && err != nil || !maps.Equal(saved, test.saved) {
				t.Errorf("got %v, saved %v; want %v%s, %v\n%s", err, saved, test.fails, test.failure, test.saved, out)
			}
		})
	}
}

// Every model of the catalogue has a size of its own within its family, and figures.
func TestCatalogue(t *testing.T) {
	seen := map[string]string{}
	for _, e := range hub.Catalogue() {
		if e.Repo == "" {
			continue
		}
		key := e.Family + " " + e.Size
		if seen[key] != "" || e.Bytes < 100e6 || e.Memory() <= e.Bytes/10 || e.Memory() > 2*e.Bytes+1e9 {
			t.Errorf("%s: %s beside %q, %d bytes", e.Alias, key, seen[key], e.Bytes)
		}
		seen[key] = e.Alias
	}
}
