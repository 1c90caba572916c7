package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// netError says why no answer came. It may be worth another try once something has answered: before, an address that is
// wrong or refuses is the likelier cause.
func (c *Client) netError(ctx context.Context, u *url.URL, err error) error {
	if isCancelled(ctx) {
		return ctx.Err()
	}
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	what := "fetch " + where(u)
	var certificate *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var name *net.DNSError
	var op *net.OpError
	var timeout net.Error
	perhaps := againLater
	if errors.As(err, &op) && op.Op == "dial" && !c.reached.Load() {
		perhaps = againNever
	}
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fail(CodeTLS, "%s: the server's certificate is not valid at this machine's time, %s; if the clock is wrong, set it", what, c.now().UTC().Format(time.RFC3339)).because(invalid)
	case errors.As(err, &certificate):
		return fail(CodeTLS, "%s: the server's certificate is not to be trusted; a proxy that reads along needs its own in SSL_CERT_FILE", what).because(certificate.Err)
	case errors.As(err, &record), errors.As(err, &alert):
		return fail(CodeTLS, "%s: the server does not speak TLS there", what).because(c.scrub(err))
	case errors.As(err, &op) && op.Op == "proxyconnect", strings.Contains(err.Error(), "proxyconnect"), strings.Contains(err.Error(), "Proxy Authentication Required"):
		return fail(CodeProxy, "%s: the proxy (HTTPS_PROXY, HTTP_PROXY) failed", what).because(c.scrub(err)).retry(perhaps)
	case errors.As(err, &name) && name.IsNotFound:
		return fail(CodeConnect, "%s: there is no host %s; check the network, or HF_ENDPOINT", what, name.Name)
	case errors.As(err, &timeout) && timeout.Timeout() && op == nil:
		return fail(CodeStall, "%s: no answer in %v", what, headerLimit).retry(againLater)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fail(CodeConnect, "%s: the server closed the connection", what).retry(againLater)
	}
	if p, proxyErr := c.proxy(&http.Request{URL: u}); proxyErr == nil && p != nil {
		return fail(CodeProxy, "%s through the proxy %s", what, where(p)).because(c.scrub(err)).retry(perhaps)
	}
	return fail(CodeConnect, "%s", what).because(c.scrub(err)).retry(perhaps)
}

// scrub is the cause of a network error without the layers that repeat addresses, and without the token, which a server may
// send back in a line that is no header.
func (c *Client) scrub(err error) error {
	cause := innermost(err)
	text := cause.Error()
	if t := string(c.access.Token); t != "" {
		text = strings.ReplaceAll(text, t, "***")
	}
	if text = fmt.Sprintf("%.200s", text); text == cause.Error() {
		return cause
	}
	return errors.New(text)
}

// innermost is the cause without what wraps it.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// checkStatus turns an answer that is no file into an error. what says what was asked for: the repository, and the file or revision.
func (c *Client) checkStatus(a *http.Response, q query) error {
	if a.StatusCode == http.StatusOK || a.StatusCode == http.StatusPartialContent {
		return nil
	}
	reason := a.Header.Get("X-Error-Code")
	host := where(&url.URL{Scheme: a.Request.URL.Scheme, Host: a.Request.URL.Host})
	page := c.access.Endpoint + "/" + q.repo
	token := "set HF_TOKEN to a token from " + c.access.Endpoint + "/settings/tokens"
	if c.access.Token != "" {
		token = "the token that was sent is invalid or may not read it; " + token
	}
	switch code := a.StatusCode; {
	case reason == "GatedRepo" || code == http.StatusForbidden && q.toHub:
		return fail(CodeGated, "%s: access is gated: accept the author's conditions at %s, and %s", q, page, token)
	case code == http.StatusUnauthorized && reason == "RepoNotFound":
		return fail(CodeAuth, "%s: there is no repository %s at %s, or it is private: check the name; if it is right, the token is missing or invalid: %s", q, q.repo, host, token)
	case code == http.StatusUnauthorized:
		return fail(CodeAuth, "%s: %s answers 401: the token is missing or invalid: %s", q, host, token)
	case reason == "RepoNotFound":
		return fail(CodeRepo, "%s: there is no repository %s at %s; check the name, or HF_ENDPOINT", q, q.repo, host)
	case reason == "RevisionNotFound":
		return fail(CodeRevision, "%s: %s has no revision %s; see %s/tree/main for what there is", q, q.repo, q.revision, page)
	case reason == "EntryNotFound" || code == http.StatusNotFound && q.file != "":
		return fail(CodeEntry, "%s: there is no such file at the commit %.12s", q, q.revision)
	case code == http.StatusNotFound:
		return fail(CodeRepo, "%s: %s answers 404; check the name %s, or HF_ENDPOINT", q, host, q.repo)
	case code == http.StatusProxyAuthRequired:
		return fail(CodeProxy, "%s: the proxy wants a user and a password: put them into HTTPS_PROXY, http://user:password@host:port", q)
	case code == http.StatusTooManyRequests:
		e := fail(CodeRate, "%s: %s answers 429: too many requests; wait a while, or set HF_TOKEN", q, host).retry(againLater)
		e.after = c.retryAfter(a.Header)
		return e
	case code == http.StatusRequestTimeout, code == 500, code == 502, code == 503, code == 504:
		e := fail(CodeServer, "%s: %s answers %d; try again later", q, host, code).retry(againLater)
		e.after = c.retryAfter(a.Header)
		return e
	case code == http.StatusRequestedRangeNotSatisfiable:
		return fail(CodeRange, "%s: %s has no such part of the file", q, host).retry(againRestart)
	default:
		return fail(CodeHTTP, "%s: %s answers %d%s", q, host, code, c.quote(a.Header.Get("X-Error-Message")))
	}
}

