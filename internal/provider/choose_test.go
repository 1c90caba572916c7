package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	cpu, cuda, coreML, plugin := Candidate{Name: CPU, Kind: CPU}, Candidate{Name: CUDA, Kind: CUDA}, Candidate{Name: CoreML, Kind: CoreML}, Candidate{Name: "mlx", Kind: Plugin}
	for _, c := range []struct {
		wish  Wish
		of    Candidate
		share float64
		want  Verdict
		says  string
	}{
		{Wish{}, cpu, 1, Take, ""},
		{Wish{Name: CPU, Least: 0.9}, cpu, 0, Take, ""},
		{Wish{}, cuda, 1, Take, ""},
		{Wish{}, cuda, 0.7, Take, "cuda holds 70.0 % of this model's compute, the CPU the rest"},
		{Wish{}, cuda, 0.49, Leave, "less than half"},
		{Wish{Force: true}, cuda, 0.1, Take, "because of --force"},
		{Wish{Force: true}, cuda, 1, Take, ""},
		{Wish{Name: CUDA}, cuda, 0.95, Take, ""},
		{Wish{Name: CUDA}, cuda, 0.89, Refuse, "at least 90 % is expected"},
		{Wish{Name: CUDA}, cuda, 0.3, Refuse, "--force runs it"},
		{Wish{Name: CUDA, Least: 0.25}, cuda, 0.3, Take, ""},
		{Wish{Name: CUDA, Least: 0.99}, cuda, 0.95, Refuse, "at least 99 % is required (--require-provider)"},
		{Wish{Name: CUDA, Least: 0.99, Force: true}, cuda, 0.95, Refuse, "required"},
		{Wish{Name: CUDA}, cuda, 0, Refuse, "holds 0.0 %"},
		{Wish{Name: CoreML}, coreML, 0.6, Take, "the CPU the rest"},
		{Wish{Name: CoreML}, coreML, 0.3, Leave, "less than half (--force runs it all the same)"},
		{Wish{Name: CoreML, Force: true}, coreML, 0.3, Take, "--force"},
		{Wish{Name: CoreML, Least: 0.5}, coreML, 0.3, Refuse, "required"},
		{Wish{Library: "libmlx.so"}, plugin, 0.3, Refuse, "mlx holds 30.0 %"},
		{Wish{Library: "libmlx.so"}, plugin, 0.9, Take, ""},
	} {
		v, why := c.wish.Judge(c.of, c.share)
		if v != c.want || !strings.Contains(why, c.says) || c.says == "" && why != "" || strings.Contains(why, "\n") {
			t.Errorf("%+v, %s with %v: %v %q, want %v with %q", c.wish, c.of.Name, c.share, v, why, c.want, c.says)
		}
	}
}

// model is a fake that was opened on a candidate.
type model struct {
	on     string
	closed *[]string
}

func (m *model) Close() error {
	*m.closed = append(*m.closed, m.on)
	return nil
}

// scene is what each candidate does.
type scene struct {
	broken map[string]string  // why Check fails
	fails  map[string]string  // why Open fails
	share  map[string]float64 // 1 if it is not there
	said   []string
	closed []string
	tried  []string
}

var errFinal = errors.New("no such model")

func (s *scene) trial() Trial[*model] {
	return Trial[*model]{
		Check: func(c Candidate) error {
			s.tried = append(s.tried, "check "+c.Name)
			if why := s.broken[c.Name]; why != "" {
				return errors.New(why)
			}
			return nil
		},
		Open: func(c Candidate) (*model, float64, error) {
			s.tried = append(s.tried, "open "+c.Name)
			switch why := s.fails[c.Name]; why {
			case "":
			case errFinal.Error():
				return nil, 0, fmt.Errorf("engine: %w", errFinal)
			default:
				return nil, 0, errors.New(why)
			}
			share, ok := s.share[c.Name]
			if !ok {
				share = 1
			}
			return &model{c.Name, &s.closed}, share, nil
		},
		Say:   func(line string) { s.said = append(s.said, line) },
		Final: func(err error) bool { return errors.Is(err, errFinal) },
	}
}

