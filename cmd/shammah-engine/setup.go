package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/shammah/shammah-engine/internal/claude"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/selftest"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/internal/wizard"
	"github.com/shammah/shammah-engine/ort"
)

func setupCommand() *cli.Command {
	return &cli.Command{
		Name:  "setup",
		Usage: "choose what to run on, a model, and whether Claude may help",
		Description: "Nothing is written before the last question, which shows the file. On a terminal there are forms; elsewhere each line of\n" +
			"standard input is an answer. The flags are the defaults of the questions, and with --yes all the answers:\n\n" +
			"   shammah-engine setup --yes --family qwen3 --size small --download",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "ask nothing: take the flags, and the defaults for the rest"},
			&cli.StringFlag{Name: "backend", Aliases: []string{"provider"}, Usage: "`auto`, cpu, cuda or coreml"},
			&cli.StringFlag{Name: "family", Usage: "`FAMILY` of the catalogue, such as qwen3"},
			&cli.StringFlag{Name: "size", Usage: "`small`, medium or large (default: as recommended for this machine)"},
			&cli.StringFlag{Name: "repo", Usage: "another `MODEL`: owner/name, an alias, or a folder"},
			&cli.StringFlag{Name: "key-env", Usage: "the `VARIABLE` that holds the key for Claude"},
			&cli.BoolFlag{Name: "no-claude", Usage: "never ask Claude"},
			&cli.BoolFlag{Name: "check-key", Usage: "check the key for Claude"},
			&cli.BoolFlag{Name: "download", Usage: "download the model at the end"},
			&cli.BoolFlag{Name: "force", Usage: "take a model even if it seems too large for this machine"},
		},
		OnUsageError: usageError,
		Action:       setupAction,
	}
}

