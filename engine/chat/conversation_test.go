package chat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func said(c Conversation) string {
	var b strings.Builder
	for _, m := range c.Messages() {
		fmt.Fprintf(&b, "%c:%s ", m.Role[0], m.Content)
	}
	return strings.TrimSpace(b.String())
}

func TestConversation(t *testing.T) {
	var c Conversation
	if c.Undo() || c.Retry() {
		t.Error("an empty conversation has nothing to take back")
	}
	c.Ask("1")
	c.Answer("one")
	c.System = "be brief"
	c.Ask("2")
	c.Answer("two")
	before := c.Clone()
	for _, step := range []struct {
		name string
		do   func() bool
		want string
	}{
		{"start", func() bool { return true }, "s:be brief u:1 a:one u:2 a:two"},
		{"retry", c.Retry, "s:be brief u:1 a:one u:2"},
		{"retry without an answer", c.Retry, "s:be brief u:1 a:one u:2"},
		{"undo without an answer", c.Undo, "s:be brief u:1 a:one"},
		{"answer again", func() bool { c.Ask("3"); c.Answer("three"); return true }, "s:be brief u:1 a:one u:3 a:three"},
		{"undo", c.Undo, "s:be brief u:1 a:one"},
		{"undo the first", c.Undo, "s:be brief"},
	} {
		if ok := step.do(); !ok || said(c) != step.want {
			t.Errorf("%s: %v %q, want %q", step.name, ok, said(c), step.want)
		}
	}
	if got := said(before); got != "s:be brief u:1 a:one u:2 a:two" {
		t.Errorf("the copy became %q", got)
	}
}

func TestFit(t *testing.T) {
	long := []Message{{System, "ss"}, {User, "aaaa"}, {Assistant, "bbbb"}, {User, "cccc"}, {Assistant, "dddd"}, {Assistant, "ee"}, {User, "ffff"}}
	calls := 0
	count := func(m []Message) (n int, err error) {
		calls++
		for _, m := range m {
			n += len(m.Content)
		}
		return n, nil
	}
	for _, c := range []struct {
		messages []Message
		limit    int
		want     string // contents
		dropped  int
		err      string
	}{
		{long, 100, "ss aaaa bbbb cccc dddd ee ffff", 0, ""},
		{long, 24, "ss aaaa bbbb cccc dddd ee ffff", 0, ""},
		{long, 23, "ss cccc dddd ee ffff", 2, ""},
		{long, 16, "ss cccc dddd ee ffff", 2, ""},
		{long, 15, "ss ffff", 5, ""},
		{long, 6, "ss ffff", 5, ""},
		{long, 5, "", 0, "the last message alone makes at least 6 tokens, there is room for 5"},
		{long[1:], 4, "ffff", 5, ""},
		{long[:2], 5, "", 0, "at least 6 tokens"},
		{long[:1], 1, "", 0, "at least 2 tokens"},
		{long[2:], 6, "ffff", 4, ""},
		{nil, 0, "", 0, ""},
	} {
		kept, dropped, err := Fit(c.messages, c.limit, count)
		var contents []string
		for _, m := range kept {
			contents = append(contents, m.Content)
		}
		got := strings.Join(contents, " ")
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%d messages in %d: error %v, want %q", len(c.messages), c.limit, err, c.err)
		} else if err == nil && (got != c.want || dropped != c.dropped) {
			t.Errorf("%d messages in %d: got %q without %d, want %q without %d", len(c.messages), c.limit, got, dropped, c.want, c.dropped)
		}
	}
	many := slices.Repeat([]Message{{User, "x"}, {Assistant, "y"}}, 5000)
	calls = 0
	if kept, _, err := Fit(many, 100, count); len(kept) != 100 || err != nil || calls > 20 {
		t.Errorf("%d kept of 10000 with %d counts, %v; want 100 with a few", len(kept), calls, err)
	}
	broken := errors.New("broken")
	for after := range 4 {
		left := after
		_, _, err := Fit(many, 100, func(m []Message) (int, error) {
			if left--; left < 0 {
				return 0, broken
			}
			return len(m), nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("a count that fails after %d: got %v", after, err)
		}
	}
}
