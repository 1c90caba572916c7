package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func rmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "remove a model from this machine",
		ArgsUsage: "MODEL",
		Description: "MODEL@REVISION removes one revision, MODEL all of them. Python's tools share the cache: for them it is gone too.\n" +
			"Of an imported model, what was quantised here is deleted; a folder of yours is only forgotten, and stays.",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}},
		OnUsageError: usageError,
		Action:       rmAction,
	}
}

// agreed asks on a terminal whether something is to be done for good. Without one, or with --yes, it is.
func agreed(ctx context.Context, c *cli.Context, what string) (bool, error) {
	if !isTerminal(c.App.Reader) || c.Bool("yes") {
		return true, nil
	}
	fmt.Fprintf(c.App.ErrWriter, "%s? [y/N] ", what)
	answer, err := readAnswer(ctx, c.App.Reader)
	if err != nil {
		return false, interrupted(err)
	}
	a := strings.ToLower(strings.TrimSpace(answer))
	return a == "y" || a == "yes", nil
}

func rmAction(c *cli.Context) error {
	name, err := oneArgument(c, "a model")
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	client, err := hubClient(c)
	if err != nil {
		return err
	}
	defer client.Close()
	env := hubEnv(c)
	if yes, err := agreed(ctx, c, "Remove "+name); !yes {
		return err
	}
	if env.IsOwn(name) {
		linked := env.Linked(name)
		garbage, err := env.RemoveOwn(name)
		switch {
		case err != nil:
			return err
		case linked != "":
			fmt.Fprintf(c.App.Writer, "%s is forgotten; its files stay in %s\n", name, linked)
		default:
			fmt.Fprintf(c.App.Writer, "%s is removed, %s freed\n", name, size(garbage.Bytes))
		}
		return nil
	}
	garbage, err := client.Remove(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s is removed, %s freed\n", name, size(garbage.Bytes))
	return nil
}
