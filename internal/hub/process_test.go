package hub

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

// helperVariable makes the test binary a program that pulls, so that there are processes to stop and to let meet.
const helperVariable = "SHAMMAH_HUB_TEST"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVariable); mode != "" {
		os.Exit(helper(mode))
	}
	os.Exit(m.Run())
}

// helper pulls as the environment says. "nolocks" is a file system on which every lock is granted to everybody; "hold"
// takes a lock and waits to be killed.
func helper(mode string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	access, err := AccessFrom(os.Getenv)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	c, err := New(Environment(os.Getenv), access, Options{Agent: "helper"})
	if err != nil {
		fmt.Println(err)
		return 2
	}
	if mode == "nolocks" {
		c.lock = func(string) lock { return openLock{} }
	}
	if mode == "hold" {
		r := c.env.repo(testRepo)
		_ = os.MkdirAll(r.locks, 0o755)
		if _, err := c.hold(ctx, r.pullLock(), nil); err != nil {
			return 1
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	p, err := c.Plan(ctx, testRepo, PlanOptions{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for e, err := range c.Pull(ctx, p) {
		fmt.Printf("%s %s %s\n", e.Kind, e.File, e.Text)
		switch {
		case errors.Is(err, context.Canceled):
			return 130
		case err != nil:
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// openLock is a lock that keeps out nobody.
type openLock struct{}

func (openLock) TryLock() (bool, error) { return true, nil }
func (openLock) Unlock() error          { return nil }

// process is the helper, ready to be started in the world.
func (w *world) process(mode string, wrapper ...string) (*exec.Cmd, *bytes.Buffer) {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	args := append(wrapper, self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{helperVariable + "=" + mode, "HOME=" + w.env.Home, "HF_HUB_CACHE=" + w.env.Cache, "HF_ENDPOINT=" + w.hub.URL, "HF_TOKEN=" + canary, "PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	w.Cleanup(func() { w.output.Write(out.Bytes()) })
	return cmd, &out
}

func TestProcessesPullTheSame_D30_D32(t *testing.T) {
	for _, mode := range []string{"locks", "nolocks"} {
		for _, n := range []int{2, 4} {
			t.Run(fmt.Sprintf("%s %d", mode, n), func(t *testing.T) {
				w := newWorld(t)
				w.onWeights(0, trickle)
				var commands []*exec.Cmd
				var outs []*bytes.Buffer
				for range n {
					cmd, out := w.process(mode)
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					commands, outs = append(commands, cmd), append(outs, out)
				}
				waited := 0
				for i, cmd := range commands {
					if err := cmd.Wait(); err != nil {
						t.Errorf("process %d: %v\n%s", i, err, outs[i])
					}
					waited += strings.Count(outs[i].String(), "is under way")
				}
				w.whole(q4Files...)
				if left := w.blobsAreRight(); left != 0 {
					t.Errorf("%d files are left over", left)
				}
				if got := len(w.weightRequests()); mode == "locks" && got != 1 {
					t.Errorf("the weights were downloaded %d times", got)
				}
				if mode == "locks" && waited == 0 && n == 4 {
					t.Logf("nobody had to wait")
				}
			})
		}
	}
}

func TestWaitingIsSaid_D30(t *testing.T) {
	w := newWorld(t)
	r := w.env.repo(testRepo)
	free := make(chan func(), 1)
	if err := w.client.prepare(r, w.commit); err != nil {
		t.Fatal(err)
	}
	first, err := w.client.hold(t.Context(), r.pullLock(), nil)
	if err != nil {
		t.Fatal(err)
	}
	free <- first
	w.client.sleep = func(ctx context.Context, d time.Duration) error {
		select {
		case f := <-free:
			f()
		default:
		}
		return ctx.Err()
	}
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	if w.events[0].Kind != Waiting || !strings.Contains(w.events[0].Text, "another pull of owner/model") {
		t.Errorf("the first event is %+v", w.events[0])
	}
}

// Whoever removes the repository while a pull waits takes the folders along that the pull had made.
func TestRemovedWhileAPullWaits(t *testing.T) {
	w := newWorld(t)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	r := w.env.repo(testRepo)
	free, err := w.client.hold(t.Context(), r.pullLock(), nil)
	if err != nil {
		t.Fatal(err)
	}
	removed := false
	w.client.sleep = func(ctx context.Context, d time.Duration) error {
		if !removed {
			removed = true
			free()
			if _, err := w.newClient(w.client.access).Remove(testRepo); err != nil {
				t.Error(err)
			}
		}
		return ctx.Err()
	}
	if _, err := w.pull(PlanOptions{}); err != nil || !removed {
		t.Fatalf("got %v, removed: %v", err, removed)
	}
	w.whole(q4Files...)
}

func TestHolderIsKilled_D31(t *testing.T) {
	w := newWorld(t)
	cmd, _ := w.process("hold")
	cmd.Stdout = nil
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if ok, _ := w.client.lock(w.env.repo(testRepo).pullLock()).TryLock(); ok {
		t.Fatal("the lock is not held")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	begin := time.Now()
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestInterrupted_D34(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		w := newWorld(t)
		started := make(chan bool, 1)
		stop := make(chan bool)
		w.hub.Fault(w.hang(started, stop))
		cmd, out := w.process("locks")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-started
		begin := time.Now()
		_ = cmd.Process.Signal(s)
		err := cmd.Wait()
		close(stop)
		if took := time.Since(begin); cmd.ProcessState.ExitCode() != 130 || took > 2*time.Second {
			t.Errorf("%v: exit code %d after %v, %v\n%s", s, cmd.ProcessState.ExitCode(), took, err, out)
		}
		w.hub.Fault(nil)
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(q4Files...)
		if r := w.weightRequests(); r[len(r)-1].Header.Get("Range") != "bytes=100000-" || r[len(r)-1].Header.Get("If-Range") == "" {
			t.Errorf("it did not go on where it stopped: %v", r)
		}
	}
}

// straced runs the helper under strace with more arguments for it, and skips where strace is not or may not trace.
func (w *world) straced(args ...string) (err error, trace string) {
	w.Helper()
	strace, lookErr := exec.LookPath("strace")
	if lookErr != nil {
		w.Skip("strace is not installed: the process is not killed at its system calls")
	}
	log := filepath.Join(w.TempDir(), "trace")
	cmd, out := w.process("locks", append([]string{strace, "-f", "-y", "-o", log}, args...)...)
	err = cmd.Run()
	b, readErr := os.ReadFile(log)
	if readErr != nil || strings.Contains(out.String(), "Operation not permitted") {
		w.Skipf("strace cannot trace here: %v %s", readErr, out)
	}
	return err, string(b)
}

const fileCalls = "openat,write,fsync,rename,renameat,renameat2,symlinkat,unlinkat,mkdirat,flock,ftruncate,close"

// everyKill makes the next test stop the process at every system call instead of at some of them.
var everyKill = flag.Bool("kill-all", false, "kill the process at every system call that changes the cache")

// The process is killed at system calls that change the cache: the next pull ends well. (TestDeathAtEachOperation stops
// it at each of its own operations; here it is the kernel that stops it, at any of all the calls.)
func TestKilledAtEachSystemCall_D33(t *testing.T) {
	if testing.Short() {
		t.Skip("a process for each system call: not with -short")
	}
	w := newWorld(t)
	err, trace := w.straced("-e", "trace="+fileCalls)
	if err != nil {
		t.Fatalf("not killed at all: %v", err)
	}
	w.whole(q4Files...)
	counts := map[string]int{}
	in := regexp.MustCompile(`^\d+ +(\w+)\(.*` + regexp.QuoteMeta(w.env.Cache))
	call := regexp.MustCompile(`^\d+ +(\w+)\(`)
	first := map[string]int{}
	for line := range strings.Lines(trace) {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		counts[m[1]]++
		if in.MatchString(line) && first[m[1]] == 0 {
			first[m[1]] = counts[m[1]]
		}
	}
	kills := 0
	for name, from := range first {
		step := 5
		if *everyKill {
			step = 1
		}
		for n := from; n <= counts[name]; n += step {
			w := newWorld(t)
			_, _ = w.straced("-e", "trace="+name, "-e", "inject="+name+":signal=KILL:when="+strconv.Itoa(n))
			kills++
			w.blobsAreRight()
			if b, _ := os.ReadFile(w.env.repo(testRepo).ref("main")); len(b) > 0 {
				w.whole(q4Files...)
			}
			if _, err := w.pull(PlanOptions{}); err != nil {
				t.Fatalf("after a kill at %s number %d: %v", name, n, err)
			}
			w.whole(q4Files...)
			if t.Failed() {
				t.Fatalf("after a kill at %s number %d", name, n)
			}
		}
	}
	t.Logf("killed %d times, at %v", kills, counts)
	if kills < 20 {
		t.Errorf("only %d kills; system calls %v", kills, counts)
	}
}

// What the kernel sees of each blob: its last write, fsync, the rename, the folder's fsync.
func TestOrderOfSystemCalls_D35(t *testing.T) {
	w := newWorld(t)
	err, trace := w.straced("-e", "trace=write,fsync,rename,renameat,renameat2")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(trace, "\n")
	sum := hubtest.SHA256(w.files["onnx/model_q4.onnx_data"])
	last := func(pattern string) int {
		re, at := regexp.MustCompile(pattern), -1
		for i, line := range lines {
			if re.MatchString(line) {
				at = i
			}
		}
		return at
	}
	written, synced := last(`write\(\d+<[^>]*`+sum+`\.[0-9a-f]+\.incomplete>`), last(`fsync\(\d+<[^>]*`+sum)
	named, folder := last(`rename.*`+sum+`.*/blobs/`+sum+`"`), last(`fsync\(\d+<[^>]*/blobs>`)
	if !(0 <= written && written < synced && synced < named && named < folder) {
		t.Errorf("write %d, fsync %d, rename %d, fsync of the folder %d", written, synced, named, folder)
	}
}

// A file system that has no locks at all is no obstacle.
func TestNoLocks_D32(t *testing.T) {
	for _, missing := range []error{syscall.ENOLCK, syscall.ENOSYS, syscall.ENOTSUP} {
		w := newWorld(t)
		w.client.lock = func(string) lock { return noLock{missing} }
		w.leave(100_000, "")
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(q4Files...)
		if r := w.weightRequests(); len(r) != 1 || r[0].Header.Get("Range") != "" {
			t.Errorf("it went on with what may be another's: %v", r)
		}
	}
}

type noLock struct{ err error }

func (n noLock) TryLock() (bool, error) { return false, n.err }
func (n noLock) Unlock() error          { return nil }

// The variables lead a process to the proxy, and past it.
func TestProxyVariables_D23(t *testing.T) {
	w := newWorld(t)
	seen := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		seen <- r.URL.String()
		out.WriteHeader(http.StatusNotFound)
	}))
	defer proxy.Close()
	for name, test := range map[string]struct {
		env   []string
		words string
		want  int
	}{
		"proxy":   {[]string{"HTTP_PROXY=" + proxy.URL}, "answers 404", 1},
		"past it": {[]string{"HTTP_PROXY=" + proxy.URL, "NO_PROXY=hub.invalid"}, "E_DL_CONNECT", 0},
		"dead":    {[]string{"HTTP_PROXY=http://127.0.0.1:1"}, "E_DL_PROXY", 0},
	} {
		cmd, out := w.process("locks")
		cmd.Env = append(cmd.Env, append(test.env, "HF_ENDPOINT=http://hub.invalid")...)
		_ = cmd.Run()
		if !strings.Contains(out.String(), test.words) || len(seen) != test.want {
			t.Errorf("%s: got %q, and %d requests came through; want %q and %d", name, out, len(seen), test.words, test.want)
		}
		for len(seen) > 0 {
			<-seen
		}
	}
}
