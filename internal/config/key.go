package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// key is one setting, as the tags of Config describe it.
type key struct {
	section, name string
	index         []int // of the field in Config
	kind          reflect.Type
	fallback      string // the default as text
	choices       []string
	most          int64
	env           string // "" for none
	secret        bool
	doc           string
}

func (k key) String() string { return k.section + "." + k.name }

// keys lists every setting in the order of Config.
func keys() (list []key) {
	root := reflect.TypeFor[Config]()
	for i := range root.NumField() {
		section := root.Field(i)
		for j := range section.Type.NumField() {
			f := section.Type.Field(j)
			k := key{
				section: section.Tag.Get("toml"), name: f.Tag.Get("toml"), index: []int{i, j}, kind: f.Type, fallback: f.Tag.Get("default"),
				choices: strings.Fields(f.Tag.Get("one")), most: math.MaxInt32, secret: f.Tag.Get("secret") != "", doc: f.Tag.Get("doc"),
			}
			if most := f.Tag.Get("max"); most != "" {
				k.most, _ = strconv.ParseInt(most, 10, 64)
			}
			switch k.env = f.Tag.Get("env"); k.env {
			case "":
				k.env = strings.ToUpper("SHAMMAH_" + k.section + "_" + k.name)
			case "-":
				k.env = ""
			}
			list = append(list, k)
		}
	}
	return list
}

// find gives the key of a dotted name, or an error with the nearest one.
func find(name string) (key, error) {
	all := keys()
	if i := slices.IndexFunc(all, func(k key) bool { return k.String() == name }); i >= 0 {
		return all[i], nil
	}
	return key{}, fmt.Errorf("unknown key %s%s", quoteKey(strings.Split(name, ".")), suggestion(strings.Split(name, ".")))
}

func (k key) field(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(k.index) }

// parse reads a value as it stands on the command line or in a variable. A list is one string, or an array as TOML writes it.
func (k key) parse(text string) (any, error) {
	var v any
	var err error
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s is not valid UTF-8, expected %s", k, k.expected())
	}
	switch k.kind {
	case reflect.TypeFor[string]():
		return text, nil
	case reflect.TypeFor[bool]():
		v, err = strconv.ParseBool(text)
	case reflect.TypeFor[int](), reflect.TypeFor[*int]():
		v, err = strconv.ParseInt(text, 10, 64)
	case reflect.TypeFor[*float32]():
		v, err = strconv.ParseFloat(text, 64)
	case reflect.TypeFor[*uint64]():
		if v, err = strconv.ParseUint(text, 10, 64); err != nil {
			v, err = strconv.ParseInt(text, 10, 64)
		}
	case reflect.TypeFor[[]string]():
		if !strings.HasPrefix(text, "[") {
			return []any{text}, nil
		}
		var list struct{ V any }
		err = toml.Unmarshal([]byte("V = "+text), &list)
		v = list.V
	}
	if err != nil {
		return nil, fmt.Errorf("%s is %s, expected %s", k, k.shown(strconv.Quote(text)), k.expected())
	}
	return v, nil
}

// assign puts a value, as TOML has them, into the configuration.
func (k key) assign(c *Config, v any) error {
	f := k.field(c)
	wrong := fmt.Errorf("%s is %s, expected %s", k, kindOf(v), k.expected())
	switch p := f.Addr().Interface().(type) {
	case *string:
		s, ok := v.(string)
		if !ok {
			return wrong
		}
		if unset := s == "" && k.fallback == ""; len(k.choices) > 0 && !unset && !slices.Contains(k.choices, s) {
			return fmt.Errorf("%s is %q, expected %s%s", k, s, k.expected(), nearestOf(s, k.choices))
		}
		*p = s
	case *bool:
		b, ok := v.(bool)
		if !ok {
			return wrong
		}
		*p = b
	case *int, **int:
		n, ok := v.(int64)
		if !ok {
			return wrong
		}
		if n < 0 || n > k.most {
			return fmt.Errorf("%s is %d, expected %s", k, n, k.expected())
		}
		i := int(n)
		if single, ok := p.(*int); ok {
			*single = i
		} else {
			*p.(**int) = &i
		}
	case **float32:
		n, isInt := v.(int64)
		x, ok := v.(float64)
		if isInt {
			x, ok = float64(n), true
		}
		if !ok {
			return wrong
		}
		x32 := float32(x)
		*p = &x32
	case **uint64:
		n, ok := v.(uint64)
		if signed, is := v.(int64); is {
			n, ok = uint64(signed), true // TOML has signed integers only: -1 is the largest seed
		}
		if !ok {
			return wrong
		}
		*p = &n
	case *[]string:
		list, ok := v.([]any)
		texts := make([]string, len(list))
		for i := range list {
			s, isText := list[i].(string)
			texts[i], ok = s, ok && isText
		}
		if !ok {
			return wrong
		}
		*p = texts
	}
	return nil
}

// expected says what a key takes.
func (k key) expected() string {
	switch k.kind {
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[int](), reflect.TypeFor[*int]():
		return fmt.Sprintf("an integer from 0 to %d", k.most)
	case reflect.TypeFor[*float32]():
		return "a number"
	case reflect.TypeFor[*uint64]():
		return "an integer of 64 bits"
	case reflect.TypeFor[[]string]():
		return "an array of strings"
	}
	if len(k.choices) > 0 {
		return "one of " + strings.Join(k.choices, ", ")
	}
	return "a string"
}

// kindOf names the type of a value that TOML gave.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64, uint64:
		return "an integer"
	case float64:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// text is the value in a configuration as parse reads it; "" for one that is not set.
func (k key) text(c *Config) string {
	f := k.field(c)
	if f.Kind() == reflect.Pointer {
		if f.IsNil() {
			return ""
		}
		f = f.Elem()
	}
	list, ok := f.Interface().([]string)
	switch {
	case !ok:
		return fmt.Sprint(f.Interface())
	case list == nil:
		return ""
	case len(list) == 1 && !strings.HasPrefix(list[0], "["):
		return list[0]
	}
	return literal(f)
}

const mask = "********"

// shown is a text of the key's value for people to see.
func (k key) shown(text string) string {
	if k.secret && text != "" {
		return mask
	}
	return text
}
