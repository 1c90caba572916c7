package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// Options of a Client.
type Options struct {
	Agent string // what the hub's log shows as the program
	// PrivateRedirects lets a public hub redirect to addresses of a private network.
	PrivateRedirects bool
}

// Client downloads models. It is safe for concurrent use.
type Client struct {
	env     Env
	access  Access
	options Options
	hub     *url.URL

	transport http.RoundTripper
	proxy     func(*http.Request) (*url.URL, error)
	private   atomic.Bool // the hub itself lies in a private network
	reached   atomic.Bool // something has answered before

	// What tests replace.
	disk   disk
	lock   func(path string) lock
	sleep  func(context.Context, time.Duration) error
	now    func() time.Time
	jitter func() float64 // 0 to 1
	space  func(dir string) (int64, error)
}

const (
	parallel     = 4 // files at a time
	hopsMax      = 5 // redirects of one request
	connectLimit = 10 * time.Second
	headerLimit  = 30 * time.Second
)

// New makes a client. Nothing is sent before it is asked for something.
func New(env Env, access Access, o Options) (*Client, error) {
	u, err := url.Parse(access.Endpoint)
	if err != nil {
		return nil, fail(CodeConnect, "read the hub's address").because(err)
	}
	c := &Client{
		env: env, access: access, options: o, hub: u,
		proxy: http.ProxyFromEnvironment, disk: realDisk{}, sleep: sleep, now: time.Now, jitter: rand.Float64, space: freeSpace,
		lock: func(path string) lock { return flock.New(path, flock.SetPermissions(0o664)) },
	}
	c.private.Store(isPrivateName(u.Hostname()))
	c.transport = &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return c.proxy(r) },
		DialContext:           c.dial,
		TLSHandshakeTimeout:   connectLimit,
		ResponseHeaderTimeout: headerLimit,
		MaxIdleConnsPerHost:   parallel,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		ReadBufferSize:        256 << 10,
		ForceAttemptHTTP2:     true,
	}
	return c, nil
}

// Close gives up the idle connections.
func (c *Client) Close() {
	if t, ok := c.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// get follows redirects to the answer. The token goes to the hub's own origin (scheme, host and port) and nowhere else,
// whatever way leads there. The caller closes the body.
func (c *Client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fail(CodeHTTP, "the hub's link is no address")
	}
	if c.access.Offline {
		return nil, fail(CodeOffline, "nothing was fetched from %s: HF_HUB_OFFLINE is set", where(u))
	}
	for range hopsMax + 1 {
		r := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header.Clone()}).WithContext(ctx)
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set("User-Agent", c.options.Agent)
		r.Header.Set("Accept-Encoding", "identity")
		switch {
		case sameOrigin(u, c.hub):
			if c.access.Token != "" {
				r.Header.Set("Authorization", "Bearer "+string(c.access.Token))
			}
		case !c.private.Load() && !c.options.PrivateRedirects:
			r = r.WithContext(context.WithValue(ctx, guarded{}, true))
		}
		answer, err := c.transport.RoundTrip(r)
		if err != nil {
			return nil, c.netError(ctx, u, err)
		}
		c.reached.Store(true)
		switch answer.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return answer, nil
		}
		answer.Body.Close() // unread: it may never come
		if u, err = c.next(u, answer.Header.Get("Location")); err != nil {
			return nil, err
		}
	}
	return nil, fail(CodeRedirect, "fetch %s: more than %d redirects", where(c.hub), hopsMax)
}

// next is where a redirect leads, if that may be followed.
func (c *Client) next(from *url.URL, location string) (*url.URL, error) {
	to, err := from.Parse(location)
	if err != nil || location == "" || to.Host == "" && (to.Scheme == "http" || to.Scheme == "https") {
		return nil, fail(CodeRedirect, "%s redirects to no address", where(from))
	}
	to.User, to.Fragment = nil, ""
	switch {
	case to.Scheme != "http" && to.Scheme != "https":
		return nil, fail(CodeRedirect, "%s redirects to an address of the kind %.20q, expected https", where(from), to.Scheme)
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, fail(CodeRedirect, "%s redirects to %s without encryption", where(from), where(to))
	case !sameOrigin(to, c.hub) && !c.private.Load() && !c.options.PrivateRedirects && isPrivateName(to.Hostname()):
		return nil, privateError(where(to))
	}
	return to, nil
}

func privateError(to string) *Error {
	return fail(CodeRedirect, "the hub redirects to %s, an address of a private network; --private-redirects allows it", to)
}

// where is an address without what may be secret in it.
func where(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// guarded marks the context of a request that may not reach a private network.
type guarded struct{}

// dial connects. A guarded request is refused when the name leads to a private address, whatever the name is; so the
// answer of the resolver is what is checked, not the name. A proxy is the user's own choice and is not guarded.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: connectLimit}
	hub := net.JoinHostPort(c.hub.Hostname(), port(c.hub))
	if ctx.Value(guarded{}) != nil && !c.isProxy(address) {
		d.Control = func(_, real string, _ syscall.RawConn) error {
			if host, _, err := net.SplitHostPort(real); err != nil || isPrivateName(host) {
				return privateError(address)
			}
			return nil
		}
	}
	conn, err := d.DialContext(ctx, network, address)
	if err == nil && address == hub {
		if host, _, err := net.SplitHostPort(conn.RemoteAddr().String()); err == nil && isPrivateName(host) {
			c.private.Store(true)
		}
	}
	return conn, err
}

func (c *Client) isProxy(address string) bool {
	for _, scheme := range []string{"http", "https"} {
		p, err := c.proxy(&http.Request{URL: &url.URL{Scheme: scheme, Host: "proxied.invalid"}})
		if err == nil && p != nil && net.JoinHostPort(p.Hostname(), port(p)) == address {
			return true
		}
	}
	return false
}

// isPrivateName says whether a host is this machine or one of a private network, as far as the name itself tells.
func isPrivateName(host string) bool {
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	ip := net.ParseIP(strings.Split(host, "%")[0])
	return ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast())
}

// isCancelled says whether the user stopped the work.
func isCancelled(ctx context.Context) bool {
	return errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), errStalled)
}
