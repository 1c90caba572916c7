package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/router"
)

func runCommand() *cli.Command {
	return completeAdapters(&cli.Command{
		Name:      "run",
		Usage:     "answer a prompt, or talk on a terminal",
		ArgsUsage: "[prompt]",
		Description: "The prompt is the arguments, or standard input when it is not a terminal, or both: the arguments, then the input.\n" +
			"On a terminal and without a prompt a conversation begins. The answer goes to standard output, all else to standard error.",
		Flags:        append(append(append(modelFlags(), generationFlags()...), outputFlags()...), loraFlag(), sessionFlag()),
		OnUsageError: usageError,
		Action:       runAction,
	})
}

func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "raw", Usage: "give the prompt to the model as it is, without its chat template"},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object with the answer and its figures"},
		&cli.BoolFlag{Name: "stats", Usage: "print rates and times after the answer"},
	}
}

// job is one run of the command.
type job struct {
	c        *cli.Context
	model    *engine.Model
	request  engine.Request
	adapted  *adapted
	system   string
	raw      bool
	kept     *kept // nil: nothing is kept
	out, log io.Writer
}

func runAction(c *cli.Context) error {
	kept, err := beginSession(c)
	if err != nil {
		return err
	}
	settings, err := configured(c)
	if err != nil {
		return err
	}
	if err := checkFlags(c, c.Bool("raw")); err != nil {
		return err
	}
	request, err := generationRequest(c)
	if err != nil {
		return err
	}
	terminal := isTerminal(c.App.Reader)
	prompt, err := readPrompt(c, terminal)
	if err != nil {
		return err
	}
	if prompt == "" && (!terminal || c.Bool("json")) {
		return fmt.Errorf("%w: run: there is no prompt: give it as an argument or on standard input", errUsage)
	}
	if prompt == "" {
		return talkAction(c, settings, kept)
	}
	adapted, err := flaggedAdapters(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	m, closeModel, err := openModel(ctx, c)
	if err != nil {
		return err
	}
	defer closeModel()
	if err := sampling(c, m.Spec(), &request); err != nil {
		return err
	}
	if note := draw(m.Spec(), &request.Sampling, filterFlag(c), c.IsSet("temperature")); note != "" {
		fmt.Fprintln(c.App.ErrWriter, note)
	}
	if request.Adapters, err = adapted.on(m); err != nil {
		return err
	}
	adapted.say(c)
	j := &job{c: c, model: m, request: request, adapted: adapted, system: c.String("system"), raw: c.Bool("raw"), kept: kept, out: c.App.Writer, log: c.App.ErrWriter}
	switch {
	case m.Spec().Template == "" && kept != nil:
		return fmt.Errorf("run: --session needs a chat template, which %s does not have", m.Spec().Name)
	case m.Spec().Template == "" && !j.raw:
		fmt.Fprintf(j.log, "%s has no chat template: the prompt is continued as it is\n", m.Spec().Name)
		j.raw = true
	}
	if j.raw && j.system != "" {
		return fmt.Errorf("%w: run: --system needs a chat template, and the prompt goes to this model as it is", errUsage)
	}
	if kept != nil {
		return j.goOn(ctx, prompt)
	}
	return j.once(ctx, prompt)
}

// talkAction is run without a prompt: a conversation with the model of this machine and nobody else.
func talkAction(c *cli.Context, settings *config.Settings, kept *kept) error {
	ctx, stop := interruptible(c.Context)
	_, err := findModel(ctx, c, c.String("model"))
	stop()
	if err != nil {
		return interrupted(err)
	}
	return converse(c, settings, router.Local, c.Bool("raw"), kept)
}

// readPrompt joins the arguments and, when it is not a terminal, standard input.
func readPrompt(c *cli.Context, terminal bool) (string, error) {
	prompt := strings.Join(c.Args().Slice(), " ")
	if terminal || !hasInput(c.App.Reader, prompt != "") {
		return prompt, nil
	}
	data, err := io.ReadAll(io.LimitReader(c.App.Reader, engine.PromptBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("run: read the prompt from standard input: %w", err)
	}
	if len(data) > engine.PromptBytesMax {
		return "", fmt.Errorf("run: read the prompt from standard input: it is longer than %d MiB", engine.PromptBytesMax>>20)
	}
	input := strings.TrimSuffix(strings.ToValidUTF8(string(data), "\ufffd"), "\n")
	switch {
	case prompt == "":
		return input, nil
	case input == "":
		return prompt, nil
	}
	return prompt + "\n\n" + input, nil
}

// hasInput says whether in is worth reading. Beside a prompt that was given as an argument, only a pipe or a file is:
// an inherited socket or device may never end.
func hasInput(in io.Reader, given bool) bool {
	f, ok := in.(*os.File)
	if !ok || !given {
		return true
	}
	info, err := f.Stat()
	return err == nil && (info.Mode().IsRegular() || info.Mode()&os.ModeNamedPipe != 0)
}

func isTerminal(s any) bool {
	f, ok := s.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// once answers one prompt.
func (j *job) once(ctx context.Context, prompt string) error {
	q := j.request
	if j.raw {
		q.Prompt = prompt
	} else {
		if j.system != "" {
			q.Messages = append(q.Messages, chat.Message{Role: "system", Content: j.system})
		}
		q.Messages = append(q.Messages, chat.Message{Role: "user", Content: prompt})
	}
	text, stats, err := j.answer(ctx, q)
	return j.end(text, stats, err)
}

// end is what follows an answer: the object that --json asks for, and the command's error.
func (j *job) end(text string, stats *engine.Stats, err error) error {
	if j.c.Bool("json") && stats != nil {
		return errors.Join(j.printJSON(text, stats, err), interrupted(err))
	}
	return interrupted(err)
}

// interrupted is errInterrupted where the user stopped the work, and err otherwise.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	return err
}

// answer streams one answer to the output and closes it with a line end.
func (j *job) answer(ctx context.Context, q engine.Request) (text string, stats *engine.Stats, err error) {
	var b strings.Builder
	quiet := j.c.Bool("json")
	for token, tokenErr := range j.model.Generate(ctx, q) {
		b.WriteString(token.Text)
		if !quiet && token.Text != "" {
			if _, writeErr := io.WriteString(j.out, token.Text); writeErr != nil {
				return b.String(), nil, fmt.Errorf("run: write the answer: %w", writeErr)
			}
		}
		if token.Stats != nil {
			stats = token.Stats
		}
		err = tokenErr
	}
	text = b.String()
	if !quiet && text != "" && !strings.HasSuffix(text, "\n") {
		if _, writeErr := fmt.Fprintln(j.out); writeErr != nil {
			return text, nil, fmt.Errorf("run: write the answer: %w", writeErr)
		}
	}
	if stats != nil && err == nil {
		j.note(stats)
	}
	return text, stats, err
}

// note says on the problems' stream what the reader of the answer should know: its figures, or that it was cut.
func (j *job) note(s *engine.Stats) {
	if s.Dropped > 0 {
		fmt.Fprintf(j.log, "%d tokens did not fit the context and were dropped\n", s.Dropped)
	}
	if s.Finish == decode.FinishLength && j.c.Int("max-tokens") == 0 {
		fmt.Fprintf(j.log, "the context of %d tokens is full: the answer ends here (--context makes it larger)\n", j.model.Context())
	}
	if j.c.Bool("stats") {
		reused := ""
		if s.Reused > 0 {
			reused = fmt.Sprintf(" (%d were computed before)", s.Reused)
		}
		fmt.Fprintf(j.log, "prompt %d tokens%s, %.1f tok/s · first token %.0f ms · answer %d tokens, %.1f tok/s%s · ended by %s · %s, %d threads\n",
			s.PromptTokens, reused, s.PrefillRate(), s.FirstToken.Seconds()*1e3, s.Generated, s.DecodeRate(), foretold(s), s.Finish, j.model.Provider(), j.model.Threads())
	}
}

// foretold says how many of an answer's tokens had been guessed, "" where nobody guessed.
func foretold(s *engine.Stats) string {
	if s.Proposed == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d guesses right)", s.Accepted, s.Proposed)
}

// result is what --json prints.
type result struct {
	Model           string   `json:"model"`
	Adapters        []string `json:"adapters,omitempty"`
	Provider        string   `json:"provider"`
	Text            string   `json:"text"`
	Finish          string   `json:"finish"`
	PromptTokens    int      `json:"prompt_tokens"`
	ReusedTokens    int      `json:"reused_tokens"` // of the prompt, computed before
	GeneratedTokens int      `json:"generated_tokens"`
	ProposedTokens  int      `json:"proposed_tokens"`
	AcceptedTokens  int      `json:"accepted_tokens"`
	FirstTokenMS    float64  `json:"first_token_ms"`
	PrefillTPS      float64  `json:"prefill_tokens_per_second"`
	DecodeTPS       float64  `json:"decode_tokens_per_second"`
	Error           string   `json:"error,omitempty"`
}

func (j *job) printJSON(text string, s *engine.Stats, err error) error {
	r := result{
		Model: j.model.Spec().Name, Adapters: j.adapted.names(), Provider: j.model.Provider(), Text: text, Finish: string(s.Finish),
		PromptTokens: s.PromptTokens, ReusedTokens: s.Reused, GeneratedTokens: s.Generated, FirstTokenMS: s.FirstToken.Seconds() * 1e3,
		ProposedTokens: s.Proposed, AcceptedTokens: s.Accepted,
		PrefillTPS: s.PrefillRate(), DecodeTPS: s.DecodeRate(),
	}
	if err != nil {
		r.Error = oneLine(err.Error())
	}
	e := json.NewEncoder(j.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("run: write the answer: %w", err)
	}
	return nil
}
