package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/repl"
	"github.com/shammah/shammah-engine/internal/router"
)

func chatCommand() *cli.Command {
	return completeAdapters(&cli.Command{
		Name:  "chat",
		Usage: "talk, while the model is loaded in the background",
		Description: "Until the model is ready Claude answers, if there is a key; otherwise the first answer waits for it.\n" +
			"/help lists what can be typed. Lines on standard input are answered one after the other.",
		Flags: append(append(modelFlags(), generationFlags()...),
			&cli.StringFlag{Name: "router", Value: string(router.Auto), Usage: "who answers: `auto`, local or claude"}, loraFlag(), sessionFlag()),
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: chat takes no argument, found %q; `run` answers a prompt", errUsage, c.Args().First())
			}
			kept, err := beginSession(c)
			if err != nil {
				return err
			}
			settings, err := configured(c)
			if err != nil {
				return err
			}
			mode, err := router.ParseMode(c.String("router"))
			if err != nil {
				return fmt.Errorf("%w: --router: %w", errUsage, err)
			}
			return converse(c, settings, mode, false, kept)
		},
	})
}

// converse holds a conversation. It returns when the user leaves, after all that was begun has ended.
func converse(c *cli.Context, settings *config.Settings, mode router.Mode, raw bool, kept *kept) error {
	if err := checkFlags(c, raw); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	input, output, closeTerminal, err := repl.Open(c.App.Reader, c.App.Writer, c.App.ErrWriter, appearance(settings))
	if err != nil {
		return err
	}
	defer closeTerminal()

	// From here on the problems' stream is the terminal that the conversation is drawn on: what is written there waits for its turn.
	notices, problems := repl.NewNotices(), c.App.ErrWriter
	c.App.ErrWriter = notices
	defer func() { c.App.ErrWriter = problems }()
	remote, err := claudeClient(settings, logger(notices, c.Bool("verbose")))
	if err != nil {
		return err
	}
	defer remote.Close()
	adapted, err := newAdapted(c.StringSlice("lora"), notices.Add)
	if err != nil {
		return err
	}
	t := &talker{c: c, ctx: ctx, mode: mode, remote: remote, notices: notices, raw: raw, adapted: adapted, kept: kept}
	history := &repl.History{}
	if input.Interactive() {
		history = openHistory(settings, notices)
		notices.Add("/help lists what can be typed. Ctrl-C stops an answer, Ctrl-D leaves.")
	}
	t.start(c.String("model"), nil)
	said := chat.Conversation{System: c.String("system")}
	if kept != nil && len(kept.talk.Turns) > 0 {
		said.Turns = kept.talk.Clone().Turns
		notices.Add(kept.tell() + "; /show lists them")
		_ = t.Restore(kept.Path()) // it waits for the model, which is not there yet
	}
	s := repl.New(repl.Options{
		Input: input, Output: output, Backend: t, History: history, Feedback: feedbackFile(), Notices: notices, NoStatus: !settings.UI.Status,
		Conversation: said,
		Abort: func(said chat.Conversation) {
			keepErr := t.keep(said, false) // the model is still busy with the answer
			closeTerminal()
			_ = afterKeeping(problems, errInterrupted, keepErr)
			os.Exit(exitInterrupted)
		},
	})
	err = s.Run(ctx)
	keepErr := t.keep(s.Conversation, true)
	stop()
	closeTerminal() // from here on Ctrl-C ends the process: what is being loaded can take its time to end
	if closeErr := t.Close(); err == nil {
		err = closeErr
	}
	if errors.Is(err, repl.ErrInterrupted) {
		err = errInterrupted
	}
	return afterKeeping(problems, interrupted(err), keepErr)
}

// checkFlags finds what is wrong with the command line before anything begins.
func checkFlags(c *cli.Context, raw bool) error {
	if _, err := generationRequest(c); err != nil {
		return err
	}
	if err := sampling(c, &model.Spec{Vocab: math.MaxInt32}, &engine.Request{}); err != nil {
		return err
	}
	if _, err := providerWish(c); err != nil {
		return err
	}
	if raw && c.String("system") != "" {
		return fmt.Errorf("%w: %s: --system needs a chat template, and with --raw the prompt goes to the model as it is", errUsage, c.Command.Name)
	}
	return nil
}

// appearance is the environment as the configuration's ui.color changes it.
func appearance(s *config.Settings) func(string) string {
	return func(name string) string {
		switch {
		case name == "NO_COLOR" && s.UI.Color == "never":
			return "1"
		case name == "NO_COLOR" && s.UI.Color == "always":
			return ""
		}
		return os.Getenv(name)
	}
}

// feedbackFile is where answers are judged, nil without a folder of the user's own.
func feedbackFile() *repl.Feedback {
	home, err := config.Home(os.Getenv)
	if err != nil {
		return nil
	}
	return &repl.Feedback{Path: feedbackPath(home)}
}

func openHistory(s *config.Settings, notices *repl.Notices) *repl.History {
	home, err := config.Home(os.Getenv)
	if err != nil || !s.UI.History {
		return &repl.History{}
	}
	h, err := repl.OpenHistory(filepath.Join(home, "history"))
	if err != nil {
		notices.Add(oneLine(err.Error()))
	}
	return h
}

// firstStart says whether nobody has chosen anything yet: there is no configuration file, and no variable names a model.
func firstStart(env func(string) string) bool {
	s, err := config.Load(config.Options{Path: env("SHAMMAH_CONFIG"), New: true, Env: env})
	if err != nil || s.Path == "" || s.Choice() != (config.Choice{}) {
		return false
	}
	_, err = os.Stat(s.Path)
	return errors.Is(err, fs.ErrNotExist)
}

// talks says whether the program was started with no arguments on a terminal: then it is a conversation.
func talks(args []string, in, out any) bool {
	return len(args) == 1 && isTerminal(in) && isTerminal(out)
}