func setupAction(c *cli.Context) error {
	preset, err := setupPreset(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	facts, err := setupFacts(ctx, c)
	if err != nil {
		return interrupted(err)
	}
	w, err := wizard.New(facts, preset)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	saved := false
	effects := wizard.Effects{Check: checkKey(facts.Path), Save: func(values map[string]string) error {
		if err := config.Set(facts.Path, values); err != nil {
			return err
		}
		saved = true
		fmt.Fprintf(c.App.Writer, "Saved: %s\n", facts.Path)
		return sayHidden(c, facts.Path, values)
	}}
	err = wizard.Run(ctx, w, setupScreen(c), effects)
	switch {
	case errors.Is(err, wizard.ErrDiscarded):
		fmt.Fprintln(c.App.Writer, "Nothing was written.")
		return nil
	case err != nil && !saved:
		fmt.Fprintln(c.App.ErrWriter, "\nNothing was written.")
		return interrupted(err)
	case err != nil:
		return interrupted(err)
	case w.Wanted():
		if err := setupDownload(ctx, c, w); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.App.Writer, "Talk: shammah-engine chat")
	return nil
}

// setupPreset is what the flags answer.
func setupPreset(c *cli.Context) (a wizard.Answers, err error) {
	switch {
	case c.Args().Present():
		return a, fmt.Errorf("%w: setup: expected no argument, found %q", errUsage, c.Args().First())
	case c.IsSet("repo") && (c.IsSet("family") || c.IsSet("size")):
		return a, fmt.Errorf("%w: setup: --repo names a model, and so do --family and --size: give one or the other", errUsage)
	case c.Bool("no-claude") && (c.IsSet("key-env") || c.Bool("check-key")):
		return a, fmt.Errorf("%w: setup: --no-claude leaves no use for --key-env and --check-key", errUsage)
	}
	a = wizard.Answers{
		Backend: c.String("backend"), Family: c.String("family"), Size: c.String("size"), Repo: c.String("repo"), KeyEnv: c.String("key-env"),
		NoClaude: c.Bool("no-claude"), Check: c.Bool("check-key"), Force: c.Bool("force"), Later: c.Bool("yes") && !c.Bool("download"),
	}
	return a, nil
}

// setupScreen is who is asked: nobody, a person at a terminal, or lines of a pipe.
func setupScreen(c *cli.Context) wizard.Screen {
	terminal, _ := c.App.Reader.(*os.File)
	person := isTerminal(c.App.Reader) && isTerminal(c.App.Writer)
	switch {
	case c.Bool("yes"):
		return wizard.Defaults{Out: c.App.ErrWriter}
	case person && os.Getenv("TERM") != "dumb":
		return wizard.Forms{In: terminal, Out: c.App.Writer}
	}
	var hidden func() (string, error)
	if person {
		hidden = func() (string, error) {
			text, err := term.ReadPassword(int(terminal.Fd()))
			return string(text), err
		}
	}
	return wizard.NewPlain(c.App.Reader, c.App.Writer, hidden)
}

// setupFacts looks at the machine and at the configuration.
func setupFacts(ctx context.Context, c *cli.Context) (f wizard.Facts, err error) {
	if f.Path, err = config.Path(configFile(c), os.Getenv); err != nil {
		return f, err
	}
	// What variables say is not written into the file.
	s, err := config.Load(config.Options{Path: f.Path, New: true, Env: func(string) string { return "" }})
	if err != nil {
		return f, fmt.Errorf("%w; mend it, or give another file with --config", err)
	}
	f.Old = s.Config
	if f.File, err = os.ReadFile(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("setup: read the configuration: %w", err)
	}
	f.Env = os.Getenv
	f.Processor, f.CPU = cpuid.CPU.BrandName, sys.ReadCPU()
	if memory, err := sys.ReadMemory(); err == nil {
		f.Memory = memory
	}
	env := hubEnv(c)
	f.Models = env.Cache
	if disk, err := sys.ReadDisk(env.Cache); err == nil {
		f.Disk = disk
	}
	f.Repo = func(name string) (string, error) { return repoName(name, env) }
	f.Backends, err = tryBackends(ctx, c)
	return f, err
}

// repoName checks the name of a model, and makes one that is a folder absolute.
func repoName(name string, env hub.Env) (string, error) {
	dir, err := hub.Resolve(name, env)
	if err != nil && !hub.IsFetchable(err) {
		return "", err
	}
	if info, statErr := os.Stat(name); err == nil && dir != "" && statErr == nil && info.IsDir() && !strings.HasPrefix(dir, env.Cache) && !env.IsOwn(name) {
		return filepath.Abs(name)
	}
	return name, nil
}

// tryBackends runs the embedded model on every provider of this binary, and says of the others why they are not there.
func tryBackends(ctx context.Context, c *cli.Context) (list []wizard.Backend, err error) {
	env, openErr := ort.Open(ort.Options{Log: logger(c.App.ErrWriter, false)})
	if openErr == nil {
		defer env.Close()
	}
	for _, name := range []string{provider.CPU, provider.CUDA, provider.CoreML} {
		b := wizard.Backend{Name: name}
		chain, err := provider.Chain(name)
		switch {
		case err != nil:
			_, b.Trouble, _ = strings.Cut(err.Error(), provider.ErrUnknown.Error()+": ")
		case openErr != nil:
			b.Trouble = oneLine(openErr.Error())
		default:
			r, err := selftest.Run(ctx, env, name, chain[0].Providers())
			if b.Found = r.String(); err != nil {
				b.Found, b.Trouble = "", oneLine(chain[0].Explain(err).Error())
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		list = append(list, b)
	}
	return list, nil
}

// checkKey asks Claude's service whether a key is good, at the address that is configured.
func checkKey(path string) func(context.Context, string) error {
	return func(ctx context.Context, text string) error {
		s, err := config.Load(config.Options{Path: path, New: true, Env: os.Getenv})
		if err != nil {
			return err
		}
		key, err := claude.NewKey(text)
		if err != nil {
			return err
		}
		if !key.IsSet() {
			return errors.New("there is none")
		}
		client, err := claude.New(claude.Options{Key: key, Model: s.Claude.Model, BaseURL: s.Claude.BaseURL})
		if err != nil {
			return err
		}
		defer client.Close()
		return client.Check(ctx)
	}
}

// sayHidden says which variables win over what was just written.
func sayHidden(c *cli.Context, path string, values map[string]string) error {
	s, err := config.Load(config.Options{Path: path, Env: os.Getenv})
	if err != nil {
		return err
	}
	warnHidden(c, s, values)
	if from := s.Choice().Source; from.Rank == config.Environment {
		if _, told := values["model.repo"]; !told {
			fmt.Fprintf(c.App.ErrWriter, "note: %s is set, and names the model instead of the file\n", from)
		}
	}
	return nil
}

func setupDownload(ctx context.Context, c *cli.Context, w *wizard.Wizard) error {
	if err := c.Set("provider", w.Backend()); err != nil {
		return fmt.Errorf("setup: download for %s: %w", w.Backend(), err)
	}
	if _, err := download(ctx, c, w.Model(), c.App.Writer, nil); err != nil {
		return interrupted(err)
	}
	return nil
}
