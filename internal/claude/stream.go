package claude

import (
	"context"
	"fmt"
	"iter"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/shammah/shammah-engine/engine/chat"
)

// Request is a conversation to continue. How the answer is sampled is the service's own choice.
type Request struct {
	Messages  []chat.Message // system messages count wherever they stand
	MaxTokens int            // 0, or more than Options.MaxTokens, is Options.MaxTokens
	Stop      []string       // blank ones are not sent: the service refuses them
}

// Piece is a part of an answer. The last one has Usage.
type Piece struct {
	Text  string
	Usage *Usage
}

// Usage is what the service says about an answer.
type Usage struct {
	Model  string // the exact model that answered
	Input  int    // tokens of the prompt
	Output int    // tokens of the answer
	Finish string // the service's word: end_turn, max_tokens, stop_sequence, refusal
}

// Stream asks for an answer and gives its text as it comes, and Usage with the last piece. An error is the last thing
// of the sequence. If text came before it, the text is a fragment, and the error's code is CodeBroken.
func (c *Client) Stream(ctx context.Context, q Request) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		params, err := c.params(q)
		if err != nil {
			yield(Piece{}, err)
			return
		}
		left := false
		failure := c.attempts(ctx, func() (bool, *Error) {
			a := answer{client: c, yield: yield}
			err := a.read(ctx, params)
			left = a.left
			return a.started, err
		})
		if failure != nil && !left {
			yield(Piece{}, failure)
		}
	}
}

// params is the request in the service's form.
func (c *Client) params(q Request) (anthropic.MessageNewParams, error) {
	p := anthropic.MessageNewParams{Model: c.options.Model, MaxTokens: int64(c.options.MaxTokens)}
	if q.MaxTokens > 0 {
		p.MaxTokens = int64(min(q.MaxTokens, c.options.MaxTokens))
	}
	for i, m := range q.Messages {
		if strings.TrimSpace(m.Content) == "" {
			return p, fail(CodeRequest, "message %d of %d is empty", i+1, len(q.Messages))
		}
		block := anthropic.NewTextBlock(m.Content)
		switch m.Role {
		case chat.System:
			p.System = append(p.System, anthropic.TextBlockParam{Text: m.Content})
		case chat.User:
			p.Messages = append(p.Messages, anthropic.NewUserMessage(block))
		case chat.Assistant:
			p.Messages = append(p.Messages, anthropic.NewAssistantMessage(block))
		default:
			return p, fail(CodeRequest, "message %d has the role %q, expected system, user or assistant", i+1, m.Role)
		}
	}
	if len(p.Messages) == 0 {
		return p, fail(CodeRequest, "there is nothing to answer")
	}
	for _, s := range q.Stop {
		if strings.TrimSpace(s) != "" {
			p.StopSequences = append(p.StopSequences, s)
		}
	}
	return p, nil
}

// answer reads one stream.
type answer struct {
	client  *Client
	yield   func(Piece, error) bool
	started bool // text has been given out
	left    bool // the reader wants no more
	bytes   int  // of text
	usage   Usage
}

func (a *answer) read(ctx context.Context, params anthropic.MessageNewParams) *Error {
	var response *http.Response
	stream := a.client.api.Messages.NewStreaming(ctx, params, option.WithResponseInto(&response))
	defer func() {
		stream.Close()
		a.client.spend(a)
	}()
	if err := stream.Err(); err != nil {
		return a.client.classify(ctx, err)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fail(CodeStream, "%s sent %s where a stream of events was expected: is it the Messages API?", a.client.host, contentType(kind)).isDown()
	}
	ended := false
	for !ended && !a.left && stream.Next() {
		ended = a.event(stream.Current())
	}
	switch err := stream.Err(); {
	case a.left:
		return nil
	case err != nil && a.started:
		return a.broken(a.client.classify(ctx, err))
	case err != nil:
		return a.client.classify(ctx, err)
	case !ended && a.started:
		return a.broken(nil)
	case !ended:
		return fail(CodeStream, "%s ended the stream before it had answered", a.client.host).isDown().retry(0)
	}
	a.left = !a.yield(Piece{Usage: &a.usage}, nil)
	return nil
}

// event handles one event, and says whether it was the last.
func (a *answer) event(e anthropic.MessageStreamEventUnion) (last bool) {
	switch e.Type {
	case "message_start":
		a.usage.Model, a.usage.Input = e.Message.Model, int(e.Message.Usage.InputTokens)
	case "content_block_delta":
		if e.Delta.Type == "text_delta" && e.Delta.Text != "" {
			a.started = true
			a.bytes += len(e.Delta.Text)
			a.left = !a.yield(Piece{Text: e.Delta.Text}, nil)
		}
	case "message_delta":
		a.usage.Finish, a.usage.Output = string(e.Delta.StopReason), int(e.Usage.OutputTokens)
	case "message_stop":
		return true
	}
	return false
}

// broken is the error of an answer that began and did not end.
func (a *answer) broken(cause *Error) *Error {
	if cause == nil {
		return fail(CodeBroken, "%s closed the connection before the end of the answer", a.client.host).isDown()
	}
	if cause.Code == CodeCancelled {
		return cause
	}
	return &Error{Code: CodeBroken, Text: cause.Text, down: cause.down}
}

// spend counts an answer against the budget. One that broke off has told no figure, and four bytes are about a token.
func (c *Client) spend(a *answer) {
	tokens := a.usage.Input + max(a.usage.Output, a.bytes/4)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget.add(time.Now(), tokens)
}

func contentType(kind string) string {
	if kind == "" {
		return "something without a type"
	}
	return fmt.Sprintf("%.60q", kind)
}
