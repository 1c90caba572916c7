package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/selftest"
	"github.com/shammah/shammah-engine/ort"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "show what was found on this machine and try every provider on the model inside the program",
		Description: "Each line is what was found; under it stands how to mend what does not work. The exit code is 1 where something that was asked\n" +
			"for cannot work: the runtime, the CPU, a provider that is named here or in the configuration. Nothing is asked of the network\n" +
			"without --network.",
		Flags: append(providerFlags(),
			&cli.BoolFlag{Name: "network", Usage: "ask the hub of models whether it answers"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
			&cli.BoolFlag{Name: "verbose", Usage: "say what happens inside"},
		),
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: doctor: expected no argument, found %q", errUsage, c.Args().First())
			}
			ctx, stop := interruptible(c.Context)
			defer stop()
			return doctor(ctx, c)
		},
	}
}

// errUnwell is what doctor ends with when something that must work does not.
var errUnwell = errors.New("doctor: something above does not work")

// The states of a finding.
const (
	fine   = "ok"
	note   = "note"   // could be better, or is not there and need not be
	failed = "failed" // was asked for, and does not work
)

// finding is one line of the examination.
type finding struct {
	Name  string `json:"name"`
	Found string `json:"found"`
	State string `json:"state"`
	Fix   string `json:"fix,omitempty"`
}

// patient is the machine, as far as it was looked at. Findings are shown as they come: some take seconds.
type patient struct {
	c     *cli.Context
	show  func(finding) error
	list  []finding
	broke error // why a finding could not be shown
}

func (p *patient) add(f finding) {
	f.Found, f.Fix = oneLine(f.Found), oneLine(f.Fix)
	p.list = append(p.list, f)
	if err := p.show(f); p.broke == nil {
		p.broke = err
	}
}

func (p *patient) line(name, format string, args ...any) {
	p.add(finding{Name: name, Found: fmt.Sprintf(format, args...), State: fine})
}

func doctor(ctx context.Context, c *cli.Context) error {
	p := &patient{c: c, show: func(f finding) error { return printFinding(c.App.Writer, f) }}
	if c.Bool("json") {
		p.show = func(finding) error { return nil }
	}
	s, err := configured(c)
	p.machine()
	p.configuration(s, err)
	p.folders()
	if c.Bool("network") {
		p.hub(ctx)
	} else {
		p.add(finding{"hub", "not asked", note, "--network asks it"})
	}
	p.python(ctx)
	p.runtime(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if c.Bool("json") {
		e := json.NewEncoder(c.App.Writer)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		p.broke = e.Encode(map[string]any{"version": version, "build": provider.Build, "well": p.well(), "findings": p.list})
	}
	if !p.well() {
		return errUnwell
	}
	return p.broke
}

func (p *patient) well() bool {
	for _, f := range p.list {
		if f.State == failed {
			return false
		}
	}
	return true
}

func printFinding(w io.Writer, f finding) error {
	text := fmt.Sprintf("%-11s %s\n", f.Name, f.Found)
	if f.Fix != "" {
		text += fmt.Sprintf("%-11s   %s\n", "", f.Fix)
	}
	_, err := io.WriteString(w, text)
	return err
}

// runtime opens the library, and tries the providers that it and this program have.
func (p *patient) runtime(ctx context.Context) {
	env, err := ort.Open(ort.Options{Log: logger(p.c.App.ErrWriter, p.c.Bool("verbose"))})
	if err != nil {
		p.add(finding{"runtime", err.Error(), failed, "`make` puts the library beside the program; " + ort.LibraryVariable + " names another"})
		return
	}
	defer env.Close()
	p.line("runtime", "ONNX Runtime %s, %s", env.Version(), env.Library())
	p.line("built in", "%s", strings.Join(env.Providers(), ", "))
	w, err := providerWish(p.c)
	if err != nil {
		fix := "`config set model.backend auto`, or another --provider"
		if !errors.Is(err, provider.ErrUnknown) {
			fix = "leave the option out, or give it as it is expected"
		}
		p.add(finding{"provider", afterUsage(err), failed, fix})
		w = provider.Wish{}
	}
	if notice := w.Notice(); notice != "" {
		p.add(finding{"provider", notice, note, ""})
	}
	if provider.Build == provider.CUDA {
		p.cuda(w)
	}
	p.plugin(env, w)
	asked := w.Library != "" || w.Name != "" && w.Name != "auto"
	tried := map[string]bool{}
	for _, wish := range []provider.Wish{w, {}} { // what was asked for, then whatever else is there
		chain, err := wish.Chain()
		if err != nil {
			continue // said above
		}
		for _, candidate := range chain {
			if !tried[candidate.Name] && ctx.Err() == nil {
				tried[candidate.Name] = true
				p.selfTest(ctx, env, candidate, asked && wish.Library == w.Library && wish.Name == w.Name || candidate.Kind == provider.CPU)
			}
		}
	}
	for _, other := range []string{provider.CUDA, provider.CoreML} {
		if other != provider.Build {
			p.add(finding{other, "not in this program", note, provider.Made(other)})
		}
	}
}

// selfTest tries one provider; it must work if it was asked for.
func (p *patient) selfTest(ctx context.Context, env *ort.Env, candidate provider.Candidate, must bool) {
	start := time.Now()
	r, err := selftest.Run(ctx, env, candidate.Name, candidate.Providers())
	err = candidate.Explain(err)
	if err == nil && !r.Proved {
		f := finding{candidate.Name, "takes nothing of the embedded model, in int4 or float32, which ran on " + r.Provider + ": not proved", note, "it is judged by what it takes of each model"}
		if must && candidate.Kind != provider.Plugin {
			f.State = failed
		}
		p.add(f)
		return
	}
	if err == nil {
		p.line(candidate.Name, "%s; %s", r, r.Placement)
		selftest.Folder().Remember(selftest.Key(env, candidate.Driver(), candidate.Provider), r)
		return
	}
	if ctx.Err() != nil {
		return
	}
	f := finding{candidate.Name, fmt.Sprintf("fails after %.0f ms: %s", time.Since(start).Seconds()*1e3, err), note, "models run on the CPU meanwhile"}
	if must {
		f.State, f.Fix = failed, "--provider auto takes what works"
		if candidate.Kind == provider.Plugin {
			f.Fix = "without --provider-library this program's own providers are taken"
		}
	}
	if candidate.Kind == provider.CPU {
		f.Fix = "--kernels off computes without this program's own kernels; please report this line"
	}
	p.add(f)
}
