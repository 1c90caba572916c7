package coreml

import "testing"

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		want    map[string]string // "" is absent
	}{
		{"defaults", Options{}, map[string]string{"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "0", "ModelCacheDirectory": ""}},
		{"all set", Options{Units: CPUAndGPU, StaticShapes: true, CacheDir: "cache"}, map[string]string{"MLComputeUnits": "CPUAndGPU", "RequireStaticInputShapes": "1", "ModelCacheDirectory": "cache"}},
	} {
		p := c.options.Provider()
		if p.Name != Name {
			t.Errorf("%s: provider %q, want %q", c.name, p.Name, Name)
		}
		for key, want := range c.want {
			if got := p.Options[key]; got != want {
				t.Errorf("%s: option %s is %q, want %q", c.name, key, got, want)
			}
		}
	}
}
