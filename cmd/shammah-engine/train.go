package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/adapters"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/filesystem"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/training"
	scripts "github.com/shammah/shammah-engine/scripts/lora"
)

func loraTrainCommand() *cli.Command {
	return &cli.Command{
		Name: "train", Usage: "train an adapter and keep it under a name", ArgsUsage: "NAME",
		Description: "A line of the data is {\"prompt\": ..., \"answer\": ...} or {\"messages\": [{\"role\": ..., \"content\": ...}, ...]}, with a \"weight\" or\n" +
			"without. --feedback takes what /good and /correct noted in conversations, which count 3 and 10. Training needs Python 3.11 or\n" +
			"newer and its packages: --install puts them into a folder of their own.",
		Flags: []cli.Flag{
			baseFlag(),
			&cli.StringFlag{Name: "data", Usage: "learn from this `FILE` of JSON lines"},
			&cli.BoolFlag{Name: "feedback", Usage: "learn from the feedback of your conversations"},
			&cli.StringFlag{Name: "checkpoint", Usage: "train on this `FOLDER` of Hugging Face's, not on the model's own weights"},
			&cli.IntFlag{Name: "steps", Usage: "`N` steps", DefaultText: "three times through the data, 30 to 1000"},
			&cli.IntFlag{Name: "rank", Usage: "`N` rows of the small matrices", DefaultText: "16"},
			&cli.StringFlag{Name: "rate", Usage: "how far a step goes (`X`)", DefaultText: "5e-4"},
			&cli.IntFlag{Name: "batch", Usage: "`N` lines in a step", DefaultText: "8"},
			&cli.IntFlag{Name: "length", Usage: "leave out lines of more than `N` tokens", DefaultText: "1024"},
			&cli.StringFlag{Name: "seed", Usage: "the same `SEED` gives the same adapter", DefaultText: "1"},
			&cli.IntFlag{Name: "threads", Aliases: []string{"t"}, Usage: "`N` threads compute", DefaultText: "one for each core"},
			&cli.BoolFlag{Name: "keep", Usage: "keep the adapter even where it foretells the answers worse than the model alone"},
			&cli.StringFlag{Name: "python", Usage: "the `PROGRAM` to train with", EnvVars: []string{"SHAMMAH_PYTHON"}, DefaultText: "what --install made, or python3"},
			&cli.BoolFlag{Name: "install", Usage: "install Python's packages first, if they are not there"},
		},
		OnUsageError: usageError,
		Action:       loraTrainAction,
	}
}

// trainFlags are those that the script has, too.
var trainFlags = []string{"steps", "rank", "rate", "batch", "length", "seed", "threads"}

func loraTrainAction(c *cli.Context) error {
	home, err := config.Home(os.Getenv)
	if err != nil {
		return err
	}
	// Unlike elsewhere a second Ctrl-C changes nothing: what was begun ends within seconds, and is removed.
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.Bool("install") && c.NArg() == 0 && c.String("base") == "" && c.String("data") == "" && !c.Bool("feedback") {
		python, err := trainingPython(ctx, c, home)
		if err != nil {
			return interrupted(err)
		}
		fmt.Fprintf(c.App.Writer, "%s has all that training adapters needs\n", python)
		return nil
	}
	name, err := trainArguments(c, home)
	if err != nil {
		return err
	}
	store := adapters.In(home)
	if err := store.Free(name); err != nil {
		return err
	}
	base, fits, err := graphFit(c, c.String("base"))
	if err != nil {
		return err
	}
	python, err := trainingPython(ctx, c, home)
	if err != nil {
		return interrupted(err)
	}
	work, free, err := store.Work()
	if err != nil {
		return err
	}
	defer free()
	defer os.RemoveAll(work)
	folder, err := trainingBase(c, work)
	if err != nil {
		return err
	}
	data, err := trainingData(c, home, work)
	if err != nil {
		return err
	}
	args := []string{"--base", folder, "--data", data}
	for _, flag := range trainFlags {
		if c.IsSet(flag) {
			args = append(args, "--"+flag+"="+fmt.Sprint(c.Value(flag)))
		}
	}
	if c.Bool("keep") {
		args = append(args, "--keep")
	}
	b := newTrainBar(c.App.ErrWriter)
	made, err := training.Job{Python: python, Scripts: scripts.FS, Work: work, Args: args}.Run(ctx, b.step, b.say)
	b.end()
	if err != nil {
		return interrupted(err)
	}
	k, err := store.Add(ctx, name, made, base, fits)
	if err != nil {
		return interrupted(err)
	}
	fmt.Fprintf(c.App.Writer, "%s is here: rank %d, %d matrices, %s. Use it: shammah-engine run --model %s --lora %s\n", k.Name, k.Rank, k.Modules, size(k.Bytes()), c.String("base"), k.Name)
	return nil
}

