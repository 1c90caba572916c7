package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/quantise"
	"github.com/shammah/shammah-engine/internal/hub"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "give a model's folder a name, or quantise it",
		ArgsUsage: "DIR",
		Description: "The folder stays where it is, and `run --model NAME` finds it from everywhere; `rm NAME` forgets it again.\n" +
			"With --quantize int4 a float32 or float16 model is written anew with its matrices in int4, into a folder of the program's own;\n" +
			"DIR stays as it is, and is not needed afterwards. `pull --quantize int4` does the same with a model of the Hub.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the model's `NAME` (default: the folder's, with -int4 behind where it is quantised)"},
			quantizeFlag(),
			&cli.StringFlag{Name: "variant", Usage: "which `GRAPH` of several is quantised (default: fp32, else fp16)"},
			&cli.BoolFlag{Name: "json", Usage: "print events as lines of JSON"},
		},
		OnUsageError: usageError,
		Action:       importAction,
	}
}

func quantizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "quantize", Aliases: []string{"quantise"}, Usage: "write the model anew with its matrices in `TYPE`: int4"}
}

// checkQuantize checks the flag's value.
func checkQuantize(c *cli.Context) (wanted bool, err error) {
	switch q := c.String("quantize"); {
	case !c.IsSet("quantize"):
		return false, nil
	case q != "int4":
		return false, fmt.Errorf("%w: --quantize is %q, expected int4", errUsage, q)
	}
	return true, nil
}

