package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"github.com/shammah/shammah-engine/internal/hub"
)

// display shows how a download gets on. With an error the event is its last.
type display interface {
	event(e hub.Event, err error)
}

// bar is one line on a terminal: bytes, rate and time left of the whole.
type bar struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	total int64
}

func newBar(out io.Writer) *bar {
	return &bar{out: out, bar: progressbar.NewOptions64(1,
		append(barOptions(out), progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionUseIECUnits(true))...)}
}

// barOptions are how every bar looks.
func barOptions(out io.Writer) []progressbar.Option {
	return []progressbar.Option{
		progressbar.OptionSetWriter(out),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(80 * time.Millisecond),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}),
	}
}

func (b *bar) event(e hub.Event, err error) {
	if e.Total != b.total {
		b.total = e.Total
		b.bar.ChangeMax64(max(e.Total, 1))
	}
	switch e.Kind {
	case hub.Retrying, hub.Waiting, hub.Added:
		_ = b.bar.Clear()
		fmt.Fprintln(b.out, sentence(e))
	}
	what := fmt.Sprintf("%d/%d files", e.Ready, e.Files)
	if e.Text != "" && (e.Kind == hub.Progress || e.Kind == hub.Finished) {
		what = e.Text // no download
	}
	b.bar.Describe(what)
	_ = b.bar.Set64(e.Done)
	if e.Kind == hub.Finished || err != nil {
		_ = b.bar.Exit()
		fmt.Fprintln(b.out)
	}
}

// lineDisplay writes a line for each file, and one now and then in between.
type lineDisplay struct {
	out   io.Writer
	start time.Time
	last  time.Time
	from  int64
}

// linePause is how often a line is written while bytes arrive.
const linePause = 10 * time.Second

func (l *lineDisplay) event(e hub.Event, err error) {
	now := time.Now()
	if l.start.IsZero() {
		l.start, l.last, l.from = now, now, e.Done
	}
	switch {
	case err != nil || e.Kind == hub.Finished || e.Kind == hub.Checking:
		return
	case e.Kind != hub.Progress:
		fmt.Fprintln(l.out, sentence(e))
	case now.Sub(l.last) >= linePause:
		l.last = now
		rate := float64(e.Done-l.from) / now.Sub(l.start).Seconds()
		left := "?"
		if rate > 0 {
			left = time.Duration(float64(e.Total-e.Done) / rate * float64(time.Second)).Round(time.Second).String()
		}
		fmt.Fprintf(l.out, "%s of %s, %s/s, %s left\n", size(e.Done), size(e.Total), size(int64(rate)), left)
	}
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// sentence is an event in words.
func sentence(e hub.Event) string {
	words := map[hub.Kind]string{hub.Waiting: "waiting", hub.Started: "downloading", hub.Retrying: "retrying",
		hub.Here: "already here", hub.Stored: "done", hub.Added: "also needed"}
	s := words[e.Kind]
	if e.File != "" {
		s += " " + e.File
	}
	if e.Text != "" {
		s += ": " + oneLine(e.Text)
	}
	return s
}

// jsonDisplay writes each event as a line of JSON, bytes once a second.
type jsonDisplay struct {
	out  io.Writer
	last time.Time
}

func (j *jsonDisplay) event(e hub.Event, err error) {
	if err != nil {
		printEvent(j.out, map[string]string{"event": "failed", "error": oneLine(err.Error())})
		return
	}
	if now := time.Now(); e.Kind == hub.Progress && now.Sub(j.last) < time.Second {
		return
	} else if e.Kind == hub.Progress {
		j.last = now
	}
	printEvent(j.out, e)
}
