package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/coreml"
	"github.com/shammah/shammah-engine/cuda"
	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/selftest"
	"github.com/shammah/shammah-engine/ort"
)

// providerKeys names the options of this binary's provider.
func providerKeys() string {
	keys := map[string]map[string]string{provider.CUDA: cuda.Keys(), provider.CoreML: coreml.Keys()}[provider.Build]
	if keys == nil {
		return "a plug-in's own, and device=gpu, npu or cpu"
	}
	return strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
}

// providerWish is what the flags say about the provider, checked as far as that can be without a model.
func providerWish(c *cli.Context) (w provider.Wish, err error) {
	w = provider.Wish{Name: c.String("provider"), Library: c.String("provider-library"), Force: c.Bool("force"), Options: map[string]string{}}
	for _, pair := range c.StringSlice("provider-option") {
		key, value, ok := strings.Cut(pair, "=")
		if _, twice := w.Options[key]; !ok || key == "" || twice {
			return w, fmt.Errorf("%w: --provider-option is %q, expected KEY=VALUE, each key once", errUsage, pair)
		}
		w.Options[key] = value
	}
	if c.IsSet("require-provider") {
		text := c.String("require-provider")
		w.Least, err = strconv.ParseFloat(text, 64)
		if err != nil || !(w.Least > 0 && w.Least <= 1) {
			return w, fmt.Errorf("%w: --require-provider is %q, expected a share above 0, and 1 at most", errUsage, text)
		}
		if w.Library == "" && (w.Name == "" || w.Name == "auto") {
			return w, fmt.Errorf("%w: --require-provider needs a provider by name: --provider %s", errUsage, strings.Join(provider.Names(), " or --provider "))
		}
	}
	if _, err := w.Chain(); err != nil {
		return w, fmt.Errorf("%w: %w", errUsage, err)
	}
	return w, nil
}

// openIn opens the model with the first provider of the wish that can run it, and says why those before it do not.
func openIn(ctx context.Context, env *ort.Env, c *cli.Context, dir string) (*engine.Model, error) {
	if n := c.Int("threads"); n < 0 || n > threadsMax {
		return nil, fmt.Errorf("%w: --threads is %d, expected 1 to %d", errUsage, n, threadsMax)
	}
	w, err := providerWish(c)
	if err != nil {
		return nil, err
	}
	m, _, err := provider.Choose(w, provider.Trial[*engine.Model]{
		Check: func(candidate provider.Candidate) error { return proven(ctx, env, candidate) },
		Open: func(candidate provider.Candidate) (*engine.Model, float64, error) {
			return openOn(env, c, dir, w, candidate)
		},
		Say:   func(line string) { fmt.Fprintln(c.App.ErrWriter, oneLine(line)) },
		Final: func(err error) bool { return errors.Is(err, errUsage) || ctx.Err() != nil },
	})
	return m, err
}

// openOn opens the model on one candidate.
func openOn(env *ort.Env, c *cli.Context, dir string, w provider.Wish, candidate provider.Candidate) (*engine.Model, float64, error) {
	if candidate.Kind == provider.CoreML && dir != "" {
		var err error
		if candidate, err = forCoreML(c, dir, w, candidate); err != nil {
			return nil, 0, err
		}
	}
	m, err := openWith(env, c, dir, candidate.Providers())
	if err != nil {
		return nil, 0, err
	}
	name, err := providerName(env, candidate)
	if err != nil {
		return nil, 0, errors.Join(err, m.Close())
	}
	return m, m.Placement().Compute(name), nil
}

// providerName is how the runtime calls a candidate's provider.
func providerName(env *ort.Env, candidate provider.Candidate) (string, error) {
	if candidate.Kind != provider.Plugin {
		return candidate.Kind, nil
	}
	return env.PluginProvider(candidate.Provider)
}

// forCoreML says what CoreML would leave of a model, before it is compiled for minutes, and gives it the cache that belongs to the file.
func forCoreML(c *cli.Context, dir string, w provider.Wish, candidate provider.Candidate) (provider.Candidate, error) {
	f, err := model.Find(nil, dir, model.FindOptions{Variant: c.String("variant"), Provider: provider.CoreML})
	if err != nil {
		return candidate, err
	}
	v, err := coreMLVerdict(f)
	if err != nil {
		return candidate, err
	}
	if v.Share < 0.5 && !w.Force {
		return candidate, fmt.Errorf("%w: %s", provider.ErrUnsuited, v)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return candidate, nil // it is compiled at each start, then
	}
	return candidate.For(f.Path(f.Graph), filepath.Join(cache, "shammah-engine", "coreml"))
}

// coreMLVerdict is what CoreML can take of a model.
func coreMLVerdict(f model.Files) (coreml.Verdict, error) {
	graph, tensors, err := f.ReadGraph()
	if err != nil {
		return coreml.Verdict{}, err
	}
	bytes := map[int]int64{}
	for _, n := range model.WeightedNodes(graph.Graph) {
		if n.Place >= 0 {
			bytes[n.Place] = n.Bytes
		}
	}
	return coreml.Takes(graph.Graph, bytes), tensors.Close()
}

// proven says why a provider does not pass the self-test on the embedded model. What passed is remembered.
func proven(ctx context.Context, env *ort.Env, candidate provider.Candidate) error {
	memory, key := selftest.Folder(), selftest.Key(env, candidate.Driver(), candidate.Provider)
	if _, known := memory.Recall(key); known {
		return nil
	}
	r, err := selftest.Run(ctx, env, candidate.Name, candidate.Providers())
	if err == nil {
		memory.Remember(key, r)
	}
	return interrupted(err)
}
