package tidy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/ortest"
)

const (
	passed   = "fuzz: elapsed: 20s, execs: 9 (1/sec), new interesting: 1 (total: 2)\nPASS\nok  \texample/p\t20.1s\n"
	deadline = "fuzz: elapsed: 20s, execs: 9 (1/sec), new interesting: 1 (total: 2)\n" +
		"--- FAIL: FuzzOne (20.19s)\n    context deadline exceeded\nFAIL\nexit status 1\nFAIL\texample/p\t20.207s\n"
	finding = "--- FAIL: FuzzOne (0.01s)\n    --- FAIL: FuzzOne (0.00s)\n        p_test.go:1: wrong\n    \n" +
		"    Failing input written to testdata/fuzz/FuzzOne/1\nFAIL\nexit status 1\nFAIL\texample/p\t0.02s\n"
)

// TestFuzzScript runs .ci/fuzz with a Go of its own making: the end of the time that Go takes for a failure is tried once more,
// and nothing else is.
func TestFuzzScript(t *testing.T) {
	tests := []struct {
		name    string
		outputs []string // what each `go test` says; all that does not say PASS fails
		crasher bool     // whether the first one leaves a file under testdata/fuzz
		runs    int
		ok      bool
	}{
		{"passes", []string{passed}, false, 1, true},
		{"deadline, then passes", []string{deadline, passed}, false, 2, true},
		{"deadline twice", []string{deadline, deadline}, false, 2, false},
		{"deadline, then a finding", []string{deadline, finding}, false, 2, false},
		{"a finding", []string{finding, passed}, false, 1, false},
		{"deadline that leaves an input", []string{deadline, passed}, true, 1, false},
		{"deadline while an input is minimised", []string{"fuzz: minimizing 27-byte failing input file\n" + deadline, passed}, false, 1, false},
		{"deadline after a line of the target", []string{"wrong\n" + deadline, passed}, false, 1, false},
		{"a deadline that the target reports", []string{strings.Replace(deadline, "    context", "        p_test.go:1: context", 1), passed}, false, 1, false},
		{"does not build", []string{"# example/p\np_test.go:1: undefined: x\nFAIL\texample/p [build failed]\n", passed}, false, 1, false},
		{"silent", []string{"", passed}, false, 1, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output, runs, err := fuzzScript(t, test.outputs, test.crasher)
			if (err == nil) != test.ok || runs != test.runs {
				t.Errorf("go ran %d times and the script ended with %v, want %d and ok %v:\n%s", runs, err, test.runs, test.ok, output)
			}
			if retried := strings.Contains(output, "once more"); retried != (test.runs == 2) {
				t.Errorf("says that it tries again: %v, after %d runs:\n%s", retried, test.runs, output)
			}
		})
	}
}

// fuzzScript runs the script over a module of one fuzz target and returns what it printed, how often it called Go, and how it ended.
func fuzzScript(t *testing.T, outputs []string, crasher bool) (output string, runs int, err error) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(ortest.Root(t), ".ci", "fuzz"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(".ci/fuzz", string(script))
	write("p/p_test.go", "package p\n\nfunc FuzzOne(f *testing.F) {}\n")
	write("p/testdata/fuzz/FuzzOne/0", "an old one")
	for i, said := range outputs {
		write("said/"+strings.Repeat("i", i+1), said)
	}
	if crasher {
		write("crasher", "")
	}
	// Each call adds a stroke to the file of calls, and says what lies under that number.
	write("go", `#!/bin/sh
printf i >> calls
said=said/$(cat calls)
cat "$said"
if [ -e crasher ]; then : > p/testdata/fuzz/FuzzOne/1; fi
grep -q PASS "$said"
`)
	command := exec.Command("bash", ".ci/fuzz")
	command.Dir = root
	command.Env = append(os.Environ(), "GO="+filepath.Join(root, "go"))
	out, err := command.CombinedOutput()
	calls, _ := os.ReadFile(filepath.Join(root, "calls"))
	return string(out), len(calls), err
}
