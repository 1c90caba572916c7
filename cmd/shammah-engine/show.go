package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/quantise"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/ort"
)

func showCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "describe a model that is here, without loading it",
		ArgsUsage: "MODEL",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "variant", Usage: "which `GRAPH` of several: q4, int8, fp16, fp32"},
			&cli.IntFlag{Name: "context", Aliases: []string{"c"}, Usage: "estimate the memory for so many `TOKENS` (default: 4096, or the model's maximum if smaller)"},
			&cli.BoolFlag{Name: "template", Usage: "print the chat template instead"},
			&cli.BoolFlag{Name: "placement", Usage: "load the model, too, and say which provider holds what of it"},
			&cli.BoolFlag{Name: "force", Usage: "load it even if memory seems too small, or the provider holds little of it"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		}, providerFlags()...),
		OnUsageError: usageError,
		Action:       showAction,
	}
}

// contextDefault is the context that a model is loaded with unless another is asked for.
const contextDefault = 4096

func showAction(c *cli.Context) error {
	name, err := oneArgument(c, "a model")
	if err != nil {
		return err
	}
	spec, signature, err := describe(c, name)
	if err != nil {
		return err
	}
	if c.Bool("template") {
		if spec.Template == "" {
			return fmt.Errorf("show: %s has no chat template", spec.Name)
		}
		_, err := io.WriteString(c.App.Writer, strings.TrimSuffix(spec.Template, "\n")+"\n")
		return err
	}
	context := min(contextDefault, spec.ContextMax)
	if c.IsSet("context") {
		if context = c.Int("context"); context < 1 || context > 1<<24 {
			return fmt.Errorf("%w: show: --context is %d, expected 1 to %d", errUsage, context, 1<<24)
		}
	}
	first, err := spec.MemoryEstimate(model.Use{Context: model.CompareTokens, Exact: true})
	if err != nil {
		return err
	}
	kernels, own, err := planKernels(spec)
	if err != nil {
		return err
	}
	estimate, err := spec.MemoryEstimate(model.Use{Context: context, Text: true})
	if err != nil {
		return err
	}
	d := description{Spec: spec, signature: signature, context: context, memory: estimate, kernels: kernels}
	if provider.Build == provider.CUDA {
		if d.onDevice, err = spec.MemoryEstimate(model.Use{Context: context, Text: true, Device: true}); err != nil {
			return err
		}
	}
	if own && spec.Dir != "" {
		d.first = first.Total()
	}
	if d.providers, err = placement(c, spec, name); err != nil {
		return err
	}
	if c.Bool("json") {
		printEvent(c.App.Writer, d.fields())
		return nil
	}
	return table(c.App.Writer, d.lines)
}

// placement says which provider holds what of a model, where that was asked for, and what CoreML would leave.
func placement(c *cli.Context, spec *model.Spec, name string) (lines []string, err error) {
	if provider.Build == provider.CoreML || c.String("provider") == provider.CoreML {
		v, err := coreMLVerdict(spec.Files)
		if err != nil {
			return nil, err
		}
		lines = append(lines, v.String())
	}
	if !c.Bool("placement") {
		return lines, nil
	}
	dir, err := hub.Resolve(name, hubEnv(c))
	if err != nil {
		return nil, err
	}
	env, err := ort.Open(ort.Options{Log: logger(c.App.ErrWriter, false)})
	if err != nil {
		return nil, err
	}
	defer env.Close()
	ctx, stop := interruptible(c.Context)
	defer stop()
	m, err := openIn(ctx, env, c, dir)
	if err != nil {
		return nil, interrupted(err)
	}
	defer m.Close()
	return append(lines, m.Placement().String()), nil
}

// describe checks a model's files against its graph, which no runtime is needed for.
func describe(c *cli.Context, name string) (spec *model.Spec, signature model.Signature, err error) {
	o := model.FindOptions{Variant: c.String("variant")}
	dir, err := hub.Resolve(name, hubEnv(c))
	if err != nil {
		return nil, signature, err
	}
	var f model.Files
	if dir == "" {
		f, err = model.Find(tiny.FS(), "", o)
	} else {
		f, err = model.Find(nil, dir, o)
	}
	if err != nil {
		return nil, signature, err
	}
	if signature, err = f.Signature(); err != nil {
		return nil, signature, err
	}
	spec, err = f.Load(signature)
	return spec, signature, err
}

