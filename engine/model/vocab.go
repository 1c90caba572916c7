package model

import (
	"errors"
	"fmt"
	"io"

	"github.com/shammah/shammah-engine/internal/jsonobject"
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
	s := &scanner{src: file, window: make([]byte, 0, 64<<10)}
	if _, err := s.peek(); err != nil && err != io.EOF {
		return nil, f.fileError(f.Tokenizer, "%s", cause(err))
	}
	if what := sniff(s.window); what != looksJSON {
		if what == "" {
			what = "is no JSON"
		}
		return nil, f.fileError(f.Tokenizer, "it %s, a JSON object was expected", what)
	}
	for _, w := range wanted {
		v.base[w] = -1
	}
	err = s.object(func(key []byte) error {
		switch string(key) {
		case "added_tokens":
			return s.array(func() error { return v.readAdded(s) })
		case "model":
			return s.object(func(key []byte) error {
				if string(key) != "vocab" {
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
	err := s.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			id, err = s.id()
			return err
		case "content":
			b, err := s.text()
			text = string(b)
			return err
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	if id < 0 {
		return fmt.Errorf("the added token %q has no id", jsonobject.Shorten(text))
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
				if _, wanted := v.base[string(token)]; wanted && err == nil {
					v.base[string(token)] = v.baseMax
				}
				return err
			})
		})
	}
	return s.object(func(key []byte) error {
		id, err := s.id()
		if _, wanted := v.base[string(key)]; wanted && err == nil {
			v.base[string(key)] = id
		}
		v.baseMax = max(v.baseMax, id)
		return err
	})
}
