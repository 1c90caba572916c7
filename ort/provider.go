package ort

// #include "signals.h"
// #include "table.h"
import "C"

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// name without the suffix that the runtime's list has and its append call does not take.
func (p Provider) name() string { return strings.TrimSuffix(p.Name, "ExecutionProvider") }

func (p Provider) cpu() bool {
	return p.Plugin == "" && (p.name() == "" || strings.EqualFold(p.name(), "cpu"))
}

// native says that a provider brings libraries of its own, which may replace the process's signal handlers.
func native(providers []Provider) bool {
	return slices.ContainsFunc(providers, func(p Provider) bool { return !p.cpu() })
}

// guarded is keepSignals where a provider may bring what replaces signal handlers.
func guarded(providers []Provider, f func() error) error {
	if !native(providers) {
		return f()
	}
	return keepSignals(f)
}

// keepSignals runs f and puts the signal handlers back that f replaced. GPU drivers install handlers without SA_ONSTACK, on which a Go
// process dies at the next Ctrl-C (yalue/onnxruntime_go#140).
func keepSignals(f func() error) error {
	saved := C.signals_save()
	defer C.signals_restore(saved)
	return f()
}

func (s *sessionOptions) providers(o SessionOptions) error {
	return guarded(o.Providers, func() error {
		for _, p := range o.Providers {
			if err := s.appendProvider(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// openLibraries opens what a provider needs, and names all that is missing at once.
func openLibraries(p Provider) error {
	var missing []string
	for _, l := range p.Libraries {
		if _, err := l.Open(); err != nil {
			missing = append(missing, err.Error())
		}
	}
	if missing != nil {
		return fail("provider "+p.name(), "%s", strings.Join(missing, "; "))
	}
	return nil
}

// Open opens the first of the paths that can be opened, for the life of the process, and says which.
func (l Library) Open() (path string, err error) {
	var words []string
	for _, path := range l.Paths {
		err := keepSignals(func() error {
			_, err := dlopen(path, true)
			return err
		})
		if err == nil {
			return path, nil
		}
		text := err.Error()
		if filepath.Base(path) == path && strings.Contains(text, "No such file") { // the loader's long way to say it
			text = path + " was not found"
		}
		words = append(words, text)
	}
	if l.Hint == "" {
		return "", fmt.Errorf("open %s", strings.Join(words, ", "))
	}
	return "", fmt.Errorf("%s: %s", l.Hint, strings.Join(words, ", "))
}

// appendProvider adds one provider. Implements: OrtApi::SessionOptionsAppendExecutionProvider, OrtApi::SessionOptionsAppendExecutionProvider_CUDA_V2.
func (s *sessionOptions) appendProvider(p Provider) error {
	if err := openLibraries(p); err != nil {
		return err
	}
	if p.cpu() {
		if len(p.Options) > 0 {
			return fail("provider CPU", "it takes no options, found %d", len(p.Options))
		}
		return nil
	}
	var keys, values []string
	for _, key := range slices.Sorted(maps.Keys(p.Options)) {
		keys, values = append(keys, key), append(values, p.Options[key])
	}
	all, err := cStrings(append(append([]string{p.name()}, keys...), values...)...)
	if err != nil {
		return fail("provider "+p.name(), "%w", err)
	}
	defer all.free()
	k, v, n := all[1:1+len(keys)].list(), all[1+len(keys):].list(), C.size_t(len(keys))
	if p.Plugin != "" {
		return s.appendPlugin(p, k, v, n)
	}
	if strings.EqualFold(p.name(), "cuda") {
		if err := s.check(C.ort_append_cuda(s.c, s.ptr, k, v, n)); err != nil {
			return err.in("provider CUDA")
		}
		return nil
	}
	if err := s.check(C.ort_append_provider(s.c, s.ptr, all.at(0), k, v, n)); err != nil {
		return err.in("provider %s", p.name())
	}
	return nil
}
