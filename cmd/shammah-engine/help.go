package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// helpCommand stands in for the one of the flag library, which is one object for all programs of a process and becomes its own
// subcommand in the second; it also knows nothing of subcommands.
func helpCommand() *cli.Command {
	return &cli.Command{
		Name:         "help",
		Aliases:      []string{"h"},
		Usage:        "show what the program or one of its commands does",
		ArgsUsage:    "[command]...",
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			commands := c.App.Commands
			for i, word := range c.Args().Slice() {
				found := named(commands, word)
				if found == nil {
					return fmt.Errorf("%w: there is no command %q; `shammah-engine help` lists them", errUsage, strings.Join(c.Args().Slice()[:i+1], " "))
				}
				commands = found.Subcommands
			}
			return newApp(c.App.Reader, c.App.Writer, c.App.ErrWriter).RunContext(c.Context, append(append([]string{c.App.Name}, c.Args().Slice()...), "--help"))
		},
	}
}
