package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/internal/config"
)

func configCommand() *cli.Command {
	show := &cli.Command{
		Name: "show", Usage: "print every setting and where it comes from; keys are masked",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON array"}},
		OnUsageError: usageError,
		Action:       configShow,
	}
	path := &cli.Command{Name: "path", Usage: "print where the file is, or would be", OnUsageError: usageError, Action: configPath}
	get := &cli.Command{Name: "get", Usage: "print one setting; a key is masked", ArgsUsage: "KEY", OnUsageError: usageError, Action: configGet}
	set := &cli.Command{
		Name: "set", Usage: "write settings into the file, and leave all else in it as it is", ArgsUsage: "KEY VALUE [KEY VALUE]...",
		Description:  "A list is one string, or an array as in TOML: '[\"a\", \"b\"]'. A value that begins with a minus follows --.",
		OnUsageError: usageError,
		Action:       configSet,
	}
	return &cli.Command{
		Name:  "config",
		Usage: "show and change the settings",
		Description: "A setting comes from the command line, else from its variable (SHAMMAH_SECTION_KEY), else from the file,\n" +
			"else it is the default. `setup` asks for the most important ones.",
		Subcommands:  []*cli.Command{show, path, get, set},
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			return fmt.Errorf("%w: config: expected show, path, get or set, found %q", errUsage, c.Args().First())
		},
	}
}

func configShow(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: config show: expected no argument, found %q; `config get` prints one setting", errUsage, c.Args().First())
	}
	s, err := settings(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		printEvent(c.App.Writer, s.Lines())
		return nil
	}
	return table(c.App.Writer, func(line func(cells ...string)) {
		line("KEY", "VALUE", "FROM")
		for _, l := range s.Lines() {
			line(l.Key, orDash(oneLine(l.Value)), l.Source)
		}
	})
}

func configPath(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: config path: expected no argument, found %q", errUsage, c.Args().First())
	}
	path, err := config.Path(configFile(c), os.Getenv)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, path)
	return nil
}

func configGet(c *cli.Context) error {
	if c.NArg() != 1 {
		return fmt.Errorf("%w: config get: expected one key, as in `shammah-engine config get model.repo`; `config show` lists them", errUsage)
	}
	s, err := settings(c)
	if err != nil {
		return err
	}
	value, err := s.Get(c.Args().First())
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	fmt.Fprintln(c.App.Writer, value)
	return nil
}

func configSet(c *cli.Context) error {
	words := c.Args().Slice()
	if len(words) == 0 || len(words)%2 != 0 {
		return fmt.Errorf("%w: config set: expected a key and its value, as in `shammah-engine config set model.repo qwen-1.5b`", errUsage)
	}
	values := map[string]string{}
	for i := 0; i < len(words); i += 2 {
		if _, twice := values[words[i]]; twice {
			return fmt.Errorf("%w: config set: %s is given twice", errUsage, words[i])
		}
		values[words[i]] = words[i+1]
	}
	path, err := config.Path(configFile(c), os.Getenv)
	if err != nil {
		return err
	}
	if err := config.Set(path, values); err != nil {
		return err
	}
	// What was written may not be what counts: a variable wins over the file.
	s, err := config.Load(config.Options{Path: path, Env: os.Getenv})
	if err != nil {
		return err
	}
	warnHidden(c, s, values)
	return nil
}

// warnHidden says which settings of the file a variable hides.
func warnHidden(c *cli.Context, s *config.Settings, values map[string]string) {
	for _, l := range s.Lines() {
		if _, written := values[l.Key]; written && s.Source(l.Key).Rank == config.Environment {
			fmt.Fprintf(c.App.ErrWriter, "note: %s is set, and wins over %s in the file\n", l.Source, l.Key)
		}
	}
}
