package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Formats names what Write can write.
func Formats() []string { return []string{"md", "csv", "json", "jsonl", "benchfmt", "html"} }

// Write writes the report in one of the Formats. A page shows another report beside it, unless that is nil.
func (r Report) Write(w io.Writer, format string, beside *Report) error {
	switch format {
	case "md":
		return r.Markdown(w)
	case "csv":
		return r.CSV(w)
	case "json":
		return r.JSON(w)
	case "jsonl":
		return r.JSONLines(w)
	case "benchfmt":
		return r.Benchfmt(w)
	case "html":
		return r.HTML(w, beside)
	}
	return fmt.Errorf("bench: write the report: format %q, expected one of %s", format, strings.Join(Formats(), ", "))
}

// Read reads a report that JSON wrote.
func Read(path string) (r Report, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("bench: read a report: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("bench: read report %s: expected what bench -o json writes: %w", path, err)
	}
	if len(r.Results) == 0 {
		return r, fmt.Errorf("bench: read report %s: it has no results, expected what bench -o json writes", path)
	}
	return r, nil
}

// JSON writes the report as one object, a line for each result.
func (r Report) JSON(w io.Writer) error {
	results := r.Results
	r.Results = nil
	head, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text := strings.TrimSuffix(string(head), "null\n}") + "["
	for i, t := range results {
		line, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if i > 0 {
			text += ","
		}
		text += "\n    " + string(line)
	}
	_, err = io.WriteString(w, text+"\n  ]\n}\n")
	return err
}

// JSONLines writes an object a result, each with all that is known of the run.
func (r Report) JSONLines(w io.Writer) error {
	for _, t := range r.Results {
		if err := r.Line(w, t); err != nil {
			return err
		}
	}
	return nil
}

// Line writes what JSONLines writes of one result.
func (r Report) Line(w io.Writer, t Result) error {
	return json.NewEncoder(w).Encode(struct {
		Report
		Result
		Results any `json:"results,omitempty"` // hides the report's
	}{Report: r, Result: t})
}

// CSV writes a record a result under the names that JSON has for them; samples are one field.
func (r Report) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	float := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	c.Write([]string{"version", "model", "bytes", "parameters", "layout", "variant", "provider", "placement", "threads", "cpu", "kernels", "load_ms", "step_bytes", "bandwidth",
		"test", "unit", "median", "deviation", "first_ms", "gap_p50_ms", "gap_p95_ms", "peak_memory", "estimate_memory", "roofline", "reused", "copied", "proposed", "accepted", "samples"})
	for _, t := range r.Results {
		samples := make([]string, len(t.Samples))
		for i, x := range t.Samples {
			samples[i] = float(x)
		}
		c.Write([]string{r.Version, r.Model, fmt.Sprint(r.Bytes), fmt.Sprint(r.Parameters), r.Layout, r.Variant, r.Provider, r.Placement, fmt.Sprint(r.Threads), r.CPU, r.Kernels, float(r.LoadMS), fmt.Sprint(r.StepBytes), float(r.Bandwidth),
			t.Test, t.Unit, float(t.Median), float(t.Deviation), float(t.FirstMS), float(t.GapP50MS), float(t.GapP95MS), fmt.Sprint(t.PeakMemory), fmt.Sprint(t.Estimate), float(t.Roofline),
			fmt.Sprint(t.Reused), float(t.Copied), fmt.Sprint(t.Proposed), fmt.Sprint(t.Accepted), strings.Join(samples, " ")})
	}
	c.Flush()
	return c.Error() // which keeps the first one
}

// Benchfmt writes the format of Go's benchmarks, which golang.org/x/perf and benchstat read: a line for each sample. The version is a line that
// they pass over: benchstat compares only what agrees in all that it knows, and versions are what one compares.
func (r Report) Benchfmt(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/shammah/shammah-engine\n", runtime.GOOS, runtime.GOARCH)
	for _, c := range [][2]string{{"cpu", r.CPU}, {"model", r.Model}, {"layout", r.Layout}, {"variant", r.Variant}, {"provider", r.Provider}} {
		fmt.Fprintf(&b, "%s: %s\n", c[0], strings.Join(strings.Fields(c[1]), " "))
	}
	fmt.Fprintf(&b, "# shammah-engine %s\nUnit tok/s better=higher\n", strings.Join(strings.Fields(r.Version), " "))
	if r.Bandwidth > 0 {
		b.WriteString("Unit of-limit better=higher\n")
	}
	for _, t := range r.Results {
		// tg128 b8 @ d4096 is Tg128/b8/d4096
		name := strings.Join(strings.Fields(strings.ReplaceAll(t.Test, "@", " ")), "/")
		if name == "" {
			continue
		}
		name = strings.ToUpper(name[:1]) + name[1:]
		for _, x := range t.Samples {
			value := fmt.Sprintf("%g tok/s", x)
			if t.Unit == UnitMS {
				value = fmt.Sprintf("%.0f ns/op", x*1e6)
			}
			if t.Roofline > 0 && t.Median > 0 {
				value += fmt.Sprintf(" %g of-limit", t.Roofline*x/t.Median)
			}
			fmt.Fprintf(&b, "Benchmark%s-%d 1 %s %d peak-B\n", name, r.Threads, value, t.PeakMemory)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
