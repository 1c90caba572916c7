package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/cpuid/v2"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:         "doctor",
		Usage:        "show what was found on this machine and try every provider on the model inside the program",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "verbose", Usage: "say what happens inside"}},
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c.Context)
			defer stop()
			return doctor(ctx, c.App.Writer, c.Bool("verbose"), c.App.ErrWriter)
		},
	}
}

// errUnwell is what doctor ends with when something that must work does not.
var errUnwell = errors.New("doctor: something above does not work")

func doctor(ctx context.Context, out io.Writer, verbose bool, problems io.Writer) error {
	var unwritten error
	line := func(name, format string, args ...any) {
		if _, err := fmt.Fprintf(out, "%-11s %s\n", name, fmt.Sprintf(format, args...)); unwritten == nil {
			unwritten = err
		}
	}
	line("program", "shammah-engine %s, %s build, %s/%s", version, provider.Build, runtime.GOOS, runtime.GOARCH)
	line("processor", "%s: %d physical cores, %d threads by default", cpuid.CPU.BrandName, sys.ReadCPU().Physical, sys.ReadCPU().Threads())
	line("features", "%s", strings.Join(cpu.Features(), " "))
	line("kernels", "%s (this machine can run %s)", cpu.Rung(), strings.Join(cpu.Rungs(), ", "))
	if memory, err := sys.ReadMemory(); err != nil {
		line("memory", "unknown: %s", oneLine(err.Error()))
	} else {
		line("memory", "%s available of %s", humanize.IBytes(uint64(memory.Available)), humanize.IBytes(uint64(memory.Total)))
	}
	env, err := ort.Open(ort.Options{Log: logger(problems, verbose)})
	if err != nil {
		line("runtime", "not found")
		return err
	}
	defer env.Close()
	line("runtime", "ONNX Runtime %s, %s", env.Version(), env.Library())
	line("built in", "%s", strings.Join(env.Providers(), ", "))
	chain, err := provider.Chain("auto")
	if err != nil {
		return err
	}
	well := true
	for _, candidate := range chain {
		result, err := selfTest(ctx, env, candidate)
		if err != nil {
			well = false
			result = "fails: " + oneLine(err.Error())
		}
		line("self-test", "%s: %s", candidate.Name, result)
	}
	if !well {
		return errUnwell
	}
	return unwritten
}

// The embedded model knows this fact; a provider that computes right finds it.
const (
	selfTestQuestion = "What is the capital of France?"
	selfTestAnswer   = "Paris"
)

// selfTest answers a question with the embedded model on one provider.
func selfTest(ctx context.Context, env *ort.Env, candidate provider.Candidate) (string, error) {
	o := engine.Options{}
	if candidate.Name != provider.CPU {
		o.Providers = []ort.Provider{candidate.Provider}
	}
	start := time.Now()
	m, err := engine.OpenFS(env, tiny.FS(), o)
	if err != nil {
		return "", err
	}
	defer m.Close()
	load := time.Since(start)
	var text string
	var stats *engine.Stats
	q := engine.Request{Messages: []chat.Message{{Role: "user", Content: selfTestQuestion}}, MaxTokens: 32}
	for token, err := range m.Generate(ctx, q) {
		if err != nil {
			return "", interrupted(err)
		}
		text += token.Text
		stats = token.Stats
	}
	if !strings.Contains(text, selfTestAnswer) {
		return "", fmt.Errorf("the embedded model was asked %q, expected %q in the answer, found %q: this provider computes wrong", selfTestQuestion, selfTestAnswer, text)
	}
	return fmt.Sprintf("right on %s, loaded in %.0f ms, %.0f tok/s", m.Provider(), load.Seconds()*1e3, stats.DecodeRate()), nil
}
