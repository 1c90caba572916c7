// Command shammah-engine runs language models on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/cpu"
)

// Exit codes of the program.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// errUsage marks an error of the command line itself.
var errUsage = errors.New("usage")

// errInterrupted says that the user stopped the program.
var errInterrupted = errors.New("interrupted")

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, problems io.Writer) int {
	if talks(args, in, out) {
		if firstStart(os.Getenv) {
			if code := run(ctx, append(args[:1:1], "setup"), in, out, problems); code != 0 {
				return code
			}
		}
		args = append(args[:1:1], "chat")
	}
	app := newApp(in, out, problems)
	err := chooseKernels(os.Getenv("SHAMMAH_CPU_RUNG"))
	if err == nil {
		err = app.RunContext(ctx, reorder(app, args))
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, errUsage):
		fmt.Fprintf(problems, "shammah-engine: %s\n", oneLine(strings.TrimPrefix(err.Error(), errUsage.Error()+": ")))
		return exitUsage
	}
	fmt.Fprintf(problems, "shammah-engine: %s\n", oneLine(err.Error()))
	return exitFailure
}

// chooseKernels refuses a rung that this machine cannot execute: package cpu by itself would take its own choice and say nothing.
func chooseKernels(rung string) error {
	if rung == "" {
		return nil
	}
	if err := cpu.SetRung(rung); err != nil {
		return fmt.Errorf("read SHAMMAH_CPU_RUNG: %w", err)
	}
	return nil
}

func newApp(in io.Reader, out, problems io.Writer) *cli.App {
	app := &cli.App{
		Name:  "shammah-engine",
		Usage: "run language models on this machine",
		Description: "With nothing downloaded, the small model inside the program answers:\n\n   shammah-engine run \"What is the capital of France?\"\n\n" +
			"On a terminal and without a command a conversation begins, as with `chat`.",
		Reader:                    in,
		Writer:                    out,
		ErrWriter:                 problems,
		Version:                   version,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true,
		Suggest:                   true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		Flags:                     []cli.Flag{configFlag(), cli.HelpFlag},
		Commands: append(append([]*cli.Command{runCommand(), queryCommand(), chatCommand(), setupCommand(), configCommand(), loraCommand(), benchCommand(), perplexityCommand(), doctorCommand(), completionCommand(), versionCommand()},
			modelCommands()...), helpCommand()),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: there is no command %q; `shammah-engine help` lists them", errUsage, c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, command := range app.Commands {
		quiet(command)
	}
	return app
}

// quiet takes "(default: false)" out of the help of a command's flags, and the commands help and h that the flag library adds: both
// may be the first word of a prompt.
func quiet(command *cli.Command) {
	command.HideHelpCommand = true
	for _, f := range command.Flags {
		if f, ok := f.(*cli.BoolFlag); ok {
			f.DisableDefaultText = true
		}
	}
	for _, sub := range command.Subcommands {
		quiet(sub)
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	name, where := "shammah-engine", ""
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != name {
		name = c.Command.HelpName
		where = strings.TrimPrefix(name, "shammah-engine ") + ": " // the line begins with the program's name already
	}
	return fmt.Errorf("%w: %s%w; `%s --help` shows what there is", errUsage, where, err, name)
}

// oneLine keeps a text on one line, whatever a library or a model's file put into it, and free of what steers a terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\ufffd"), func(r rune) bool { return !unicode.IsPrint(r) }), " ")
}

// logger writes what the libraries say to the problems' stream when verbose. Otherwise nothing: what fails they return as well,
// and a failure is one line.
func logger(w io.Writer, verbose bool) zerolog.Logger {
	if !verbose {
		return zerolog.Nop()
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: w, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}}).Level(zerolog.DebugLevel)
}

// reorder moves the flags of a command before its other arguments, and those of the program before the command, so that every order
// works: the flag library stops at the first argument.
func reorder(app *cli.App, args []string) []string {
	if len(args) == 0 || args[len(args)-1] == "--generate-bash-completion" { // which counts in the last place only
		return args
	}
	global, valued := valuedFlags(app.Flags), map[string]bool{}
	commands, help := app.Commands, false
	var own, path, flags, rest []string
	for i := 1; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			if command := named(commands, a); command != nil && len(rest) == 0 {
				path, commands = append(path, a), command.Subcommands
				maps.Copy(valued, valuedFlags(command.Flags))
			} else {
				rest = append(rest, a)
			}
			continue
		}
		name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if slices.Contains(cli.HelpFlag.Names(), name) {
			help = true
			continue
		}
		takesValue, isGlobal := global[name]
		to := &own
		if !isGlobal {
			to, takesValue = &flags, valued[name]
		}
		*to = append(*to, a)
		if !takesValue || joined {
			continue
		}
		if i++; i == len(args) { // the value is missing: nothing may follow that could be taken for it
			if isGlobal {
				path, flags = nil, nil
			}
			return slices.Concat(args[:1], own, path, flags)
		}
		*to = append(*to, args[i])
	}
	switch {
	case len(path) == 0:
		return args
	case help: // of the command, whatever else is given
		return slices.Concat(args[:1], own, path, []string{"--help"})
	}
	return slices.Concat(args[:1], own, path, flags, []string{"--"}, rest)
}

// valuedFlags says of each name of a flag whether a value follows it.
func valuedFlags(flags []cli.Flag) map[string]bool {
	valued := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			valued[name] = !isBool
		}
	}
	return valued
}

func named(commands []*cli.Command, name string) *cli.Command {
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(name) })
	if i < 0 {
		return nil
	}
	return commands[i]
}
