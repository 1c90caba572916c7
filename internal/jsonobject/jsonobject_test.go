package jsonobject

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	o, err := Parse([]byte("\xef\xbb\xbf"+`{"z": 1.50, "a": {"y": null, "b": [true, "x"]}, "m": 12345678901234567890} `+"\n"), 3)
	if err != nil || !slices.Equal(o.Keys, []string{"z", "a", "m"}) || o.Values["z"] != json.Number("1.50") || o.Values["m"] != json.Number("12345678901234567890") {
		t.Fatalf("got %+v, %v", o, err)
	}
	inner, ok := o.Values["a"].(*Object)
	if !ok || !slices.Equal(inner.Keys, []string{"y", "b"}) || inner.Values["y"] != nil || len(inner.Values["b"].([]any)) != 2 {
		t.Errorf("the inner object is %+v", o.Values["a"])
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"nothing":        {"", "it ends in the middle of a value, at byte 0"},
		"half":           {`{"a": [1, `, "it ends in the middle of a value"},
		"a list":         {"[1]", "a JSON object was expected"},
		"null":           {"null", "a JSON object was expected"},
		"more":           {"{} {}", "more text after the object, at byte 4"},
		"no end":         {"{} x", "more text after the object"},
		"twice":          {`{"a": 1, "a": 1}`, `the key "a" stands twice`},
		"twice below":    {`{"x": [{"a": 1, "a": 2}]}`, `the key "a" stands twice`},
		"a long key":     {`{"` + strings.Repeat("k", 200) + `": 1, "` + strings.Repeat("k", 200) + `": 1}`, `kkk..." stands twice`},
		"deep objects":   {strings.Repeat(`{"a":`, 100_000), "nested more than 3 deep, at byte 19"},
		"deep lists":     {`{"a":` + strings.Repeat("[", 100_000), "nested more than 3 deep"},
		"a key of zeros": {"{\"\\u0000\": 1, \"\\u0000\": 2}", `the key "?" stands twice`},
		"NaN":            {`{"a": NaN}`, "invalid character"},
	} {
		if _, err := Parse([]byte(c.data), 3); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 160 {
			t.Errorf("%s: got %v, want one short line with %q", name, err, c.want)
		}
	}
	if _, err := Parse([]byte(`{"a":{"b":{"c":1}}}`), 3); err != nil {
		t.Errorf("as deep as allowed: %v", err)
	}
}

func TestInteger(t *testing.T) {
	for _, c := range []struct {
		v    any
		want int64
		ok   bool
	}{
		{json.Number("0"), 0, true}, {json.Number("9"), 9, true}, {json.Number("10"), 10, false}, {json.Number("-1"), -1, false},
		{json.Number("1e0"), 0, false}, {json.Number("1.0"), 0, false}, {json.Number("99999999999999999999"), 0, false}, {"1", 0, false}, {nil, 0, false},
	} {
		if n, ok := Integer(c.v, 0, 9); ok != c.ok || ok && n != c.want {
			t.Errorf("%v: got %d, %v; want %d, %v", c.v, n, ok, c.want, c.ok)
		}
	}
}
