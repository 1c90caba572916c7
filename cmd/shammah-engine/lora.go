package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/adapters"
	"github.com/shammah/shammah-engine/internal/filesystem"
)

func loraCommand() *cli.Command {
	asJSON := func(what string) []cli.Flag {
		return []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON " + what}}
	}
	return &cli.Command{
		Name:  "lora",
		Usage: "keep adapters, which change what a model says, and train them",
		Description: "An adapter is small matrices that are added to a model's own: `run --lora NAME` uses one, several of them add up.\n" +
			"PEFT's folders (adapter_config.json, adapter_model.safetensors) and ONNX Runtime's .onnx_adapter files are read.",
		OnUsageError: usageError,
		Subcommands: []*cli.Command{
			{Name: "add", Usage: "check an adapter and keep it under a name", ArgsUsage: "NAME PATH", OnUsageError: usageError, Action: loraAddAction,
				Description: "PATH is a PEFT folder, a .safetensors file beside its adapter_config.json, or an .onnx_adapter file. It is compared with the\n" +
					"graph of the model that it is for, which has to be here, and copied.",
				Flags: []cli.Flag{baseFlag(), &cli.StringFlag{Name: "variant", Usage: "which `GRAPH` of the model: q4, int8, fp16, fp32"}}},
			loraTrainCommand(),
			{Name: "list", Aliases: []string{"ls"}, Usage: "list the adapters that are here", Flags: asJSON("array"), OnUsageError: usageError, Action: loraListAction},
			{Name: "show", Usage: "describe an adapter, and verify its files", ArgsUsage: "NAME", Flags: asJSON("object"), OnUsageError: usageError, Action: loraShowAction, BashComplete: completeNames},
			{Name: "rm", Usage: "remove an adapter", ArgsUsage: "NAME", Flags: []cli.Flag{&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}},
				Description: "A conversation that uses it goes on using it until it ends.", OnUsageError: usageError, Action: loraRmAction, BashComplete: completeNames},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: lora: there is no command %q; `shammah-engine help lora` lists them", errUsage, c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func baseFlag() cli.Flag {
	return &cli.StringFlag{Name: "base", Aliases: []string{"model", "m"}, Usage: "the `MODEL` that the adapter is for: an alias, owner/name, or a folder"}
}

func loraAddAction(c *cli.Context) error {
	if c.NArg() != 2 {
		return fmt.Errorf("%w: lora add: %d arguments, expected a name and a path, as in `shammah-engine lora add pirate ./my-adapter --base tiny`", errUsage, c.NArg())
	}
	name := c.Args().Get(0)
	if err := adapters.CheckName(name); err != nil {
		return fmt.Errorf("%w: lora add: %w", errUsage, err)
	}
	path, err := filesystem.ExpandHome(c.Args().Get(1))
	if err != nil {
		return err
	}
	if c.String("base") == "" {
		return fmt.Errorf("%w: lora add: %w%s", errUsage, errNoBase, trainedOn(path))
	}
	store, err := adapterStore()
	if err != nil {
		return err
	}
	base, fits, err := graphFit(c, c.String("base"))
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	k, err := store.Add(ctx, name, path, base, fits)
	if err != nil {
		return interrupted(err)
	}
	fmt.Fprintf(c.App.Writer, "%s is here: rank %d, %d matrices, %s, for %s. Use it: shammah-engine run --model %s --lora %s\n",
		k.Name, k.Rank, k.Modules, size(k.Bytes()), k.Base, c.String("base"), k.Name)
	if k.TrainedOn != "" && !sameModel(k.TrainedOn, base) {
		fmt.Fprintf(c.App.ErrWriter, "note: its files say that it was trained on %q\n", k.TrainedOn)
	}
	return nil
}

// trainedOn hints at the base that an adapter itself names.
func trainedOn(path string) string {
	if a, err := lora.Load(path); err == nil && a.Base != "" {
		return fmt.Sprintf("; its files say that it was trained on %q", a.Base)
	}
	return ""
}

// sameModel says whether two names may mean one model: the last parts of both, without what stands for a form of it.
func sameModel(a, b string) bool {
	plain := func(s string) string {
		s = strings.ToLower(s[strings.LastIndexAny(s, `/\`)+1:])
		return strings.TrimSuffix(strings.TrimSuffix(s, "-onnx"), "_onnx")
	}
	return plain(a) == plain(b)
}

// graphFit is the name of a model that is here, and whether an adapter fits it by names and shapes. Nothing but its graph is read.
func graphFit(c *cli.Context, name string) (base string, fits func(*lora.Adapter) error, err error) {
	spec, _, err := describe(c, name)
	if err != nil {
		return "", nil, err
	}
	graph, tensors, err := spec.ReadGraph()
	if err != nil {
		return "", nil, err
	}
	defer tensors.Close()
	plan, err := derive.Adapt(graph)
	if err != nil {
		return "", nil, err
	}
	base = baseName(spec)
	modules := plan.Modules(spec)
	return base, func(a *lora.Adapter) error {
		for _, m := range a.Modules {
			if _, err := modules.Find(m.Name, m.Inputs, m.Outputs); err != nil {
				return fmt.Errorf("lora: compare the adapter with %s: %w: %w", base, lora.ErrAdapter, err)
			}
		}
		return nil
	}, nil
}

// baseName is what the engine calls a model that is open.
func baseName(spec *model.Spec) string {
	if spec.Dir == "" {
		return tinyName
	}
	return spec.Name
}

func loraListAction(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: lora list: expected no argument, found %q", errUsage, c.Args().First())
	}
	store, err := adapterStore()
	if err != nil {
		return err
	}
	list, err := store.List()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if list == nil {
			list = []adapters.Kept{}
		}
		printEvent(c.App.Writer, list)
		return nil
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(c.App.Writer, "No adapter is in %s. `shammah-engine lora add NAME PATH --base MODEL` keeps one.\n", store.Dir())
		return err
	}
	return table(c.App.Writer, func(line func(cells ...string)) {
		line("ADAPTER", "FOR", "RANK", "MATRICES", "SIZE", "ADDED")
		for _, k := range list {
			if k.Fault != "" {
				line(k.Name, oneLine(k.Fault))
				continue
			}
			line(k.Name, k.Base, strconv.Itoa(k.Rank), strconv.Itoa(k.Modules), size(k.Bytes()), humanize.Time(k.Added))
		}
	})
}

func loraShowAction(c *cli.Context) error {
	name, err := adapterArgument(c)
	if err != nil {
		return err
	}
	store, err := adapterStore()
	if err != nil {
		return err
	}
	k, a, err := store.Load(name)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		printEvent(c.App.Writer, struct {
			adapters.Kept
			Folder  string         `json:"folder"`
			Targets map[string]int `json:"targets"`
			Scales  []float32      `json:"scales"`
		}{k, k.Dir, kinds(a), scales(a)})
		return nil
	}
	return table(c.App.Writer, func(line func(cells ...string)) {
		line("adapter", k.Name)
		line("for", k.Base)
		line("trained on", orDash(k.TrainedOn))
		line("rank", strconv.Itoa(k.Rank))
		var texts []string
		for _, x := range scales(a) {
			texts = append(texts, strconv.FormatFloat(float64(x), 'g', 4, 32))
		}
		line("scale", strings.Join(texts, ", "))
		texts = nil
		for _, kind := range slices.Sorted(maps.Keys(kinds(a))) {
			texts = append(texts, fmt.Sprintf("%s in %d places", kind, kinds(a)[kind]))
		}
		line("adds to", strings.Join(texts, ", "))
		line("parameters", humanize.SIWithDigits(float64(k.Parameters), 2, ""))
		line("added", k.Added.Local().Format("2006-01-02 15:04"))
		line("folder", k.Dir)
		title := "files"
		for _, f := range k.Files {
			line(title, fmt.Sprintf("%s, %s, sha256 %.12s, verified", f.Name, size(f.Size), f.SHA256))
			title = ""
		}
	})
}

// adapterArgument is the command's only argument.
func adapterArgument(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", fmt.Errorf("%w: lora %s: expected the name of an adapter; `shammah-engine lora list` shows them", errUsage, c.Command.Name)
	}
	return c.Args().First(), nil
}

// kinds counts an adapter's matrices by the last part of their names.
func kinds(a *lora.Adapter) map[string]int {
	n := map[string]int{}
	for _, m := range a.Modules {
		n[m.Name[strings.LastIndexByte(m.Name, '.')+1:]]++
	}
	return n
}

// scales are the different scales of an adapter's matrices, the smallest first.
func scales(a *lora.Adapter) (list []float32) {
	for _, m := range a.Modules {
		list = append(list, m.Scale)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func loraRmAction(c *cli.Context) error {
	name, err := adapterArgument(c)
	if err != nil {
		return err
	}
	store, err := adapterStore()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if _, err := store.Find(name); errors.Is(err, adapters.ErrNotFound) {
		return err
	}
	if yes, err := agreed(ctx, c, "Remove the adapter "+name); !yes {
		return err
	}
	if err := store.Remove(name); err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s is removed\n", name)
	return nil
}
