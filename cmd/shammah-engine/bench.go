package main

import (
	"fmt"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/internal/bench"
	"github.com/shammah/shammah-engine/internal/sys"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure how fast a model reads and writes",
		Description: "Each test is run once to warm up, then -r times; the table shows medians and standard deviations.\n" +
			"ppN reads a prompt of N tokens, tgN writes N tokens, @dN with N tokens in the cache before. Several values: -p 128 -p 512.",
		Flags: append(modelFlags(),
			&cli.IntSliceFlag{Name: "prompt", Aliases: []string{"p"}, Value: cli.NewIntSlice(512), Usage: "read prompts of `N` tokens (repeatable; 0 is none)"},
			&cli.IntSliceFlag{Name: "generate", Aliases: []string{"n"}, Value: cli.NewIntSlice(128), Usage: "write `N` tokens (repeatable; 0 is none)"},
			&cli.IntSliceFlag{Name: "depth", Aliases: []string{"d"}, Value: cli.NewIntSlice(0), Usage: "write with `N` tokens in the cache before (repeatable)"},
			&cli.IntFlag{Name: "repetitions", Aliases: []string{"r"}, Value: 5, Usage: "measure each test `N` times"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "md", Usage: "`FORMAT`: md or json"},
		),
		OnUsageError: usageError,
		Action:       benchAction,
	}
}

func benchAction(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: bench: %q is not a flag; the model is named with --model", errUsage, c.Args().First())
	}
	if f := c.String("output"); f != "md" && f != "json" {
		return fmt.Errorf("%w: bench: --output is %q, expected md or json", errUsage, f)
	}
	tests, context, err := benchTests(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if !c.IsSet("context") {
		if err := c.Set("context", fmt.Sprint(context)); err != nil {
			return err
		}
	}
	if _, err := configured(c); err != nil {
		return err
	}
	start := time.Now()
	m, closeModel, err := openModel(ctx, c)
	if err != nil {
		return err
	}
	defer closeModel()
	spec := m.Spec()
	report := bench.Report{
		Version: version, Model: spec.Name, Bytes: spec.Bytes, Parameters: spec.Parameters, Layout: spec.Layout.String(), Variant: spec.Variant,
		Provider: m.Provider(), Threads: m.Threads(), CPU: cpuid.CPU.BrandName + ", kernels " + cpu.Rung(), LoadMS: time.Since(start).Seconds() * 1e3,
	}
	for _, t := range tests {
		r, err := bench.Run(ctx, m, spec.Vocab, t, c.Int("repetitions"), peakMemory)
		if err != nil {
			return interrupted(err)
		}
		report.Results = append(report.Results, r)
	}
	if c.String("output") == "json" {
		return report.JSON(c.App.Writer)
	}
	return report.Markdown(c.App.Writer)
}

// benchTests is the tests that the flags ask for and the context that they need.
func benchTests(c *cli.Context) (tests []bench.Test, context int, err error) {
	if r := c.Int("repetitions"); r < 1 || r > 1000 {
		return nil, 0, fmt.Errorf("%w: bench: --repetitions is %d, expected 1 to 1000", errUsage, r)
	}
	for _, name := range []string{"prompt", "generate", "depth"} {
		for _, n := range c.IntSlice(name) {
			if n < 0 || n > 1<<24 {
				return nil, 0, fmt.Errorf("%w: bench: --%s is %d, expected 0 or more", errUsage, name, n)
			}
		}
	}
	for _, n := range c.IntSlice("prompt") {
		if n > 0 {
			tests = append(tests, bench.Test{Prompt: n})
		}
	}
	for _, d := range c.IntSlice("depth") {
		for _, n := range c.IntSlice("generate") {
			if n > 0 {
				tests = append(tests, bench.Test{Generate: n, Depth: d})
			}
		}
	}
	if len(tests) == 0 {
		return nil, 0, fmt.Errorf("%w: bench: there is nothing to measure: give -p or -n a number above 0", errUsage)
	}
	for _, t := range tests {
		context = max(context, t.Tokens())
	}
	return tests, context, nil
}

// peakMemory is the most that this process had resident so far, in bytes; 0 where that is unknown.
func peakMemory() int64 {
	u, err := sys.ReadUsage()
	if err != nil {
		return 0
	}
	return u.Peak
}