func TestChoose(t *testing.T) {
	chain := func(names ...string) (list []Candidate) {
		for _, n := range names {
			kind := n
			if n == "mlx" {
				kind = Plugin
			}
			list = append(list, Candidate{Name: n, Kind: kind})
		}
		return list
	}
	for _, c := range []struct {
		name  string
		wish  Wish
		chain []Candidate
		scene scene
		on    string // "" for an error
		says  string // said, or the error
		tried []string
	}{
		{"the first runs", Wish{}, chain(CUDA, CPU), scene{}, CUDA, "", []string{"check cuda", "open cuda"}},
		{"the CPU is not checked against itself", Wish{}, chain(CPU), scene{}, CPU, "", []string{"open cpu"}},
		{"auto: no driver", Wish{}, chain(CUDA, CPU), scene{broken: map[string]string{CUDA: "no NVIDIA driver"}}, CPU, "cuda does not run this model, cpu is tried: no NVIDIA driver", []string{"check cuda", "open cpu"}},
		{"auto: computes wrong", Wish{}, chain(CoreML, CPU), scene{broken: map[string]string{CoreML: "coreml answers \"Rome\" where the CPU answers \"Paris\""}}, CPU, `"Rome" where the CPU answers "Paris"`, nil},
		{"auto: cannot open this model", Wish{}, chain(CUDA, CPU), scene{fails: map[string]string{CUDA: "out of memory"}}, CPU, "out of memory", []string{"check cuda", "open cuda", "open cpu"}},
		{"auto: holds little", Wish{}, chain(CoreML, CPU), scene{share: map[string]float64{CoreML: 0.2}}, CPU, "coreml holds 20.0 %", nil},
		{"auto: holds little, forced", Wish{Force: true}, chain(CoreML, CPU), scene{share: map[string]float64{CoreML: 0.2}}, CoreML, "--force", nil},
		{"auto: nothing helps", Wish{}, chain(CUDA, CPU), scene{fails: map[string]string{CUDA: errFinal.Error()}}, "", "no such model", []string{"check cuda", "open cuda"}},
		{"auto: all fail", Wish{}, chain(CUDA, CPU), scene{fails: map[string]string{CUDA: "a", CPU: "b"}}, "", "b", nil},
		{"by name: no driver", Wish{Name: CUDA}, chain(CUDA), scene{broken: map[string]string{CUDA: "no NVIDIA driver"}}, "", "no NVIDIA driver", []string{"check cuda"}},
		{"by name: holds little", Wish{Name: CUDA}, chain(CUDA), scene{share: map[string]float64{CUDA: 0.2}}, "", "at least 90 %", nil},
		{"by name: CoreML leaves a model to the CPU", Wish{Name: CoreML}, chain(CoreML), scene{share: map[string]float64{CoreML: 0.2}}, CPU, "less than half", []string{"check coreml", "open coreml", "open cpu"}},
		{"by name: CoreML cannot run at all", Wish{Name: CoreML}, chain(CoreML), scene{broken: map[string]string{CoreML: "not on this system"}}, "", "not on this system", []string{"check coreml"}},
		{"plug-in: nothing taken", Wish{Library: "libmlx.so"}, chain("mlx"), scene{share: map[string]float64{"mlx": 0}}, "", "mlx holds 0.0 %", nil},
	} {
		s := c.scene
		m, of, err := choose(c.wish, c.chain, s.trial())
		var words string
		switch {
		case c.on == "":
			if err == nil {
				t.Errorf("%s: opened on %s, want an error", c.name, m.on)
				continue
			}
			words = err.Error()
		case err != nil || m.on != c.on || of.Name != c.on:
			t.Errorf("%s: %v on %s, %v; want %s", c.name, m, of.Name, err, c.on)
			continue
		default:
			words = strings.Join(s.said, "\n")
		}
		if !strings.Contains(words, c.says) || c.says == "" && words != "" || c.tried != nil && !slices.Equal(s.tried, c.tried) {
			t.Errorf("%s: said %q, tried %q; want %q, %q", c.name, words, s.tried, c.says, c.tried)
		}
		if opened := slices.Contains(s.tried, "open "+c.chain[0].Name) && s.fails[c.chain[0].Name] == ""; opened && c.on != c.chain[0].Name != slices.Contains(s.closed, c.chain[0].Name) {
			t.Errorf("%s: closed %q: what is not taken is closed, and nothing else", c.name, s.closed)
		}
	}
}
