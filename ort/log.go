package ort

// #include "log.h"
import "C"

import (
	"runtime/cgo"

	"github.com/rs/zerolog"
)

// The levels of OrtLoggingLevel.
const (
	severityVerbose = iota
	severityInfo
	severityWarning
	severityError
	severityFatal
)

// severity is the lowest level of the runtime that the logger lets through.
func severity(log zerolog.Logger) int {
	for s, event := range []func() *zerolog.Event{log.Trace, log.Debug, log.Warn, log.Error} {
		if event().Enabled() {
			return s
		}
	}
	return severityFatal
}

// ortLog takes one message of the runtime, on any of its threads.
//
//export ortLog
func ortLog(sink C.uintptr_t, severity C.int, category, where, text *C.char) {
	log := cgo.Handle(sink).Value().(*zerolog.Logger)
	event := log.Error
	switch severity {
	case severityVerbose:
		event = log.Trace
	case severityInfo:
		event = log.Debug
	case severityWarning:
		event = log.Warn
	}
	if e := event(); e.Enabled() {
		e.Str("from", "onnxruntime").Str("category", C.GoString(category)).Str("where", C.GoString(where)).Msg(oneLine(C.GoString(text)))
	}
}
