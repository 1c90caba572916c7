package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/hub"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:         "verify",
		Usage:        "hash the files of models that are here, and say which are damaged",
		ArgsUsage:    "[MODEL...]",
		Description:  "Without a name, all models in the cache are verified. `pull` mends what is damaged.",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a line of JSON for each file"}},
		OnUsageError: usageError,
		Action:       verifyAction,
	}
}

func verifyAction(c *cli.Context) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	env := hubEnv(c)
	names := c.Args().Slice()
	if len(names) == 0 {
		models, _, err := hub.List(env)
		if err != nil {
			return err
		}
		for _, m := range models {
			if !m.Own { // which nothing says what it should hash to
				names = append(names, m.Repo+"@"+m.Commit)
			}
		}
		if len(names) == 0 {
			fmt.Fprint(c.App.ErrWriter, "There is nothing to verify. ", noModel(env))
		}
	}
	var bad []string
	for _, name := range names {
		faults := 0
		for f, err := range hub.Verify(ctx, name, env) {
			if err != nil {
				return interrupted(err)
			}
			if f.Fault != "" {
				faults++
			}
			showChecked(c, name, f)
		}
		if faults == 0 {
			if dir, err := hub.Resolve(name, env); err == nil {
				if _, err := model.Find(nil, dir, model.FindOptions{}); err != nil {
					faults++
					showChecked(c, name, hub.Checked{Path: ".", Fault: oneLine(err.Error())})
				}
			}
		}
		if faults > 0 {
			bad = append(bad, name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("verify: %d of %d models are damaged; mend them with: shammah-engine pull %s", len(bad), len(names), bad[0])
	}
	return nil
}

func showChecked(c *cli.Context, name string, f hub.Checked) {
	if c.Bool("json") {
		printEvent(c.App.Writer, struct {
			Model string `json:"model"`
			hub.Checked
		}{name, f})
		return
	}
	state := "ok"
	switch {
	case f.Fault != "":
		state = f.Fault
	case f.Unsure:
		state = "cannot be verified: it is no link to a blob"
	}
	fmt.Fprintf(c.App.Writer, "%s %s: %s\n", name, f.Path, state)
}
