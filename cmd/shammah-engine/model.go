package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/ort"
)

// threadsMax bounds --threads: more than any machine has.
const threadsMax = 1024

// tinyName is the model inside the program, and the default.
const tinyName = "tiny"

// tinyMemory is what it needs with its whole context, by the engine's own estimate.
const tinyMemory = 100 << 20

func modelFlags() []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "`NAME` of the model: an alias (qwen-1.5b), owner/name, or a folder", DefaultText: "as configured, or tiny"},
		&cli.StringFlag{Name: "variant", Usage: "which `GRAPH` of several: q4, int8, fp16, fp32"},
	}, providerFlags(), []cli.Flag{
		&cli.StringFlag{Name: "require-provider", Usage: "fail unless the provider that was asked for holds this `SHARE` of the compute", DefaultText: "0.9; by --provider auto, half or the next one"},
		&cli.IntFlag{Name: "threads", Aliases: []string{"t"}, Usage: "`N` threads compute", DefaultText: "one for each physical core"},
		&cli.IntFlag{Name: "context", Aliases: []string{"c"}, Usage: "`TOKENS` that prompt and answer may have together", DefaultText: "4096, or fewer where the model or the free memory ends"},
		&cli.StringFlag{Name: "kernels", Value: "auto", Usage: "`WHOSE` matrix products on the CPU: auto (this program's own, where they are right) or off (the runtime's)"},
		&cli.StringFlag{Name: "cache", Usage: "`TYPE` of keys and values: f32 or f16 (half the memory; only with this program's own kernels)", DefaultText: "the graph's own"},
		&cli.BoolFlag{Name: "exact", Usage: "the model's graph as it is, with float32 activations: slower, for comparisons"},
		&cli.BoolFlag{Name: "pull", Usage: "download the model if it is not here, without asking"},
		&cli.BoolFlag{Name: "force", Usage: "try even if memory seems too small, or the provider holds little of the model"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what happens inside, and which provider holds what"},
	})
}

// providerFlags name what a model runs on, a plug-in among it.
func providerFlags() []cli.Flag {
	return []cli.Flag{
		providerFlag(),
		&cli.StringFlag{Name: "provider-library", Usage: "a plug-in of ONNX Runtime in `FILE` brings the provider", Action: func(_ *cli.Context, path string) error {
			if path == "" { // a variable of the shell that is not set, most likely: the CPU shall not run in its place
				return fmt.Errorf("%w: --provider-library has no file name", errUsage)
			}
			return nil
		}},
		&cli.StringSliceFlag{Name: "provider-option", Usage: "`KEY=VALUE` for the provider (repeatable): " + providerKeys()},
	}
}

func providerFlag() cli.Flag {
	return &cli.StringFlag{Name: "provider", Usage: "`WHAT` it runs on: auto, " + strings.Join(provider.Names(), ", "), DefaultText: "as configured, or auto",
		Action: func(c *cli.Context, name string) error { return c.Set("provider", strings.ToLower(name)) }} // CUDA and CoreML are what they call themselves
}

func generationFlags() []cli.Flag {
	return append(speculationFlags(), []cli.Flag{
		&cli.StringFlag{Name: "system", Usage: "what the model is told before the conversation"},
		&cli.IntFlag{Name: "max-tokens", Aliases: []string{"n"}, Usage: "end the answer after `N` tokens", DefaultText: "when the context is full"},
		&cli.IntFlag{Name: "min-tokens", Usage: "no end before `N` tokens"},
		numberFlag("temperature", "0 takes the likeliest token always; higher is more varied", "the model's own"),
		&cli.IntFlag{Name: "top-k", Usage: "sample from the `K` likeliest tokens; 0 is all", DefaultText: "the model's own"},
		numberFlag("top-p", "sample from the likeliest tokens that together have this probability", "the model's own"),
		numberFlag("min-p", "leave out tokens less likely than this share of the likeliest", "the model's own"),
		numberFlag("repetition-penalty", "above 1 makes tokens that were seen less likely", "the model's own"),
		numberFlag("presence-penalty", "taken from the logit of every token of the answer so far", "the model's own"),
		numberFlag("frequency-penalty", "taken from a token's logit each time it was in the answer so far", "the model's own"),
		&cli.StringSliceFlag{Name: "logit-bias", Usage: "`ID=BIAS` added to a token's logit (repeatable)"},
		&cli.StringFlag{Name: "seed", Usage: "the same `SEED` gives the same answer", DefaultText: "another one each time"},
		&cli.StringSliceFlag{Name: "stop", Usage: "end the answer before this `TEXT` (repeatable)"},
		&cli.BoolFlag{Name: "ignore-eos", Usage: "go on after the model's end of text"},
		&cli.StringFlag{Name: "overflow", Value: "error", Usage: "`RULE` for a context that is too small: error, truncate (drop the oldest of the prompt) or shift (drop the older half when full)"},
	}...)
}