// planKernels says what a derived graph would compute, and counts its memory.
func planKernels(spec *model.Spec) (lines []string, own bool, err error) {
	graph, tensors, err := spec.ReadGraph()
	if err != nil {
		return nil, false, err
	}
	defer tensors.Close()
	total := len(graph.Graph.Nodes)
	p, err := derive.Derive(graph, spec, derive.Options{Read: tensors.Read})
	if errors.Is(err, derive.ErrNothing) {
		return []string{"the runtime's alone: " + err.Error()}, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	p.Describe(spec)
	lines = append(lines, fmt.Sprintf("this program's own compute %d nodes in place of %d; %d stay with the runtime", p.Nodes, total-(len(graph.Graph.Nodes)-p.Nodes), len(graph.Graph.Nodes)-p.Nodes))
	for _, k := range p.Kept {
		lines = append(lines, k.String())
	}
	switch why := p.Joint(); {
	case !spec.Shared:
		lines = append(lines, "no speculation: the cache is copied at every step")
	case why != "":
		lines = append(lines, "no speculation: "+why)
	}
	return lines, true, nil
}

// description is a model with the memory that it takes at a context.
type description struct {
	*model.Spec
	signature model.Signature
	context   int
	memory    model.Estimate
	onDevice  model.Estimate // the same where a GPU computes, zero in a program that has none
	first     int64          // bytes that the first use takes, 0: no more than others
	kernels   []string       // what this program's own kernels compute, and what they leave to the runtime
	providers []string       // which provider holds what, if that was asked for
}

func (d description) files() (names []string) {
	for _, name := range append([]string{d.Graph}, append(d.Data, d.Config, d.GenerationConfig, d.GenAIConfig, d.Tokenizer, d.TokenizerConfig, d.ChatTemplate)...) {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// sampling is what the model's author recommends, in the words of the flags.
func (d description) sampling() (list []string) {
	s := d.Sampling
	for _, v := range []struct {
		name  string
		value *float32
	}{{"temperature", s.Temperature}, {"top-p", s.TopP}, {"min-p", s.MinP}, {"repetition-penalty", s.RepetitionPenalty},
		{"presence-penalty", s.PresencePenalty}, {"frequency-penalty", s.FrequencyPenalty}} {
		if v.value != nil {
			list = append(list, v.name+" "+strconv.FormatFloat(float64(*v.value), 'g', 4, 32))
		}
	}
	if s.TopK != nil {
		list = append(list, fmt.Sprintf("top-k %d", *s.TopK))
	}
	if s.DoSample != nil && !*s.DoSample {
		list = append(list, "greedy")
	}
	return list
}

func tensorText(t model.TensorInfo) string {
	dims := make([]string, len(t.Shape))
	for i, n := range t.Shape {
		if dims[i] = strconv.FormatInt(n, 10); n < 0 {
			dims[i] = "?"
		}
	}
	return fmt.Sprintf("%s %s (%s)", t.Name, t.Type, strings.Join(dims, ", "))
}

func (d description) lines(line func(cells ...string)) {
	several := func(title string, list []string) {
		for _, s := range list {
			line(title, s)
			title = ""
		}
	}
	line("model", d.Name)
	line("family", d.Family)
	if d.Parameters > 0 {
		line("parameters", humanize.SIWithDigits(float64(d.Parameters), 2, ""))
	}
	if origin, ok := quantise.ReadOrigin(d.Dir); ok {
		line("origin", origin.String())
	}
	line("variant", fmt.Sprintf("%s, layout %s, %s", d.Variant, d.Layout, size(d.Bytes)))
	line("shape", fmt.Sprintf("%d layers, hidden %d, %d heads, %d of keys and values of %d, vocabulary %d", d.Layers, d.Hidden, d.Heads, d.KVHeads, d.HeadDim, d.Vocab))
	line("context", fmt.Sprintf("at most %d tokens", d.ContextMax))
	line("cache", d.cache())
	if d.Dir != "" {
		line("folder", d.folder())
	}
	several("files", d.files())
	in, out := d.tensors()
	several("inputs", in)
	several("outputs", out)
	if n := len(d.LoRA) / 2; n > 0 {
		line("adapters", fmt.Sprintf("it was exported with inputs for those of %d modules; they are taken out, and adapters go in as in any other graph (lora add)", n))
	}
	line("template", d.template())
	line("ends of text", d.ends())
	line("sampling", orDash(strings.Join(d.sampling(), ", ")))
	m := d.memory
	line("memory", fmt.Sprintf("about %s when a context of %d tokens is full: weights %s, packed for the processor %s, keys and values %s, logits and values %s, tokenizer %s, the rest %s",
		size(m.Total()), d.context, size(m.Weights), size(m.Prepack), size(m.KV), size(m.Logits+m.Scratch), size(m.Tokenizer), size(m.Overhead)))
	if d.first > m.Total() {
		line("", fmt.Sprintf("at its first use about %s for a moment, when the kernels are compared with the runtime's; left out where memory is short", size(d.first)))
	}
	if m := d.onDevice; m.Device > 0 {
		line("", fmt.Sprintf("with a GPU about %s of its memory and %s of this machine's", size(m.Device), size(m.Total())))
	}
	several("kernels", d.kernels)
	several("placement", d.providers)
	several("warnings", d.Warnings)
}

// folder is where the model lies: an imported one may be a link.
func (d description) folder() string {
	if target, err := os.Readlink(d.Dir); err == nil {
		return target + ", imported as " + d.Name
	}
	return d.Dir
}

func (d description) cache() string {
	switch {
	case len(d.Past) == 0:
		return "none: each token costs as much as the whole text"
	case d.Shared:
		return d.KVType + ", one buffer for past and present"
	}
	return d.KVType + ", past and present apart"
}

func (d description) template() string {
	if d.Template == "" {
		return "none"
	}
	return fmt.Sprintf("%s, %d bytes (--template prints it)", d.TemplateSource, len(d.Template))
}

func (d description) ends() string {
	words := make([]string, len(d.End))
	for i, id := range d.End {
		words[i] = strconv.Itoa(int(id))
	}
	return orDash(strings.Join(words, ", "))
}

// tensors are the graph's inputs and outputs; the layers of a cache are one line.
func (d description) tensors() (in, out []string) {
	kv := map[string]int{}
	for i := range d.Past {
		kv[d.Past[i].Key], kv[d.Past[i].Value] = i, i
		kv[d.Present[i].Key], kv[d.Present[i].Value] = i, i
	}
	short := func(list []model.TensorInfo) (texts []string) {
		for _, t := range list {
			if layer, ok := kv[t.Name]; !ok {
				texts = append(texts, tensorText(t))
			} else if layer == 0 {
				texts = append(texts, tensorText(t)+fmt.Sprintf(", and so on for %d layers", d.Layers))
			}
		}
		return texts
	}
	return short(d.signature.Inputs), short(d.signature.Outputs)
}

func (d description) fields() map[string]any {
	f := map[string]any{
		"model": d.Name, "family": d.Family, "parameters": d.Parameters, "variant": d.Variant, "layout": d.Layout.String(), "bytes": d.Bytes,
		"layers": d.Layers, "hidden": d.Hidden, "heads": d.Heads, "kv_heads": d.KVHeads, "head_dim": d.HeadDim, "vocabulary": d.Vocab,
		"context_max": d.ContextMax, "folder": d.Dir, "files": d.files(), "inputs": d.signature.Inputs, "outputs": d.signature.Outputs, "template": d.TemplateSource,
		"ends": d.End, "sampling": d.sampling(), "warnings": d.Warnings, "kernels": d.kernels, "placement": d.providers, "context": d.context,
		"memory": map[string]int64{"total": d.memory.Total(), "weights": d.memory.Weights, "copies": d.memory.Prepack, "kv": d.memory.KV, "logits": d.memory.Logits,
			"values": d.memory.Scratch, "tokenizer": d.memory.Tokenizer, "rest": d.memory.Overhead, "first_use": max(d.first, d.memory.Total()), "device": d.onDevice.Device},
	}
	if origin, ok := quantise.ReadOrigin(d.Dir); ok {
		f["origin"] = origin
	}
	return f
}
