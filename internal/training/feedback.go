package training

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Feedback is the lines of a feedback file that something can be learned from, and their number. Of several verdicts on one answer the
// last counts, but that it is bad takes no correction back. A line that was cut is left out.
func Feedback(r io.Reader) (lines []byte, n int, err error) {
	type verdict struct {
		line   []byte
		weight float64
		better bool // it has a correction
	}
	var order []string
	last := map[string]verdict{}
	for in := bufio.NewReader(r); err == nil; {
		var line []byte
		line, err = in.ReadBytes('\n')
		var l struct {
			Messages []json.RawMessage
			Weight   float64
			Answer   *string
		}
		if json.Unmarshal(line, &l) != nil || len(l.Messages) == 0 {
			continue
		}
		about := ""
		for _, m := range l.Messages[:len(l.Messages)-1] {
			about += string(m) + "\x00"
		}
		if l.Answer != nil {
			about += *l.Answer
		} else {
			var m struct{ Content string }
			if json.Unmarshal(l.Messages[len(l.Messages)-1], &m) != nil {
				continue
			}
			about += m.Content
		}
		before, judged := last[about]
		if !judged {
			order = append(order, about)
		}
		if v := (verdict{bytes.TrimSpace(line), l.Weight, l.Answer != nil}); v.weight > 0 || !before.better {
			last[about] = v
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	for _, about := range order {
		if v := last[about]; v.weight > 0 {
			lines, n = append(append(lines, v.line...), '\n'), n+1
		}
	}
	return lines, n, nil
}
