package model

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// vocabulary is what a tokenizer.json says about its ids, read in one pass over the file and in little memory: the largest
// ones have 30 MB, and nearly all of it is merges that nobody here needs.
type vocabulary struct {
	added    map[string]int64 // added tokens by text
	texts    map[int64]string // and by id
	base     map[string]int64 // those of the wanted tokens that the model's own vocabulary holds
	baseMax  int64            // highest id of the model's own vocabulary, -1 when it has none
	addedMax int64
}

const tokenizerMax = 128 << 20

// id finds a token's id: -1 when there is none.
func (v *vocabulary) id(token string) int64 {
	if id, ok := v.added[token]; ok {
		return id
	}
	if id, ok := v.base[token]; ok {
		return id
	}
	return -1
}

// readVocabulary scans a tokenizer.json; wanted are the tokens of the model's own vocabulary whose ids matter.
func (f Files) readVocabulary(wanted ...string) (*vocabulary, error) {
	v := &vocabulary{added: map[string]int64{}, texts: map[int64]string{}, base: map[string]int64{}, baseMax: -1, addedMax: -1}
	if f.Tokenizer == "" {
		return v, nil
	}
	file, size, err := f.open(f.Tokenizer)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > tokenizerMax {
		return nil, f.fileError(f.Tokenizer, "it has %d bytes, at most %d were expected", size, tokenizerMax)
	}
	r := bufio.NewReaderSize(file, 64<<10)
	head, _ := r.Peek(512)
	if what := sniff(head); what != looksJSON {
		if what == "" {
			what = "is no JSON"
		}
		return nil, f.fileError(f.Tokenizer, "it %s, a JSON object was expected", what)
	}
	for _, w := range wanted {
		v.base[w] = -1
	}
	s := &scanner{Reader: r}
	err = s.object(func(key string) error {
		switch key {
		case "added_tokens":
			return s.array(func() error { return v.readAdded(s) })
		case "model":
			return s.object(func(key string) error {
				if key != "vocab" {
					return s.skip()
				}
				return v.readBase(s)
			})
		}
		return s.skip()
	})
	for w, id := range v.base {
		if id < 0 {
			delete(v.base, w)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends in the middle of a value: it was cut off")
	}
	if err != nil {
		return nil, f.fileError(f.Tokenizer, "%v", err)
	}
	return v, nil
}

// readAdded reads one element of added_tokens.
func (v *vocabulary) readAdded(s *scanner) error {
	id, text := int64(-1), ""
	err := s.object(func(key string) (err error) {
		switch key {
		case "id":
			id, err = s.id()
			return err
		case "content":
			text, err = s.text()
			return err
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	if id < 0 {
		return fmt.Errorf("the added token %q has no id", shorten(text))
	}
	v.added[text], v.texts[id] = id, text
	v.addedMax = max(v.addedMax, id)
	return nil
}

// readBase reads the vocabulary: an object of token and id (BPE, WordPiece, WordLevel), or a list of [token, score] whose
// ids are its places (Unigram).
func (v *vocabulary) readBase(s *scanner) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c == '[' {
		return s.array(func() error {
			v.baseMax++
			first := true
			return s.array(func() error {
				if !first {
					return s.skip()
				}
				first = false
				token, err := s.text()
				if _, wanted := v.base[token]; wanted && err == nil {
					v.base[token] = v.baseMax
				}
				return err
			})
		})
	}
	return s.object(func(key string) error {
		id, err := s.id()
		if _, wanted := v.base[key]; wanted && err == nil {
			v.base[key] = id
		}
		v.baseMax = max(v.baseMax, id)
		return err
	})
}

// scanner walks JSON without building it. It trusts the grammar between the values that it is asked for: the tokenizer
// itself is parsed in full elsewhere.
type scanner struct {
	*bufio.Reader
	scratch []byte
}

// peek is the next byte that is no space.
func (s *scanner) peek() (byte, error) {
	for {
		c, err := s.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, s.UnreadByte()
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
	_, err = s.ReadByte()
	return err
}

// members calls f before each member of an object or array, between open and close.
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
			_, err := s.ReadByte()
			return err
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

func (s *scanner) object(f func(key string) error) error {
	return s.members('{', '}', func() error {
		raw, err := s.raw()
		if err != nil {
			return err
		}
		key, err := unquote(raw)
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		return f(key)
	})
}

const textMax = 32 << 20 // bytes of one string: a Unigram normalizer's table has up to a few MB

// raw reads a string and returns what stands between its quotes, valid until the next call.
func (s *scanner) raw() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	s.scratch = s.scratch[:0]
	for {
		part, err := s.ReadSlice('"')
		s.scratch = append(s.scratch, part...)
		if len(s.scratch) > textMax {
			return nil, fmt.Errorf("a text of more than %d bytes", textMax)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, err
		}
		text := s.scratch[:len(s.scratch)-1]
		slashes := 0
		for slashes < len(text) && text[len(text)-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return text, nil
		}
	}
}

func unquote(raw []byte) (string, error) {
	for _, c := range raw {
		if c == '\\' || c < ' ' {
			var out string
			err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &out)
			return out, err
		}
	}
	return string(raw), nil
}

func (s *scanner) text() (string, error) {
	raw, err := s.raw()
	if err != nil {
		return "", err
	}
	return unquote(raw)
}

// id reads a token's id.
func (s *scanner) id() (int64, error) {
	if _, err := s.peek(); err != nil {
		return 0, err
	}
	s.scratch = s.scratch[:0]
	for len(s.scratch) < 32 {
		c, err := s.ReadByte()
		if err != nil {
			return 0, err
		}
		if c == ',' || c == '}' || c == ']' || c <= ' ' {
			if err := s.UnreadByte(); err != nil {
				return 0, err
			}
			break
		}
		s.scratch = append(s.scratch, c)
	}
	n, err := strconv.ParseInt(string(s.scratch), 10, 64)
	if err != nil || n < 0 || n > 1<<32-1 {
		return 0, fmt.Errorf("the token id %q, a number from 0 to %d was expected", s.scratch, int64(1<<32-1))
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
			_, err = s.ReadByte()
		case '}', ']':
			if depth--; depth < 0 {
				return fmt.Errorf("%q where a value was expected", c)
			}
			_, err = s.ReadByte()
		case ',', ':':
			if depth == 0 {
				return fmt.Errorf("%q where a value was expected", c)
			}
			_, err = s.ReadByte()
		default:
			err = s.scalar()
		}
		if err != nil {
			return err
		}
		if depth == 0 {
			return nil
		}
	}
}

// scalar passes over a number, true, false or null.
func (s *scanner) scalar() error {
	for n := 0; ; n++ {
		c, err := s.ReadByte()
		if err != nil {
			return err
		}
		if c == ',' || c == '}' || c == ']' || c == ':' || c == '"' || c == '[' || c == '{' || c <= ' ' {
			return s.UnreadByte()
		}
		if n > 1000 {
			return errors.New("a number of more than 1000 digits")
		}
	}
}
