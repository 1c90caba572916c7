package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/bench"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

func benchCommand() *cli.Command {
	return completeAdapters(&cli.Command{
		Name:  "bench",
		Usage: "measure how fast a model reads and writes",
		Description: "Each test is run once in brief to warm up, then -r times; the table shows medians and standard deviations.\n" +
			"ppN reads a prompt of N tokens, tgN writes N tokens, bN for N rows at once (the rate is that of all together), @ dN with N tokens in the\n" +
			"cache before, pgN,M reads N and writes M, turn2 is the time until a second answer in a conversation begins, saved the time to\n" +
			"take that conversation up from a file, copy writes what the prompt repeats (with speculation, unless that is off; no other test\n" +
			"speculates), load opens the model (with its tokenizer only for copy or --tokenizer). Several values: -p 128 -p 512.",
		Flags: append(append(modelFlags(), append(speculationFlags(), loraFlag())...),
			&cli.IntSliceFlag{Name: "prompt", Aliases: []string{"p"}, Usage: "read prompts of `N` tokens (repeatable; 0 is none)", DefaultText: "512 if no other test is named"},
			&cli.IntSliceFlag{Name: "generate", Aliases: []string{"n"}, Usage: "write `N` tokens (repeatable; 0 is none)", DefaultText: "128 if no other test is named"},
			&cli.IntSliceFlag{Name: "depth", Aliases: []string{"d"}, Value: cli.NewIntSlice(0), Usage: "write with `N` tokens in the cache before (repeatable)"},
			&cli.IntSliceFlag{Name: "batch", Aliases: []string{"b"}, Value: cli.NewIntSlice(1), Usage: "write `N` rows at once (repeatable)"},
			&cli.StringSliceFlag{Name: "pg", Usage: "read and then write `N,M` tokens, as one rate (repeatable)"},
			&cli.StringSliceFlag{Name: "test", Usage: "the test of that `NAME`, as the table has it: load, turn2, saved, copy, \"pp512 @ d1024\" (repeatable)"},
			&cli.IntFlag{Name: "repetitions", Aliases: []string{"r"}, Value: 5, Usage: "measure each test `N` times"},
			&cli.BoolFlag{Name: "tokenizer", Usage: "open the tokenizer too, for the time and memory of a program that takes text"},
			&cli.BoolFlag{Name: "roofline", Usage: "measure how fast this machine reads memory, and say what share of that limit writing reaches"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "md", Usage: "`FORMAT`: " + strings.Join(bench.Formats(), ", ")},
			&cli.StringFlag{Name: "beside", Usage: "show the report in `FILE`, which -o json wrote, on the page (-o html) too"},
		),
		OnUsageError: usageError,
		Action:       benchAction,
		Subcommands:  []*cli.Command{benchCompareCommand()},
	})
}

func benchAction(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: bench: %q is not a flag; the model is named with --model", errUsage, c.Args().First())
	}
	format, beside, err := benchOutput(c)
	if err != nil {
		return err
	}
	tests, err := benchTests(c)
	if err != nil {
		return err
	}
	if _, err := speculation(c); err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if !c.IsSet("context") {
		context := contextLeast
		for _, t := range tests {
			context = max(context, t.Tokens())
		}
		if err := c.Set("context", fmt.Sprint(context)); err != nil {
			return err
		}
	}
	if _, err := configured(c); err != nil {
		return err
	}
	var each func(bench.Report, bench.Result) error
	lines := format == "jsonl"
	if lines && !c.Bool("roofline") { // a line as soon as it is known, so that what ends the rest loses none
		each = func(r bench.Report, t bench.Result) error { return r.Line(c.App.Writer, t) }
	}
	report, err := measure(ctx, c, tests, each)
	if each != nil {
		return err
	}
	if err == nil && c.Bool("roofline") { // now that the model is closed: the memory that this takes is in no row's peak
		var bandwidth float64
		if bandwidth, err = cpu.ReadBandwidth(report.Threads); err == nil {
			report.SetBandwidth(bandwidth)
		}
	}
	if err != nil && !lines {
		return err
	}
	return cmp.Or(err, report.Write(c.App.Writer, format, beside)) // lines that waited for the bandwidth do without it
}

