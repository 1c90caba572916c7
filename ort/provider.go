package ort

// #include "signals.h"
// #include "table.h"
import "C"

import (
	"maps"
	"slices"
	"strings"
)

// name without the suffix that the runtime's list has and its append call does not take.
func (p Provider) name() string { return strings.TrimSuffix(p.Name, "ExecutionProvider") }

func (p Provider) cpu() bool { return p.name() == "" || strings.EqualFold(p.name(), "cpu") }

// native says that a provider brings libraries of its own, which may replace the process's signal handlers.
func native(providers []Provider) bool {
	return slices.ContainsFunc(providers, func(p Provider) bool { return !p.cpu() })
}

// guarded runs f and puts the signal handlers back that f replaced. GPU drivers install handlers without SA_ONSTACK, on which a Go
// process dies at the next Ctrl-C (yalue/onnxruntime_go#140).
func guarded(providers []Provider, f func() error) error {
	if !native(providers) {
		return f()
	}
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

// appendProvider adds one provider. Implements: OrtApi::SessionOptionsAppendExecutionProvider, OrtApi::SessionOptionsAppendExecutionProvider_CUDA_V2.
func (s *sessionOptions) appendProvider(p Provider) error {
	for _, path := range p.Libraries {
		if _, err := dlopen(path, true); err != nil {
			return fail("provider "+p.name(), "open %w", err)
		}
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
