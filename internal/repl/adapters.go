package repl

import (
	"context"
	"strings"
)

// adaptersOff is what takes all adapters away.
const adaptersOff = "off"

// lora shows which adapters are used, or uses others from the next answer on.
func (s *Session) lora(_ context.Context, rest string) error {
	names := strings.Fields(rest)
	if len(names) == 0 {
		s.Output.List(s.adapterLines())
		return nil
	}
	if len(names) == 1 && names[0] == adaptersOff {
		names = nil
	}
	if err := s.Backend.Adapt(names); err != nil {
		return err
	}
	if len(names) == 0 {
		s.Output.Note("no adapter from now on")
		return nil
	}
	s.Output.Note("from now on with " + strings.Join(names, " "))
	return nil
}

func (s *Session) adapterLines() []string {
	used, known := s.Backend.Adapters()
	if len(used) == 0 {
		used = []string{"none"}
	}
	if len(known) == 0 {
		known = []string{"none; `shammah-engine lora add` brings one"}
	}
	return []string{"used   " + strings.Join(used, " "), "here   " + strings.Join(known, " ")}
}

// adapterNames are what may follow /lora.
func adapterNames(s *Session) []string {
	_, known := s.Backend.Adapters()
	return append(known, adaptersOff)
}
