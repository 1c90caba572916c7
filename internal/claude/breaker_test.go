package claude

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/shammah/shammah-engine/internal/claude/claudetest"
)

var down = fake.Status(503, "api_error", "down", "X-Should-Retry", "false")

// F: after three failed requests the service rests; then one request tests it, and the others wait for its end.
func TestFBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(s fake.Step) fake.Step {
			return fake.Then(func(http.ResponseWriter, *http.Request) { time.Sleep(10 * time.Second) }, s)
		}
		api := fake.New(down, down, down, slow(down), slow(fake.Answer("up")), fake.Answer("again"))
		c := bubble(t, api, nil)
		requests := func(n int) {
			t.Helper()
			if got := len(api.Requests()); got != n {
				t.Fatalf("%d requests so far, want %d", got, n)
			}
		}
		ask := func() (string, error) {
			text, _, err := read(t, t.Context(), c, hello)
			return text, err
		}
		for range failuresMax {
			if err := c.Available(); err != nil {
				t.Fatalf("closed: %v", err)
			}
			_, err := ask()
			want(t, err, CodeServer)
		}
		want(t, c.Available(), CodeBreaker, "failed several times", "30s")
		_, err := ask()
		want(t, err, CodeBreaker)
		requests(3)

		time.Sleep(restTime) // half open: the test fails, and nobody else is let through
		tested := make(chan error)
		go func() { _, err := ask(); tested <- err }()
		synctest.Wait()
		_, err = ask()
		want(t, err, CodeBreaker)
		want(t, <-tested, CodeServer)
		requests(4)
		want(t, c.Available(), CodeBreaker, "30s")

		time.Sleep(restTime) // half open again: the test succeeds
		if text, err := ask(); text != "up" || err != nil {
			t.Fatalf("got %q, %v", text, err)
		}
		if text, err := ask(); text != "again" || err != nil {
			t.Fatalf("got %q, %v", text, err)
		}
		requests(6)
	})
}

// F: a test that its user cancels decides nothing, and the next request tests.
func TestFBreakerTestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.New(down, down, down, fake.Silence, down)
		c := bubble(t, api, nil)
		for range failuresMax {
			read(t, t.Context(), c, hello)
		}
		time.Sleep(restTime)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := read(t, ctx, c, hello)
		want(t, err, CodeCancelled)
		_, _, err = read(t, t.Context(), c, hello)
		want(t, err, CodeServer)
		want(t, c.Available(), CodeBreaker)
	})
}

// F: a reader that panics does not leave the breaker in its test for ever.
func TestFBreakerReaderPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.New(down, down, down, fake.Answer("up"))
		c := bubble(t, api, nil)
		for range failuresMax {
			read(t, t.Context(), c, hello)
		}
		time.Sleep(restTime)
		func() {
			defer func() { _ = recover() }()
			for range c.Stream(t.Context(), hello) {
				panic("reader")
			}
		}()
		if err := c.Available(); err != nil {
			t.Error(err)
		}
	})
}

// What a user asks wrongly says nothing against the service.
func TestFBreakerCountsOnlyTheService(t *testing.T) {
	bad := fake.Status(400, "invalid_request_error", "no")
	api := fake.New(down, down, bad, down, down, bad, fake.Answer("up"))
	c := client(t, api.Serve(t), nil)
	for range 6 {
		read(t, t.Context(), c, hello)
	}
	if text, _, err := read(t, t.Context(), c, hello); text != "up" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
}

// F: the budget of an hour is kept, and answers that broke off count too.
func TestFBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.New(fake.Answer("one", "two"), fake.Then(fake.Stream(fake.Start(25), fake.Delta("twelve bytes")), fake.Cut), fake.Answer("three"), fake.Answer("four"))
		c := bubble(t, api, func(o *Options) { o.TokensPerHour = 55 })
		read(t, t.Context(), c, hello) // 25 + 2
		time.Sleep(20 * time.Minute)
		if err := c.Available(); err != nil {
			t.Fatalf("after 27 of 55: %v", err)
		}
		read(t, t.Context(), c, hello) // 25 + 12/4
		_, _, err := read(t, t.Context(), c, hello)
		want(t, err, CodeBudget, "55 tokens in an hour", "40m0s")
		if n := len(api.Requests()); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
		time.Sleep(40 * time.Minute)
		for _, wanted := range []string{"three", "four"} { // 28 and 54 were spent
			if text, _, err := read(t, t.Context(), c, hello); text != wanted || err != nil {
				t.Errorf("after the hour: got %q, %v, want %q", text, err, wanted)
			}
		}
		want(t, c.Available(), CodeBudget, "20m0s")
	})
}
