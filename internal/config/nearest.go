package config

import (
	"slices"
	"strconv"
	"strings"
)

// suggestion is what an unknown key may have meant: ", did you mean x?" or nothing.
func suggestion(path []string) string {
	last := path[len(path)-1]
	var full, section, sections []string
	for _, k := range keys() {
		if !slices.Contains(sections, k.section) {
			sections = append(sections, k.section)
		}
		full = append(full, k.String())
		if len(path) == 2 && k.section == path[0] {
			section = append(section, k.name)
		}
	}
	if len(path) == 2 && section != nil {
		if s := nearest(last, section); s != "" {
			return ", did you mean " + path[0] + "." + s + "?"
		}
	}
	if len(path) == 1 && slices.Contains(sections, last) {
		return ", it is a table: name a key of it"
	}
	for _, name := range full { // the right name in the wrong place
		if strings.HasSuffix(name, "."+last) {
			return ", did you mean " + name + "?"
		}
	}
	if len(path) == 1 {
		full = sections
	}
	return nearestOf(strings.Join(path, "."), full)
}

func nearestOf(name string, among []string) string {
	if s := nearest(name, among); s != "" {
		return ", did you mean " + s + "?"
	}
	return ""
}

// nearest is the name with the fewest letters to change, "" if that is another word.
func nearest(name string, among []string) string {
	name = strings.ToLower(name)
	best, least := "", len(name)/3+2
	for _, s := range among {
		if d := distance(name, s); d < least {
			best, least = s, d
		}
	}
	return best
}

// distance is how many letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	if len(a) > 100 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0]++
		for j := range len(b) {
			above := row[j+1]
			if a[i] != b[j] {
				corner++
			}
			row[j+1] = min(corner, above+1, row[j]+1)
			corner = above
		}
	}
	return row[len(b)]
}

// quoteKey writes a path for people: what is no plain word in quotes, and not without end.
func quoteKey(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		if len(p) > 60 {
			p = strings.ToValidUTF8(p[:60], "") + "..."
		}
		plain := p != "" && strings.IndexFunc(p, func(r rune) bool {
			return !(r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}) < 0
		if parts[i] = p; !plain {
			parts[i] = strconv.Quote(p)
		}
	}
	return strings.Join(parts, ".")
}
