// Package provider knows which execution providers this binary was built for, as plain values: one tagged file each says so.
package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/ort"
)

// CPU is the name of the provider that every binary has.
const CPU = "cpu"

// ErrUnknown says that a provider was asked for that this binary does not have.
var ErrUnknown = errors.New("no such provider")

// Candidate is a provider that may run a model.
type Candidate struct {
	Name     string       // as it is asked for: cpu, cuda, coreml
	Provider ort.Provider // the zero value for the CPU
}

// Names lists the providers of this binary, the preferred one first.
func Names() []string {
	var names []string
	for _, c := range available() {
		names = append(names, c.Name)
	}
	return names
}

// Chain is what to try for the name that was asked for, in order. "auto" is every provider of this binary;
// one that is asked for by name is tried alone, so that it fails instead of something else running in its place.
func Chain(name string) ([]Candidate, error) {
	all := available()
	if name == "auto" || name == "" {
		return all, nil
	}
	if i := slices.IndexFunc(all, func(c Candidate) bool { return c.Name == name }); i >= 0 {
		return all[i : i+1], nil
	}
	hint := "expected auto or one of " + strings.Join(Names(), ", ")
	switch name {
	case "cuda", "coreml":
		hint = fmt.Sprintf("this binary is for %s; `make %s` makes one", Build, name)
	case "metal":
		hint = "ONNX Runtime has no Metal provider; on a Mac, coreml uses the GPU"
	}
	return nil, fmt.Errorf("provider: choose %q: %w: %s", name, ErrUnknown, hint)
}

// cpu is the last of every list.
func cpu() Candidate { return Candidate{Name: CPU} }
