package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/bench"
)

func TestBenchTable(t *testing.T) {
	got := command(t, "", "bench", "--model", fixture(t, "b-fp32"), "-p", "8", "-p", "16", "-n", "4", "-d", "0", "-d", "8", "-b", "1", "-b", "2", "--pg", "8,4",
		"--test", "load", "--test", "turn2 @ d30", "--test", "saved @ d30", "--test", "copy", "-r", "2", "-t", "1")
	for _, want := range []string{" pp8 |", " pp16 |", " tg4 |", " tg4 b2 |", " tg4 @ d8 |", " tg4 b2 @ d8 |", " pg8,4 |", " turn2 @ d30 |", " saved @ d30 |", " copy |", " load |", "load "} {
		if !strings.Contains(got.out, want) {
			t.Errorf("the table lacks %q:\n%s%s", want, got.out, got.problems)
		}
	}
	if got.code != 0 {
		t.Errorf("exit code %d", got.code)
	}
}

func TestBenchRoofline(t *testing.T) {
	got := command(t, "", "bench", "--model", fixture(t, "b-int4"), "-p", "0", "-n", "4", "-r", "1", "-t", "1", "--roofline", "-o", "json")
	var r bench.Report
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || len(r.Results) != 1 {
		t.Fatalf("got %d %q %q, %v; want a report", got.code, got.out, got.problems, err)
	}
	if r.Bandwidth <= 0 || r.StepBytes <= 0 || r.Results[0].Roofline <= 0 || r.Kernels != bench.KernelsOwn || r.Results[0].Estimate <= 0 {
		t.Errorf("bandwidth %v, bytes a step %d, share %v, kernels %q, estimate %d; want all of them", r.Bandwidth, r.StepBytes, r.Results[0].Roofline, r.Kernels, r.Results[0].Estimate)
	}
	got = command(t, "", "bench", "--model", fixture(t, "b-int4"), "-p", "2", "-n", "4", "-r", "1", "-t", "1", "--roofline", "-o", "jsonl")
	if strings.Count(got.out, "\n") != 2 || strings.Count(got.out, `"bandwidth":`) != 2 || strings.Count(got.out, `"roofline":`) != 1 {
		t.Errorf("got %d %q %q; want two lines with the bandwidth, and the share of it that writing reaches", got.code, got.out, got.problems)
	}
	got = command(t, "", "bench", "--model", fixture(t, "b-int4"), "-p", "0", "-n", "4", "-r", "1", "-t", "1", "--kernels", "off")
	if !strings.Contains(got.out, "kernels: the runtime's: off") || !strings.Contains(got.out, "of estimate") || strings.Contains(got.out, "of limit") {
		t.Errorf("want whose kernels, the estimate and no limit:\n%s%s", got.out, got.problems)
	}
}

// Copying speculates, unless it is told not to, and nothing else does.
func TestBenchSpeculates(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"--test", "copy"}, true},
		{[]string{"--test", "copy", "--draft", fixture(t, "b-int4")}, true},
		{[]string{"--test", "copy", "--speculate", "off"}, false},
		{[]string{"-n", "100", "-p", "0"}, false},
	} {
		got := command(t, "", append([]string{"bench", "--model", "tiny", "-r", "1", "-t", "1", "-o", "json"}, c.args...)...)
		if c.args[len(c.args)-2] == "--draft" {
			if got.code != exitFailure || !strings.Contains(got.problems, "another vocabulary") || strings.Count(got.problems, "\n") != 1 {
				t.Errorf("%v: got %d %q, want it refused in one line", c.args, got.code, got.problems)
			}
			got = command(t, "", append([]string{"bench", "--model", "tiny", "-r", "1", "-t", "1", "-o", "json", "--draft", "tiny"}, "--test", "copy")...)
		}
		var r bench.Report
		if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || len(r.Results) != 1 {
			t.Errorf("%v: got %d %q %q, %v; want a report", c.args, got.code, got.out, got.problems, err)
			continue
		}
		if got := r.Results[0].Proposed > 0; got != c.want {
			t.Errorf("%v: %d tokens were guessed, want any: %v", c.args, r.Results[0].Proposed, c.want)
		}
	}
}

