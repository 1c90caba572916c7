package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/internal/filesystem"
)

// Set writes keys into the file at path, which is made if it is missing. Everything else in it stays as it is, comments too. The file is
// replaced in one step, and only its owner can read it if it holds a key.
func Set(path string, values map[string]string) error {
	data, mode, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		mode = 0o600
	}
	changed, err := Edit(data, values)
	if err != nil {
		return fmt.Errorf("config: change %s: %w", path, err)
	}
	c := Config{}
	d, err := parse(changed)
	if err == nil {
		err = d.apply(&c, func(key, int) {})
	}
	if err != nil {
		return fmt.Errorf("config: change %s: %w", path, err)
	}
	if hasSecret(&c) {
		mode = 0o600
	}
	if err := replace(path, changed, mode.Perm()); err != nil {
		return fmt.Errorf("config: write %s: %w", path, cause(err))
	}
	return nil
}

// replace writes the whole file or nothing. A link stays one: what it points to is replaced.
func replace(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	// Not renameio.WriteFile, which takes over the mode of the file that it replaces.
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(mode), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return filesystem.SyncDir(filepath.Dir(path))
}

var errByHand = errors.New("its tables are written in a way that cannot be changed safely: change it by hand")

// Edit is data with keys set, for a preview or for Set. What it gives was read again: it says what was asked, and nothing else changed.
func Edit(data []byte, values map[string]string) ([]byte, error) {
	want := Config{}
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	if err := d.apply(&want, func(key, int) {}); err != nil {
		return nil, err
	}
	changes, err := want.change(values)
	if err != nil {
		return nil, err
	}
	mark := data[:len(data)-len(d.data)]
	out := bytes.Clone(d.data)
	for _, k := range changes {
		if d, err = parse(out); err != nil {
			return nil, errByHand
		}
		out = d.put(k, literal(k.field(&want)))
	}
	got := Config{}
	if d, err = parse(out); err == nil {
		err = d.apply(&got, func(key, int) {})
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		return nil, errByHand
	}
	return append(bytes.Clone(mark), out...), nil
}

// change sets keys in c and gives them in their order.
func (c *Config) change(values map[string]string) (changes []key, err error) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := find(name); err != nil {
			return nil, err
		}
	}
	for _, k := range keys() {
		text, ok := values[k.String()]
		if !ok {
			continue
		}
		v, err := k.parse(text)
		if err == nil {
			err = k.assign(c, v)
		}
		if err != nil {
			return nil, err
		}
		changes = append(changes, k)
	}
	_, err = check(c)
	return changes, err
}

// put gives the document's bytes with a key set: in its place, at the end of its table, or in a new table at the end.
func (d *document) put(k key, value string) []byte {
	newline := "\n"
	if bytes.Contains(d.data, []byte("\r\n")) {
		newline = "\r\n"
	}
	for _, e := range d.entries {
		if len(e.path) == 2 && e.path[0] == k.section && e.path[1] == k.name {
			return splice(d.data, e.start, e.end, value)
		}
	}
	line := k.name + " = " + value + newline
	for _, t := range d.tables {
		if len(t.path) == 1 && t.path[0] == k.section && !t.array {
			end := bytes.IndexByte(d.data[t.end:], '\n')
			if end < 0 {
				return splice(d.data, len(d.data), len(d.data), newline+line)
			}
			return splice(d.data, t.end+end+1, t.end+end+1, line)
		}
	}
	before := ""
	if len(d.data) > 0 {
		before = newline
		if !bytes.HasSuffix(d.data, []byte("\n")) {
			before += newline
		}
	}
	return splice(d.data, len(d.data), len(d.data), before+"["+k.section+"]"+newline+line)
}

func splice(data []byte, start, end int, text string) []byte {
	return bytes.Join([][]byte{data[:start], []byte(text), data[end:]}, nil)
}

// literal writes a field as TOML does.
func literal(f reflect.Value) string {
	if f.Kind() == reflect.Pointer {
		f = f.Elem()
	}
	switch v := f.Interface().(type) {
	case string:
		return quote(v)
	case uint64:
		return strconv.FormatInt(int64(v), 10)
	case []string:
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = quote(v[i])
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return fmt.Sprint(f.Interface())
}

// quote writes a basic string. Bytes that are no UTF-8 have no place in TOML and become U+FFFD.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
