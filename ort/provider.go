package ort

// #include "signals.h"
// #include "table.h"
import "C"

import (
	"errors"
	"maps"
	"os"
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

// openLibraries opens what a provider needs, and names all that is missing at once, by what to do about it.
func openLibraries(p Provider) error {
	var hints []string
	missing := map[string][]string{}
	for _, l := range p.Libraries {
		if _, words := l.open(); words != nil {
			if missing[l.Hint] == nil {
				hints = append(hints, l.Hint)
			}
			missing[l.Hint] = append(missing[l.Hint], words...)
		}
	}
	if hints == nil {
		return nil
	}
	parts := make([]string, len(hints))
	for i, hint := range hints {
		parts[i] = hinted(hint, missing[hint])
	}
	return fail("provider "+p.name(), "%s", strings.Join(parts, "; "))
}

// checkProvider looks at the provider's own library, which the runtime opens from the folder that it lies in itself: one that was cut short
// would end the process.
func (e *Env) checkProvider(p Provider) error {
	for _, name := range []string{"shared", strings.ToLower(p.name())} {
		path := filepath.Join(filepath.Dir(e.library), "libonnxruntime_providers_"+name+".so")
		if _, err := os.Stat(path); err != nil || p.cpu() || p.Plugin != "" {
			continue // built in, or the runtime says that it is missing
		}
		if err := checkFile(path); err != nil {
			return fail("provider "+p.name(), "%w", err)
		}
	}
	return nil
}

// hinted puts what was tried behind what to do.
func hinted(hint string, words []string) string {
	text := strings.Join(words, ", ")
	if hint == "" {
		return "open " + text
	}
	return hint + ": " + text
}

// Open opens the first of the paths that can be opened, for the life of the process, and says which.
func (l Library) Open() (path string, err error) {
	path, words := l.open()
	if words != nil {
		return "", errors.New(hinted(l.Hint, words))
	}
	return path, nil
}

// open says of each path why it cannot be opened, nothing if one could be.
func (l Library) open() (path string, words []string) {
	for _, path := range l.Paths {
		err := keepSignals(func() error {
			if filepath.Base(path) != path {
				if err := checkFile(path); err != nil {
					return err
				}
			}
			_, err := dlopen(path, true)
			return err
		})
		if err == nil {
			return path, nil
		}
		text := err.Error()
		if filepath.Base(path) == path && strings.Contains(text, "No such file") { // the loader's long way to say it
			text = "no " + path
		}
		words = append(words, text)
	}
	return "", words
}

// appendProvider adds one provider. Implements: OrtApi::SessionOptionsAppendExecutionProvider, OrtApi::SessionOptionsAppendExecutionProvider_CUDA_V2.
func (s *sessionOptions) appendProvider(p Provider) error {
	if err := openLibraries(p); err != nil {
		return err
	}
	if err := s.env.checkProvider(p); err != nil {
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
