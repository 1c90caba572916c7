package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// object is a JSON object read strictly: a key that stands twice, or in other letter case than expected, and a value of
// the wrong type or out of bounds are errors. (encoding/json keeps the last duplicate, and matches keys in any case.)
// The first error is kept; the getters then return nothing.
type object struct {
	file   string
	at     string // path of this object, "model.decoder."
	fields map[string]any
	failed *error
}

const nestingMax = 64

// parseJSON reads a file that holds one JSON object.
func parseJSON(file string, data []byte) (object, error) {
	if what := sniff(data); what != "" && what != looksJSON {
		return object{}, fmt.Errorf("model: read %s: %w: it %s, a JSON object was expected", file, ErrFile, what)
	}
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err == nil {
		if _, e := d.Token(); e != io.EOF {
			err = fmt.Errorf("more text after the object, at byte %d", d.InputOffset())
		}
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = fmt.Errorf("it ends in the middle of a value, at byte %d", d.InputOffset())
	}
	m, ok := v.(map[string]any)
	if err == nil && !ok {
		err = fmt.Errorf("a JSON object was expected")
	}
	if err != nil {
		return object{}, fmt.Errorf("model: read %s: %w: %v", file, ErrFile, err)
	}
	return object{file: file, fields: m, failed: new(error)}, nil
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
		m := map[string]any{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			k, _ := key.(string)
			if _, twice := m[k]; twice {
				return nil, fmt.Errorf("the key %q stands twice, at byte %d", k, d.InputOffset())
			}
			if m[k], err = parseValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return m, err
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

func (o object) fail(key, format string, args ...any) {
	if o.failed != nil && *o.failed == nil {
		*o.failed = fmt.Errorf("model: read %s: %w: %s%s: %s", o.file, ErrFile, o.at, key, fmt.Sprintf(format, args...))
	}
}

// err is the first thing that was wrong.
func (o object) err() error {
	if o.failed == nil {
		return nil
	}
	return *o.failed
}

// value returns the first of keys that is present and not null, and its key.
func (o object) value(keys ...string) (any, string) {
	for _, key := range keys {
		if v, ok := o.fields[key]; ok {
			if v != nil {
				return v, key
			}
			continue
		}
		for k := range o.fields {
			if strings.EqualFold(k, key) {
				o.fail(shorten(k), "a key in other letter case, %q was expected", key)
			}
		}
	}
	return nil, ""
}

func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(shorten(v))
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	case map[string]any:
		return "an object"
	}
	return shorten(fmt.Sprint(v))
}

// shorten makes text out of a file fit into a message.
func shorten(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	return printable(s)
}

// int returns an integer from low to high, or 0 when none of the keys is present.
func (o object) int(low, high int64, keys ...string) int {
	if p := o.intPtr(low, high, keys...); p != nil {
		return *p
	}
	return 0
}

func (o object) intPtr(low, high int64, keys ...string) *int {
	v, key := o.value(keys...)
	if v == nil {
		return nil
	}
	n, ok := integer(v)
	if !ok || n < low || n > high {
		o.fail(key, "expected an integer from %d to %d, found %s", low, high, describe(v))
		return nil
	}
	i := int(n)
	return &i
}

func integer(v any) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	return n, err == nil
}

// float returns a number from low to high, or nil when the key is absent.
func (o object) float(low, high float64, key string) *float32 {
	v, _ := o.value(key)
	if v == nil {
		return nil
	}
	number, ok := v.(json.Number)
	f, err := number.Float64()
	if !ok || err != nil || math.IsNaN(f) || f < low || f > high {
		o.fail(key, "expected a number from %g to %g, found %s", low, high, describe(v))
		return nil
	}
	x := float32(f)
	return &x
}

func (o object) string(key string) string {
	v, _ := o.value(key)
	s, ok := v.(string)
	if v != nil && !ok {
		o.fail(key, "expected a text, found %s", describe(v))
	}
	return s
}

func (o object) boolPtr(key string) *bool {
	v, _ := o.value(key)
	if v == nil {
		return nil
	}
	b, ok := v.(bool)
	if !ok {
		o.fail(key, "expected true or false, found %s", describe(v))
		return nil
	}
	return &b
}

func (o object) bool(key string) bool {
	b := o.boolPtr(key)
	return b != nil && *b
}

func (o object) strings(key string) []string {
	v, _ := o.value(key)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	var out []string
	for _, x := range list {
		s, isText := x.(string)
		ok = ok && isText
		out = append(out, s)
	}
	if !ok {
		o.fail(key, "expected a list of texts, found %s", describe(v))
	}
	return out
}

// object returns a nested object; it is empty when the key is absent.
func (o object) object(key string) object {
	v, _ := o.value(key)
	m, ok := v.(map[string]any)
	if v != nil && !ok {
		o.fail(key, "expected an object, found %s", describe(v))
	}
	return object{file: o.file, at: o.at + key + ".", fields: m, failed: o.failed}
}

// ids returns one token id or a list of them. An empty list is an error: it would leave a text without an end.
func (o object) ids(key string) []int32 {
	v, _ := o.value(key)
	if v == nil {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	var out []int32
	for _, x := range list {
		n, ok := integer(x)
		if !ok || n < -1 || n > math.MaxInt32 {
			o.fail(key, "expected a token id or a list of them, found %s", describe(x))
			return nil
		}
		if n >= 0 { // -1 is how some configurations write "none"
			out = append(out, int32(n))
		}
	}
	if isList && len(list) == 0 {
		o.fail(key, "the list is empty; a token id, a list of them or null was expected")
	}
	return out
}
