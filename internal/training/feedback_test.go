package training

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFeedback(t *testing.T) {
	line := func(question, learned, rest string) string {
		return `{"messages":[{"role":"user","content":"` + question + `"},{"role":"assistant","content":"` + learned + `"}],` + rest + "}"
	}
	good, bad := line("a", "1", `"weight":3`), line("a", "1", `"weight":0`)
	better, best := line("a", "2", `"weight":10,"answer":"1"`), line("a", "3", `"weight":10,"answer":"1"`)
	other, another := line("b", "1", `"weight":3`), line("a", "2", `"weight":3`)
	for _, c := range []struct {
		name string
		file []string
		want []string
	}{
		{"nothing", nil, nil},
		{"one", []string{good}, []string{good}},
		{"only bad", []string{bad}, nil},
		{"good, then bad", []string{good, other, bad}, []string{other}},
		{"bad, then good", []string{bad, other, good}, []string{good, other}},
		{"corrected after good", []string{good, better}, []string{better}},
		{"bad after its correction", []string{better, bad}, []string{better}},
		{"good after its correction", []string{better, good}, []string{good}},
		{"corrected again", []string{better, other, best, bad}, []string{best, other}},
		{"the same question with another answer", []string{good, another}, []string{good, another}},
		{"lines that were cut", []string{good[:20], "", "[]", "null", `{"weight":3}`, `{"weight":3,"messages":[1]}`, other}, []string{other}},
	} {
		got, n, err := Feedback(strings.NewReader(strings.Join(c.file, "\n")))
		want := ""
		for _, l := range c.want {
			want += l + "\n"
		}
		if err != nil || n != len(c.want) || string(got) != want {
			t.Errorf("%s: %d lines, %v\n%s--- want\n%s", c.name, n, err, got, want)
		}
	}
	if _, _, err := Feedback(iotest.ErrReader(errors.New("broken"))); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}
