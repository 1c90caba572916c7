package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// secureServer speaks TLS with a certificate that nobody knows, and is silent about clients that do not like it.
func secureServer(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// slow serves a body of which each part takes a while.
func slow(t *testing.T, before, between time.Duration, part int) (*Client, *Plan, File) {
	body := make([]byte, 200_000)
	f := File{Path: "onnx/model.onnx", Size: int64(len(body)), Blob: hubtest.SHA256(body)}
	c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
		pause := func(d time.Duration) {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		}
		pause(before)
		w.Header().Set("Content-Length", "200000")
		for rest := body; len(rest) > 0; rest = rest[min(part, len(rest)):] {
			if _, err := w.Write(rest[:min(part, len(rest))]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			pause(between)
		}
	})
	return c, &Plan{Repo: testRepo, Revision: "main", Commit: pinned, Files: []File{f}, tree: map[string]File{}}, f
}

// inMemory is a client of a hub over connections in memory, so that the test's clock is the only one.
func inMemory(t *testing.T, hub http.HandlerFunc) *Client {
	server := &http.Server{Handler: hub}
	l := &memory{connections: make(chan net.Conn), closed: make(chan struct{})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := New(Env{Cache: t.TempDir()}, Access{Endpoint: "http://127.0.0.1"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.jitter = func() float64 { return 0 }
	c.transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		l.connections <- server
		return client, nil
	}
	t.Cleanup(c.Close)
	return c
}

// memory is a listener for connections in memory.
type memory struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.connections:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { m.once.Do(func() { close(m.closed) }); return nil }
func (m *memory) Addr() net.Addr { return &net.IPAddr{} }

func TestStall_D21(t *testing.T) {
	tests := []struct {
		name            string
		before, between time.Duration
		part            int
		fails           bool
		atLeast, atMost time.Duration
	}{
		{"a byte a second", 0, time.Second, 1, true, 5 * time.Minute, 6 * time.Minute},
		{"silence after the first part", 0, time.Hour, 1000, true, 150 * time.Second, 170 * time.Second},
		{"silence before the first byte", time.Hour, 0, 1000, true, 150 * time.Second, 170 * time.Second},
		{"slow but steady", 0, time.Second, 2000, false, 99 * time.Second, 101 * time.Second},
		{"long pauses", 0, 29 * time.Second, 100_000, false, 28 * time.Second, 30 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p, f := slow(t, test.before, test.between, test.part)
				r := c.env.repo(p.Repo)
				if err := c.prepare(r, p.Commit); err != nil {
					t.Fatal(err)
				}
				events := make(chan Event)
				stopped := make(chan struct{})
				close(stopped)
				begin := time.Now()
				err := c.download(t.Context(), p, f, true, &progress{events: events, stopped: stopped})
				took := time.Since(begin)
				var e *Error
				if test.fails != errors.As(err, &e) || took < test.atLeast || took > test.atMost {
					t.Errorf("got %v after %v; want it to fail: %v, after %v to %v", err, took, test.fails, test.atLeast, test.atMost)
				}
				if test.fails && e != nil && e.Code != CodeStall {
					t.Errorf("got %v, want %s", err, CodeStall)
				}
			})
		})
	}
}

// A redirect announces a body that never comes, and nobody needs.
func TestStallInARedirect_D21(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/there" {
				return
			}
			w.Header().Set("Location", "/there")
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusFound)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		a, err := c.get(t.Context(), "http://127.0.0.1/here", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK || a.Request.URL.Path != "/there" {
			t.Errorf("got %s from %s, want 200 from /there", a.Status, a.Request.URL)
		}
	})
}

func TestNoConnection_D22(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + l.Addr().String()
	l.Close()
	plain := httptest.NewServer(w.hub.Handler())
	defer plain.Close()
	secure := secureServer(t, w.hub.Handler())
	tests := []struct {
		name, endpoint string
		code           Code
		words          string
		retries        bool
	}{
		{"refused", refused, CodeConnect, "connection refused", false},
		{"no such host", "http://hub.invalid", CodeConnect, "there is no host hub.invalid", false},
		{"unknown authority", secure.URL, CodeTLS, "not to be trusted", false},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), CodeTLS, "", false},
	}
	for _, test := range tests {
		w.client = w.newClient(Access{Endpoint: test.endpoint, Token: canary})
		if test.name == "no such host" {
			w.client.transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "hub.invalid", IsNotFound: true}}
			}
		}
		w.pauses = nil
		_, err := w.pull(PlanOptions{})
		w.wantError(err, test.code, test.words)
		if (len(w.pauses) > 0) != test.retries {
			t.Errorf("%s: tried again after %v", test.name, w.pauses)
		}
	}
	// A server that was there and restarts is waited for.
	w = newWorld(t)
	if _, err := w.client.Plan(t.Context(), testRepo, PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.client.hub, _ = url.Parse(refused)
	w.client.access.Endpoint = refused
	_, err = w.pull(PlanOptions{})
	w.wantError(err, CodeConnect, "connection refused")
	if len(w.pauses) != triesMax-1 {
		t.Errorf("pauses %v, want %d", w.pauses, triesMax-1)
	}
}