// contextLeast has room for the comparison of our kernels with the runtime's, which is then remembered: no later load has it in its time.
const contextLeast = 64

// benchOutput is how the report is to be written. What stands beside it is read before anything is measured.
func benchOutput(c *cli.Context) (format string, beside *bench.Report, err error) {
	format = c.String("output")
	if !slices.Contains(bench.Formats(), format) {
		return "", nil, fmt.Errorf("%w: bench: --output is %q, expected one of %s", errUsage, format, strings.Join(bench.Formats(), ", "))
	}
	if !c.IsSet("beside") {
		return format, nil, nil
	}
	if format != "html" {
		return "", nil, fmt.Errorf("%w: bench: --beside is for -o html; `bench compare` compares two files", errUsage)
	}
	other, err := bench.Read(c.String("beside"))
	return format, &other, err
}

func benchCompareCommand() *cli.Command {
	return &cli.Command{
		Name:         "compare",
		Usage:        "say how much faster the second of two reports is",
		ArgsUsage:    "FIRST.json SECOND.json",
		Description:  "The files are what bench -o json writes. Of each test: the ratio with the interval that holds the true one 19 times of 20.",
		Flags:        []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "md", Usage: "`FORMAT`: md, or html for a page with charts of both"}},
		OnUsageError: usageError,
		Action:       benchCompareAction,
	}
}

func benchCompareAction(c *cli.Context) error {
	format := c.String("output")
	switch {
	case c.NArg() != 2:
		return fmt.Errorf("%w: bench compare: %d arguments, expected two files that bench -o json wrote", errUsage, c.NArg())
	case format != "md" && format != "html":
		return fmt.Errorf("%w: bench compare: --output is %q, expected md or html", errUsage, format)
	}
	first, err := bench.Read(c.Args().Get(0))
	if err != nil {
		return err
	}
	second, err := bench.Read(c.Args().Get(1))
	if err != nil {
		return err
	}
	if format == "html" {
		return second.HTML(c.App.Writer, &first)
	}
	return bench.Compare(c.App.Writer, first, second)
}

// measure runs the tests, and tells each result, if each is not nil; load comes last, when the model is closed.
func measure(ctx context.Context, c *cli.Context, tests []bench.Test, each func(bench.Report, bench.Result) error) (report bench.Report, err error) {
	adapted, err := flaggedAdapters(c)
	if err != nil {
		return report, err
	}
	start := time.Now()
	m, closeModel, err := openModel(ctx, c)
	if err != nil {
		return report, err
	}
	defer func() { closeModel() }()
	spec := m.Spec()
	report = bench.Report{
		Version: version, Model: adapted.titled(spec.Name), Bytes: spec.Bytes, Parameters: spec.Parameters, Layout: spec.Layout.String(), Variant: spec.Variant,
		Provider: m.Provider(), Placement: m.Placement().String(), Threads: m.Threads(), CPU: cpuid.CPU.BrandName + ", kernels " + cpu.Rung(), LoadMS: time.Since(start).Seconds() * 1e3,
		Kernels: cmp.Or(m.Kernels(), bench.KernelsOwn), StepBytes: m.StepBytes(),
	}
	b, err := benchOf(c, m)
	if err != nil {
		return report, err
	}
	if b.Adapters, err = adapted.on(m); err != nil {
		return report, err
	}
	adapted.say(c)
	add := func(r bench.Result, err error) error {
		if err != nil {
			return interrupted(err)
		}
		report.Results = append(report.Results, r)
		if each == nil {
			return nil
		}
		return each(report, r)
	}
	load := false
	for _, t := range tests {
		if t.Kind == bench.Load {
			load = true
			continue
		}
		if err := add(b.Run(ctx, t)); err != nil {
			return report, err
		}
	}
	if !load {
		return report, nil
	}
	closeModel()
	closeModel = func() {}
	return report, add(b.Load(ctx, func() (func() error, error) { return reopen(ctx, c) }))
}

