package claude

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/shammah/shammah-engine/internal/claude/claudetest"
)

// F: each status gets its class, its number of attempts and its line, and no key comes back.
func TestFStatus(t *testing.T) {
	echo := "no: " + fake.Canary + "\x1b[31m\nnew line " + strings.Repeat("long ", 100)
	for _, c := range []struct {
		name     string
		step     fake.Step
		code     Code
		attempts int
		words    string
	}{
		{"400", fake.Status(400, "invalid_request_error", echo), CodeRequest, 1, "status 400"},
		{"401", fake.Status(401, "authentication_error", echo), CodeAuth, 1, "refused"},
		{"403", fake.Status(403, "permission_error", echo), CodeAuth, 1, "may not"},
		{"404", fake.Status(404, "not_found_error", echo), CodeModel, 1, DefaultModel},
		{"413", fake.Status(413, "request_too_large", echo), CodeRequest, 1, "status 413"},
		{"429", fake.Status(429, "rate_limit_error", echo), CodeRate, 3, "too many requests"},
		{"500", fake.Status(500, "api_error", echo), CodeServer, 3, "status 500"},
		{"502", fake.Status(502, "api_error", echo), CodeServer, 3, "status 502"},
		{"503", fake.Status(503, "api_error", echo), CodeServer, 3, "status 503"},
		{"529", fake.Status(529, "overloaded_error", echo), CodeServer, 3, "overloaded"},
		{"529 that says no", fake.Status(529, "overloaded_error", echo, "X-Should-Retry", "false"), CodeServer, 1, "overloaded"},
		{"500 in HTML", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); io.WriteString(w, "<html>"+echo) }, CodeServer, 3, "status 500"},
		{"500 without end", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
			}
		}, CodeServer, 3, "status 500"},
		{"error event before the text", fake.Stream(fake.Start(1), fake.Failure("overloaded_error", echo)), CodeServer, 3, "overloaded"},
		{"key refused by an event", fake.Stream(fake.Failure("authentication_error", echo)), CodeAuth, 1, "refused"},
		{"event that is no JSON", fake.Stream(fake.Event("message_start", "{")), CodeStream, 1, "no answer"},
		{"closed before the text", fake.Stream(fake.Start(1)), CodeStream, 3, "before it had answered"},
		{"cut before the text", fake.Then(fake.Stream(fake.Start(1)), fake.Cut), CodeConnect, 3, "closed the connection"},
		{"cut at once", fake.Cut, CodeConnect, 3, "closed the connection"},
		{"page of a captive portal", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, CodeStream, 1, `"text/html"`},
		{"no type", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil }, CodeStream, 1, "without a type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := fake.New(c.step)
				cl := bubble(t, api, nil)
				text, _, err := read(t, t.Context(), cl, hello)
				want(t, err, c.code, c.words)
				if text != "" || len(api.Requests()) != c.attempts || len([]rune(err.Error())) > 400 {
					t.Errorf("got text %q, %d attempts, error of %d runes, want no text, %d attempts, a line", text, len(api.Requests()), len([]rune(err.Error())), c.attempts)
				}
			})
		})
	}
}

// bubble is a client whose server lies in the same bubble of time.
func bubble(t *testing.T, api *fake.API, change func(*Options)) *Client {
	t.Helper()
	dial, stop := api.Dialer()
	t.Cleanup(stop)
	return client(t, "http://127.0.0.1", func(o *Options) {
		o.Dial = dial
		if change != nil {
			change(o)
		}
	})
}

