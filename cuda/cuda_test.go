package cuda

import "testing"

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		want    map[string]string // "" is absent
	}{
		{"defaults", Options{}, map[string]string{"device_id": "0", "use_tf32": "0", "enable_cuda_graph": "0", "gpu_mem_limit": ""}},
		{"all set", Options{Device: 1, MemoryLimit: 1 << 33, TF32: true, Graph: true}, map[string]string{"device_id": "1", "use_tf32": "1", "enable_cuda_graph": "1", "gpu_mem_limit": "8589934592"}},
	} {
		p := c.options.Provider()
		if p.Name != Name || len(p.Libraries) == 0 {
			t.Errorf("%s: provider %q with libraries %v, want %q and NVIDIA's libraries", c.name, p.Name, p.Libraries, Name)
		}
		for key, want := range c.want {
			if got := p.Options[key]; got != want {
				t.Errorf("%s: option %s is %q, want %q", c.name, key, got, want)
			}
		}
	}
}
