package repl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/rivo/uniseg"
)

// Status is how things stand with the model and the machine.
type Status struct {
	Model    string
	Provider string // "" before the model is ready
	State    string // what is the matter with a model that is not ready: "is being loaded"
	Mode     string // who is to answer
	Context  int    // tokens that the context holds, 0 when not known
	Used     int64  // bytes that this process takes, 0 when not known
	Free     int64  // bytes that are left
}

// part is a piece of the status line, in full and shortened. What has the highest rank is left out first.
type part struct {
	rank        int
	full, short string
}

// status is one line of at most width columns: in full, or shortened, or without what matters least.
func (s *Session) status(width int) string {
	if s.NoStatus {
		return ""
	}
	parts := s.parts()
	full, short := make([]string, len(parts)), ""
	for i, p := range parts {
		full[i] = p.full
	}
	if text := strings.Join(full, " · "); uniseg.StringWidth(text) <= width {
		return text
	}
	for {
		least := 0
		for i, p := range parts {
			if p.rank > parts[least].rank {
				least = i
			}
		}
		texts := make([]string, len(parts))
		for i, p := range parts {
			texts[i] = p.short
		}
		if short = strings.Join(texts, " · "); uniseg.StringWidth(short) <= width || len(parts) == 1 {
			return cut(short, width)
		}
		parts = slices.Delete(parts, least, least+1)
	}
}

func (s *Session) parts() (parts []part) {
	st := s.Backend.Status()
	add := func(rank int, full, short string) { parts = append(parts, part{rank, full, short}) }
	same := func(rank int, text string) { add(rank, text, text) }
	if st.State != "" {
		same(0, printable(strings.Join(strings.Fields(st.Model+" "+st.State), " ")))
	} else {
		same(0, st.Model)
	}
	if st.Provider != "" && st.State == "" {
		same(3, st.Provider)
	}
	if st.Mode != "" && st.Mode != "auto" {
		same(6, st.Mode)
	}
	if d := s.last; d != nil {
		same(2, fmt.Sprintf("%d in %d out", s.in, s.out))
		if d.Rate > 0 {
			add(1, fmt.Sprintf("%.1f tok/s", d.Rate), fmt.Sprintf("%.1f/s", d.Rate))
		}
	}
	if d := s.last; d != nil && d.Why != "" {
		same(5, "by "+d.By) // the context is not this model's
	} else if st.Context > 0 {
		add(4, fmt.Sprintf("context %d/%d", s.used, st.Context), fmt.Sprintf("ctx %d%%", 100*s.used/st.Context))
	}
	if st.Used > 0 {
		add(7, fmt.Sprintf("%s used %s free", size(st.Used), size(st.Free)), fmt.Sprintf("%.1f GB, %.1f free", float64(st.Used)/1e9, float64(st.Free)/1e9))
	}
	return parts
}

// size is a number of bytes in three figures: "1.6 GB".
func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// cut is the beginning of text that fits into width columns.
func cut(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	var b strings.Builder
	taken := 0
	for state := -1; text != ""; {
		var cluster string
		var w int
		cluster, text, w, state = uniseg.FirstGraphemeClusterInString(text, state)
		if taken += w; taken > width-1 {
			break
		}
		b.WriteString(cluster)
	}
	return b.String() + "…"
}

// figures is what /stats shows.
func (s *Session) figures() []string {
	st := s.Backend.Status()
	lines := []string{}
	add := func(name, format string, a ...any) {
		lines = append(lines, fmt.Sprintf("%-12s %s", name, fmt.Sprintf(format, a...)))
	}
	if d := s.last; d == nil {
		add("last answer", "none yet")
	} else {
		add("last answer", "by %s%s", d.By, because(d.Why))
		before := ""
		if d.Reused > 0 {
			before = fmt.Sprintf(" (%d computed before)", d.Reused)
		}
		add("tokens", "%d in%s, %d out; ended by %s", d.Prompt, before, d.Generated, d.Finish)
		if d.Rate > 0 {
			add("speed", "%.1f tokens a second, the first after %.0f ms", d.Rate, d.FirstMS)
		}
		if d.Proposed > 0 {
			add("speculation", "%d of %d guesses right", d.Accepted, d.Proposed)
		}
		if d.Context > 0 {
			add("context", "%d of %d tokens", d.Prompt+d.Generated, d.Context)
		}
	}
	add("all answers", "%d tokens in, %d out", s.in, s.out)
	if st.Used > 0 {
		add("memory", "%s used by this program, %s free", size(st.Used), size(st.Free))
	}
	return lines
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
