package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/quantise"
	"github.com/shammah/shammah-engine/internal/hub"
)

// pullQuantised downloads a model's float variant and writes it anew in int4.
func pullQuantised(ctx context.Context, c *cli.Context, name string) error {
	client, err := hubClient(c)
	if err != nil {
		return err
	}
	defer client.Close()
	p, err := planFloat(ctx, client, name, c.String("variant"))
	if err != nil {
		return err
	}
	env, own := hubEnv(c), c.String("name")
	if own == "" {
		own, _, _ = strings.Cut(name, "@")
		own = path.Base(own) + "-int4"
	}
	o := quantise.Origin{From: p.Repo, Commit: p.Commit, Variant: p.Variant}
	if here, err := isQuantised(env, own, o); here || err != nil {
		return sayHere(c, own, err)
	}
	brought := !env.Holds(p.Repo) // what others have put there stays
	if err := fetch(ctx, c, client, p, c.App.Writer, nil); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		if !c.Bool("json") {
			fmt.Fprintf(c.App.Writer, "then it is quantised to int4 and called %s\n", own)
		}
		return nil
	}
	files, err := model.Find(nil, p.Dir, model.FindOptions{Variant: p.Variant})
	if err == nil {
		err = quantiseTo(ctx, c, env, own, files, o)
	}
	if err != nil {
		return fmt.Errorf("%w; the files of %s stay in the cache", err, p.Repo)
	}
	return dropFloat(c, client, p, brought)
}

// planFloat plans the download of the variant asked for, or of the best that can be quantised.
func planFloat(ctx context.Context, client *hub.Client, name, asked string) (*hub.Plan, error) {
	variants := floatVariants
	if asked != "" {
		variants = []string{asked}
	}
	var first error
	for _, v := range variants {
		p, err := client.Plan(ctx, name, hub.PlanOptions{Variant: v})
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, model.ErrNoModel) {
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// dropFloat removes what was downloaded only to be quantised, and says what it did. brought says that all that the cache has of the repository is.
func dropFloat(c *cli.Context, client *hub.Client, p *hub.Plan, brought bool) error {
	variants, _ := model.Variants(os.DirFS(p.Dir))
	if !brought || c.Bool("keep") || len(variants) != 1 {
		if !c.Bool("json") {
			fmt.Fprintf(c.App.Writer, "The float files stay in the cache; remove them with: shammah-engine rm %s\n", p.Name)
		}
		return nil
	}
	garbage, err := client.Remove(p.Repo + "@" + p.Commit)
	if err != nil {
		return err
	}
	if !c.Bool("json") {
		fmt.Fprintf(c.App.Writer, "The float files are removed again, %s freed (--keep keeps them)\n", size(garbage.Bytes))
	}
	return nil
}
