package cpu_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

func TestLadder(t *testing.T) {
	rungs := cpu.Rungs()
	if len(rungs) == 0 || rungs[len(rungs)-1] != "plain" {
		t.Fatalf("got %v; want plain as the last rung of every machine", rungs)
	}
	onEachRung(t, func(t *testing.T) {
		if want := t.Name()[strings.LastIndex(t.Name(), "/")+1:]; cpu.Rung() != want {
			t.Errorf("got %s, want %s", cpu.Rung(), want)
		}
	})
	before := cpu.Rung()
	err := cpu.SetRung("abacus")
	if err == nil || !strings.Contains(err.Error(), `"abacus"`) || !strings.Contains(err.Error(), "plain") {
		t.Errorf("an unknown rung: got error %v; want one that names it and those there are", err)
	}
	if cpu.Rung() != before {
		t.Errorf("after a refused choice: got %s, want %s as before", cpu.Rung(), before)
	}
}

// What the processor has, the ladder must use: a machine that reports AVX2 and lands on the plain rung is a fault.
func TestLadderUsesWhatTheProcessorHas(t *testing.T) {
	rungs, features := cpu.Rungs(), cpu.Features()
	for _, c := range []struct {
		rung  string
		needs []string
	}{
		{"avx512vnni", []string{"avx512f", "avx512bw", "avx512vl", "avx512-vnni"}},
		{"avx512", []string{"avx512f", "avx512bw"}},
		{"avxvnni", []string{"avx2", "fma", "avx-vnni"}},
		{"avx2", []string{"avx2", "fma"}},
		{"neondot", []string{"dotprod"}},
		{"neon", []string{"asimd"}},
	} {
		if strings.HasPrefix(c.rung, "avx512") && runtime.GOOS == "darwin" {
			continue // Darwin tells of AVX-512 only in a thread that has used it
		}
		has := true
		for _, f := range c.needs {
			has = has && slices.Contains(features, f)
		}
		if got := slices.Contains(rungs, c.rung); got != has {
			t.Errorf("%s: among the rungs %v: %v; its features among %v: %v", c.rung, rungs, got, features, has)
		}
	}
}

// The choice of the environment is made at first use, so each case is a process of its own.
func TestRungOfEnvironment(t *testing.T) {
	if os.Getenv("CPU_TEST_PRINT_RUNG") != "" {
		fmt.Println("rung:", cpu.Rung())
		return
	}
	rungs := cpu.Rungs()
	want := map[string]string{"": rungs[0], "abacus": rungs[0]}
	for _, rung := range rungs {
		want[rung] = rung
	}
	for name, rung := range want {
		c := exec.Command(os.Args[0], "-test.run=^TestRungOfEnvironment$")
		c.Env = append(os.Environ(), "CPU_TEST_PRINT_RUNG=1", "SHAMMAH_CPU_RUNG="+name)
		out, err := c.CombinedOutput()
		if errors.Is(err, syscall.ENOEXEC) {
			t.Skip("this machine cannot start the test's own program: an emulator runs it")
		}
		if err != nil || !strings.Contains(string(out), "rung: "+rung+"\n") {
			t.Errorf("SHAMMAH_CPU_RUNG=%s: got %v, %s; want rung %s", name, err, out, rung)
		}
	}
}

func TestConcurrentUseWhileTheRungChanges(t *testing.T) {
	x := make([]float32, 5000)
	normal(x, 4)
	want, _ := argmax(x)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got, ok := cpu.Argmax(x); got != want || !ok {
					t.Errorf("got %d, %v; want %d, true", got, ok, want)
					return
				}
			}
		})
	}
	for i := range 200 {
		setRung(t, cpu.Rungs()[i%len(cpu.Rungs())])
	}
	wg.Wait()
	setRung(t, cpu.Rungs()[0])
}

func TestKernelsAllocateNothing(t *testing.T) {
	x, h := make([]float32, 1000), make([]uint16, 1000)
	index, value := make([]int32, 50), make([]float32, 50)
	normal(x, 5)
	if n := testing.AllocsPerRun(100, func() {
		cpu.Argmax(x)
		cpu.ArgmaxF16(h)
		n, _ := cpu.TopK(x, 50, index, value)
		cpu.Softmax(value[:n], 1)
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

// Any bits as a row: each rung agrees with the oracle.
func FuzzRungs(f *testing.F) {
	f.Add([]byte("\x00\x00\xc0\x7f\x00\x00\x80\x7f\x00\x00\x80\xff\x01\x00\x00\x00"), 3)
	f.Add([]byte(strings.Repeat("\x00\x00\x00\x80\x00\x00\x00\x00", 40)), 7)
	f.Fuzz(func(t *testing.T, data []byte, k int) {
		k = min(max(k, 0), 3000)
		x, h := make([]float32, len(data)/4), make([]uint16, len(data)/2)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		for i := range h {
			h[i] = binary.LittleEndian.Uint16(data[2*i:])
		}
		for _, rung := range cpu.Rungs() {
			setRung(t, rung)
			checkArgmax(t, rung, x)
			checkArgmaxF16(t, rung, h)
			checkTopK(t, rung, x, k)
		}
	})
}

// long skips a test where only what goroutines do to each other is of interest.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
}
