package claude

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/shammah/shammah-engine/engine/chat"
	fake "github.com/shammah/shammah-engine/internal/claude/claudetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hello = Request{Messages: []chat.Message{{Role: chat.User, Content: "Hello"}}}

// client is a client of the API at base, and what it logs. At the test's end its log is searched for the key.
func client(t *testing.T, base string, change func(*Options)) *Client {
	t.Helper()
	key, err := NewKey(fake.Canary)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := Options{Key: key, BaseURL: base, Log: zerolog.New(&log).Level(zerolog.TraceLevel)}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		secret(t, "log", log.String())
		secret(t, "client", fmt.Sprintf("%v %+v %#v %#v %+v", c, c, c, c.options, c.http.Transport))
	})
	return c
}

// secret fails the test if a text holds the key.
func secret(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, fake.Canary) {
		t.Errorf("%s holds the key: %s", what, text)
	}
}

// read is a whole answer. The error is searched for the key in every form that it can be printed in.
func read(t *testing.T, ctx context.Context, c *Client, q Request) (text string, usage *Usage, err error) {
	t.Helper()
	ended := false
	for piece, pieceErr := range c.Stream(ctx, q) {
		if ended {
			t.Errorf("piece %+v, error %v after the end", piece, pieceErr)
		}
		text += piece.Text
		if ended = pieceErr != nil || piece.Usage != nil; ended {
			usage, err = piece.Usage, pieceErr
		}
	}
	if !ended {
		t.Error("the sequence ended with neither usage nor an error")
	}
	if err != nil {
		var own *Error
		if !errors.As(err, &own) {
			t.Fatalf("got a %T, want *Error: %v", err, err)
		}
		j, _ := json.Marshal(own)
		secret(t, "error", fmt.Sprintf("%v %+v %#v %s", err, err, *own, j))
		if strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Errorf("the error is not one plain line: %q", err)
		}
	}
	return text, usage, err
}

// want fails the test unless err has the code and its text holds the words.
func want(t *testing.T, err error, code Code, words ...string) {
	t.Helper()
	var own *Error
	if !errors.As(err, &own) || own.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want it to say %q", err, w)
		}
	}
}

func TestStreamAnswers(t *testing.T) {
	api := fake.New(fake.Answer("Grüß", " Gott", "\x00\n𝄞"))
	c := client(t, api.Serve(t)+"/gateway/", func(o *Options) { o.Model = "claude-x"; o.MaxTokens = 100 })
	text, usage, err := read(t, t.Context(), c, Request{
		Messages: []chat.Message{{Role: chat.System, Content: "Be brief"}, {Role: chat.User, Content: "a"}, {Role: chat.Assistant, Content: "b"}, {Role: chat.User, Content: "c"}},
		Stop:     []string{"END", " \n"}, MaxTokens: 200,
	})
	if err != nil || text != "Grüß Gott\x00\n𝄞" {
		t.Fatalf("got %q, %v", text, err)
	}
	if wanted := (Usage{Model: "claude-sonnet-5-5", Input: 25, Output: 3, Finish: "end_turn"}); *usage != wanted {
		t.Errorf("usage: got %+v, want %+v", *usage, wanted)
	}
	r := api.Requests()[0]
	if r.Method != "POST" || r.Path != "/gateway/v1/messages" || r.Header.Get("X-Api-Key") != fake.Canary || r.Header.Get("Anthropic-Version") == "" || r.Header.Get("Authorization") != "" {
		t.Errorf("request: %s %s %v", r.Method, r.Path, r.Header)
	}
	wanted := `{"max_tokens":100,"messages":[{"content":[{"text":"a","type":"text"}],"role":"user"},{"content":[{"text":"b","type":"text"}],"role":"assistant"},` +
		`{"content":[{"text":"c","type":"text"}],"role":"user"}],"model":"claude-x","stop_sequences":["END"],"stream":true,"system":[{"text":"Be brief","type":"text"}]}`
	var got, expected any
	if err := errors.Join(json.Unmarshal([]byte(r.Body), &got), json.Unmarshal([]byte(wanted), &expected)); err != nil || fmt.Sprint(got) != fmt.Sprint(expected) {
		t.Errorf("body: got %s, want %s (%v)", r.Body, wanted, err)
	}
}

// The environment of the library is not this program's configuration.
func TestStreamIgnoresTheLibrarysEnvironment(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "sk-ant-other")
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "other")
	t.Setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
	t.Setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Leak: other")
	api := fake.New(fake.Answer("ok"))
	if text, _, err := read(t, t.Context(), client(t, api.Serve(t), nil), hello); err != nil || text != "ok" {
		t.Fatalf("got %q, %v", text, err)
	}
	if h := api.Requests()[0].Header; h.Get("X-Api-Key") != fake.Canary || strings.Contains(fmt.Sprint(h), "other") {
		t.Errorf("header: %v", h)
	}
}

func TestStreamRefusesBadRequests(t *testing.T) {
	c := client(t, "http://127.0.0.1:1", nil)
	for name, q := range map[string]Request{
		"nothing":       {},
		"system only":   {Messages: []chat.Message{{Role: chat.System, Content: "x"}}},
		"empty message": {Messages: []chat.Message{{Role: chat.User, Content: " \n"}}},
		"unknown role":  {Messages: []chat.Message{{Role: "tool", Content: "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(t, t.Context(), c, q)
			want(t, err, CodeRequest)
		})
	}
}

func TestLeavingTheLoopEndsTheRequest(t *testing.T) {
	gone := make(chan struct{})
	api := fake.New(fake.Then(fake.Stream(fake.Start(1), fake.Delta("one")), func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(gone) }), fake.Answer("two"))
	c := client(t, api.Serve(t), nil)
	for piece, err := range c.Stream(t.Context(), hello) {
		if piece.Text != "one" || err != nil {
			t.Fatalf("got %+v, %v", piece, err)
		}
		break
	}
	<-gone
	if text, _, err := read(t, t.Context(), c, hello); text != "two" || err != nil {
		t.Errorf("the next answer: got %q, %v", text, err)
	}
}