func importAction(c *cli.Context) error {
	if c.NArg() != 1 || c.Args().First() == "" {
		return fmt.Errorf("%w: import: expected a model's folder, as in `shammah-engine import ~/models/mine`", errUsage)
	}
	wanted, err := checkQuantize(c)
	if err != nil {
		return err
	}
	env := hubEnv(c)
	dir, err := hub.Folder(c.Args().First(), env)
	if err != nil {
		return err
	}
	if !wanted && c.IsSet("variant") {
		return fmt.Errorf("%w: import: --variant belongs to --quantize; `run --variant` chooses of a folder with several", errUsage)
	}
	if !wanted {
		return register(c, env, dir)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	variant, err := floatVariant(dir, c.String("variant"))
	if err != nil {
		return err
	}
	files, err := model.Find(nil, dir, model.FindOptions{Variant: variant})
	if err != nil {
		return err
	}
	name := c.String("name")
	if name == "" {
		name = filepath.Base(dir) + "-int4"
	}
	o := quantise.Origin{From: dir, Variant: files.Variant, Stamp: stamp(files)}
	if here, err := isQuantised(env, name, o); here || err != nil {
		return sayHere(c, name, err)
	}
	return interrupted(quantiseTo(ctx, c, env, name, files, o))
}

// stamp names the files of a graph by their sizes and times.
func stamp(files model.Files) string {
	h := sha256.New()
	for _, name := range append([]string{files.Graph}, files.Data...) {
		if info, err := os.Stat(files.Path(name)); err == nil {
			fmt.Fprintln(h, name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// register gives a folder a name.
func register(c *cli.Context, env hub.Env, dir string) error {
	files, err := model.Find(nil, dir, model.FindOptions{})
	if err != nil {
		return err
	}
	if _, err := files.Load(model.Signature{}); err != nil {
		return err
	}
	name := c.String("name")
	if name == "" {
		name = filepath.Base(dir)
	}
	fresh, err := env.Link(name, dir)
	if err != nil || !fresh {
		return sayHere(c, name, err)
	}
	if c.Bool("json") {
		printEvent(c.App.Writer, map[string]string{"event": "imported", "model": name, "dir": dir})
		return nil
	}
	fmt.Fprintf(c.App.Writer, "%s is %s, which stays where it is. Run it: shammah-engine run --model %s\n", name, dir, name)
	return nil
}

// sayHere says that nothing needed to be done, unless err says what failed.
func sayHere(c *cli.Context, name string, err error) error {
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		printEvent(c.App.Writer, map[string]string{"event": "here", "model": name})
	default:
		fmt.Fprintf(c.App.Writer, "%s is here already. Run it: shammah-engine run --model %s\n", name, name)
	}
	return nil
}

// isQuantised says whether the name has what o would give; that another model has it is an error.
func isQuantised(env hub.Env, name string, o quantise.Origin) (bool, error) {
	if err := env.CheckOwn(name); err != nil {
		return false, err
	}
	if !env.IsOwn(name) {
		return false, nil
	}
	if there, ok := quantise.ReadOrigin(env.OwnDir(name)); ok && there.Same(o) && env.Linked(name) == "" {
		return true, nil
	}
	return false, env.Taken(name)
}

// floatVariants are the names of variants that can be quantised, the best first. A graph in the root may be anything; most are float32.
var floatVariants = []string{"fp32", "model", "fp16"}

// floatVariant is the variant of a folder to quantise: the one asked for, or the best.
func floatVariant(dir, asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	all, err := model.Variants(os.DirFS(dir))
	if err != nil {
		return "", err
	}
	for _, want := range floatVariants {
		for _, v := range all {
			if strings.Contains(strings.ToLower(path.Base(v)), want) {
				return v, nil
			}
		}
	}
	return "", nil // the best there is; its graph says what it holds
}

// quantiseTo writes the int4 copy of a model under a name.
func quantiseTo(ctx context.Context, c *cli.Context, env hub.Env, name string, files model.Files, o quantise.Origin) error {
	p, err := quantise.New(files)
	if err != nil {
		return err
	}
	defer p.Close()
	if !c.Bool("json") {
		sayPlan(c.App.Writer, name, p)
	}
	meter := newMeter(c, p.Bytes)
	err = p.Write(ctx, env.OwnDir(name), o, meter.set)
	meter.end(err)
	switch {
	case errors.Is(err, quantise.ErrExists): // somebody else was faster
		return env.Taken(name)
	case err != nil:
		return err
	case c.Bool("json"):
		printEvent(c.App.Writer, map[string]any{"event": "quantised", "model": name, "dir": env.OwnDir(name), "bytes": p.Bytes})
		return nil
	}
	fmt.Fprintf(c.App.Writer, "%s is here, in %s. Run it: shammah-engine run --model %s\n", name, env.OwnDir(name), name)
	return nil
}

// sayPlan says what becomes of the model.
func sayPlan(out io.Writer, name string, p *quantise.Plan) {
	fmt.Fprintf(out, "%s: %d matrices to int4 in blocks of %d", name, p.Matrices-min(p.HeadBits, 1), quantise.Block)
	if p.HeadBits > 0 {
		fmt.Fprintf(out, ", the language head to int%d", p.HeadBits)
	}
	if p.TableBits > 0 {
		fmt.Fprintf(out, ", the embedding to int%d", p.TableBits)
	}
	if p.Shared {
		fmt.Fprint(out, " (one matrix with the head)")
	}
	fmt.Fprintf(out, ": %s become %s\n", size(p.Source.Bytes), size(p.Bytes))
	if p.Widened {
		fmt.Fprintln(out, "note: the float16 graph becomes a float32 one, as the CPU computes it anyway")
	}
	for _, k := range p.Kept {
		fmt.Fprintf(out, "note: %s stays as it is: %s\n", oneLine(k.Tensor), k.Why)
	}
}

// meter shows how a model is written.
type meter struct {
	show  display
	total int64
	last  time.Time
}

func newMeter(c *cli.Context, total int64) *meter {
	m := &meter{total: total}
	switch {
	case c.Bool("json"):
		m.show = &jsonDisplay{out: c.App.Writer}
	case isTerminal(c.App.ErrWriter) && os.Getenv("TERM") != "dumb":
		m.show = newBar(c.App.ErrWriter)
	default:
		m.show = &lineDisplay{out: c.App.ErrWriter}
	}
	return m
}

// meterPause is how often the display is told.
const meterPause = 50 * time.Millisecond

func (m *meter) set(done int64) {
	if now := time.Now(); now.Sub(m.last) >= meterPause {
		m.last = now
		m.show.event(hub.Event{Kind: hub.Progress, Text: "quantising", Done: done, Total: m.total, Files: 1}, nil)
	}
}

func (m *meter) end(err error) {
	done := hub.Event{Kind: hub.Progress, Text: "quantising", Total: m.total, Files: 1}
	if err == nil {
		done.Kind, done.Done, done.Ready = hub.Finished, m.total, 1
	}
	if _, asJSON := m.show.(*jsonDisplay); !asJSON || err != nil {
		m.show.event(done, err)
	}
}
