package lora

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

// object is a JSON object with its keys in their order, which counts in PEFT's patterns. A key that stands twice was refused.
type object struct {
	keys   []string
	values map[string]any // nil, bool, string, json.Number, []any or *object
}

const nestingMax = 16

// parseObject reads the one object that data holds.
func parseObject(data []byte) (*object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("its JSON ends in the middle of a value, at byte %d", d.InputOffset())
	}
	if err != nil {
		return nil, fmt.Errorf("its JSON is wrong: %w", err)
	}
	o, ok := v.(*object)
	if !ok {
		return nil, errors.New("its JSON is no object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is more after its JSON object, at byte %d", d.InputOffset())
	}
	return o, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > nestingMax {
		return nil, fmt.Errorf("nested more than %d deep, at byte %d", nestingMax, d.InputOffset())
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := &object{values: map[string]any{}}
		for d.More() {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			key, _ := t.(string)
			if _, twice := o.values[key]; twice {
				return nil, fmt.Errorf("the key %q stands twice, at byte %d", shorten(key), d.InputOffset())
			}
			o.keys = append(o.keys, key)
			if o.values[key], err = parseValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
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

// describe is a value for a message.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(shorten(v))
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	case *object:
		return "an object"
	}
	return shorten(fmt.Sprint(v))
}

// shorten makes text out of a file fit into a message.
func shorten(s string) string {
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// integer is a whole number from low to high.
func integer(v any, low, high int64) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	return n, err == nil && n >= low && n <= high
}
