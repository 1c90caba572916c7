package claude

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/anthropics/anthropic-sdk-go"
)

// Code is the class of a failure; it stays the same from release to release, so that scripts can match it.
type Code string

// The classes of failure.
const (
	CodeKey       Code = "E_CLAUDE_KEY"       // there is no key, or it cannot be one
	CodeOff       Code = "E_CLAUDE_OFF"       // the user wants no remote answers
	CodeAuth      Code = "E_CLAUDE_AUTH"      // the service refuses the key; it is not asked again
	CodeModel     Code = "E_CLAUDE_MODEL"     // no such model or page
	CodeRequest   Code = "E_CLAUDE_REQUEST"   // what was asked cannot be answered
	CodeRate      Code = "E_CLAUDE_RATE"      // too many requests
	CodeServer    Code = "E_CLAUDE_SERVER"    // the service failed or is overloaded
	CodeConnect   Code = "E_CLAUDE_CONNECT"   // the service was not reached
	CodeTLS       Code = "E_CLAUDE_TLS"       // the service could not prove who it is
	CodeTimeout   Code = "E_CLAUDE_TIMEOUT"   // the service was silent for too long
	CodeRedirect  Code = "E_CLAUDE_REDIRECT"  // the service wants the key to go elsewhere
	CodeSize      Code = "E_CLAUDE_SIZE"      // the answer is too long
	CodeStream    Code = "E_CLAUDE_STREAM"    // the answer is not in the form of the Messages API
	CodeBroken    Code = "E_CLAUDE_BROKEN"    // the answer began and did not end
	CodeBreaker   Code = "E_CLAUDE_BREAKER"   // the service is left alone for a while
	CodeBudget    Code = "E_CLAUDE_BUDGET"    // the user's limit is reached
	CodeCancelled Code = "E_CLAUDE_CANCELLED" // the caller left
)

// Error says what failed, in one line that ends with its code. It holds no request and no response, because these
// would take headers along.
type Error struct {
	Code  Code
	Text  string
	cause error

	again bool          // the same request may succeed in a moment
	down  bool          // it counts against the service
	after time.Duration // the service's wish; 0 is none
}

func (e *Error) Error() string { return fmt.Sprintf("claude: %s (%s)", e.Text, e.Code) }

// Unwrap is the end of the caller's context, where that was the cause.
func (e *Error) Unwrap() error { return e.cause }

func fail(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) isDown() *Error {
	e.down = true
	return e
}

func (e *Error) retry(after time.Duration) *Error {
	e.again, e.after = true, after
	return e
}

func cancelled(ctx context.Context) *Error {
	e := fail(CodeCancelled, "stopped: %s", ctx.Err())
	e.cause = ctx.Err()
	return e
}

// classify says what an error of the library means. nil stays nil.
func (c *Client) classify(ctx context.Context, err error) *Error {
	if err == nil {
		return nil
	}
	var answered *anthropic.Error
	if ctx.Err() != nil {
		return cancelled(ctx)
	} else if errors.As(err, &answered) {
		return c.refused(answered)
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // without the address
	}
	var redirect redirected
	var syntax *json.SyntaxError
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &redirect):
		return fail(CodeRedirect, "%s answers with a %s; redirects are not followed, because the key would go along: check the base URL", c.host, redirect).isDown()
	case errors.Is(err, errFirstByte), errors.Is(err, errIdle):
		return fail(CodeTimeout, "%s: %s", c.host, err).isDown()
	case errors.Is(err, errTooLong):
		return fail(CodeSize, "%s: %s", c.host, err)
	case isTLS(err):
		return fail(CodeTLS, "%s could not prove who it is: %s; check the clock of this machine and any proxy", c.host, c.plain(err.Error())).isDown()
	case errors.As(err, &name):
		return fail(CodeConnect, "the name of %s was not found; is there a network?", c.host).isDown()
	case errors.As(err, &network) && network.Timeout():
		return fail(CodeConnect, "no connection to %s within %s; is there a network?", c.host, inWords(connectTimeout)).isDown()
	case errors.As(err, &syntax):
		return fail(CodeStream, "%s sent what is no answer of the Messages API: %s", c.host, c.plain(err.Error())).isDown()
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF):
		return fail(CodeConnect, "%s closed the connection before it had answered", c.host).isDown().retry(0)
	case isNetwork(err) && strings.HasPrefix(err.Error(), "proxyconnect"):
		return fail(CodeConnect, "no connection to %s: the proxy failed: %s", c.host, c.plain(innermost(err).Error())).isDown()
	case isNetwork(err):
		return fail(CodeConnect, "no connection to %s: %s", c.host, c.plain(innermost(err).Error())).isDown()
	}
	return fail(CodeStream, "%s sent what is no answer of the Messages API: %s", c.host, c.plain(err.Error())).isDown()
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) || errors.As(err, &unknown) ||
		errors.As(err, &hostname) || errors.As(err, &invalid) || errors.Is(err, http.ErrSchemeMismatch)
}

