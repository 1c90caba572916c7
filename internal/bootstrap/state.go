// Package bootstrap brings the model of this machine to life in the background, as a state machine that others watch.
// It imports nothing native: what downloads and what opens a model are given to it.
package bootstrap

import (
	"fmt"
	"strings"
)

// Phase is where a model is on its way to answering.
type Phase int

// The phases. Ready, Failed and NotAvailable are ends: nothing follows by itself.
const (
	Initializing Phase = iota // what is wanted and what is here is being found out
	Downloading               // files arrive
	Loading                   // the files are here and the session is being made
	Ready                     // it answers
	Failed                    // an attempt was made and failed
	NotAvailable              // no attempt is made: offline, not downloaded, or switched off
)

func (p Phase) String() string {
	names := [...]string{"initializing", "downloading", "loading", "ready", "failed", "not available"}
	if p < 0 || int(p) >= len(names) {
		return fmt.Sprintf("phase %d", int(p))
	}
	return names[p]
}

// State is one moment of a model's way. It is plain data; only the fields of its phase are set.
type State struct {
	Phase    Phase
	Model    string // its name for people: Qwen2.5-1.5B-Instruct
	Family   string // Qwen2.5; "" where it is not known
	File     int    // Downloading: which file, from 1
	Files    int    // Downloading: how many there are
	Bytes    int64  // Downloading: what has arrived, of all files
	Total    int64  // Downloading: what all files have; 0 is unknown
	Provider string // Ready: the provider that truly runs
	Err      error  // Failed, NotAvailable: why
}

// String is the state in half a sentence, as it follows the model's name: "is being downloaded (file 2 of 5, 40% of 1.6 GB)".
func (s State) String() string {
	switch s.Phase {
	case Initializing:
		return "is being prepared"
	case Downloading:
		return "is being downloaded" + s.progress()
	case Loading:
		return "is being loaded"
	case Ready:
		if s.Provider != "" {
			return "is ready on " + s.Provider
		}
		return "is ready"
	case Failed:
		return "could not be loaded" + s.because()
	case NotAvailable:
		return "is not available" + s.because()
	}
	return "is in " + s.Phase.String()
}

func (s State) progress() string {
	var parts []string
	if s.Files > 0 {
		parts = append(parts, fmt.Sprintf("file %d of %d", s.File, s.Files))
	}
	if s.Total > 0 {
		parts = append(parts, fmt.Sprintf("%d%% of %s", min(100, int(100*float64(s.Bytes)/float64(s.Total))), size(s.Total)))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func size(bytes int64) string {
	if bytes < 1e8 {
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
}

func (s State) because() string {
	if s.Err == nil {
		return ""
	}
	return ": " + s.Err.Error()
}
