package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
)

// interruptible is ctx, cancelled by the first interrupt or termination. The second one ends the process at once.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// talk is a conversation on a terminal. An interrupt stops an answer and keeps what was said; at the prompt it leaves.
func (j *job) talk(ctx context.Context) error {
	fmt.Fprintln(j.log, "Ask away. Ctrl-C stops an answer, Ctrl-D leaves.")
	var turns []chat.Message
	if j.system != "" {
		turns = append(turns, chat.Message{Role: "system", Content: j.system})
	}
	lines, interrupts, stop := readLines(j.c.App.Reader)
	defer stop()
	for {
		fmt.Fprint(j.log, "> ")
		var line string
		var open bool
		select {
		case line, open = <-lines:
		case <-interrupts:
			fmt.Fprintln(j.log)
			return errInterrupted
		}
		if !open {
			fmt.Fprintln(j.log)
			return nil
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		q := j.request
		if j.raw {
			q.Prompt = line
		} else {
			turns = append(turns, chat.Message{Role: "user", Content: line})
			q.Messages = turns
		}
		text, err := j.answerUntil(ctx, q, interrupts)
		switch {
		case errors.Is(err, context.Canceled):
			fmt.Fprintln(j.log, "(stopped)")
		case err != nil && !j.raw:
			turns = turns[:len(turns)-1]
			fmt.Fprintf(j.log, "shammah-engine: %s\n", oneLine(err.Error()))
			continue
		case err != nil:
			fmt.Fprintf(j.log, "shammah-engine: %s\n", oneLine(err.Error()))
		}
		if !j.raw {
			turns = append(turns, chat.Message{Role: "assistant", Content: text})
		}
	}
}

// answerUntil answers until the end or an interrupt; a second interrupt ends the process.
func (j *job) answerUntil(ctx context.Context, q engine.Request, interrupts <-chan os.Signal) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-interrupts:
			cancel()
		case <-finished:
			return
		}
		select {
		case <-interrupts:
			os.Exit(exitInterrupted)
		case <-finished:
		}
	}()
	text, _, err := j.answer(ctx, q)
	close(finished)
	<-watched
	return text, err
}

// readLines reads lines in the background, so that an interrupt is seen while one waits for input.
func readLines(in io.Reader) (<-chan string, <-chan os.Signal, func()) {
	lines, signals, done := make(chan string), make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, promptBytesMax)
		for scanner.Scan() {
			select {
			case lines <- strings.ToValidUTF8(scanner.Text(), "\ufffd"):
			case <-done:
				return
			}
		}
	}()
	return lines, signals, func() {
		signal.Stop(signals)
		close(done)
	}
}