// F: the service's wish is heard in both of its forms, and the answer after it is whole.
func TestFRetryAfter(t *testing.T) {
	for _, c := range []struct {
		name   string
		header func() string
		least  time.Duration
		most   time.Duration
	}{
		{"none", func() string { return "" }, 375 * time.Millisecond, 625 * time.Millisecond},
		{"seconds", func() string { return "7" }, 7 * time.Second, 7 * time.Second},
		{"fraction", func() string { return "0.25" }, 250 * time.Millisecond, 250 * time.Millisecond},
		{"date", func() string { return time.Now().Add(9 * time.Second).UTC().Format(http.TimeFormat) }, 8 * time.Second, 9 * time.Second},
		{"date in the past", func() string { return time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) }, 375 * time.Millisecond, 625 * time.Millisecond},
		{"negative", func() string { return "-5" }, 375 * time.Millisecond, 625 * time.Millisecond},
		{"no number", func() string { return "NaN" }, 375 * time.Millisecond, 625 * time.Millisecond},
		{"garbage", func() string { return "soon" }, 375 * time.Millisecond, 625 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				api := fake.New(fake.Status(429, "rate_limit_error", "slow down", "Retry-After", c.header()), fake.Answer("whole"))
				text, _, err := read(t, t.Context(), bubble(t, api, nil), hello)
				if took := time.Since(begin); err != nil || text != "whole" || took < c.least || took > c.most {
					t.Errorf("got %q, %v after %v, want it after %v to %v", text, err, took, c.least, c.most)
				}
			})
		})
	}
}

// F: a wish longer than a minute is not waited for; the service is left alone that long.
func TestFRetryAfterTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.New(fake.Status(429, "rate_limit_error", "tomorrow", "Retry-After", "600"), fake.Answer("back"))
		c := bubble(t, api, nil)
		begin := time.Now()
		_, _, err := read(t, t.Context(), c, hello)
		want(t, err, CodeRate, "it asks to wait 10m0s")
		if time.Since(begin) != 0 || len(api.Requests()) != 1 {
			t.Errorf("took %v and %d requests", time.Since(begin), len(api.Requests()))
		}
		want(t, c.Available(), CodeBreaker, "10m0s")
		time.Sleep(10 * time.Minute)
		if text, _, err := read(t, t.Context(), c, hello); text != "back" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
	})
}

func TestRetryAfterIsNeverNegative(t *testing.T) {
	now := time.Now()
	for _, text := range []string{"-5", now.Add(-time.Hour).UTC().Format(http.TimeFormat), "-Inf", "NaN", "1e300", "Inf"} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got < 0 || got > restMax {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// F: cancelled while it waits to try again.
func TestFCancelledBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := read(t, ctx, bubble(t, fake.New(fake.Status(529, "overloaded_error", "", "Retry-After", "30")), nil), hello)
		want(t, err, CodeCancelled)
	})
}

// F: a key that is refused is not sent again until the program is started again.
func TestFRefusedKeyIsDisabled(t *testing.T) {
	for _, status := range []int{401, 403} {
		api := fake.New(fake.Status(status, "authentication_error", "invalid x-api-key"), fake.Answer("never"))
		c := client(t, api.Serve(t), nil)
		for range 3 {
			_, _, err := read(t, t.Context(), c, hello)
			want(t, err, CodeAuth)
		}
		want(t, c.Available(), CodeAuth)
		want(t, c.Check(t.Context()), CodeAuth)
		if n := len(api.Requests()); n != 1 {
			t.Errorf("status %d: %d requests, want 1", status, n)
		}
	}
}

// F: without a key, or switched off, nothing is sent, and the line says what to do.
func TestFOff(t *testing.T) {
	api := fake.New(fake.Answer("never"))
	base := api.Serve(t)
	none := client(t, base, func(o *Options) { o.Key = Key{} })
	_, _, err := read(t, t.Context(), none, hello)
	want(t, err, CodeKey, "there is no API key; set ANTHROPIC_API_KEY or run `shammah-engine setup`")
	off := client(t, base, func(o *Options) { o.Off = "the configuration switches it off" })
	_, _, err = read(t, t.Context(), off, hello)
	want(t, err, CodeOff, "the configuration switches it off")
	want(t, off.Check(t.Context()), CodeOff)
	if len(api.Requests()) != 0 {
		t.Errorf("%d requests were sent", len(api.Requests()))
	}
}

