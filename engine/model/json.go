package model

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// object is a JSON object read strictly: beside what jsonobject refuses, a key in other letter case than expected and a value of
// the wrong type or out of bounds are errors. (encoding/json matches keys in any case.)
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
	parsed, err := jsonobject.Parse(data, nestingMax)
	if err != nil {
		return object{}, fmt.Errorf("model: read %s: %w: %v", file, ErrFile, err)
	}
	return object{file: file, fields: parsed.Values, failed: new(error)}, nil
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
				o.fail(jsonobject.Shorten(k), "a key in other letter case, %q was expected", key)
			}
		}
	}
	return nil, ""
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
	n, ok := jsonobject.Integer(v, low, high)
	if !ok {
		o.fail(key, "expected an integer from %d to %d, found %s", low, high, jsonobject.Describe(v))
		return nil
	}
	i := int(n)
	return &i
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
		o.fail(key, "expected a number from %g to %g, found %s", low, high, jsonobject.Describe(v))
		return nil
	}
	x := float32(f)
	return &x
}

func (o object) string(key string) string {
	v, _ := o.value(key)
	s, ok := v.(string)
	if v != nil && !ok {
		o.fail(key, "expected a text, found %s", jsonobject.Describe(v))
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
		o.fail(key, "expected true or false, found %s", jsonobject.Describe(v))
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
		o.fail(key, "expected a list of texts, found %s", jsonobject.Describe(v))
	}
	return out
}

// object returns a nested object; it is empty when the key is absent.
func (o object) object(key string) object {
	v, _ := o.value(key)
	m, ok := v.(*jsonobject.Object)
	if v != nil && !ok {
		o.fail(key, "expected an object, found %s", jsonobject.Describe(v))
	}
	nested := object{file: o.file, at: o.at + key + ".", failed: o.failed}
	if ok {
		nested.fields = m.Values
	}
	return nested
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
		n, ok := jsonobject.Integer(x, -1, math.MaxInt32)
		if !ok {
			o.fail(key, "expected a token id or a list of them, found %s", jsonobject.Describe(x))
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
