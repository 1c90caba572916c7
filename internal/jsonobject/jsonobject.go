// Package jsonobject reads one JSON object strictly: a key that stands twice, text behind the object and deep nesting are errors, numbers
// stay as they were written, and keys keep their order. (encoding/json keeps the last of two keys and forgets their order.)
package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Object is a JSON object. A value is nil, bool, string, json.Number, []any or *Object.
type Object struct {
	Keys   []string // as they stand
	Values map[string]any
}

// Parse reads the one object that data holds. Values may be nested nestingMax deep.
func Parse(data []byte, nestingMax int) (*Object, error) {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	d.UseNumber()
	v, err := parse(d, nestingMax)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("it ends in the middle of a value, at byte %d", d.InputOffset())
	}
	var tooDeep nesting
	if errors.As(err, &tooDeep) {
		return nil, fmt.Errorf("nested more than %d deep, at byte %d", nestingMax, int64(tooDeep))
	}
	if err != nil {
		return nil, err
	}
	o, ok := v.(*Object)
	if !ok {
		return nil, errors.New("a JSON object was expected")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more text after the object, at byte %d", d.InputOffset())
	}
	return o, nil
}

// nesting is the byte at which there is too much of it.
type nesting int64

func (n nesting) Error() string { return "nested too deep" }

func parse(d *json.Decoder, left int) (any, error) {
	if left < 0 {
		return nil, nesting(d.InputOffset())
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return parseObject(d, left)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parse(d, left-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

func parseObject(d *json.Decoder, left int) (*Object, error) {
	o := &Object{Values: map[string]any{}}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		if _, twice := o.Values[key]; twice {
			return nil, fmt.Errorf("the key %q stands twice, at byte %d", Shorten(key), d.InputOffset())
		}
		o.Keys = append(o.Keys, key)
		if o.Values[key], err = parse(d, left-1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return o, err
}

// Integer is a whole number from low to high.
func Integer(v any, low, high int64) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	return n, err == nil && n >= low && n <= high
}

// Describe is a value for a message.
func Describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(Shorten(v))
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	case *Object:
		return "an object"
	}
	return Shorten(fmt.Sprint(v))
}

// Shorten makes text out of a file fit into a message.
func Shorten(s string) string {
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return Printable(s)
}

// Printable keeps what stands in a file from breaking the line that a message is.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
