package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a configuration file that was read: its bytes, and where each value stands in them.
type document struct {
	data    []byte // without byte order mark
	entries []entry
	tables  []table
	values  map[string]any
}

// entry is one key = value.
type entry struct {
	path       []string
	line       int
	start, end int // of the value's bytes
	table      int // the number of the table it stands in, -1 before the first
}

// table is one [header].
type table struct {
	path  []string
	line  int
	end   int // where its last entry ends, or its header
	array bool
}

// problemsMax is how many problems are looked for in a file.
const problemsMax = 20

// problem is an error at a line of the file.
type problem struct {
	line int
	text string
}

var byteOrderMark = []byte("\xef\xbb\xbf")

func parse(data []byte) (*document, error) {
	data = bytes.TrimPrefix(data, byteOrderMark)
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return nil, errors.New("it is UTF-16, expected UTF-8: save it in that encoding")
	}
	d := &document{data: data}
	if err := toml.Unmarshal(data, &d.values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "toml: "))
	}
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			path, end := pathOf(e)
			d.tables = append(d.tables, table{path: path, line: lineAt(data, end), end: end, array: e.Kind == unstable.ArrayTable})
		case unstable.KeyValue:
			var prefix []string
			if n := len(d.tables); n > 0 {
				prefix = d.tables[n-1].path
				d.tables[n-1].end = int(e.Raw.Offset + e.Raw.Length)
			}
			d.add(prefix, e)
		}
	}
	return d, p.Error()
}

// add notes an entry, or those of an inline table one by one.
func (d *document) add(prefix []string, e *unstable.Node) {
	path, keyEnd := pathOf(e)
	path = slices.Concat(prefix, path)
	if e.Value().Kind == unstable.InlineTable && e.Value().Child() != nil {
		for it := e.Value().Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.add(path, it.Node())
			}
		}
		return
	}
	end := int(e.Raw.Offset + e.Raw.Length)
	value := bytes.TrimLeft(d.data[keyEnd:end], " \t")
	value = bytes.TrimLeft(bytes.TrimPrefix(value, []byte("=")), " \t")
	value = bytes.TrimRight(value, " \t")
	start := bytes.Index(d.data[keyEnd:], value) + keyEnd
	d.entries = append(d.entries, entry{path: path, line: lineAt(d.data, keyEnd), start: start, end: start + len(value), table: len(d.tables) - 1})
}

// pathOf is the key of an expression, and where it ends.
func pathOf(e *unstable.Node) (path []string, end int) {
	for it := e.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	return path, end
}

func lineAt(data []byte, offset int) int { return bytes.Count(data[:offset], []byte("\n")) + 1 }

// value is what the document has under a path.
func (d *document) value(path []string) (v any) {
	v = d.values
	for _, name := range path {
		v = v.(map[string]any)[name]
	}
	return v
}

// apply puts the document's values into c. Noted is called for each key with its line.
func (d *document) apply(c *Config, noted func(k key, line int)) error {
	var problems []problem
	report := func(line int, format string, args ...any) {
		problems = append(problems, problem{line, fmt.Sprintf(format, args...)})
	}
	all := keys()
	section := func(name string) bool { return slices.ContainsFunc(all, func(k key) bool { return k.section == name }) }
	bad := map[int]bool{}
	for i, t := range d.tables {
		switch {
		case len(t.path) != 1 || !section(t.path[0]):
			bad[i] = true
			report(t.line, "unknown table [%s]%s", quoteKey(t.path), suggestion(t.path[:1]))
		case t.array:
			bad[i] = true
			report(t.line, "%s is an array of tables, expected one table [%s]", t.path[0], t.path[0])
		}
		if len(problems) == problemsMax {
			return first(problems)
		}
	}
	for _, e := range d.entries {
		if bad[e.table] {
			continue
		}
		if len(problems) == problemsMax {
			break
		}
		i := slices.IndexFunc(all, func(k key) bool { return len(e.path) == 2 && k.section == e.path[0] && k.name == e.path[1] })
		switch {
		case i >= 0:
			if err := all[i].assign(c, d.value(e.path)); err != nil {
				report(e.line, "%v", err)
			} else {
				noted(all[i], e.line)
			}
		case len(e.path) == 1 && section(e.path[0]):
			if v := d.value(e.path); kindOf(v) != "a table" {
				report(e.line, "%s is %s, expected a table [%s]", e.path[0], kindOf(v), e.path[0])
			}
		default:
			report(e.line, "unknown key %s%s", quoteKey(e.path), suggestion(e.path))
		}
	}
	return first(problems)
}

// first is the problem nearest to the beginning, with the number of the others.
func first(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	p := slices.MinFunc(problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	if n := len(problems) - 1; n > 0 {
		return fmt.Errorf("line %d: %s (and %d more)", p.line, p.text, n)
	}
	return fmt.Errorf("line %d: %s", p.line, p.text)
}
