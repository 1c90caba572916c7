package provider

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestChain(t *testing.T) {
	names := func(list []Candidate) []string {
		var out []string
		for _, c := range list {
			out = append(out, c.Name)
		}
		return out
	}
	for _, c := range []struct {
		asked string
		want  []string
	}{{"auto", Names()}, {"", Names()}, {CPU, []string{CPU}}, {Build, []string{Build}}} {
		got, err := Chain(c.asked)
		if err != nil || !slices.Equal(names(got), c.want) {
			t.Errorf("chain %q = %v, %v; want %v", c.asked, names(got), err, c.want)
		}
	}
	if Names()[len(Names())-1] != CPU {
		t.Errorf("names %v, want the CPU last", Names())
	}
	for asked, want := range map[string]string{"gpu": "expected auto or one of", "metal": "coreml uses the GPU"} {
		if _, err := Chain(asked); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("chain %q: %v, want ErrUnknown with %q", asked, err, want)
		}
	}
	if Build == CPU {
		if _, err := Chain("cuda"); err == nil || !strings.Contains(err.Error(), "make cuda") {
			t.Errorf("chain cuda: %v, want it to name the build that has it", err)
		}
	}
}
