// Package claude asks Anthropic's Messages API for an answer when the model of this machine cannot give one.
//
// It is built to fail well: it gives up in known time, tries again only before the first word of an answer, leaves a
// service that is down alone for a while, sends the key to one origin only, and shows it to nobody.
package claude

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/rs/zerolog"
)

// Defaults of Options.
const (
	DefaultModel     = anthropic.ModelClaudeSonnet5_5
	DefaultBaseURL   = "https://api.anthropic.com"
	DefaultMaxTokens = 8192
)

// Options is how a Client works. The zero value has no key, and such a client only says so.
type Options struct {
	Key           Key
	Model         string // "" is DefaultModel
	BaseURL       string // "" is DefaultBaseURL; https, or http to this machine
	MaxTokens     int    // of one answer; 0 is DefaultMaxTokens
	TokensPerHour int    // what may be spent in an hour, prompts and answers together; 0 is no limit
	Off           string // why nothing may be asked, such as "the configuration switches it off"; "" when it may
	Log           zerolog.Logger

	// Dial makes the connections; nil is the system's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client asks the Messages API. It is safe for concurrent use.
type Client struct {
	options Options
	api     anthropic.Client
	http    *http.Client
	host    string

	mu       sync.Mutex
	breaker  breaker
	budget   budget
	disabled *Error // after 401 or 403, until the program is started again
}

// New makes a client. Nothing is sent.
func New(o Options) (*Client, error) {
	if o.Model == "" {
		o.Model = DefaultModel
	}
	if o.BaseURL == "" {
		o.BaseURL = DefaultBaseURL
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = DefaultMaxTokens
	}
	if o.MaxTokens < 0 || o.TokensPerHour < 0 {
		return nil, fail(CodeRequest, "the limits are %d tokens of an answer and %d in an hour, expected 0 or more", o.MaxTokens, o.TokensPerHour)
	}
	base, err := checkBase(o.BaseURL)
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, host: base.Host, budget: budget{limit: o.TokensPerHour}}
	c.http = &http.Client{Transport: newTransport(base, o.Key, o.Dial)}
	// The library gets no key, no retries and nothing from the environment: each of the three is this package's work.
	c.api = anthropic.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(base.String()), option.WithHTTPClient(c.http), option.WithMaxRetries(0))
	return c, nil
}

// checkBase parses the address of the service. The key travels there, so it must be encrypted or stay on this machine.
func checkBase(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	if err != nil {
		return nil, fail(CodeRequest, "the base URL is not one: expected something like %s", DefaultBaseURL)
	}
	if base.User != nil {
		return nil, fail(CodeRequest, "the base URL holds a user or a password; take it out")
	}
	switch {
	case base.Host == "" || base.Hostname() == "" || base.RawQuery != "" || base.Fragment != "":
		return nil, fail(CodeRequest, "the base URL is %q, expected a scheme, a host and perhaps a path, such as %s", address, DefaultBaseURL)
	case base.Scheme == "https":
	case base.Scheme == "http" && isLoopback(base.Hostname()):
	case base.Scheme == "http":
		return nil, fail(CodeRequest, "the base URL is %q: over http the key could be read on the way; use https", address)
	default:
		return nil, fail(CodeRequest, "the base URL is %q, expected https", address)
	}
	return base, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Model is the name of the model that answers.
func (c *Client) Model() string { return c.options.Model }

// Available is nil when the service can be asked now, and otherwise says why not. Nothing is sent.
func (c *Client) Available() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.available(time.Now()); err != nil {
		return err
	}
	return nil
}

// available needs the lock.
func (c *Client) available(now time.Time) *Error {
	switch {
	case c.options.Off != "":
		return fail(CodeOff, "%s", c.options.Off)
	case !c.options.Key.IsSet():
		return fail(CodeKey, "there is no API key; set ANTHROPIC_API_KEY or run `shammah-engine setup`")
	case c.disabled != nil:
		return c.disabled
	}
	if wait, open := c.breaker.open(now); open {
		return fail(CodeBreaker, "the service failed several times in a row; it is asked again in %s", inWords(wait))
	}
	if wait, spent := c.budget.spent(now); spent {
		return fail(CodeBudget, "the limit of %d tokens in an hour is reached; there is room again in %s", c.options.TokensPerHour, inWords(wait))
	}
	return nil
}

// Close ends the connections that wait for a next request. It may be called twice.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Check asks whether the key is good and the model exists, without using a token.
func (c *Client) Check(ctx context.Context) error {
	return c.attempts(ctx, func() (started bool, err *Error) {
		_, apiErr := c.api.Models.Get(ctx, c.options.Model, anthropic.ModelGetParams{})
		return false, c.classify(ctx, apiErr)
	})
}

// retriesMax is how often a request is sent again. It is, only while no word of an answer has come.
const retriesMax = 2

// attempts runs one request until it succeeds, fails for good, or has started to answer.
func (c *Client) attempts(ctx context.Context, attempt func() (started bool, err *Error)) error {
	c.mu.Lock()
	refused := c.available(time.Now())
	if refused == nil {
		c.breaker.begin()
	}
	c.mu.Unlock()
	if refused != nil {
		return refused
	}
	last := fail(CodeCancelled, "the reader of the answer left") // what stands if it panics
	defer func() { c.settle(last) }()
	for try := 0; ; try++ {
		started, err := attempt()
		if last = err; err == nil {
			return nil
		}
		wait, worthIt := pause(try, err.after)
		if started || !err.again || try == retriesMax || !worthIt {
			break
		}
		c.options.Log.Debug().Str("host", c.host).Str("code", string(err.Code)).Dur("wait", wait).Msg("claude: trying again")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			last = cancelled(ctx)
			return last
		}
	}
	c.options.Log.Debug().Str("host", c.host).Err(last).Msg("claude: failed")
	return last
}

// settle lets the breaker and the key's state know how a request ended.
func (c *Client) settle(err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		c.breaker.succeeded()
	case err.Code == CodeCancelled:
		c.breaker.undecided()
	case err.down:
		c.breaker.failed(now, err.after)
	default: // the service answered: it did not like what was asked
		c.breaker.succeeded()
	}
	if err != nil && err.Code == CodeAuth {
		c.disabled = err
	}
}
