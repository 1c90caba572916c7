package bench

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sampleReport is a report of two samples a test.
func sampleReport(factor float64) Report {
	result := func(test string, median float64, gaps ...float64) Result {
		return Result{Test: test, Unit: UnitRate, Samples: []float64{median * factor, median * factor * 1.02}, Median: median * factor, Deviation: 1, FirstMS: 5, GapsMS: gaps, PeakMemory: 1 << 20}
	}
	r := Report{Model: "m<b>", Bytes: 3 << 20, Parameters: 4_800_000, Layout: "B", Variant: "int4", Provider: "CPU", Threads: 2, CPU: "a, b", Results: []Result{
		result("pp16", 50), result("pp512", 100), result("tg128", 50, 20, 20.5, 21, 90), result("tg128 @ d4096", 40, 25, 26), result("tg128 b8", 150, 50),
		{Test: "load", Unit: UnitMS, Samples: []float64{800 / factor, 810 / factor}, Median: 800 / factor},
	}}
	r.Results[2].GapP50MS, r.Results[2].GapP95MS = 20, 21
	return r
}

func written(t *testing.T, r Report, format string, beside *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b, format, beside); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

func TestMarkdown(t *testing.T) {
	md := written(t, sampleReport(1), "md", nil)
	lines := strings.Split(md, "\n")
	for i, line := range lines[:8] {
		if n := len([]rune(line)); n != len([]rune(lines[0])) || strings.Count(line, "|") != strings.Count(lines[0], "|") {
			t.Errorf("line %d is not aligned with the first:\n%s", i, md)
		}
	}
	for _, want := range []string{"pp512", "100.00 ± 1.00", "4.80 M", "3.0 MiB", "B int4", "800.00 ± 0.00 ms"} {
		if !strings.Contains(md, want) {
			t.Errorf("the table lacks %q:\n%s", want, md)
		}
	}
}