func isNetwork(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation)
}

func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// refused says what an error status means, or an error event in a stream, which has the status 200 and a type.
func (c *Client) refused(answered *anthropic.Error) *Error {
	status := answered.StatusCode
	if status < 400 {
		status = statusOf(string(answered.Type()))
	}
	said := c.said(answered)
	var after time.Duration
	var again bool
	if h := answered.Response; h != nil {
		after = retryAfter(h.Header, time.Now())
		again = h.Header.Get("X-Should-Retry") != "false"
	}
	var e *Error
	switch {
	case status == http.StatusUnauthorized:
		return fail(CodeAuth, "the API key was refused%s; Claude stays off until the program is started with another key", said)
	case status == http.StatusForbidden:
		return fail(CodeAuth, "this API key may not do that%s; Claude stays off until the program is started again", said)
	case status == http.StatusNotFound:
		return fail(CodeModel, "%s knows no model %q%s", c.host, c.options.Model, said)
	case status == http.StatusTooManyRequests:
		e = fail(CodeRate, "too many requests%s%s", wish(after), said)
	case status == 529:
		e = fail(CodeServer, "the service is overloaded%s%s", wish(after), said)
	case status >= 500:
		e = fail(CodeServer, "the service failed with status %d%s%s", status, wish(after), said)
	default:
		return fail(CodeRequest, "the service refused the request with status %d%s", status, said)
	}
	e.down, e.again, e.after = true, again, after
	return e
}

// statusOf is the status that an error of this type has when it comes before the stream.
func statusOf(kind string) int {
	switch kind {
	case "invalid_request_error":
		return http.StatusBadRequest
	case "authentication_error":
		return http.StatusUnauthorized
	case "permission_error":
		return http.StatusForbidden
	case "not_found_error":
		return http.StatusNotFound
	case "request_too_large":
		return http.StatusRequestEntityTooLarge
	case "rate_limit_error":
		return http.StatusTooManyRequests
	case "overloaded_error":
		return 529
	}
	return http.StatusInternalServerError
}

// said is the service's own message, on one line and without the key, should it repeat it.
func (c *Client) said(answered *anthropic.Error) string {
	var envelope struct {
		Error struct{ Message string } `json:"error"`
	}
	if json.Unmarshal([]byte(answered.RawJSON()), &envelope) != nil || envelope.Error.Message == "" {
		return ""
	}
	return ": " + c.plain(envelope.Error.Message)
}

const saidMax = 200 // runes of a foreign text in an error

func (c *Client) plain(text string) string {
	text = c.options.Key.hide(text)
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(text); len(runes) > saidMax {
		return string(runes[:saidMax]) + "…"
	}
	return text
}

const pauseMax = time.Minute

// pause is how long to wait before try+1. A service that wants more than pauseMax is not waited for.
func pause(try int, after time.Duration) (wait time.Duration, worthIt bool) {
	if after > 0 {
		return after, after <= pauseMax
	}
	base := 500 * time.Millisecond << try
	return base + rand.N(base/4), true
}

// retryAfter reads the header of that name: seconds or a date. 0 is none, or now.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 { // NaN is not
		return time.Duration(min(seconds, restMax.Seconds()) * float64(time.Second))
	}
	if date, err := http.ParseTime(text); err == nil {
		return min(max(date.Sub(now), 0), restMax)
	}
	return 0
}

func wish(after time.Duration) string {
	if after == 0 {
		return ""
	}
	return " (it asks to wait " + inWords(after) + ")"
}

func inWords(d time.Duration) string { return max(time.Second, d.Round(time.Second)).String() }
