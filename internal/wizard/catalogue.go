package wizard

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/internal/hub"
)

const (
	defaultFamily = "qwen2.5"
	defaultSize   = "medium" // quick enough on a processor, and far better than the small ones
)

func sizes() []string { return []string{"small", "medium", "large"} }

// families lists the families of the catalogue, each with its models from small to large.
func families() (list [][]hub.Entry) {
	for _, e := range hub.Catalogue() {
		if e.Repo == "" {
			continue
		}
		if n := len(list); n > 0 && list[n-1][0].Family == e.Family {
			list[n-1] = append(list[n-1], e)
		} else {
			list = append(list, []hub.Entry{e})
		}
	}
	return list
}

// familyKey is a family as the configuration writes it: llama-3.2.
func familyKey(e hub.Entry) string { return strings.ToLower(strings.ReplaceAll(e.Family, " ", "-")) }

// familyOf finds a family by its name, however it is spelled, or by the beginning of it that no other has.
func familyOf(name string) (string, error) {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, s)
	}
	all := []string{hub.Tiny}
	for _, f := range families() {
		all = append(all, familyKey(f[0]))
	}
	var begins []string
	for _, key := range all {
		if plain(key) == plain(name) {
			return key, nil
		}
		if plain(name) != "" && strings.HasPrefix(plain(key), plain(name)) {
			begins = append(begins, key)
		}
	}
	if len(begins) == 1 {
		return begins[0], nil
	}
	return "", fmt.Errorf("wizard: choose the family: found %q, expected one of %s; another model is named by its repository", name, strings.Join(all, ", "))
}

// family are the models of the family that was chosen; none for Own and the embedded model.
func (w *Wizard) family() []hub.Entry {
	for _, f := range families() {
		if familyKey(f[0]) == w.a.Family {
			return f
		}
	}
	return nil
}

// chosen is the model of family and size.
func (w *Wizard) chosen() hub.Entry {
	f := w.family()
	if i := slices.IndexFunc(f, func(e hub.Entry) bool { return e.Size == w.a.Size }); i >= 0 {
		return f[i]
	}
	return hub.Entry{}
}

// recommended is the size to take on this machine, "" if none of the family fits: the middle one, or the largest below it that
// fits; a family may have larger ones only.
func (w *Wizard) recommended() (size string) {
	for _, e := range w.family() {
		if w.trouble(e) == "" && (size == "" || slices.Index(sizes(), e.Size) <= slices.Index(sizes(), defaultSize)) {
			size = e.Size
		}
	}
	return size
}

// trouble says why a model does not fit this machine, "" if it does or if that is not known.
func (w *Wizard) trouble(e hub.Entry) string {
	m := w.facts.Memory
	if needs := e.Memory(); m.Total > 0 && needs > m.Available {
		return fmt.Sprintf("it needs about %s of memory and %s are available", bytesText(needs), bytesText(m.Available))
	}
	if w.facts.Disk > 0 && e.Bytes > w.facts.Disk {
		return fmt.Sprintf("it is a download of about %s and %s are free in %s", bytesText(e.Bytes), bytesText(w.facts.Disk), w.facts.Models)
	}
	return ""
}

// fitting is a model that this machine has room for: of the same family, or else the one inside the program.
func (w *Wizard) fitting() string {
	if size := w.recommended(); size != "" {
		for _, e := range w.family() {
			if e.Size == size {
				return e.Alias
			}
		}
	}
	return hub.Tiny + ", the model inside the program,"
}

// sizeLabel is a model as one line: `medium  Qwen2.5-1.5B-Instruct · 1.8 GB · needs about 2.5 GB of memory · recommended`.
func (w *Wizard) sizeLabel(e hub.Entry) string {
	_, name, _ := strings.Cut(e.Repo, "/")
	if e.Folder != "" {
		name += " " + strings.ToUpper(e.Folder)
	}
	about := "about "
	if e.Seen {
		about = ""
	}
	label := fmt.Sprintf("%-6s  %s · %s%s · memory %s", e.Size, name, about, bytesText(e.Bytes), bytesText(e.Memory()))
	switch {
	case w.trouble(e) != "":
		label += " · does not fit"
	case e.Size == w.recommended():
		label += " · recommended"
	}
	return label
}

func bytesText(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