func TestJSONReadsBack(t *testing.T) {
	want := sampleReport(1)
	path := filepath.Join(t.TempDir(), "r.json")
	text := written(t, want, "json", nil)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || len(got.Results) != len(want.Results) || !slices.Equal(got.Results[2].GapsMS, want.Results[2].GapsMS) || got.CPU != want.CPU {
		t.Errorf("JSON reads back as %+v, %v", got, err)
	}
	if n := strings.Count(text, "\n    {\"test\""); n != len(want.Results) {
		t.Errorf("%d lines of results, want %d:\n%s", n, len(want.Results), text)
	}
	// The names that scripts read.
	for _, key := range []string{"results", "load_ms", "test", "median", "samples", "deviation", "first_ms", "gap_p50_ms", "gap_p95_ms", "peak_memory", "version", "provider", "cpu"} {
		if !strings.Contains(text, `"`+key+`":`) {
			t.Errorf("JSON lacks %q", key)
		}
	}
	for name, content := range map[string]string{"no JSON": "| model |", "no results": "{}", "no file": ""} {
		path := filepath.Join(t.TempDir(), "x.json")
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
}

func TestJSONLinesAndCSVHaveTheSame(t *testing.T) {
	r := sampleReport(1)
	r.Placement, r.StepBytes = "CPU 9 of 9 nodes", 1e9
	r.SetBandwidth(100e9)
	records, err := csv.NewReader(strings.NewReader(written(t, r, "csv", nil))).ReadAll()
	if err != nil || len(records) != len(r.Results)+1 {
		t.Fatalf("CSV reads back as %v, %v; want a head and %d records", records, err, len(r.Results))
	}
	lines := strings.Split(strings.TrimSpace(written(t, r, "jsonl", nil)), "\n")
	if len(lines) != len(r.Results) {
		t.Fatalf("%d lines, want %d", len(lines), len(r.Results))
	}
	var keys map[string]any
	if err := json.Unmarshal([]byte(lines[2]), &keys); err != nil || keys["test"] != "tg128" || keys["model"] != r.Model || keys["results"] != nil {
		t.Errorf("a line reads back as %v, %v", keys, err)
	}
	optional := []string{"reused", "copied", "proposed", "accepted", "gaps_ms"}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(records[0], key) && !slices.Contains(optional, key) {
			t.Errorf("CSV lacks %q, which JSON has", key)
		}
	}
	for _, name := range records[0] {
		if _, ok := keys[name]; !ok && !slices.Contains(optional, name) {
			t.Errorf("JSON lacks %q, which CSV has", name)
		}
	}
	for name, want := range map[string]string{"samples": "50 51", "bandwidth": "1e+11", "roofline": "0.5", "placement": r.Placement} {
		if got := records[3][slices.Index(records[0], name)]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if keys["bandwidth"] != 100e9 || keys["roofline"] != 0.5 {
		t.Errorf("a line has the bandwidth %v and the share %v of it, want 1e+11 and 0.5", keys["bandwidth"], keys["roofline"])
	}
}

// The format: a name, how often, then values with units; configuration is key: value.
func TestBenchfmt(t *testing.T) {
	line := regexp.MustCompile(`^(Benchmark[A-Z]\S*-2 1 \S+ (tok/s|ns/op)( 0\.\d+ of-limit)? \d+ peak-B|[a-z]+: .*|Unit (tok/s|of-limit) better=higher|# shammah-engine v1)$`)
	r := sampleReport(1)
	r.Version, r.StepBytes = "v1", 1e9
	without := written(t, r, "benchfmt", nil)
	r.SetBandwidth(100e9)
	text := written(t, r, "benchfmt", nil)
	for l := range strings.Lines(text) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("this is no line of a benchmark: %q", l)
		}
	}
	for _, want := range []string{"BenchmarkTg128/d4096-2 1 40 tok/s 0.4 of-limit", "BenchmarkTg128/b8-2 1 150 tok/s 0.1875 of-limit", "BenchmarkTg128-2 1 51 tok/s 0.51 of-limit", "BenchmarkPp16-2 1 50 tok/s 1", "BenchmarkLoad-2 1 800000000 ns/op"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(without, "of-limit") || strings.Contains(text, "version: ") { // benchstat would show two versions apart
		t.Errorf("want a limit only where it was measured, and no version as configuration:\n%s", text)
	}
}

func TestPage(t *testing.T) {
	beside := sampleReport(2)
	beside.Results = beside.Results[1:] // the first place has one side alone
	for _, c := range []struct {
		name   string
		beside *Report
		report Report
		charts int
		bars   int
	}{
		{"alone", nil, sampleReport(1), 4, 2 + 2 + 2 + 2},
		{"beside another", &beside, sampleReport(1), 4, 3 + 4 + 4 + 4},
		{"nothing to draw", nil, Report{Model: "m", Results: []Result{{Test: "load", Unit: UnitMS}}}, 0, 0},
		{"a test of another program", nil, Report{Model: "m", Results: []Result{{Test: "unknown", Median: 1}}}, 0, 0},
	} {
		page := written(t, c.report, "html", c.beside)
		if n := strings.Count(page, "<svg"); n != c.charts {
			t.Errorf("%s: %d charts, want %d", c.name, n, c.charts)
		}
		if n := strings.Count(page, "<rect"); n < c.bars {
			t.Errorf("%s: %d bars, want at least %d", c.name, n, c.bars)
		}
		for _, not := range []string{"m<b>", "http", "NaN", "Inf", "<script", "ZgotmplZ"} {
			if strings.Contains(page, not) {
				t.Errorf("%s: the page has %q", c.name, not)
			}
		}
		for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1) {
			d := xml.NewDecoder(strings.NewReader(svg))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: a chart is not well formed: %v\n%s", c.name, err, svg)
				}
			}
		}
	}
}

func TestWriteRefusesUnknownFormats(t *testing.T) {
	if err := (Report{}).Write(io.Discard, "xml", nil); err == nil || !strings.Contains(err.Error(), "benchfmt") {
		t.Errorf("got %v, want an error that lists the formats", err)
	}
}

