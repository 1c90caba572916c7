package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/bench"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// programArgs is the command line of a test process that is to be the program, one argument a line.
const programArgs = "SHAMMAH_TEST_PROGRAM"

// TestProgram is the program, for tests that need a process of their own.
func TestProgram(t *testing.T) {
	args := os.Getenv(programArgs)
	if args == "" {
		t.Skip("not started as the program")
	}
	os.Exit(run(t.Context(), append([]string{"shammah-engine"}, strings.Split(args, "\n")...), strings.NewReader(""), os.Stdout, os.Stderr))
}

// benchProcess measures in a process of its own.
func benchProcess(t *testing.T, checks string, args ...string) bench.Report {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProgram$")
	c.Env = append(os.Environ(), programArgs+"="+strings.Join(append([]string{"bench", "-o", "json", "-r", "1"}, args...), "\n"),
		"SHAMMAH_CHECKS="+checks, ort.LibraryVariable+"="+ortest.Library(t))
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	var r bench.Report
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("bench %v: %v\n%s", args, err, problems.String())
	}
	return r
}

// codeBytes is how much more or less of the program's file may be resident: around a page that is touched Linux maps what its cache holds
// in one piece, which depends on how the file came there. A file just written had 35 MB resident, the same one after a copy 31.
const codeBytes = 4 << 20

// What is foreseen is what a process takes at most, within 10 %: whoever computes, with text and without, for short and long sequences.
// SHAMMAH_MODELS names a folder with more models to try.
func TestEstimateIsThePeak(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes; not with -short")
	}
	if ortest.Raced {
		t.Skip("the race detector takes memory of its own")
	}
	if runtime.GOOS != "linux" {
		t.Skip("what a process takes was measured on Linux")
	}
	models := []string{"tiny"}
	more, _ := filepath.Glob(filepath.Join(ortest.Root(t), "..", "shared", "models", "*", "*", "*.onnx"))
	if dir := os.Getenv("SHAMMAH_MODELS"); dir != "" {
		found, _ := filepath.Glob(filepath.Join(dir, "*", "*.onnx"))
		more = append(more, found...)
	}
	if len(more) == 0 {
		t.Log("the embedded model only: there is no model in ../shared/models, and SHAMMAH_MODELS names no folder of others")
	}
	for _, graph := range more {
		models = append(models, filepath.Dir(graph))
	}
	for _, m := range models {
		checks := t.TempDir()
		for _, c := range []struct {
			name string
			args []string
		}{
			{"first use", []string{"-n", "4", "-p", "0"}},
			{"short", []string{"-p", "32", "-n", "4"}},
			{"long", []string{"-p", "800"}},
			{"with text", []string{"--test", "copy"}},
			{"batch", []string{"-p", "0", "-n", "4", "-b", "4", "-d", "300"}}, // whose prompts nothing else has read before
			{"the runtime's kernels", []string{"--kernels", "off", "-p", "400"}},
			{"the runtime's kernels, short", []string{"--kernels", "off", "-p", "16"}},
		} {
			report := benchProcess(t, checks, append(c.args, "--model", m)...)
			for _, r := range report.Results {
				ratio := float64(r.PeakMemory) / float64(r.Estimate)
				if off := max(r.PeakMemory, r.Estimate) - min(r.PeakMemory, r.Estimate); off > r.Estimate/10+codeBytes {
					t.Errorf("%s, %s, %s: a peak of %d MiB, %d were foreseen: %.3f, want 0.9 to 1.1 but for the program's file", filepath.Base(m), c.name, r.Test, r.PeakMemory>>20, r.Estimate>>20, ratio)
				} else {
					t.Logf("%s, %s, %s: a peak of %d MiB of %d: %.3f", filepath.Base(m), c.name, r.Test, r.PeakMemory>>20, r.Estimate>>20, ratio)
				}
			}
		}
	}
}