// quote is the server's own words, without what may be secret or may confuse a terminal.
func (c *Client) quote(words string) string {
	if words == "" {
		return ""
	}
	if t := string(c.access.Token); t != "" {
		words = strings.ReplaceAll(words, t, "***")
	}
	return fmt.Sprintf(": %.200q", words)
}

// query is what was asked for, as messages name it.
type query struct {
	repo, revision, file string
	toHub                bool // not some other server that the hub named
}

func (q query) String() string {
	if q.file != "" {
		return "download " + q.file + " of " + q.repo
	}
	return "list " + q.repo
}

const retryAfterMax = time.Minute

// retryAfter is how long the server wants to be left alone: seconds or a date. A date is compared with the server's own
// clock where it shows it, because this machine's may be wrong.
func (c *Client) retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(retryAfterMax/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now := c.now()
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), retryAfterMax)
}

const triesMax = 5

// insist repeats a request that may work later, with pauses that double from half a second to eight, or last as long as
// the server wishes. try says whether it got on; then the count begins anew.
func (c *Client) insist(ctx context.Context, wait func(time.Duration, error), try func() (gotOn bool, err error)) error {
	for n := 1; ; n++ {
		gotOn, err := try()
		var e *Error
		if err == nil || !errors.As(err, &e) || e.again != againLater {
			return err
		}
		if gotOn {
			n = 1
		}
		if n >= triesMax {
			return err
		}
		pause := min(time.Second/2<<(n-1), 8*time.Second)
		pause = max(pause, e.after) + time.Duration(c.jitter()*float64(pause)/4)
		if wait != nil {
			wait(pause, err)
		}
		if err := c.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// errStalled ends a connection that gives too little.
var errStalled = errors.New("the server went silent")

const (
	silenceMax = 30 * time.Second // without a byte
	window     = time.Minute      // with less than
	windowMin  = 60 * 1000        // bytes: 1 kB/s
)

// steady is a body that ends with errStalled when it gives no byte for 30 s, or less than 1 kB/s for a minute.
type steady struct {
	body    io.Reader
	stop    context.CancelCauseFunc // of the request
	silence *time.Timer
	begin   time.Time
	n       int
}

func newSteady(body io.Reader, stop context.CancelCauseFunc) *steady {
	s := &steady{body: body, stop: stop, begin: time.Now()}
	s.silence = time.AfterFunc(silenceMax, func() { stop(errStalled) })
	s.silence.Stop()
	return s
}

func (s *steady) Read(b []byte) (int, error) {
	s.silence.Reset(silenceMax)
	n, err := s.body.Read(b)
	if !s.silence.Stop() && n == 0 {
		return 0, errStalled
	}
	s.n += n
	if now := time.Now(); now.Sub(s.begin) >= window {
		if s.n < windowMin && err == nil {
			s.stop(errStalled)
			return n, errStalled
		}
		s.begin, s.n = now, 0
	}
	return n, err
}
