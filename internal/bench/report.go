package bench

import (
	"fmt"
	"io"
	"strings"
)

// Report is one run of the benchmark on one model.
type Report struct {
	Version    string   `json:"version"`
	Model      string   `json:"model"`
	Bytes      int64    `json:"bytes"`
	Parameters int64    `json:"parameters"`
	Layout     string   `json:"layout"`
	Variant    string   `json:"variant"`
	Provider   string   `json:"provider"`
	Placement  string   `json:"placement,omitempty"` // which provider holds what
	Threads    int      `json:"threads"`
	CPU        string   `json:"cpu"`
	Kernels    string   `json:"kernels"` // "own", or why the runtime's compute
	LoadMS     float64  `json:"load_ms"`
	StepBytes  int64    `json:"step_bytes"`          // of weights that computing one token reads
	Bandwidth  float64  `json:"bandwidth,omitempty"` // bytes per second that the machine reads, if that was measured
	Results    []Result `json:"results"`
}

// KernelsOwn is the Kernels of a report whose matrix products this program's kernels computed.
const KernelsOwn = "own"

// SetBandwidth notes the machine's read bandwidth, and what share of its limit each generation reached: a step reads the weights once,
// for all rows.
func (r *Report) SetBandwidth(bytesPerSecond float64) {
	r.Bandwidth = bytesPerSecond
	for i := range r.Results {
		t, err := Parse(r.Results[i].Test)
		if writes := t.Generate > 0 && (t.Prompt == 0 || t.Kind == Copy); err == nil && writes && r.limit() > 0 {
			saved := float64(r.Results[i].Accepted) / float64(t.Generate) // a guess that was right needed no reading of its own
			r.Results[i].Roofline = r.Results[i].Median * (1 - saved) / float64(max(t.Rows, 1)) / r.limit()
		}
	}
}

// limit is the steps per second at which the weights can be read, 0 if that is not known.
func (r Report) limit() float64 {
	if r.StepBytes <= 0 {
		return 0
	}
	return r.Bandwidth / float64(r.StepBytes)
}

// Markdown writes the report as a table that is aligned for reading in a terminal too.
func (r Report) Markdown(w io.Writer) error {
	if err := table(w, r.rows()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(r.notes(), "\n"))
	return err
}

// rows is the table for readers, its head first.
func (r Report) rows() [][]string {
	rows := [][]string{{"model", "size", "params", "layout", "provider", "threads", "test", "t/s", "first ms", "gap p50 ms", "gap p95 ms", "peak MiB", "of estimate"}}
	if r.Bandwidth > 0 {
		rows[0] = append(rows[0], "of limit")
	}
	for _, t := range r.Results {
		first, gap50, gap95 := "", "", ""
		if t.FirstMS > 0 {
			first = fmt.Sprintf("%.1f", t.FirstMS)
		}
		if t.GapP50MS > 0 {
			gap50, gap95 = fmt.Sprintf("%.2f", t.GapP50MS), fmt.Sprintf("%.2f", t.GapP95MS)
		}
		estimate := ""
		if t.Estimate > 0 {
			estimate = fmt.Sprintf("%.2f", float64(t.PeakMemory)/float64(t.Estimate))
		}
		row := []string{
			r.Model, fmt.Sprintf("%.1f MiB", mib(r.Bytes)), parameters(r.Parameters), r.Layout + " " + r.Variant, r.Provider, fmt.Sprint(r.Threads),
			t.Test, t.value(), first, gap50, gap95, fmt.Sprintf("%.0f", mib(t.PeakMemory)), estimate,
		}
		if r.Bandwidth > 0 {
			limit := ""
			if t.Roofline > 0 {
				limit = fmt.Sprintf("%.0f %%", t.Roofline*100)
			}
			row = append(row, limit)
		}
		rows = append(rows, row)
	}
	return rows
}

// notes are the lines below the table.
func (r Report) notes() []string {
	notes := []string{fmt.Sprintf("load %.0f ms · %s · shammah-engine %s", r.LoadMS, r.CPU, r.Version)}
	switch r.Kernels {
	case "": // an older file
	case KernelsOwn:
		notes = append(notes, "kernels: this program's")
	default:
		notes = append(notes, "kernels: the runtime's: "+r.Kernels)
	}
	for _, t := range r.Results {
		if t.Proposed > 0 {
			notes = append(notes, fmt.Sprintf("%s speculates: %d of %d guesses right", t.Test, t.Accepted, t.Proposed))
		}
	}
	if r.Placement != "" {
		notes = append(notes, "placement: "+r.Placement)
	}
	if r.Bandwidth > 0 {
		notes = append(notes, fmt.Sprintf("limit: %.1f GB/s read by %d threads, %.1f MB of weights a step (keys and values not counted): %.1f steps/s",
			r.Bandwidth/1e9, r.Threads, float64(r.StepBytes)/1e6, r.limit()))
	}
	return notes
}

// value is median and deviation; what is no rate has its unit.
func (t Result) value() string {
	s := fmt.Sprintf("%.2f ± %.2f", t.Median, t.Deviation)
	if t.Unit == UnitMS {
		s += " ms"
	}
	return s
}

// table writes rows as Markdown, columns padded to their widest cell; all but the first are numbers more often than not and stand to the right.
func table(w io.Writer, rows [][]string) error {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)), 3)
		}
	}
	line := func(cells []string) string {
		var b strings.Builder
		for i, cell := range cells {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString("| " + cell + pad + " ")
			} else {
				b.WriteString("| " + pad + cell + " ")
			}
		}
		return b.String() + "|\n"
	}
	rule := make([]string, len(width))
	for i, n := range width {
		rule[i] = strings.Repeat("-", n)
		if i > 0 {
			rule[i] = strings.Repeat("-", n-1) + ":"
		}
	}
	text := line(rows[0]) + line(rule)
	for _, row := range rows[1:] {
		text += line(row)
	}
	_, err := io.WriteString(w, text)
	return err
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// parameters is a count as the field writes it: 4.8 M, 1.5 B.
func parameters(n int64) string {
	switch {
	case n <= 0:
		return "?"
	case n >= 1e9:
		return fmt.Sprintf("%.2f B", float64(n)/1e9)
	}
	return fmt.Sprintf("%.2f M", float64(n)/1e6)
}