// speculationFlags say whether guesses are computed before they are drawn, and who else guesses.
func speculationFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "speculate", Value: "auto", Usage: "`WHETHER` likely tokens are computed several at once, which changes no answer: auto (where it is exact, as long as it pays) or off"},
		&cli.StringFlag{Name: "draft", Usage: "`MODEL` that guesses too: small, here already, and of the same vocabulary"},
	}
}

// speculation reads --speculate.
func speculation(c *cli.Context) (engine.Speculate, error) {
	switch s := c.String("speculate"); s {
	case "auto":
		return engine.SpeculateAuto, nil
	case "off":
		return engine.SpeculateOff, nil
	default:
		return engine.SpeculateOff, fmt.Errorf("%w: --speculate is %q, expected auto or off", errUsage, s)
	}
}

// numberFlag is a flag whose value is checked as a float32 by the sampler: the text is kept, so that a bad one is named as it was typed.
func numberFlag(name, usage, fallback string) cli.Flag {
	return &cli.StringFlag{Name: name, Usage: usage + " (`X`)", DefaultText: fallback}
}

// number reads a flag that numberFlag made.
func number(c *cli.Context, name string, to *float32) error {
	if !c.IsSet(name) {
		return nil
	}
	x, err := strconv.ParseFloat(c.String(name), 64)
	if err != nil {
		return fmt.Errorf("%w: --%s is %q, expected a number", errUsage, name, c.String(name))
	}
	*to = float32(x)
	return nil
}

// openModel opens library and model as the flags say, and reports which provider runs. close frees both.
func openModel(ctx context.Context, c *cli.Context) (m *engine.Model, close func(), err error) {
	dir, err := findModel(ctx, c, c.String("model"))
	if err != nil {
		return nil, nil, err
	}
	log := logger(c.App.ErrWriter, c.Bool("verbose"))
	env, err := ort.Open(ort.Options{Log: log})
	if err != nil {
		return nil, nil, err
	}
	if m, err = openIn(ctx, env, c, dir); err != nil {
		env.Close()
		return nil, nil, err
	}
	for _, w := range m.Spec().Warnings {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", oneLine(w))
	}
	fmt.Fprintf(c.App.ErrWriter, "%s · %s · %s, %d threads\n", m.Spec().Name, m.Spec().Variant, m.Provider(), m.Threads())
	if c.Bool("verbose") {
		fmt.Fprintf(c.App.ErrWriter, "placement: %s\n", m.Placement())
	}
	return m, func() {
		m.Close()
		env.Close()
	}, nil
}

// openWith opens the model as the flags say, on these providers; none is the CPU.
func openWith(env *ort.Env, c *cli.Context, dir string, providers []ort.Provider) (m *engine.Model, err error) {
	o := engine.Options{
		Providers: providers,
		NoText:    c.Command.Name == "bench" && !c.Bool("tokenizer") && !copies(c), // it feeds ids
		Adapters:  wantsAdapters(c, providers),
		Variant:   c.String("variant"), Context: c.Int("context"), Threads: c.Int("threads"), Force: c.Bool("force"),
		Log: logger(c.App.ErrWriter, c.Bool("verbose")),
	}
	switch k := c.String("kernels"); {
	case k != "" && k != "auto" && k != "off": // a command without the flag means auto
		return nil, fmt.Errorf("%w: --kernels is %q, expected auto or off", errUsage, k)
	case c.Bool("exact"):
		o.Kernels = engine.KernelsExact
	case k == "off":
		o.Kernels = engine.KernelsOff
	}
	switch k := c.String("cache"); k {
	case "", "f32":
	case "f16":
		o.HalfCache = true
	default:
		return nil, fmt.Errorf("%w: --cache is %q, expected f32 or f16", errUsage, k)
	}
	if name := c.String("draft"); name != "" && !o.NoText { // without text nothing that is measured speculates
		if o.Draft, err = openDraft(env, c, name, o); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				o.Draft.Close()
			}
		}()
	}
	return openDir(env, dir, o)
}

// openDir opens the model in a folder, or the one inside the program.
func openDir(env *ort.Env, dir string, o engine.Options) (*engine.Model, error) {
	if dir != "" {
		return engine.Open(env, dir, o)
	}
	o.Name = tinyName
	return engine.OpenFS(env, tiny.FS(), o)
}

