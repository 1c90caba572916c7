package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// scanner walks JSON through a window without building it. It trusts the grammar between the values that it is asked for:
// the tokenizer itself is parsed in full elsewhere.
type scanner struct {
	src    io.Reader
	window []byte
	at     int    // next byte in the window
	long   []byte // a text that reaches over the window's end
	key    []byte
}

// fill reads the next window once the present one is used up.
func (s *scanner) fill() error {
	for range 100 {
		n, err := s.src.Read(s.window[:cap(s.window)])
		s.window, s.at = s.window[:n], 0
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// peek is the next byte that is no space; it is not consumed.
func (s *scanner) peek() (byte, error) {
	for {
		for ; s.at < len(s.window); s.at++ {
			if c := s.window[s.at]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

func (s *scanner) expect(want byte) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c != want {
		return fmt.Errorf("%q where %q was expected", c, want)
	}
	s.at++
	return nil
}

// members calls f for each member of an object or array, between open and end.
func (s *scanner) members(open, end byte, f func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.peek()
		if err != nil {
			return err
		}
		if c == end {
			s.at++
			return nil
		}
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
		}
		if err := f(); err != nil {
			return err
		}
	}
}

func (s *scanner) array(f func() error) error { return s.members('[', ']', f) }

// object calls f with each key, which is valid until the next one is read; f reads the value.
func (s *scanner) object(f func(key []byte) error) error {
	return s.members('{', '}', func() error {
		key, err := s.text()
		if err != nil {
			return err
		}
		s.key = append(s.key[:0], key...)
		if err := s.expect(':'); err != nil {
			return err
		}
		return f(s.key)
	})
}

const textMax = 32 << 20 // bytes of one text: a Unigram normalizer's table has up to a few MB

// raw reads a text and returns what stands between its quotes, valid until anything else is read.
func (s *scanner) raw() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	if n := closing(s.window[s.at:], 0); n >= 0 { // nearly always
		text := s.window[s.at : s.at+n]
		s.at += n + 1
		return text, nil
	}
	s.long = append(s.long[:0], s.window[s.at:]...)
	for {
		if err := s.fill(); err != nil {
			return nil, err
		}
		before := len(s.long)
		s.long = append(s.long, s.window...)
		if n := closing(s.long, before); n >= 0 {
			s.at = n + 1 - before
			return s.long[:n], nil
		}
		if len(s.long) > textMax {
			return nil, fmt.Errorf("a text of more than %d bytes", textMax)
		}
	}
}

// closing is the place of the quote that ends a text, looked for from a place on; -1 when there is none.
func closing(b []byte, from int) int {
	for {
		n := bytes.IndexByte(b[from:], '"')
		if n < 0 {
			return -1
		}
		n += from
		slashes := 0
		for slashes < n && b[n-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return n
		}
		from = n + 1
	}
}

// text reads a text and resolves its escapes; it is valid until anything else is read.
func (s *scanner) text() ([]byte, error) {
	raw, err := s.raw()
	if err != nil || bytes.IndexByte(raw, '\\') < 0 {
		return raw, err
	}
	var out string
	err = json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &out)
	return []byte(out), err
}

const idMax = 1<<32 - 1

// id reads a token's id.
func (s *scanner) id() (int64, error) {
	if _, err := s.peek(); err != nil {
		return 0, err
	}
	var digits [24]byte
	b, err := s.scalar(digits[:0])
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 || n > idMax {
		return 0, fmt.Errorf("the token id %q, a number from 0 to %d was expected", jsonobject.Shorten(string(b)), int64(idMax))
	}
	return n, nil
}

// skip passes over a value.
func (s *scanner) skip() error {
	for depth := 0; ; {
		c, err := s.peek()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			_, err = s.raw()
		case '{', '[':
			if depth++; depth > 512 {
				return errors.New("values nested more than 512 deep")
			}
			s.at++
		case '}', ']':
			if depth--; depth < 0 {
				return fmt.Errorf("%q where a value was expected", c)
			}
			s.at++
		case ',', ':':
			if depth == 0 {
				return fmt.Errorf("%q where a value was expected", c)
			}
			s.at++
		default:
			_, err = s.scalar(nil)
		}
		if err != nil {
			return err
		}
		if depth == 0 {
			return nil
		}
	}
}

// scalar passes over a number, true, false or null, and appends it to b.
func (s *scanner) scalar(b []byte) ([]byte, error) {
	for range 1000 {
		if s.at == len(s.window) {
			if err := s.fill(); err != nil {
				return b, err
			}
		}
		switch c := s.window[s.at]; c {
		case ',', '}', ']', ':', '"', '[', '{', ' ', '\n', '\t', '\r':
			return b, nil
		default:
			b = append(b, c)
			s.at++
		}
	}
	return b, errors.New("a number of more than 1000 digits")
}
