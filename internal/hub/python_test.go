package hub

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

// pythonVariable names a Python that has huggingface_hub; `make hf` installs that and sets it.
const pythonVariable = "SHAMMAH_HF_PYTHON"

// Python's own client of the Hub accepts our cache, and a pull accepts its, without downloading a byte again.
func TestPython(t *testing.T) {
	python := os.Getenv(pythonVariable)
	if python == "" {
		t.Skipf("%s is not set: `make hf` installs huggingface_hub and runs this test", pythonVariable)
	}
	script, err := filepath.Abs(filepath.Join("..", "..", "scripts", "hub", "share.py"))
	if err != nil {
		t.Fatal(err)
	}
	run := func(w *world, args ...string) {
		t.Helper()
		cmd := exec.Command(python, append([]string{script}, args...)...)
		cmd.Env = []string{"HOME=" + w.env.Home, "PATH=" + os.Getenv("PATH"), "PYTHONPATH=" + os.Getenv("PYTHONPATH"), "HF_ENDPOINT=" + w.hub.URL, "HF_HUB_CACHE=" + w.env.Cache,
			"HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1", "HF_HUB_DISABLE_XET=1"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Run("reads ours", func(t *testing.T) {
		w := newWorld(t)
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		before := w.hub.Downloads()
		args := []string{"read", testRepo, w.commit}
		for _, name := range q4Files {
			args = append(args, name+"="+hubtest.Blob(name, w.files[name]))
		}
		run(w, args...)
		if n := w.hub.Downloads() - before; n != 0 {
			t.Errorf("Python downloaded %d files again", n)
		}
	})
	t.Run("writes for us", func(t *testing.T) {
		w := newWorld(t)
		run(w, append([]string{"write", testRepo}, q4Files...)...)
		before := w.hub.Downloads()
		if dir, err := Resolve(testRepo, w.env); err != nil || dir != w.env.repo(testRepo).snapshot(w.commit) {
			t.Errorf("Resolve gives %q, %v", dir, err)
		}
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := w.hub.Downloads() - before; n != 0 {
			t.Errorf("we downloaded %d files again", n)
		}
		w.whole(q4Files...)
		for c, err := range Verify(t.Context(), testRepo, w.env) {
			if err != nil || c.Fault != "" || c.Unsure {
				t.Errorf("%+v, %v", c, err)
			}
		}
		if g, busy, err := w.client.Collect(false, true); err != nil || len(g.Paths) != 0 || len(busy) != 0 {
			t.Errorf("it would be collected: %v, %v, %v", g.Paths, busy, err)
		}
	})
}