func TestBarsLieInTheirChart(t *testing.T) {
	for _, sides := range [][][]float64{{{5}}, {{1, 1, 1}}, {{1, 2, 300}, {4}}, {{0.001, 0.002}}} {
		c := histogram("h", sides)
		for _, b := range c.Bars {
			if b.X < chartLeft-1e-9 || b.X+b.Width > chartRight+1e-9 || b.Y < chartTop-1e-9 || math.Abs(b.Y+b.Height-chartX) > 1e-9 {
				t.Errorf("%v: bar %+v lies outside", sides, b)
			}
		}
	}
	if histogram("h", [][]float64{nil}) != nil {
		t.Error("no times were drawn")
	}
}

// A batch of 8 rows at 80 tokens a second makes 10 steps.
func TestLimitAndEstimate(t *testing.T) {
	r := Report{StepBytes: 1e9, Kernels: KernelsOwn, Threads: 2, Results: []Result{
		{Test: "tg8", Median: 15, PeakMemory: 90, Estimate: 100}, {Test: "tg8 b8", Median: 80}, {Test: "copy", Median: 10}, {Test: "pp8", Median: 100}, {Test: "pg8,8", Median: 9}, {Test: "load", Unit: UnitMS, Median: 5},
	}}
	if md := written(t, r, "md", nil); strings.Contains(md, "limit") || !strings.Contains(md, " 0.90 |") || !strings.Contains(md, "kernels: this program's") {
		t.Errorf("want the share of the estimate, whose kernels, and no limit:\n%s", md)
	}
	r.SetBandwidth(20e9)
	for i, want := range []float64{0.75, 0.5, 0.5, 0, 0, 0} {
		if got := r.Results[i].Roofline; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v of the limit, want %v", r.Results[i].Test, got, want)
		}
	}
	md := written(t, r, "md", nil)
	for _, want := range []string{"| of limit |", " 75 % |", "20.0 GB/s read by 2 threads, 1000.0 MB of weights a step", "20.0 steps/s"} {
		if !strings.Contains(md, want) {
			t.Errorf("lacks %q:\n%s", want, md)
		}
	}
	r.Kernels, r.StepBytes = "no such product", 0
	if r.SetBandwidth(1); !strings.Contains(written(t, r, "md", nil), "the runtime's: no such product") {
		t.Error("the table does not say why the runtime computes")
	}
	b := Bench{Model: &fake{}, Vocab: 10, Repetitions: 1, Peak: peak42, Estimate: func(t Test) (int64, error) { return int64(100*t.Rows + t.Tokens()), nil }}
	for rows, want := range map[int]int64{1: 104, 3: 304} {
		if got, err := b.Run(t.Context(), Test{Generate: 2, Rows: rows}); err != nil || got.Estimate != want {
			t.Errorf("%d rows: an estimate of %d, %v; want %d", rows, got.Estimate, err, want)
		}
	}
}

// A guess that was right needed no reading of the weights: the share of the limit counts runs, and a line says how many were saved.
func TestSpeculationInTheReport(t *testing.T) {
	r := Report{StepBytes: 1e9, Kernels: KernelsOwn, Results: []Result{
		{Test: "copy", Unit: UnitRate, Median: 40, Proposed: 120, Accepted: 96},
		{Test: "tg128", Unit: UnitRate, Median: 10},
	}}
	r.SetBandwidth(20e9)
	for i := range r.Results {
		if got := r.Results[i].Roofline; got < 0.499 || got > 0.501 {
			t.Errorf("%s: a share of %v of the limit, want 0.5", r.Results[i].Test, got)
		}
	}
	md := written(t, r, "md", nil)
	if !strings.Contains(md, "copy speculates: 96 of 120 guesses right") || strings.Contains(md, "tg128 speculates") {
		t.Errorf("want a line for copy alone:\n%s", md)
	}
}
