//go:build invariants

package ort

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// leak watches for handles that are lost without Close. It reports them and frees nothing.
type leak struct{ closed *atomic.Bool }

func (l *leak) forget() {
	if l.closed != nil {
		l.closed.Store(true)
	}
}

// watch reports in the log when handle, whose life is l, becomes garbage and was never closed.
func watch[T any](handle *T, l *life, log zerolog.Logger) {
	closed, kind, stack := new(atomic.Bool), l.kind.String(), string(debug.Stack())
	l.leak.closed = closed
	runtime.AddCleanup(handle, func(closed *atomic.Bool) {
		if !closed.Load() {
			log.Error().Str("handle", kind).Str("stack", stack).Msg("ort: never closed, opened at stack")
		}
	}, closed)
}
