package engine

import (
	"path/filepath"
	"testing"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// A cache that only runs can see holds what one in this process's memory does: the same logits, after a part was forgotten too. The CPU
// stands in for a device, as every machine has it.
func TestCacheOnADevice(t *testing.T) {
	m, err := Open(ortest.Env(t), filepath.Join("testdata", "b-fp32"), Options{Context: 80, Kernels: KernelsOff})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want, err := m.probe()
	if err != nil {
		t.Fatal(err)
	}
	if m.cache.Device() != "" {
		t.Errorf("the cache of a model on the CPU lies on %q", m.cache.Device())
	}
	m.transfer = newTransfer(m.env, nil)
	there, err := m.openOn(ort.Device{Name: "Cpu"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.runner.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.cache.Close(); err != nil {
		t.Fatal(err)
	}
	m.cache = there
	if m.runner, err = newRunner(m, 1, there); err != nil {
		t.Fatal(err)
	}
	if there.Device() != "Cpu" || ort.View[float32](there.Past()[0]) != nil {
		t.Error("the cache can be seen from here")
	}
	got, err := m.probe()
	if err != nil {
		t.Fatal(err)
	}
	if a := compare(want, got); a.Error > 1e-6 || len(got) != len(want) {
		t.Errorf("%d rows, want %d: %v", len(got), len(want), a)
	}
	if other, err := m.openCache(2); err != nil || there.Take(other) == nil {
		t.Errorf("a cache of another size was taken over (%v)", err)
	} else {
		other.Close()
	}
	if _, err := there.Row(0); err == nil {
		t.Error("a row of it was taken, and its memory cannot be seen")
	}
}

func TestDeviceOf(t *testing.T) {
	cuda := func(id string) []ort.Provider {
		return []ort.Provider{{Name: "CUDAExecutionProvider", Options: map[string]string{"device_id": id}}}
	}
	for _, c := range []struct {
		name      string
		providers []ort.Provider
		want      ort.Device
		fails     bool
	}{
		{"the CPU", nil, ort.Device{}, false},
		{"CoreML", []ort.Provider{{Name: "CoreMLExecutionProvider"}}, ort.Device{}, false},
		{"the first GPU", cuda(""), ort.Device{Name: "Cuda"}, false},
		{"the third GPU", cuda("2"), ort.Device{Name: "Cuda", ID: 2}, false},
		{"in small letters", []ort.Provider{{Name: "cuda"}}, ort.Device{Name: "Cuda"}, false},
		{"no number", cuda("two"), ort.Device{}, true},
		{"a plug-in of that name", []ort.Provider{{Name: "CUDA", Plugin: "lib.so"}}, ort.Device{}, false},
	} {
		got, err := deviceOf(c.providers)
		if (err != nil) != c.fails || !c.fails && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}
