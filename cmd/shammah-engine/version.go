package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/internal/provider"
)

// version is the release or commit that the program was built from; the linker sets it.
var version = "unknown"

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version of the program and what it was built for",
		Action: func(c *cli.Context) error {
			_, err := fmt.Fprintf(c.App.Writer, "shammah-engine %s (%s build, %s/%s, %s)\n", version, provider.Build, runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