// copies says whether the passage is to be copied.
func copies(c *cli.Context) bool { return slices.Contains(c.StringSlice("test"), string(bench.Copy)) }

// benchOf is what all tests have in common.
func benchOf(c *cli.Context, m *engine.Model) (b bench.Bench, err error) {
	spec := m.Spec()
	b = bench.Bench{Model: m, Vocab: spec.Vocab, Repetitions: c.Int("repetitions"), Peak: peakMemory, Estimate: foreseen(m)}
	if b.Speculate, err = speculation(c); err != nil {
		return b, err
	}
	if m.Tokenizer() != nil && copies(c) {
		b.Passage, err = m.Encode(engine.Request{Prompt: bench.Passage})
	}
	return b, err
}

// foreseen is the memory of this process after each test: like the peak, it never falls. A batch has caches of its own.
func foreseen(m *engine.Model) func(bench.Test) (int64, error) {
	most, longest := int64(0), 1
	return func(t bench.Test) (int64, error) {
		u := model.Use{Prompt: max(t.Tokens()-t.Generate-1, 1)}
		if t.Rows > 1 {
			u.Rows, u.RowTokens = t.Rows, t.Tokens()
		} else {
			longest = max(longest, t.Tokens())
		}
		u.Tokens = longest
		bytes, err := m.Peak(u)
		most = max(most, bytes)
		return most, err
	}
}

// reopen opens library and model as openModel does, which has said already what there is to say.
func reopen(ctx context.Context, c *cli.Context) (close func() error, err error) {
	dir, err := findModel(ctx, c, c.String("model"))
	if err != nil {
		return nil, err
	}
	env, err := ort.Open(ort.Options{Log: logger(c.App.ErrWriter, c.Bool("verbose"))})
	if err != nil {
		return nil, err
	}
	m, err := openIn(ctx, env, c, dir)
	if err != nil {
		return nil, errors.Join(err, env.Close())
	}
	return func() error { return errors.Join(m.Close(), env.Close()) }, nil
}

// benchTests is the tests that the flags ask for.
func benchTests(c *cli.Context) (tests []bench.Test, err error) {
	if r := c.Int("repetitions"); r < 1 || r > 1000 {
		return nil, fmt.Errorf("%w: bench: --repetitions is %d, expected 1 to 1000", errUsage, r)
	}
	prompts, generate := c.IntSlice("prompt"), c.IntSlice("generate")
	named := slices.Clone(c.StringSlice("test"))
	for _, pair := range c.StringSlice("pg") {
		named = append(named, "pg"+pair)
	}
	if len(named) == 0 && !c.IsSet("prompt") {
		prompts = []int{512}
	}
	if len(named) == 0 && !c.IsSet("generate") {
		generate = []int{128}
	}
	for flag, list := range map[string][]int{"prompt": prompts, "generate": generate, "depth": c.IntSlice("depth")} {
		for _, n := range list {
			if n < 0 || n > 1<<24 {
				return nil, fmt.Errorf("%w: bench: --%s is %d, expected 0 or more", errUsage, flag, n)
			}
		}
	}
	for _, n := range c.IntSlice("batch") {
		if n < 1 || n > bench.RowsMax {
			return nil, fmt.Errorf("%w: bench: --batch is %d, expected 1 to %d", errUsage, n, bench.RowsMax)
		}
	}
	for _, n := range prompts {
		if n > 0 {
			tests = append(tests, bench.Test{Prompt: n})
		}
	}
	for _, d := range c.IntSlice("depth") {
		for _, rows := range c.IntSlice("batch") {
			for _, n := range generate {
				if n > 0 {
					tests = append(tests, bench.Test{Generate: n, Depth: d, Rows: rows})
				}
			}
		}
	}
	for _, name := range named {
		t, err := bench.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		tests = append(tests, t)
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("%w: bench: there is nothing to measure: give -p or -n a number above 0, or --test a name", errUsage)
	}
	return tests, nil
}

// peakMemory is the most that this process had resident so far, in bytes; 0 where that is unknown.
func peakMemory() int64 {
	u, err := sys.ReadUsage()
	if err != nil {
		return 0
	}
	return u.Peak
}
