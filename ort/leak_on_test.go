//go:build invariants

package ort_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// A handle that is lost without Close is reported with the stack that opened it. It happens in a process of its own, because what is
// lost keeps its environment open for ever.
func TestLostHandleIsReported(t *testing.T) {
	if os.Getenv("ORT_TEST_LOSE") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLostHandleIsReported$", "-test.v")
		cmd.Env = append(os.Environ(), "ORT_TEST_LOSE=1", ort.LibraryVariable+"="+ortest.Library(t))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	var log lines
	env, err := ort.Open(ort.Options{Log: zerolog.New(&log).Level(zerolog.ErrorLevel)})
	if err != nil {
		t.Fatal(err)
	}
	loseBuffer(t, env)
	closed, err := env.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for deadline := time.Now().Add(10 * time.Second); log.String() == "" && time.Now().Before(deadline); {
		runtime.GC()
		runtime.Gosched()
	}
	got := log.String()
	if !strings.Contains(got, "never closed") || !strings.Contains(got, `"handle":"buffer"`) || !strings.Contains(got, "loseBuffer") {
		t.Errorf("the log has %q, want the lost buffer and the function that opened it", got)
	}
	if strings.Contains(got, "run options") {
		t.Errorf("the log has %q, and those run options were closed", got)
	}
	if n := ort.Live(); n.Buffers != 1 {
		t.Errorf("%s: a lost handle is not freed, that could pull memory from under the runtime", n)
	}
}

//go:noinline
func loseBuffer(t *testing.T, env *ort.Env) {
	if _, err := env.NewBuffer(1 << 16); err != nil {
		t.Fatal(err)
	}
}
