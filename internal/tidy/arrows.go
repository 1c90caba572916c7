package tidy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Module is the module's path, without which an import is not one of our own.
const Module = "github.com/shammah/shammah-engine"

// fence opens the block of docs/ARCHITECTURE.md that lists the arrows. A line is a package, spaces, and the packages of this module that
// it imports, or a dash.
const fence = "```arrows\n"

// Arrows is which package imports which, without tests: package -> its imports, sorted. "." is the root.
type Arrows map[string][]string

// Arrows reads the arrows that the code has.
func (t *Tree) Arrows() Arrows {
	arrows := Arrows{}
	names, files := t.packages(true)
	for _, name := range names {
		if strings.HasPrefix(name, "third_party/") {
			continue
		}
		imports := map[string]bool{}
		for _, f := range files[name] {
			for _, spec := range f.AST.Imports {
				if p, _ := strconv.Unquote(spec.Path.Value); strings.HasPrefix(p, Module+"/") {
					imports[strings.TrimPrefix(p, Module+"/")] = true
				}
			}
		}
		arrows[name] = slices.Sorted(maps.Keys(imports))
	}
	return arrows
}

// ParseArrows reads the arrows that a document allows.
func ParseArrows(document string) (Arrows, error) {
	_, rest, found := strings.Cut(document, fence)
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		return nil, fmt.Errorf("tidy: reading the arrows: no block that begins with %q", fence)
	}
	arrows := Arrows{}
	for line := range strings.Lines(block) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) == 1 {
			return nil, fmt.Errorf("tidy: reading the arrows: %q has no imports; a package without any has a dash", fields[0])
		}
		if _, twice := arrows[fields[0]]; twice {
			return nil, fmt.Errorf("tidy: reading the arrows: %s is there twice", fields[0])
		}
		arrows[fields[0]] = nil
		if fields[1] != "-" {
			arrows[fields[0]] = slices.Sorted(slices.Values(fields[1:]))
		}
	}
	return arrows, nil
}

// Replace puts the arrows into the document's block.
func (a Arrows) Replace(document string) (string, error) {
	if _, err := ParseArrows(document); err != nil {
		return "", err
	}
	before, rest, _ := strings.Cut(document, fence)
	_, after, _ := strings.Cut(rest, "```")
	return before + fence + a.String() + "```" + after, nil
}

func (a Arrows) String() string {
	names := slices.Sorted(maps.Keys(a))
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	var b strings.Builder
	for _, name := range names {
		imports := strings.Join(a[name], " ")
		if imports == "" {
			imports = "-"
		}
		fmt.Fprintf(&b, "%-*s  %s\n", width, name, imports)
	}
	return b.String()
}

// Compare reports each arrow that the code has and the document does not, and the other way round.
func (a Arrows) Compare(allowed Arrows, document string) (problems []Problem) {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range allowed {
		all[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, ok := a[name]; !ok {
			problems = append(problems, Problem{document, 0, fmt.Sprintf("lists %s, which is no package", name)})
			continue
		}
		if _, ok := allowed[name]; !ok {
			problems = append(problems, Problem{document, 0, fmt.Sprintf("does not list the package %s", name)})
		}
		for _, to := range a[name] {
			if !slices.Contains(allowed[name], to) {
				problems = append(problems, Problem{name, 0, fmt.Sprintf("imports %s, which %s does not allow", to, document)})
			}
		}
		for _, to := range allowed[name] {
			if !slices.Contains(a[name], to) {
				problems = append(problems, Problem{document, 0, fmt.Sprintf("allows %s to import %s, which it does not", name, to)})
			}
		}
	}
	return problems
}

// pure are the packages whose tests run with no native library present; native are those that need one.
// The document's block can be rewritten from the code; these two lists cannot.
var (
	pure = []string{"engine/decode", "engine/sample", "engine/chat", "engine/model", "engine/lora", "internal/adapters", "internal/config", "internal/hub", "internal/claude",
		"internal/router", "internal/repl"}
	native = []string{"ort", "cpu", "engine/text", "cuda", "coreml"}
)

// Layers reports a pure package that reaches a native one over however many arrows, a binding that knows of the engine, and a
// library that imports a command.
func (a Arrows) Layers() (problems []Problem) {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		reach := a.reach(name)
		for _, to := range slices.Sorted(maps.Keys(reach)) {
			switch {
			case slices.Contains(pure, name) && slices.Contains(native, to):
				problems = append(problems, Problem{name, 0, fmt.Sprintf("reaches %s (%s): its tests must run with no native library", to, reach[to])})
			case (name == "ort" || name == "cpu") && to != name:
				problems = append(problems, Problem{name, 0, fmt.Sprintf("imports %s: a binding knows nothing of the rest", to)})
			case strings.HasPrefix(to, "cmd/"):
				problems = append(problems, Problem{name, 0, fmt.Sprintf("imports the command %s", to)})
			}
		}
	}
	return problems
}

// reach is every package that name imports, directly or not, with the way to it.
func (a Arrows) reach(name string) map[string]string {
	ways := map[string]string{}
	todo := []string{name}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for _, to := range a[at] {
			if _, seen := ways[to]; !seen {
				way, ok := ways[at]
				if !ok {
					way = name
				}
				ways[to] = way + " -> " + to
				todo = append(todo, to)
			}
		}
	}
	return ways
}
