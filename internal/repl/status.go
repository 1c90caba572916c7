package repl

import (
	"fmt"
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

// status is one line of at most width columns. What matters least goes first when it is too long.
func (s *Session) status(width int) string {
	if s.NoStatus {
		return ""
	}
	st := s.Backend.Status()
	// Each part with its rank: the highest go first.
	type part struct {
		rank int
		text string
	}
	var parts []part
	add := func(rank int, format string, a ...any) { parts = append(parts, part{rank, fmt.Sprintf(format, a...)}) }
	switch {
	case st.State != "":
		add(0, "%s", printable(strings.Join(strings.Fields(st.Model+" "+st.State), " ")))
	case st.Provider != "":
		add(0, "%s", st.Model)
		add(3, "%s", st.Provider)
	default:
		add(0, "%s", st.Model)
	}
	if st.Mode != "" && st.Mode != "auto" {
		add(6, "%s", st.Mode)
	}
	if d := s.last; d != nil {
		add(2, "%d in %d out", s.in, s.out)
		if d.Rate > 0 {
			add(1, "%.1f tok/s", d.Rate)
		}
		if d.Context > 0 {
			add(4, "context %d/%d", d.Prompt+d.Generated, d.Context)
		}
		if d.Why != "" {
			add(5, "by %s", d.By)
		}
	} else if st.Context > 0 {
		add(4, "context 0/%d", st.Context)
	}
	if st.Used > 0 {
		add(7, "%s used %s free", size(st.Used), size(st.Free))
	}
	for {
		texts := make([]string, len(parts))
		last := 0
		for i, p := range parts {
			texts[i] = p.text
			if p.rank > parts[last].rank {
				last = i
			}
		}
		text := strings.Join(texts, " · ")
		if uniseg.StringWidth(text) <= width || len(parts) == 1 {
			return cut(text, width)
		}
		parts = append(parts[:last], parts[last+1:]...)
	}
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
		add("tokens", "%d in, %d out; ended by %s", d.Prompt, d.Generated, d.Finish)
		if d.Rate > 0 {
			add("speed", "%.1f tokens a second, the first after %.0f ms", d.Rate, d.FirstMS)
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