func TestCancelling(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	api := fake.New(fake.Then(fake.Stream(fake.Start(1), fake.Delta("one")), fake.Silence))
	c := client(t, api.Serve(t), nil)
	var last error
	for piece, err := range c.Stream(ctx, hello) {
		if last = err; piece.Text == "one" {
			cancel()
		}
	}
	want(t, last, CodeCancelled)
	if !errors.Is(last, context.Canceled) {
		t.Errorf("%v is not context.Canceled", last)
	}
	if err := c.Available(); err != nil {
		t.Errorf("after a cancelled request: %v", err)
	}
}

func TestKeyShowsInNoPrint(t *testing.T) {
	k, err := NewKey("  " + fake.Canary + "\n")
	if err != nil || !k.IsSet() {
		t.Fatal(k, err)
	}
	type holder struct {
		k Key
		P *Key
		M map[string]Key
		i any
	}
	h := holder{k, &k, map[string]Key{"a": k}, k}
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Interface("k", k).Any("h", h).Stringer("s", k).Msgf("%v", h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "k", k, "h", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "k", k, "h", h)
	j, _ := json.Marshal(map[string]any{"k": k, "h": h})
	all := log.String() + string(j) + fmt.Sprint(k, &k, h, &h) + k.String() + k.GoString()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%10.3s", "%c"} {
		all += fmt.Sprintf(verb, k) + fmt.Sprintf(verb, &k) + fmt.Sprintf(verb, h) + fmt.Sprintf(verb, &h) + fmt.Errorf("%w: "+verb, io.EOF, k).Error()
	}
	for _, bad := range []string{fake.Canary, fmt.Sprintf("%x", fake.Canary), fmt.Sprintf("%X", fake.Canary), fake.Canary[:12]} {
		if strings.Contains(all, bad) {
			t.Errorf("a print of the key holds %q: %s", bad, all)
		}
	}
	if !strings.Contains(k.String(), "key") || (Key{}).String() == k.String() {
		t.Errorf("a key and no key print as %s and %s", k, Key{})
	}
}

func TestNewKeyRefusesWhatCannotBeOne(t *testing.T) {
	for _, text := range []string{"a b", "a\r\nX-Evil: 1", "schlüssel", "a\x00"} {
		k, err := NewKey(text)
		want(t, err, CodeKey)
		if k.IsSet() || strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, %v", text, k, err)
		}
	}
	if k, err := NewKey(" \n"); err != nil || k.IsSet() {
		t.Errorf("blanks: got %v, %v, want no key and no error", k, err)
	}
}

func TestNewChecksTheBaseURL(t *testing.T) {
	for base, good := range map[string]bool{
		"":                          true,
		"https://api.example.com":   true,
		"https://api.example.com/x": true,
		"http://127.0.0.1:8080":     true,
		"http://localhost:8080":     true,
		"http://[::1]:8080":         true,
		"http://127.9.9.9":          true,
		"http://api.example.com":    false,
		"http://127.0.0.1.evil.com": false,
		"http://192.168.0.1":        false,
		"ftp://api.example.com":     false,
		"api.example.com":           false,
		"https://":                  false,
		"https://:443":              false,
		"https://a.com/?x=1":        false,
		"https://a.com/#x":          false,
		"://":                       false,
	} {
		c, err := New(Options{BaseURL: base})
		if (err == nil) != good {
			t.Errorf("%q: got error %v, want good %t", base, err, good)
		}
		if c != nil {
			c.Close()
		}
	}
	_, err := New(Options{BaseURL: "https://user:" + fake.Canary + "@a.com"})
	want(t, err, CodeRequest)
	secret(t, "error", err.Error())
	_, err = New(Options{MaxTokens: -1})
	want(t, err, CodeRequest)
}

func TestCheck(t *testing.T) {
	info := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2026-02-04T00:00:00Z"}`)
	}
	for _, c := range []struct {
		name  string
		step  fake.Step
		code  Code
		words string
	}{
		{"good", info, "", ""},
		{"bad key", fake.Status(401, "authentication_error", "invalid x-api-key "+fake.Canary), CodeAuth, "[key]"},
		{"unknown model", fake.Status(404, "not_found_error", "model: claude-x"), CodeModel, "claude-x"},
		{"captive portal", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, CodeStream, "Messages API"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := fake.New(c.step)
			err := client(t, api.Serve(t), func(o *Options) { o.Model = "claude-x" }).Check(t.Context())
			if c.code == "" && err != nil {
				t.Fatal(err)
			} else if c.code != "" {
				want(t, err, c.code, c.words)
				secret(t, "error", fmt.Sprintf("%+v", err))
			}
			if r := api.Requests(); len(r) != 1 || r[0].Method != "GET" || r[0].Path != "/v1/models/claude-x" || r[0].Header.Get("X-Api-Key") != fake.Canary {
				t.Errorf("requests: %+v", r)
			}
		})
	}
}

func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func untrusted(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}