// An expired certificate, or a clock that is wrong, is named as what it may be; so is another host's certificate.
func TestCertificates_D22_D37(t *testing.T) {
	w := newWorld(t)
	secure := secureServer(t, w.hub.Handler())
	roots := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for _, years := range []int{-60, 200} {
		w.client = w.newClient(Access{Endpoint: secure.URL})
		now := func() time.Time { return time.Now().AddDate(years, 0, 0) }
		w.client.now = now
		w.client.transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, Time: now}
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeTLS, "at this machine's time, "+now().UTC().Format("2006"), "clock")
	}
	w.client = w.newClient(Access{Endpoint: secure.URL})
	w.client.transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "elsewhere.test"}
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeTLS, "not to be trusted", "elsewhere.test")
	if len(w.pauses) > 0 {
		t.Errorf("tried again after %v", w.pauses)
	}
}

func TestProxy_D23(t *testing.T) {
	w := newWorld(t)
	var through, status atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		through.Add(1)
		if code := int(status.Load()); code != 0 {
			out.WriteHeader(code)
			return
		}
		if r.URL.Host == "hub.example" {
			r.URL.Host = strings.TrimPrefix(w.hub.URL, "http://")
		}
		r.RequestURI = ""
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			out.WriteHeader(502)
			return
		}
		defer a.Body.Close()
		for k, v := range a.Header {
			out.Header()[k] = v
		}
		out.WriteHeader(a.StatusCode)
		_, _ = io.Copy(out, a.Body)
	}))
	defer proxy.Close()
	at, _ := url.Parse(proxy.URL)
	client := func() *Client {
		c := w.newClient(Access{Endpoint: "http://hub.example", Token: canary})
		c.proxy = http.ProxyURL(at)
		c.options.PrivateRedirects = true // the proxy fetches from the content network
		return c
	}
	w.client = client()
	if _, err := w.pull(PlanOptions{}); err != nil || through.Load() == 0 {
		t.Fatalf("through the proxy: %v, %d requests", err, through.Load())
	}
	w.whole(q4Files...)

	w = newWorld(t)
	w.client = client()
	status.Store(407)
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeProxy, "user and a password", "HTTPS_PROXY")

	w.client = client()
	proxy.Close()
	direct := len(w.hub.Requests())
	_, err = w.pull(PlanOptions{})
	w.wantError(err, CodeProxy, "proxy")
	if len(w.hub.Requests()) != direct {
		t.Error("the hub was asked directly")
	}
	// https through a proxy that refuses the tunnel.
	refusing := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { out.WriteHeader(407) }))
	defer refusing.Close()
	at, _ = url.Parse(refusing.URL)
	w.client = w.newClient(Access{Endpoint: "https://hub.example", Token: canary})
	w.client.proxy = http.ProxyURL(at)
	_, err = w.pull(PlanOptions{})
	w.wantError(err, CodeProxy, "proxy")
}

func TestOffline_D24(t *testing.T) {
	w := newWorld(t)
	w.client = w.newClient(Access{Endpoint: w.hub.URL, Token: canary, Offline: true})
	w.client.transport = noTransport{t}
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeOffline, "HF_HUB_OFFLINE")
	w.client = w.newClient(Access{Endpoint: w.hub.URL, Token: canary})
	p, err := w.pull(PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.client = w.newClient(Access{Endpoint: w.hub.URL, Token: canary, Offline: true})
	w.client.transport = noTransport{t}
	if dir, err := Resolve(testRepo, w.env); err != nil || dir != p.Dir {
		t.Errorf("what is here is not found: %q, %v", dir, err)
	}
}

// noTransport is one that may not be used.
type noTransport struct{ t *testing.T }

func (n noTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a request went out: %s", r.URL)
	return nil, errors.New("no network")
}

// hang sends the half of the weights, says so, and then nothing until stop.
func (w *world) hang(started chan<- bool, stop <-chan bool) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, r *http.Request) bool {
		if !w.isWeights(r) {
			return false
		}
		body := w.files["onnx/model_q4.onnx_data"]
		out.Header().Set("Etag", `"`+hubtest.SHA256(body)+`"`)
		out.Header().Set("Content-Length", "200000")
		_, _ = out.Write(body[:100_000])
		out.(http.Flusher).Flush()
		left := w.env.repo(testRepo).blob(hubtest.SHA256(body) + ".*" + incomplete)
		for {
			names, _ := filepath.Glob(left)
			if len(names) == 1 {
				if info, err := os.Stat(names[0]); err == nil && info.Size() == 100_000 {
					break
				}
			}
			time.Sleep(time.Millisecond)
		}
		started <- true
		select {
		case <-stop:
		case <-r.Context().Done():
		}
		return true
	}
}
