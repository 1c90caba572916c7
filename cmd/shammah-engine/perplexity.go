package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/decode"
)

// windowDefault is the tokens of a window that --context does not set.
const windowDefault = 512

// textBytesMax bounds the text that is measured: as much as the tokenizer reads.
const textBytesMax = 8 << 20

func perplexityCommand() *cli.Command {
	return completeAdapters(&cli.Command{
		Name:      "perplexity",
		Usage:     "measure how well a model foretells a text: lower is better",
		ArgsUsage: "[FILE]",
		Description: "The text is that of FILE, or standard input. It is cut into windows of --context tokens (512 unless given), and every token of\n" +
			"a window but its first is foretold from those before it. Figures compare between --kernels auto, --kernels off and --exact,\n" +
			"and with adapters and without, not between models with different tokenizers.",
		Flags:        append(modelFlags(), loraFlag(), &cli.BoolFlag{Name: "json", Usage: "print one JSON object"}),
		OnUsageError: usageError,
		Action:       perplexityAction,
	})
}

// measured is what the command prints.
type measured struct {
	Perplexity float64 `json:"perplexity"`
	Tokens     int     `json:"tokens"` // that were foretold
	Windows    int     `json:"windows"`
	Window     int     `json:"window"`
	Model      string  `json:"model"`
	Variant    string  `json:"variant"`
	Kernels    string  `json:"kernels"`
}

func perplexityAction(c *cli.Context) error {
	given := c.IsSet("context")
	if n := c.Int("context"); given && n < 2 {
		return fmt.Errorf("%w: perplexity: --context is %d, expected 2 or more", errUsage, n)
	}
	text, err := readText(c)
	if err != nil {
		return err
	}
	if _, err := configured(c); err != nil {
		return err
	}
	adapted, err := flaggedAdapters(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	m, closeModel, err := openModel(ctx, c)
	if err != nil {
		return interrupted(err)
	}
	defer closeModel()
	uses, err := adapted.on(m)
	if err != nil {
		return err
	}
	window := m.Context()
	if !given {
		window = min(window, windowDefault)
	}
	r, err := foretell(ctx, m, text, window, uses)
	if err != nil {
		return interrupted(err)
	}
	r.Model = adapted.titled(r.Model)
	if r.Kernels = "own"; m.Kernels() != "" {
		r.Kernels = "runtime"
	}
	if c.Bool("exact") {
		r.Kernels = "exact"
	}
	if c.Bool("json") {
		printEvent(c.App.Writer, r)
		return nil
	}
	_, err = fmt.Fprintf(c.App.Writer, "perplexity %.4f · %d tokens in %d windows of %d · %s · kernels %s\n",
		r.Perplexity, r.Tokens, r.Windows, r.Window, r.Model, r.Kernels)
	return err
}

// readText reads the file that is named, or standard input.
func readText(c *cli.Context) (string, error) {
	name, in := "standard input", c.App.Reader
	switch {
	case c.NArg() > 1:
		return "", fmt.Errorf("%w: perplexity: expected one file, found %d", errUsage, c.NArg())
	case c.NArg() == 1:
		name = c.Args().First()
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("perplexity: read the text: %w", err)
		}
		defer f.Close()
		in = f
	case isTerminal(in):
		return "", fmt.Errorf("%w: perplexity: there is no text: name a file or give it on standard input", errUsage)
	}
	data, err := io.ReadAll(io.LimitReader(in, textBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("perplexity: read the text of %s: %w", name, err)
	}
	switch text := string(data); {
	case len(data) > textBytesMax:
		return "", fmt.Errorf("perplexity: read the text of %s: it is longer than %d MiB", name, textBytesMax>>20)
	case strings.TrimSpace(text) == "":
		return "", fmt.Errorf("perplexity: read the text of %s: it is empty", name)
	default:
		return text, nil
	}
}

// foretell scores the text window by window.
func foretell(ctx context.Context, m *engine.Model, text string, window int, adapters []engine.AdapterUse) (measured, error) {
	r := measured{Window: window, Model: m.Spec().Name, Variant: m.Spec().Variant}
	ids, err := m.Encode(engine.Request{Prompt: text, Overflow: decode.OverflowTruncate}) // longer than the context
	if err != nil {
		return r, err
	}
	if len(ids) < 2 {
		return r, fmt.Errorf("perplexity: the text has %d tokens, expected two or more", len(ids))
	}
	var scores []engine.Score
	for rest := ids; len(rest) > 1; rest = rest[min(window, len(rest)):] { // a last token alone has none before it
		s, err := m.Score(ctx, rest[:min(window, len(rest))], adapters...)
		if err != nil {
			return r, err
		}
		scores = append(scores, s...)
		r.Windows++
	}
	r.Perplexity, r.Tokens = engine.Perplexity(scores), len(scores)
	return r, nil
}
