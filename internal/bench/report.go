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
	Threads    int      `json:"threads"`
	CPU        string   `json:"cpu"`
	LoadMS     float64  `json:"load_ms"`
	Results    []Result `json:"results"`
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
	rows := [][]string{{"model", "size", "params", "layout", "provider", "threads", "test", "t/s", "first ms", "gap p50 ms", "gap p95 ms", "peak MiB"}}
	for _, t := range r.Results {
		first, gap50, gap95 := "", "", ""
		if t.FirstMS > 0 {
			first = fmt.Sprintf("%.1f", t.FirstMS)
		}
		if t.GapP50MS > 0 {
			gap50, gap95 = fmt.Sprintf("%.2f", t.GapP50MS), fmt.Sprintf("%.2f", t.GapP95MS)
		}
		rows = append(rows, []string{
			r.Model, fmt.Sprintf("%.1f MiB", mib(r.Bytes)), parameters(r.Parameters), r.Layout + " " + r.Variant, r.Provider, fmt.Sprint(r.Threads),
			t.Test, t.value(), first, gap50, gap95, fmt.Sprintf("%.0f", mib(t.PeakMemory)),
		})
	}
	return rows
}

// notes are the lines below the table.
func (r Report) notes() []string {
	return []string{fmt.Sprintf("load %.0f ms · %s · shammah-engine %s", r.LoadMS, r.CPU, r.Version)}
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
