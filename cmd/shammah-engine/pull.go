package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/sys"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "download a model, or what is missing of it",
		ArgsUsage: "MODEL",
		Description: "MODEL is an alias (`shammah-engine models` lists them) or owner/name[@revision] of the Hub. Only the files of one variant are\n" +
			"downloaded, into the cache that Hugging Face's own programs use, and every byte is verified. Stopped, it goes on where it was.\n" +
			"With --quantize int4 the float32 variant (or float16) is downloaded and written anew as a model of its own, with its matrices in\n" +
			"int4; the float files are removed afterwards, unless they were here before or --keep is given.\n" +
			"HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and the proxy variables are honoured.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "variant", Usage: "which `GRAPH` of several: q4, int8, fp16, fp32 (default: the best for the provider and the memory)"},
			providerFlag(),
			quantizeFlag(),
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of the quantised model (default: the model's with -int4 behind)"},
			&cli.BoolFlag{Name: "keep", Usage: "with --quantize: keep the float files that were downloaded for it"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only show what would be downloaded"},
			&cli.BoolFlag{Name: "json", Usage: "print events as lines of JSON"},
			&cli.BoolFlag{Name: "private-redirects", Usage: "follow the hub to addresses of a private network"},
		},
		OnUsageError: usageError,
		Action:       pullAction,
	}
}

func pullAction(c *cli.Context) error {
	name, err := oneArgument(c, "a model")
	if err != nil {
		return err
	}
	wanted, err := checkQuantize(c)
	if err != nil {
		return err
	}
	if !wanted && (c.IsSet("name") || c.Bool("keep")) {
		return fmt.Errorf("%w: pull: --name and --keep belong to --quantize", errUsage)
	}
	if wanted && c.IsSet("provider") {
		return fmt.Errorf("%w: pull: --quantize writes for the CPU, and --provider chooses of what lies ready", errUsage)
	}
	if _, err := configured(c); err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if wanted {
		return interrupted(pullQuantised(ctx, c, name))
	}
	p, err := download(ctx, c, name, c.App.Writer, nil)
	if err != nil || c.Bool("dry-run") || c.Bool("json") {
		return interrupted(err)
	}
	fmt.Fprintf(c.App.Writer, "%s is here. Run it: shammah-engine run --model %s%s\n", p.Name, p.Name, variantHint(p))
	return nil
}

// oneArgument is the command's only argument.
func oneArgument(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", fmt.Errorf("%w: %s: expected %s, as in `shammah-engine %s qwen-1.5b`", errUsage, c.Command.Name, what, c.Command.Name)
	}
	return c.Args().First(), nil
}

// variantHint is the flag that is needed because another variant is there, and would be taken.
func variantHint(p *hub.Plan) string {
	if f, err := model.Find(nil, p.Dir, model.FindOptions{}); err == nil && f.Variant == p.Variant {
		return ""
	}
	return " --variant " + p.Variant
}

// hubClient is a client as the environment says.
func hubClient(c *cli.Context) (*hub.Client, error) {
	access, err := hub.AccessFrom(os.Getenv)
	if err != nil {
		return nil, err
	}
	return hub.New(hubEnv(c), access, hub.Options{Agent: "shammah-engine/" + version, PrivateRedirects: c.Bool("private-redirects")})
}

