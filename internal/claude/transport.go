package claude

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	connectTimeout   = 5 * time.Second
	firstByteTimeout = 30 * time.Second
	idleTimeout      = 60 * time.Second
	answerBytesMax   = 16 << 20
	refusalBytesMax  = 64 << 10 // of an answer with an error status
)

var (
	errFirstByte = errors.New("no answer within " + firstByteTimeout.String())
	errIdle      = errors.New("silence for " + idleTimeout.String())
	errTooLong   = errors.New("the answer is longer than 16 MiB")
	errOrigin    = errors.New("the key is for another origin")
)

// redirected is the error of an answer that sends the reader elsewhere. It is not followed, because the key would go along.
type redirected struct{ to string }

func (r redirected) Error() string { return "redirect to " + r.to }

// transport adds to each request what the library above it must not have or do: the key, the time-outs and the limits.
type transport struct {
	next http.RoundTripper
	base *url.URL
	key  Key
}

func newTransport(base *url.URL, key Key, dial func(ctx context.Context, network, address string) (net.Conn, error)) *transport {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &transport{base: base, key: key, next: &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			return dial(ctx, network, address)
		},
		TLSHandshakeTimeout: connectTimeout,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // so that the limits count what is read
		MaxIdleConns:        2,
		IdleConnTimeout:     idleTimeout,

		MaxResponseHeaderBytes: refusalBytesMax,
	}}
}

// CloseIdleConnections makes http.Client's method of that name reach the connections.
func (t *transport) CloseIdleConnections() { t.next.(*http.Transport).CloseIdleConnections() }

// RoundTrip sends a copy of the request that has the key. What the caller sees, in errors too, is the request without it.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != t.base.Scheme || request.URL.Host != t.base.Host {
		return nil, errOrigin
	}
	ctx, cancel := context.WithCancelCause(request.Context())
	timer := time.AfterFunc(firstByteTimeout, func() { cancel(errFirstByte) })
	r := request.Clone(ctx)
	t.key.sign(r)
	response, err := t.next.RoundTrip(r)
	if err != nil {
		timer.Stop()
		err = ownCause(ctx, err)
		cancel(nil)
		return nil, err
	}
	response.Request = request
	b := &body{ReadCloser: response.Body, ctx: ctx, cancel: cancel, timer: timer, left: answerBytesMax}
	response.Body = b
	switch {
	case response.StatusCode >= 300 && response.StatusCode < 400:
		b.Close()
		return nil, redirected{elsewhere(response.Header.Get("Location"))}
	case response.StatusCode >= 400:
		b.left, b.truncate = refusalBytesMax, true
	}
	return response, nil
}

// sign puts the key into a request's header.
func (k Key) sign(r *http.Request) {
	if k.IsSet() {
		r.Header.Set("X-Api-Key", k.reveal())
	}
}

// elsewhere is the host that a redirect names; the rest of an address may hold what nobody else should read.
func elsewhere(location string) string {
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return "another page"
}

// ownCause is the reason why this package gave up, where it was this package.
func ownCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errFirstByte) || errors.Is(cause, errIdle) {
		return cause
	}
	return err
}

// body watches an answer come. The time between two reads is the reader's own and does not count as silence.
type body struct {
	io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer // runs since the request for the first byte, then during each read
	begun    bool
	left     int64
	truncate bool // at the limit the body ends, and there is no error
}

func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if b.truncate {
			return 0, io.EOF
		}
		return 0, errTooLong
	}
	if b.begun {
		b.timer.Reset(idleTimeout)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if n > 0 && !b.begun {
		b.begun = true
		b.timer.Stop()
		b.timer = time.AfterFunc(idleTimeout, func() { b.cancel(errIdle) })
	}
	if b.begun {
		b.timer.Stop()
	}
	if err != nil && err != io.EOF {
		err = ownCause(b.ctx, err)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
