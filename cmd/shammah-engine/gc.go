package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/quantise"
)

func gcCommand() *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "remove what no model in the cache needs",
		Description: "That is contents that no revision links to, and what interrupted imports, or downloads more than a week ago, left behind.\n" +
			"What another program works on is never touched.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "also remove younger interrupted downloads, which a pull could go on with"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
		},
		OnUsageError: usageError,
		Action:       gcAction,
	}
}

func gcAction(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: gc: expected no argument, found %q", errUsage, c.Args().First())
	}
	client, err := hubClient(c)
	if err != nil {
		return err
	}
	defer client.Close()
	garbage, busy, err := client.Collect(c.Bool("all"), c.Bool("dry-run"))
	if err != nil {
		return err
	}
	left, err := quantise.Sweep(hubEnv(c).Own, c.Bool("dry-run"))
	if err != nil {
		return err
	}
	garbage.Bytes += left
	for _, path := range garbage.Paths {
		fmt.Fprintln(c.App.Writer, path)
	}
	for _, name := range busy {
		fmt.Fprintf(c.App.ErrWriter, "%s is in use and was left alone\n", name)
	}
	verb := "freed"
	if c.Bool("dry-run") {
		verb = "could be freed"
	}
	fmt.Fprintf(c.App.Writer, "%s %s\n", size(garbage.Bytes), verb)
	return nil
}