// F: what cannot be reached is said at once, and not tried again.
func TestFConnect(t *testing.T) {
	for _, c := range []struct {
		name, base string
		dialErr    error
		code       Code
		words      string
	}{
		{"refused", refusing(t), nil, CodeConnect, "connection refused"},
		{"unknown certificate", untrusted(t), nil, CodeTLS, "could not prove who it is"},
		{"no TLS at all", strings.Replace(fake.New(fake.Answer("x")).Serve(t), "http:", "https:", 1), nil, CodeTLS, "could not prove who it is"},
		{"unknown name", "https://api.example.com", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true}}, CodeConnect, "the name of api.example.com was not found"},
		{"no route", "https://api.example.com", &net.OpError{Op: "dial", Err: errors.New("network is unreachable")}, CodeConnect, "network is unreachable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dials atomic.Int32
			cl := client(t, c.base, func(o *Options) {
				o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					dials.Add(1)
					if c.dialErr != nil {
						return nil, c.dialErr
					}
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}
			})
			_, _, err := read(t, t.Context(), cl, hello)
			want(t, err, c.code, c.words)
			if n := dials.Load(); n != 1 {
				t.Errorf("%d connections were tried, want 1", n)
			}
		})
	}
}

// F: a stream that breaks in the middle keeps its text, ends with an error, and is never begun again.
func TestFStreamBreaks(t *testing.T) {
	begun := fake.Stream(fake.Start(1), fake.Delta("half an "), fake.Delta("answer"))
	for _, c := range []struct {
		name  string
		step  fake.Step
		words string
	}{
		{"connection cut", fake.Then(begun, fake.Cut), "closed the connection"},
		{"closed in good order but without an end", begun, "closed the connection before the end of the answer"},
		{"after the finish reason", fake.Then(begun, fake.Stream(fake.Event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}`))), "before the end of the answer"},
		{"error event", fake.Then(begun, fake.Stream(fake.Failure("overloaded_error", "Overloaded"))), "overloaded"},
		{"key refused", fake.Then(begun, fake.Stream(fake.Failure("authentication_error", fake.Canary))), "[key]"},
		{"garbage", fake.Then(begun, fake.Stream(fake.Event("content_block_delta", "{nonsense"))), "no answer of the Messages API"},
		{"half an event", fake.Then(begun, fake.Stream("event: content_block_delta\ndata: {\"type\"")), "before the end of the answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := fake.New(c.step)
			text, usage, err := read(t, t.Context(), client(t, api.Serve(t), nil), hello)
			want(t, err, CodeBroken, c.words)
			if text != "half an answer" || usage != nil || len(api.Requests()) != 1 {
				t.Errorf("got %q, usage %v, %d requests", text, usage, len(api.Requests()))
			}
		})
	}
}

// F: the three time-outs end a request in known time; what the reader needs for itself is no silence.
func TestFTimeouts(t *testing.T) {
	begun := fake.Stream(fake.Start(1), fake.Delta("half"))
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	for _, c := range []struct {
		name  string
		step  fake.Step
		dial  func(ctx context.Context, network, address string) (net.Conn, error)
		code  Code
		words string
		after time.Duration
	}{
		{"connect", nil, hang, CodeConnect, "within 5s", connectTimeout},
		{"no header", fake.Silence, nil, CodeTimeout, "no answer within 30s", firstByteTimeout},
		{"header and no byte", fake.Then(fake.Stream(), fake.Silence), nil, CodeTimeout, "no answer within 30s", firstByteTimeout},
		{"silence before the text", fake.Then(fake.Stream(fake.Start(1)), fake.Silence), nil, CodeTimeout, "silence for 1m0s", idleTimeout},
		{"silence in the middle", fake.Then(begun, fake.Silence), nil, CodeBroken, "silence for 1m0s", idleTimeout},
		{"error status and silence", fake.Then(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			http.NewResponseController(w).Flush()
		}, fake.Silence), nil, CodeTimeout, "no answer within 30s", firstByteTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := fake.New(c.step)
				cl := bubble(t, api, func(o *Options) {
					if c.dial != nil {
						o.Dial = c.dial
					}
				})
				begin := time.Now()
				_, _, err := read(t, t.Context(), cl, hello)
				want(t, err, c.code, c.words)
				if took := time.Since(begin); took != c.after {
					t.Errorf("took %v, want %v", took, c.after)
				}
			})
		})
	}
}

func TestFSlowIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slowly := func(events ...string) fake.Step {
			return func(w http.ResponseWriter, r *http.Request) {
				for _, e := range events {
					time.Sleep(idleTimeout - time.Second)
					fake.Stream(e)(w, r)
				}
			}
		}
		api := fake.New(fake.Then(fake.Stream(fake.Start(1)), slowly(fake.Event("ping", `{"type":"ping"}`), fake.Delta("a"), fake.Delta("b"), fake.End("end_turn", 2))))
		text := ""
		for piece, err := range bubble(t, api, nil).Stream(t.Context(), hello) {
			if err != nil {
				t.Fatal(err)
			}
			text += piece.Text
			time.Sleep(3 * idleTimeout) // the reader is slow too
		}
		if text != "ab" {
			t.Errorf("got %q", text)
		}
	})
}

// F: redirects are refused, and the key reaches nobody else.
func TestFRedirect(t *testing.T) {
	var leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer other.Close()
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		for _, to := range []string{other.URL + "/v1/messages?sig=" + fake.Canary, "/elsewhere", "", "http://[bad"} {
			api := fake.New(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			})
			_, _, err := read(t, t.Context(), client(t, api.Serve(t), nil), hello)
			want(t, err, CodeRedirect, "redirects are not followed")
			if n := len(api.Requests()); n != 1 {
				t.Errorf("%d to %q: %d requests, want 1", status, to, n)
			}
		}
	}
	if n := leaked.Load(); n != 0 {
		t.Errorf("the other server got %d requests", n)
	}
}

// What the library above the transport sees, and may put into an error, has no key.
func TestTransportKeepsTheKey(t *testing.T) {
	api := fake.New(fake.Answer("x"))
	c := client(t, api.Serve(t), nil)
	request, err := http.NewRequest("GET", c.options.BaseURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.http.Transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Request != request || request.Header.Get("X-Api-Key") != "" || api.Requests()[0].Header.Get("X-Api-Key") != fake.Canary {
		t.Errorf("the key is in %v", request.Header)
	}
	request.URL.Host = "127.0.0.1:1"
	if _, err := c.http.Transport.RoundTrip(request); !errors.Is(err, errOrigin) {
		t.Errorf("another origin: got %v, want %v", err, errOrigin)
	}
}

// F: an answer without end is cut off at a known size.
func TestFSize(t *testing.T) {
	endless := func(piece string) fake.Step {
		return fake.Then(fake.Stream(fake.Start(1)), func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
		})
	}
	for name, c := range map[string]struct {
		piece string
		code  Code
	}{
		"text":              {fake.Delta(strings.Repeat("word ", 1<<16)), CodeBroken},
		"pings":             {fake.Event("ping", `{"type":"ping"}`+strings.Repeat(" ", 1<<16)), CodeSize},
		"line without end":  {strings.Repeat("x", 1<<16), CodeSize},
		"event without end": {"data: " + strings.Repeat("x", 1<<16) + "\n", CodeSize},
	} {
		t.Run(name, func(t *testing.T) {
			text, _, err := read(t, t.Context(), client(t, fake.New(endless(c.piece)).Serve(t), nil), hello)
			want(t, err, c.code, "longer than 16 MiB")
			if len(text) > answerBytesMax {
				t.Errorf("got %d bytes", len(text))
			}
		})
	}
}
