package hub

import (
	"sync/atomic"
)

// Kind says what an Event tells.
type Kind string

// The kinds of events.
const (
	Progress Kind = "progress" // bytes arrived
	Waiting  Kind = "waiting"  // another program is at work on the same file or repository
	Checking Kind = "checking" // a file that is in the cache is hashed
	Started  Kind = "started"  // a file is being downloaded
	Retrying Kind = "retrying" // something failed that may work later
	Here     Kind = "here"     // the file was in the cache, and is right
	Stored   Kind = "stored"   // the file was downloaded and is right
	Added    Kind = "added"    // the graph names one more file
	Finished Kind = "finished" // the model lies in Dir
)

// Event is one step of a download.
type Event struct {
	Kind  Kind   `json:"event"`
	File  string `json:"file,omitempty"`
	Text  string `json:"text,omitempty"`
	Done  int64  `json:"done"`  // bytes of all files that are here
	Total int64  `json:"total"` // bytes of all files
	Files int    `json:"files"` // how many there are
	Ready int    `json:"ready"` // and how many of them are whole
	Dir   string `json:"dir,omitempty"`
}

// progress is what the workers of one download count together. It is safe for concurrent use.
type progress struct {
	done, total  atomic.Int64
	ready, files atomic.Int32
	events       chan<- Event
	stopped      <-chan struct{} // nobody listens any more
}

func (p *progress) add(n int64) { p.done.Add(n) }

func (p *progress) note(kind Kind, file, text string) {
	if kind == Here || kind == Stored {
		p.ready.Add(1)
	}
	p.send(Event{Kind: kind, File: file, Text: text})
}

func (p *progress) send(e Event) {
	select {
	case p.events <- p.fill(e):
	case <-p.stopped:
	}
}

func (p *progress) fill(e Event) Event {
	e.Done, e.Total = min(max(p.done.Load(), 0), p.total.Load()), p.total.Load()
	e.Ready, e.Files = int(p.ready.Load()), int(p.files.Load())
	return e
}