// download plans, shows the plan, asks agree (which may be nil), and downloads. out is for the plan, the program's
// problems' stream for progress; with --json all goes to out.
func download(ctx context.Context, c *cli.Context, name string, out io.Writer, agree func(*hub.Plan) error) (*hub.Plan, error) {
	client, err := hubClient(c)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	chain, err := provider.Chain(c.String("provider"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	o := hub.PlanOptions{Variant: c.String("variant"), Provider: provider.Wanted(chain)}
	if memory, err := sys.ReadMemory(); err == nil && o.Provider == provider.CPU {
		o.Memory = memory.Available
	}
	p, err := client.Plan(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return p, fetch(ctx, c, client, p, out, agree)
}

// fetch shows a plan, asks agree, and downloads, unless only the plan is wanted.
func fetch(ctx context.Context, c *cli.Context, client *hub.Client, p *hub.Plan, out io.Writer, agree func(*hub.Plan) error) error {
	asJSON := c.Command.Name == "pull" && c.Bool("json")
	if asJSON {
		printEvent(out, struct {
			Kind string `json:"event"`
			*hub.Plan
		}{"plan", p})
	} else {
		showPlan(out, p)
	}
	if agree != nil {
		if err := agree(p); err != nil {
			return err
		}
	}
	if c.Bool("dry-run") {
		return nil
	}
	var show display
	switch {
	case asJSON:
		show = &jsonDisplay{out: out}
	case isTerminal(c.App.ErrWriter) && os.Getenv("TERM") != "dumb":
		show = newBar(c.App.ErrWriter)
	default:
		show = &lineDisplay{out: c.App.ErrWriter}
	}
	for event, err := range client.Pull(ctx, p) {
		show.event(event, err)
		if err = interrupted(err); errors.Is(err, errInterrupted) {
			fmt.Fprintln(c.App.ErrWriter, "stopped: the next pull goes on from here")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func showPlan(out io.Writer, p *hub.Plan) {
	fmt.Fprintf(out, "%s at %.12s, variant %s\n", p.Repo, p.Commit, p.Variant)
	for _, f := range p.Files {
		fmt.Fprintf(out, "%12s  %s\n", humanize.IBytes(uint64(f.Size)), f.Path)
	}
	fmt.Fprintf(out, "%12s  in %d files", humanize.IBytes(uint64(p.Total())), len(p.Files))
	switch {
	case p.Missing == 0:
		fmt.Fprintln(out, ", all here: they are checked")
	case p.Missing < p.Total():
		fmt.Fprintf(out, ", %s of them to download\n", humanize.IBytes(uint64(p.Missing)))
	default:
		fmt.Fprintln(out, " to download")
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(out, "note: %s\n", warning)
	}
}

func printEvent(out io.Writer, v any) {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

// findModel is the folder of a model. One that is not here is downloaded if --pull says so, or a person at a terminal does.
func findModel(ctx context.Context, c *cli.Context, name string) (string, error) {
	env := hubEnv(c)
	dir, err := hub.Resolve(name, env)
	person := isTerminal(c.App.Reader) && isTerminal(c.App.ErrWriter) && !c.Bool("json")
	if err == nil || !hub.IsFetchable(err) || !c.Bool("pull") && !person {
		return dir, err
	}
	agree := func(*hub.Plan) error {
		return confirm(ctx, c.App.Reader, c.App.ErrWriter, name, err)
	}
	if c.Bool("pull") {
		agree = nil
	}
	if _, err := download(ctx, c, name, c.App.ErrWriter, agree); err != nil {
		return "", interrupted(err)
	}
	return hub.Resolve(name, env)
}

// confirm asks a person whether a model may be downloaded; refused is what a no means.
func confirm(ctx context.Context, in io.Reader, out io.Writer, name string, refused error) error {
	fmt.Fprintf(out, "%s is not here. Download it? [Y/n] ", name)
	line, err := readAnswer(ctx, in)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "", "y", "yes":
		return nil
	}
	return refused
}

// readAnswer reads one line and not a byte more: what follows is the conversation.
func readAnswer(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		var line []byte
		for b := make([]byte, 1); ; {
			n, err := in.Read(b)
			if n == 1 && b[0] != '\n' && len(line) < 100 {
				line = append(line, b[0])
			}
			if n == 1 && b[0] == '\n' || err == io.EOF && len(line) > 0 {
				got <- answer{string(line), nil}
				return
			}
			if err != nil {
				got <- answer{"", errInterrupted}
				return
			}
		}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
