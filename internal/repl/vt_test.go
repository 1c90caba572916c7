package repl

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// vt is as much of a terminal as the editor uses. It breaks long lines, and scrolls; a wide character takes two cells.
type vt struct {
	mu            sync.Mutex
	width, height int
	cells         [][]string // rows, also those that scrolled away
	row, column   int
	unknown       []string
}

func newVT(width, height int) *vt { return &vt{width: width, height: height, cells: [][]string{{}}} }

func (v *vt) size() (int, int) { return v.width, v.height }

func (v *vt) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for s := string(p); s != ""; {
		if strings.HasPrefix(s, "\x1b[") {
			n := 2 + strings.IndexFunc(s[2:], func(r rune) bool { return r >= '@' && r <= '~' })
			v.control(s[2:n], s[n])
			s = s[n+1:]
			continue
		}
		cluster, rest, w, _ := uniseg.FirstGraphemeClusterInString(s, -1)
		if r, n := utf8.DecodeRuneInString(s); r < ' ' {
			cluster, rest = s[:n], s[n:]
		}
		v.put(cluster, w)
		s = rest
	}
	return len(p), nil
}

func (v *vt) put(cluster string, w int) {
	switch cluster {
	case "\n", "\r\n":
		v.move(1)
		v.column = 0
		return
	case "\r":
		v.column = 0
		return
	case "\t":
		cluster, w = " ", 1
	}
	if w == 0 {
		return
	}
	if v.column+w > v.width {
		v.move(1)
		v.column = 0
	}
	row := &v.cells[v.row]
	for len(*row) < v.column+w {
		*row = append(*row, " ")
	}
	(*row)[v.column] = cluster
	for i := 1; i < w; i++ {
		(*row)[v.column+i] = ""
	}
	v.column += w
}

func (v *vt) move(n int) {
	top := max(len(v.cells)-v.height, 0)
	v.row = max(v.row+n, top)
	for len(v.cells) <= v.row {
		v.cells = append(v.cells, []string{})
	}
}

func (v *vt) control(parameters string, last byte) {
	n := 1
	_, _ = fmt.Sscanf(parameters, "%d", &n)
	switch last {
	case 'A':
		v.move(-n)
	case 'C':
		v.column = min(v.column+n, v.width-1)
	case 'K':
		v.cells[v.row] = v.cells[v.row][:min(v.column, len(v.cells[v.row]))]
	case 'J':
		v.cells[v.row] = v.cells[v.row][:min(v.column, len(v.cells[v.row]))]
		for i := v.row + 1; i < len(v.cells); i++ {
			v.cells[i] = nil
		}
	case 'H':
	case 'm':
	default:
		v.unknown = append(v.unknown, parameters+string(last))
	}
}

// text is what stands on the terminal, with a mark where the cursor is.
func (v *vt) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var rows []string
	for i, row := range v.cells {
		cells := append([]string(nil), row...)
		if i == v.row {
			for len(cells) < v.column {
				cells = append(cells, " ")
			}
			cells = append(cells[:v.column], append([]string{"█"}, cells[v.column:]...)...)
		}
		rows = append(rows, strings.TrimRight(strings.Join(cells, ""), " "))
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}
