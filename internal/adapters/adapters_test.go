package adapters

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shammah/shammah-engine/engine/lora"
)

var (
	peft = filepath.Join("..", "..", "engine", "lora", "testdata", "f16")
	onnx = filepath.Join("..", "..", "engine", "lora", "testdata", "f32"+lora.OnnxSuffix)
)

func right(*lora.Adapter) error { return nil }

// names is everything in the store's folder, hidden things too.
func names(t *testing.T, s Store) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(s.Dir())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestAddAndRemove(t *testing.T) {
	s := In(t.TempDir())
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("an empty store lists %v, %v", list, err)
	}
	for name, path := range map[string]string{"pirate": peft, "judge.v2": onnx, "alone": filepath.Join(peft, lora.WeightsFile)} {
		k, err := s.Add(t.Context(), name, path, "owner/model", right)
		if err != nil || k.Rank != 2 || k.Modules != 3 || k.Parameters != 70 || k.Bytes() == 0 {
			t.Errorf("%s: added as %+v, %v", name, k, err)
		}
		want, err := lora.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		found, a, err := s.Load(name)
		if err != nil || found.Base != "owner/model" || found.TrainedOn != want.Base || found.Added.IsZero() || a.Parameters() != want.Parameters() {
			t.Errorf("%s: loaded as %+v, %v", name, found, err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 3 || list[0].Name != "alone" || list[2].Name != "pirate" || list[2].Fault != "" {
		t.Errorf("lists %+v, %v", list, err)
	}
	if info, err := os.Stat(filepath.Join(list[2].Dir, lora.WeightsFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the weights have the mode %v, %v", info.Mode(), err)
	}
	if _, err := s.Add(t.Context(), "pirate", onnx, "other", right); !errors.Is(err, ErrExists) {
		t.Errorf("a second one of the name: %v", err)
	}
	if err := s.Remove("pirate"); err != nil {
		t.Error(err)
	}
	if err := s.Remove("pirate"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if _, _, err := s.Load("pirate"); !errors.Is(err, ErrNotFound) {
		t.Errorf("loaded after its removal: %v", err)
	}
	if got := names(t, s); len(got) != 2 {
		t.Errorf("the folder holds %v", got)
	}
}

// Whatever stops an addition, nothing is left of it.
func TestAddLeavesNothing(t *testing.T) {
	s := In(t.TempDir())
	refused := errors.New("another base")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name  string
		path  string
		ctx   context.Context
		check func(*lora.Adapter) error
		want  error
	}{
		{"refused", peft, t.Context(), func(*lora.Adapter) error { return refused }, refused},
		{"cancelled", peft, cancelled, right, context.Canceled},
		{"stopped", onnx, t.Context(), func(*lora.Adapter) error { return context.Canceled }, context.Canceled},
		{"absent", "nowhere", t.Context(), right, os.ErrNotExist},
		{"bad", t.TempDir(), t.Context(), right, lora.ErrAdapter},
	} {
		if _, err := s.Add(c.ctx, c.name, c.path, "base", c.check); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if got := names(t, s); len(got) != 0 {
			t.Errorf("%s leaves %v", c.name, got)
		}
	}
}

func TestAddAtOnce(t *testing.T) {
	s := In(t.TempDir())
	results := make(chan error, 8)
	var all sync.WaitGroup
	for range cap(results) {
		all.Go(func() {
			_, err := s.Add(t.Context(), "one", peft, "base", right)
			results <- err
		})
	}
	all.Wait()
	close(results)
	added := 0
	for err := range results {
		if err == nil {
			added++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if got := names(t, s); added != 1 || len(got) != 1 {
		t.Errorf("%d additions of one name, the folder holds %v", added, got)
	}
}

// What killed processes leave behind goes with the next command that writes; what is in the making stays.
func TestLeftoversAreSwept(t *testing.T) {
	s := In(t.TempDir())
	for _, name := range []string{addingPrefix + "left", removingPrefix + "left", "unlike"} {
		if err := os.MkdirAll(filepath.Join(s.Dir(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	work, free, err := s.Work()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), "new", peft, "base", right); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(names(t, s), " "), filepath.Base(work)+" new unlike"; got != want {
		t.Errorf("the folder holds %s, want %s", got, want)
	}
	free()
	if err := s.Remove("new"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(t, s), " "); got != "unlike" {
		t.Errorf("the folder holds %s, want unlike", got)
	}
}

func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(dir string) error
		word   string
		listed bool // as one with a fault
	}{
		{"a changed byte", func(dir string) error {
			path := filepath.Join(dir, lora.WeightsFile)
			data, err := os.ReadFile(path)
			if err == nil {
				data[len(data)-1] ^= 1
				err = os.WriteFile(path, data, 0o600)
			}
			return err
		}, "adapter_model.safetensors is damaged: its hash", false},
		{"no weights", func(dir string) error { return os.Remove(filepath.Join(dir, lora.WeightsFile)) }, "adapter_model.safetensors is damaged", false},
		{"no record", func(dir string) error { return os.Remove(filepath.Join(dir, recordFile)) }, "record.json is damaged", true},
		{"half a record", func(dir string) error { return os.Truncate(filepath.Join(dir, recordFile), 40) }, "record.json is damaged", true},
		{"a record of nothing", func(dir string) error { return os.WriteFile(filepath.Join(dir, recordFile), []byte("{}"), 0o600) }, "no files or no base", true},
		{"a record that leads out", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, recordFile), []byte(`{"base":"x","files":[{"name":"../../config.toml"}]}`), 0o600)
		}, `names a file "../../config.toml"`, true},
		{"a huge record", func(dir string) error { return os.Truncate(filepath.Join(dir, recordFile), recordBytesMax+1) }, "more than 65536 bytes", true},
	} {
		s := In(t.TempDir())
		k, err := s.Add(t.Context(), "one", peft, "base", right)
		if err == nil {
			err = c.damage(k.Dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Load("one"); err == nil || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), "lora rm one") {
			t.Errorf("%s: %v, want %q", c.name, err, c.word)
		}
		if list, err := s.List(); err != nil || len(list) != 1 || (list[0].Fault != "") != c.listed {
			t.Errorf("%s: listed as %+v, %v", c.name, list, err)
		}
		if err := s.Remove("one"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "pirate", "my-adapter_2", "v1.2", strings.Repeat("a", 64)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", ".hidden", "a/b", "../a", "A", "a.", "a..b", "a b", "a:1", "-a", "a\n", "a\x00", "ü", strings.Repeat("a", 65), "x.safetensors", "x.onnx_adapter"} {
		if err := CheckName(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestUses(t *testing.T) {
	for text, want := range map[string]Use{
		"pirate":               {"pirate", "", 1},
		"pirate:0.5":           {"pirate", "", 0.5},
		"pirate:-1":            {"pirate", "", -1},
		"./a":                  {"./a", "./a", 1},
		"./a:b":                {"./a:b", "./a:b", 1},
		"./a:b:2":              {"./a:b", "./a:b", 2},
		"~/x":                  {"~/x", "~/x", 1},
		"x.onnx_adapter":       {"x.onnx_adapter", "x.onnx_adapter", 1},
		"x.safetensors:1e-1":   {"x.safetensors", "x.safetensors", 0.1},
		"/abs/x.safetensors:2": {"/abs/x.safetensors", "/abs/x.safetensors", 2},
	} {
		if got, err := ParseUses([]string{text}); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	if got, err := ParseUses([]string{Off}); err != nil || len(got) != 0 || !None([]string{Off}) || None(nil) {
		t.Errorf("none: %+v, %v", got, err)
	}
	for _, bad := range [][]string{{Off, "a"}, {"a", Off}, {Off + ":1"}, {""}, {":1"}, {"a:"}, {"a:x"}, {"a:NaN"}, {"a:0"}, {"a:1e-60"}, {"a:Inf"}, {"a:1e39"}, {"a:101"}, {"A"}, {"a b"}, {"a", "a:2"}, {"./a:1e9"}} {
		if got, err := ParseUses(bad); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %+v, %v, want an error", bad, got, err)
		}
	}
	if u := (Use{Name: "a", Scale: 0.1}); u.String() != "a:0.1" || u.Lasting() != "a:0.1" {
		t.Errorf("shown as %s, kept as %s", u, u.Lasting())
	}
	if u := (Use{Name: "./a", Path: "/there/a", Scale: 2}); u.String() != "./a:2" || u.Lasting() != "/there/a:2" {
		t.Errorf("shown as %s, kept as %s", u, u.Lasting())
	}
}
