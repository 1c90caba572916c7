package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/internal/hub"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name:         "list",
		Aliases:      []string{"ls"},
		Usage:        "list the models that are here",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON array"}},
		OnUsageError: usageError,
		Action:       listAction,
	}
}

func listAction(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: list: expected no argument, found %q", errUsage, c.Args().First())
	}
	env := hubEnv(c)
	models, others, err := hub.List(env)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if models == nil {
			models = []hub.Local{}
		}
		printEvent(c.App.Writer, models)
		return nil
	}
	if len(models) == 0 {
		fmt.Fprint(c.App.Writer, noModel(env))
	} else if err := table(c.App.Writer, func(line func(cells ...string)) {
		line("MODEL", "REVISION", "VARIANTS", "SIZE", "CHANGED")
		for _, m := range models {
			line(m.Repo, revision(m), strings.Join(m.Variants, ", "), size(m.Bytes), humanize.Time(m.Modified))
		}
	}); err != nil {
		return err
	}
	if others > 0 {
		fmt.Fprintf(c.App.ErrWriter, "%d other repositories in the cache hold no model that this program runs\n", others)
	}
	return nil
}

func noModel(env hub.Env) string {
	return fmt.Sprintf("No model is in the cache %s. `shammah-engine models` lists some, `shammah-engine pull MODEL` downloads one.\n", env.Cache)
}

// revision is a commit with its names, or where an imported model came from.
func revision(m hub.Local) string {
	if m.Linked != "" {
		return "imported from " + m.Linked
	}
	if m.Own {
		return "quantised here"
	}
	if len(m.Refs) == 0 {
		return fmt.Sprintf("%.12s", m.Commit)
	}
	return fmt.Sprintf("%.12s (%s)", m.Commit, strings.Join(m.Refs, ", "))
}