// openDraft opens the model that guesses, as its own model is opened but for what it may not have: that variant, so large a context.
func openDraft(env *ort.Env, c *cli.Context, name string, o engine.Options) (*engine.Model, error) {
	dir, err := hub.Resolve(name, hubEnv(c))
	if err != nil {
		return nil, fmt.Errorf("--draft: %w", err)
	}
	o.Variant, o.Context, o.HalfCache = "", 0, false
	m, err := openDir(env, dir, o)
	if err != nil {
		return nil, fmt.Errorf("--draft: %w", err)
	}
	return m, nil
}

// generationRequest is what the flags say about the answer, before the model's own defaults.
func generationRequest(c *cli.Context) (engine.Request, error) {
	q := engine.Request{MaxTokens: c.Int("max-tokens"), MinTokens: c.Int("min-tokens"), Stop: c.StringSlice("stop"), IgnoreEnd: c.Bool("ignore-eos")}
	if c.IsSet("max-tokens") && q.MaxTokens <= 0 {
		return q, fmt.Errorf("run: --max-tokens is %d, expected a positive number", q.MaxTokens)
	}
	if q.MinTokens < 0 {
		return q, fmt.Errorf("run: --min-tokens is %d, expected 0 or more", q.MinTokens)
	}
	var err error
	if q.Speculate, err = speculation(c); err != nil {
		return q, err
	}
	switch o := c.String("overflow"); o {
	case "error":
	case "truncate":
		q.Overflow = decode.OverflowTruncate
	case "shift":
		q.Overflow = decode.OverflowShift
	default:
		return q, fmt.Errorf("%w: --overflow is %q, expected error, truncate or shift", errUsage, o)
	}
	return q, nil
}

// parseSeed takes every signed and every unsigned number of 64 bits: clients use both.
func parseSeed(text string) (uint64, error) {
	if signed, err := strconv.ParseInt(text, 10, 64); err == nil {
		return uint64(signed), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: --seed is %q, expected a whole number of at most 64 bits", errUsage, text)
	}
	return seed, nil
}

// sampling fills the request's sampling from the model's defaults and the flags, which win.
func sampling(c *cli.Context, spec *model.Spec, q *engine.Request) error {
	p := engine.DefaultSampling(spec)
	for name, to := range map[string]*float32{
		"temperature": &p.Temperature, "top-p": &p.TopP, "min-p": &p.MinP, "repetition-penalty": &p.RepetitionPenalty,
		"presence-penalty": &p.PresencePenalty, "frequency-penalty": &p.FrequencyPenalty,
	} {
		if err := number(c, name, to); err != nil {
			return err
		}
	}
	if c.IsSet("top-k") {
		p.TopK = c.Int("top-k")
	}
	p.Seed = engine.RandomSeed()
	if c.IsSet("seed") {
		seed, err := parseSeed(c.String("seed"))
		if err != nil {
			return err
		}
		p.Seed = seed
	}
	for _, entry := range c.StringSlice("logit-bias") {
		id, bias, ok := strings.Cut(entry, "=")
		n, idErr := strconv.ParseInt(id, 10, 32)
		x, biasErr := strconv.ParseFloat(bias, 32)
		if !ok || idErr != nil || biasErr != nil {
			return fmt.Errorf("%w: --logit-bias is %q, expected ID=BIAS, such as 42=-5", errUsage, entry)
		}
		if p.LogitBias == nil {
			p.LogitBias = map[int32]float32{}
		}
		p.LogitBias[int32(n)] = float32(x)
	}
	if err := p.Check(spec.Vocab); err != nil {
		return err
	}
	q.Sampling = p
	return nil
}

// filterFlag is the first flag that chooses among likely tokens, "" none.
func filterFlag(c *cli.Context) string {
	for _, name := range []string{"top-k", "top-p", "min-p"} {
		if c.IsSet(name) {
			return "--" + name
		}
	}
	return ""
}

// draw gives p a temperature where filter was asked for and none was: by its own settings the model takes the likeliest token always, of
// which a filter changes nothing. What it returns is to be told, "" nothing.
func draw(spec *model.Spec, p *sample.Params, filter string, tempered bool) string {
	chooses := p.TopK > 1 || p.TopP < 1 || p.MinP > 0
	switch {
	case filter == "" || p.Temperature > 0 || !chooses:
		return ""
	case tempered:
		return filter + " changes nothing at temperature 0, which takes the likeliest token always"
	}
	p.Temperature = 1
	if own := spec.Sampling.Temperature; own != nil && *own > 0 {
		p.Temperature = *own
	}
	return fmt.Sprintf("%s by itself takes the likeliest token always: with %s tokens are drawn, at temperature %g", spec.Name, filter, p.Temperature)
}
