package hub

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// Offline, a process has no need of a network: it has none, and finds that out without a socket.
func TestOfflineWithoutNetwork_D24(t *testing.T) {
	w := newWorld(t)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	cmd, out := w.process("locks")
	cmd.Env = append(cmd.Env, "HF_HUB_OFFLINE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), string(CodeOffline)) {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}
