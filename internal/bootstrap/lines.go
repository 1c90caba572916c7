package bootstrap

import (
	"fmt"
	"iter"

	"github.com/dustin/go-humanize"
)

// Announce is what a person is told of a model's way: lines when it enters a phase, and nothing about the steps within one.
func Announce(states iter.Seq[State]) iter.Seq[string] {
	return func(yield func(string) bool) {
		before := Phase(-1)
		for s := range states {
			if s.Phase == before {
				continue
			}
			before = s.Phase
			for _, line := range s.entered() {
				if !yield(line) {
					return
				}
			}
		}
	}
}

func (s State) entered() []string {
	switch s.Phase {
	case Initializing:
		name := s.Family
		if name == "" {
			name = s.Model
		}
		return []string{fmt.Sprintf("⏳ Initializing %s model (background)...", name)}
	case Downloading:
		amount := ""
		if s.Files > 0 && s.Total > 0 {
			amount = fmt.Sprintf(" (%d files, %s)", s.Files, humanize.Bytes(uint64(s.Total)))
		}
		return []string{fmt.Sprintf("⏳ Downloading %s%s...", s.Model, amount)}
	case Loading:
		return []string{fmt.Sprintf("⏳ Loading %s...", s.Model)}
	case Ready:
		return []string{"✓ ONNX session created with provider: " + s.Provider, "✓ Model ready for inference"}
	}
	return []string{fmt.Sprintf("✗ %s %s", s.Model, s)}
}