// trainArguments checks the command line before anything begins. It is the new adapter's name.
func trainArguments(c *cli.Context, home string) (name string, err error) {
	fail := func(format string, a ...any) (string, error) {
		return "", fmt.Errorf("%w: lora train: %w", errUsage, fmt.Errorf(format, a...))
	}
	if c.NArg() != 1 {
		return fail("%d arguments, expected a name, as in `shammah-engine lora train pirate --base tiny --data pirate.jsonl`", c.NArg())
	}
	if name = c.Args().First(); adapters.CheckName(name) != nil {
		return fail("%w", adapters.CheckName(name))
	}
	if c.String("base") == "" {
		return fail("%w", errNoBase)
	}
	for _, flag := range []string{"steps", "rank", "batch", "length", "threads"} {
		if c.IsSet(flag) && c.Int(flag) < 1 {
			return fail("--%s is %d, expected a positive number", flag, c.Int(flag))
		}
	}
	if x, err := strconv.ParseFloat(c.String("rate"), 64); c.IsSet("rate") && (err != nil || !(x > 0 && x < 1)) {
		return fail("--rate is %q, expected a number between 0 and 1", c.String("rate"))
	}
	if _, err := strconv.ParseUint(c.String("seed"), 10, 63); c.IsSet("seed") && err != nil {
		return fail("--seed is %q, expected a whole number from 0", c.String("seed"))
	}
	switch {
	case c.Bool("feedback") == c.IsSet("data"):
		return fail("expected --data FILE or --feedback, one of the two")
	case c.Bool("feedback"):
		_, _, err = readFeedback(feedbackPath(home))
	default:
		var path string
		if path, err = filesystem.ExpandHome(c.String("data")); err == nil {
			_, err = os.Stat(path)
		}
	}
	if err != nil {
		err = fmt.Errorf("lora train: %w", err)
	}
	return name, err
}

func feedbackPath(home string) string { return filepath.Join(home, "feedback.jsonl") }

// readFeedback is the lines of a feedback file that something can be learned from.
func readFeedback(path string) (lines []byte, n int, err error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		lines, n, err = training.Feedback(f)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("there is no feedback to learn from in %s: /good and /correct TEXT note it in a conversation", path)
	}
	return lines, n, nil
}

// trainingData is the file that is learned from: of feedback a copy, which does not grow meanwhile.
func trainingData(c *cli.Context, home, work string) (string, error) {
	if !c.Bool("feedback") {
		return filesystem.ExpandHome(c.String("data"))
	}
	lines, n, err := readFeedback(feedbackPath(home))
	if err != nil {
		return "", fmt.Errorf("lora train: %w", err)
	}
	fmt.Fprintf(c.App.ErrWriter, "learning from %d answers that you judged\n", n)
	path := filepath.Join(work, "feedback.jsonl")
	return path, os.WriteFile(path, lines, 0o600)
}

// trainingBase is the folder that is trained on. The embedded model becomes one.
func trainingBase(c *cli.Context, work string) (string, error) {
	if path := c.String("checkpoint"); path != "" {
		return filesystem.ExpandHome(path)
	}
	dir, err := hub.Resolve(c.String("base"), hubEnv(c))
	if err != nil || dir != "" {
		return dir, err
	}
	dir = filepath.Join(work, tinyName)
	if err := os.CopyFS(dir, tiny.FS()); err != nil {
		return "", fmt.Errorf("lora train: unpack the embedded model: %w", err)
	}
	return dir, nil
}

// trainingPython is a Python that has what training imports: the one that was asked for, the one that was installed, or the system's.
func trainingPython(ctx context.Context, c *cli.Context, home string) (string, error) {
	env := training.In(home)
	asked := cmp.Or(c.String("python"), os.Getenv("SHAMMAH_PYTHON")) // doctor has no such flag
	system := cmp.Or(asked, "python3")
	if c.Bool("install") && !env.Installed(scripts.FS) {
		fmt.Fprintf(c.App.ErrWriter, "installing Python's packages for training into %s\n", env.Dir())
		if err := env.Install(ctx, system, scripts.FS, c.App.ErrWriter); err != nil {
			return "", err
		}
	}
	switch {
	case env.Installed(scripts.FS) && (asked == "" || c.Bool("install")):
		system = env.Python()
	default:
		if _, err := exec.LookPath(system); err != nil {
			return "", fmt.Errorf("lora train: find Python: %w; install Python 3.11 or newer, or name one with --python", err)
		}
	}
	err := training.Check(ctx, system)
	if errors.Is(err, training.ErrPackages) {
		return "", fmt.Errorf("lora train: %w; `shammah-engine lora train --install` puts them into %s", err, env.Dir())
	}
	return system, err
}

// trainBar shows how a training gets on: one line on a terminal, else a line now and then.
type trainBar struct {
	out  io.Writer
	live bool
	bar  *progressbar.ProgressBar
	last time.Time
}

func newTrainBar(out io.Writer) *trainBar {
	return &trainBar{out: out, live: isTerminal(out) && os.Getenv("TERM") != "dumb"}
}

func (b *trainBar) step(p training.Progress) {
	loss := fmt.Sprintf("loss %.3f", p.Loss)
	if !b.live {
		if p.Step == 1 || p.Step == p.Steps || time.Since(b.last) >= linePause {
			b.last = time.Now()
			fmt.Fprintf(b.out, "step %d of %d, %s\n", p.Step, p.Steps, loss)
		}
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions(p.Steps, append(barOptions(b.out), progressbar.OptionSetItsString("steps"), progressbar.OptionShowIts())...)
	}
	b.bar.Describe(loss)
	_ = b.bar.Set(p.Step)
}

// say shows what the script tells beside its steps.
func (b *trainBar) say(line string) {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
	fmt.Fprintln(b.out, oneLine(line))
}

func (b *trainBar) end() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprintln(b.out)
	}
}
