// Package claudetest is a Messages API for tests: it speaks the documented events and makes the faults it is told to.
package claudetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Canary is the key that tests use and search for in all that comes out.
const Canary = "sk-ant-canary-4f1d9c2b7e"

// Step answers one request.
type Step func(w http.ResponseWriter, r *http.Request)

// Received is a request as arrived.
type Received struct {
	Method, Path string
	Header       http.Header
	Body         string
}

// API answers each request with the next of its steps, and those beyond the last one with the last. It is safe for
// concurrent use.
type API struct {
	mu       sync.Mutex
	steps    []Step
	requests []Received
}

// New scripts an API.
func New(steps ...Step) *API { return &API{steps: steps} }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.requests = append(a.requests, Received{r.Method, r.URL.Path, r.Header.Clone(), string(data)})
	step := a.steps[min(len(a.requests), len(a.steps))-1]
	a.mu.Unlock()
	step(w, r)
}

// Requests is what arrived so far.
func (a *API) Requests() []Received {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Received(nil), a.requests...)
}

// Serve puts the API on loopback until the test ends, and gives its address.
func (a *API) Serve(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return s.URL
}

// Dialer serves the API in memory, so that a test's bubble of time (testing/synctest) holds both ends, and gives the
// function that connects to it. stop ends it.
func (a *API) Dialer() (dial func(ctx context.Context, network, address string) (net.Conn, error), stop func()) {
	l := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: a}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	return l.dial, func() {
		_ = server.Close()
		<-done
	}
}

// pipes is a listener whose connections are pipes in memory.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.accept <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// Start is how a stream begins.
func Start(input int) string {
	return Event("message_start", fmt.Sprintf(`{"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[],"model":"claude-sonnet-5-5","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":1}}}`, input)) +
		Event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) +
		Event("ping", `{"type":"ping"}`)
}

// Delta is one piece of text.
func Delta(text string) string {
	return Event("content_block_delta", fmt.Sprintf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%s}}`, quote(text)))
}

// End is how a stream ends.
func End(reason string, output int) string {
	return Event("content_block_stop", `{"type":"content_block_stop","index":0}`) +
		Event("message_delta", fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":%d}}`, reason, output)) +
		Event("message_stop", `{"type":"message_stop"}`)
}

// Failure is an error within a stream.
func Failure(kind, message string) string {
	return Event("error", fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%s}}`, kind, quote(message)))
}

// Event is one event in its form on the wire.
func Event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

func quote(text string) []byte {
	data, err := json.Marshal(text)
	if err != nil {
		panic("BUG: claudetest: a string that JSON cannot hold: " + err.Error())
	}
	return data
}

// Answer streams a whole answer, a piece of text at a time.
func Answer(pieces ...string) Step {
	return func(w http.ResponseWriter, r *http.Request) {
		Stream(Start(25))(w, r)
		for _, p := range pieces {
			Stream(Delta(p))(w, r)
		}
		Stream(End("end_turn", len(pieces)))(w, r)
	}
}

// Stream writes events and lets them go out at once. When it returns the stream is closed in good order.
func Stream(events ...string) Step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, strings.Join(events, ""))
		_ = http.NewResponseController(w).Flush()
	}
}

// Status refuses with a status, an error in the documented form, and headers given as name, value, name, value.
func Status(status int, kind, message string, header ...string) Step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"type":"error","error":{"type":%q,"message":%s},"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}`, kind, quote(message))
	}
}

// Cut closes the connection as a failing network does, without an end.
func Cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Silence sends nothing until the client leaves.
func Silence(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// Then makes one answer of several steps.
func Then(steps ...Step) Step {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, s := range steps {
			s(w, r)
		}
	}
}
