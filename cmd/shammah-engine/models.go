package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/hub"
)

// modelCommands are the commands that handle models without running them.
func modelCommands() []*cli.Command {
	return []*cli.Command{modelsCommand(), pullCommand(), importCommand(), listCommand(), showCommand(), verifyCommand(), rmCommand(), gcCommand()}
}

func modelsCommand() *cli.Command {
	return &cli.Command{
		Name:         "models",
		Usage:        "list the models that have a short name, and which of them are here",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON array"}},
		OnUsageError: usageError,
		Action:       modelsAction,
	}
}

// catalogueRow is one model of the catalogue.
type catalogueRow struct {
	Alias      string   `json:"alias"`
	Family     string   `json:"family"`
	Repository string   `json:"repository,omitempty"`
	Here       bool     `json:"here"`
	Variants   []string `json:"variants,omitempty"`
}

func modelsAction(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: models: expected no argument, found %q", errUsage, c.Args().First())
	}
	env := hubEnv(c)
	var rows []catalogueRow
	for _, e := range hub.Catalogue() {
		row := catalogueRow{Alias: e.Alias, Family: e.Family, Repository: e.Repo, Here: e.Repo == ""}
		if e.Repo != "" {
			if dir, err := hub.Resolve(e.Alias, env); err == nil {
				row.Variants, _ = model.Variants(os.DirFS(dir))
				row.Here = len(row.Variants) > 0
			}
		}
		rows = append(rows, row)
	}
	if c.Bool("json") {
		printEvent(c.App.Writer, rows)
		return nil
	}
	return table(c.App.Writer, func(line func(cells ...string)) {
		line("MODEL", "FAMILY", "REPOSITORY", "HERE")
		for _, r := range rows {
			here := "-"
			switch {
			case r.Repository == "":
				here = "inside the program"
			case r.Here:
				here = strings.Join(r.Variants, ", ")
			}
			line(r.Alias, r.Family, orDash(r.Repository), here)
		}
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// table writes lines of cells in columns.
func table(out io.Writer, fill func(line func(cells ...string))) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) {
		for i, cell := range cells {
			cells[i] = oneLine(cell) // names of nodes, tensors and families are their author's to choose
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	})
	return w.Flush()
}