// What is named alone is measured alone.
func TestBenchNamedTest(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--test", "load"}, []string{"load"}},
		{[]string{"-p", "4", "--test", "turn2 @ d9"}, []string{"pp4", "turn2 @ d9"}},
		{[]string{"-p", "0", "-n", "3", "-d", "5", "-b", "3"}, []string{"tg3 b3 @ d5"}},
		{[]string{"--pg", "4,2", "-n", "2"}, []string{"tg2", "pg4,2"}},
		{[]string{"-p", "4", "-n", "0", "--tokenizer"}, []string{"pp4"}}, // a context for the test alone, which the passage would not fit in
	} {
		got := command(t, "", append([]string{"bench", "--model", fixture(t, "b-fp32"), "-r", "1", "-t", "1", "-o", "json"}, c.args...)...)
		var report bench.Report
		if err := json.Unmarshal([]byte(got.out), &report); err != nil || got.code != 0 {
			t.Errorf("%v: got %d %q %q, %v; want JSON", c.args, got.code, got.out, got.problems, err)
			continue
		}
		var names []string
		for _, r := range report.Results {
			names = append(names, r.Test)
			if len(r.Samples) != 1 || r.Median <= 0 {
				t.Errorf("%v: %s has %d samples, median %v; want one above 0", c.args, r.Test, len(r.Samples), r.Median)
			}
		}
		if strings.Join(names, "; ") != strings.Join(c.want, "; ") {
			t.Errorf("%v: measured %q, want %q", c.args, names, c.want)
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"qwen"}, "--model"},
		{[]string{"-p", "0", "-n", "0"}, "nothing to measure"},
		{[]string{"-b", "0"}, "--batch is 0"},
		{[]string{"-b", "x"}, `invalid value "x" for flag -b`},
		{[]string{"-d", "-1"}, "--depth is -1"},
		{[]string{"--pg", "512"}, `read test "pg512"`},
		{[]string{"--test", "speed"}, `read test "speed"`},
		{[]string{"--test", "pp512 b4"}, "several rows"},
		{[]string{"-o", "xml"}, `--output is "xml"`},
		{[]string{"-o", "md", "--beside", "x.json"}, "--beside is for -o html"},
		{[]string{"compare", "a.json"}, "1 arguments"},
		{[]string{"compare", "-o", "csv", "a.json", "b.json"}, `--output is "csv"`},
		{[]string{"compare", "a.json", "b.json", "--frob"}, "not defined: -frob"},
		{[]string{"-r", "0"}, "--repetitions is 0"},
		{[]string{"--speculate", "on"}, `--speculate is "on"`},
	} {
		got := command(t, "", append([]string{"bench"}, c.args...)...)
		if got.code != exitUsage || !strings.Contains(got.problems, c.want) || strings.Count(got.problems, "\n") != 1 || got.out != "" {
			t.Errorf("bench %v: got %d %q %q; want 2 and one line with %q", c.args, got.code, got.out, got.problems, c.want)
		}
	}
}

// The tokenizer is opened where it was asked for, and is foreseen.
func TestBenchTokenizer(t *testing.T) {
	foreseen := func(more ...string) int64 {
		got := command(t, "", append([]string{"bench", "--model", fixture(t, "b-fp32"), "-p", "4", "-n", "0", "-r", "1", "-t", "1", "-o", "json"}, more...)...)
		var r bench.Report
		if err := json.Unmarshal([]byte(got.out), &r); err != nil || len(r.Results) != 1 {
			t.Fatalf("%v: got %d %q %q, %v", more, got.code, got.out, got.problems, err)
		}
		return r.Results[0].Estimate
	}
	if none, opened := foreseen(), foreseen("--tokenizer"); opened <= none {
		t.Errorf("foreseen are %d bytes with a tokenizer and %d without", opened, none)
	}
}

// What is known stays if a later test fails.
func TestBenchWritesLinesAsTheyCome(t *testing.T) {
	for format, want := range map[string]int{"jsonl": 1, "jsonl --roofline": 1, "json": 0} {
		args := append([]string{"bench", "--model", fixture(t, "b-fp32"), "-r", "1", "-t", "1", "--context", "64", "-p", "4", "-p", "5000", "-o"}, strings.Fields(format)...)
		got := command(t, "", args...)
		if got.code != exitFailure || strings.Count(got.out, `"test":"pp4"`) != want || !strings.Contains(got.problems, "pp5000") {
			t.Errorf("%s: got %d %q %q; want a failure after %d lines", format, got.code, got.out, got.problems, want)
		}
	}
}

func TestBenchOutputAndCompare(t *testing.T) {
	args := []string{"bench", "--model", fixture(t, "b-fp32"), "-p", "4", "-n", "3", "-r", "4", "-t", "1", "-o"}
	path := filepath.Join(t.TempDir(), "a.json")
	if got := command(t, "", append(args, "json")...); os.WriteFile(path, []byte(got.out), 0o600) != nil || got.code != 0 {
		t.Fatalf("got %d %q", got.code, got.problems)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // in what is written
	}{
		{"csv", append(args, "csv"), 0, "version,model,"},
		{"jsonl", append(args, "jsonl"), 0, `"test":"tg3"`},
		{"benchfmt", append(args, "benchfmt"), 0, "BenchmarkTg3-1 1 "},
		{"html", append(args, "html"), 0, "</html>"},
		{"html beside", append(args, "html", "--beside", path), 0, "beside it"},
		{"compare", []string{"bench", "compare", path, path}, 0, "no difference seen"},
		{"compare, flag last", []string{"bench", "compare", path, path, "-o", "html"}, 0, "</html>"},
		{"beside nothing", append(args, "html", "--beside", path+".none"), exitFailure, path + ".none"},
		{"compare nothing", []string{"bench", "compare", path, path + ".none"}, exitFailure, path + ".none"},
	} {
		got := command(t, "", c.args...)
		if got.code != c.code || !strings.Contains(got.out+got.problems, c.want) {
			t.Errorf("%s: got %d %q %q; want %d and %q", c.name, got.code, got.out, got.problems, c.code, c.want)
		}
	}
}
