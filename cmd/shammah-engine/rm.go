package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func rmCommand() *cli.Command {
	return &cli.Command{
		Name:         "rm",
		Usage:        "remove a model from the cache",
		ArgsUsage:    "MODEL",
		Description:  "MODEL@REVISION removes one revision, MODEL all of them. Python's tools share the cache: for them it is gone too.",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}},
		OnUsageError: usageError,
		Action:       rmAction,
	}
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
	if isTerminal(c.App.Reader) && !c.Bool("yes") {
		fmt.Fprintf(c.App.ErrWriter, "Remove %s from the cache? [y/N] ", name)
		answer, err := readAnswer(ctx, c.App.Reader)
		if err != nil {
			return interrupted(err)
		}
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return nil
		}
	}
	garbage, err := client.Remove(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s is removed, %s freed\n", name, size(garbage.Bytes))
	return nil
}
