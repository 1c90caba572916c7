package model

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// candidate is a graph that could be run.
type candidate struct {
	layout  Layout
	root    string // where its configuration files are looked for first
	graph   string
	variant string
	rank    int
}

// stems are the names of a graph that is a whole language model, with its variant behind.
var stems = regexp.MustCompile(`^(model|decoder_model_merged)(?:_(\w+))?\.onnx$`)

// genaiCandidate is the model that a genai_config.json describes.
func (t *tree) genaiCandidate(dir string) ([]candidate, error) {
	name := path.Join(dir, "genai_config.json")
	o, err := t.f.object(name)
	if err != nil {
		return nil, err
	}
	g, err := parseGenAI(o)
	if err != nil {
		return nil, err
	}
	if len(g.parts) > 0 {
		return nil, fmt.Errorf("model: find a model in %s: %w: the model is made of several graphs (%s)",
			t.f.label(dir), ErrUnsupported, listing(g.parts))
	}
	graph := path.Join(dir, g.filename)
	if strings.ContainsAny(g.filename, `/\`) || !t.names[graph] {
		return nil, t.f.fileError(name, "model.decoder.filename is %q, and the folder holds no such file (it has %s)",
			g.filename, orNone(t.onnx[dir]))
	}
	variant := dir
	if dir == "." {
		variant = "genai"
	}
	return []candidate{{layout: LayoutB, root: dir, graph: graph, variant: variant}}, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no .onnx file"
	}
	return listing(names)
}

// plainCandidates are the graphs of a folder of layout A (below a folder "onnx") or C.
func (t *tree) plainCandidates(dir string) ([]candidate, error) {
	layout, root := LayoutC, dir
	if path.Base(dir) == "onnx" {
		layout, root = LayoutA, path.Dir(dir)
	}
	byStem := map[string][]candidate{}
	var others []string
	for _, file := range t.onnx[dir] {
		m := stems.FindStringSubmatch(file)
		if m == nil {
			others = append(others, strings.TrimSuffix(file, ".onnx"))
			continue
		}
		c := candidate{layout: layout, root: root, graph: path.Join(dir, file), variant: m[2]}
		if c.variant == "" && layout == LayoutA {
			c.variant = "fp32"
		} else if c.variant == "" {
			c.variant = "model" // it may be anything
		}
		if root != "." {
			c.variant = path.Join(root, c.variant)
		}
		byStem[m[1]] = append(byStem[m[1]], c)
	}
	found := byStem["model"]
	if found == nil && !slices.ContainsFunc(others, isOtherPart) {
		found = byStem["decoder_model_merged"]
	}
	if found == nil && len(others) == 1 && len(byStem) == 0 {
		found = []candidate{{layout: layout, root: root, graph: path.Join(dir, others[0]+".onnx"), variant: others[0]}}
	}
	if found == nil {
		for _, c := range byStem["decoder_model_merged"] {
			others = append(others, strings.TrimSuffix(path.Base(c.graph), ".onnx"))
		}
		slices.Sort(others)
		return nil, fmt.Errorf("model: find a model in %s: %w: the model is made of several graphs (%s)",
			t.f.label(dir), ErrUnsupported, listing(others))
	}
	if t.nearest("config.json", root) == "" {
		return nil, fmt.Errorf("model: find a model in %s: %w: %s has no config.json beside or above it",
			t.f.name(), ErrNoModel, found[0].graph)
	}
	return found, nil
}

// isOtherPart tells graphs that a merged decoder needs beside it from its older twins (decoder_model, with_past).
func isOtherPart(name string) bool { return !strings.HasPrefix(name, "decoder_") }

// preference lists variants, the best first. On the CPU float16 comes last, because it is computed in float32 after casts.
func preference(provider string) []string {
	switch provider {
	case "cuda":
		return []string{"q4f16", "fp16", "int4", "q4", "fp32", "int8", "quantized", "uint8", "bnb4"}
	case "coreml":
		return []string{"fp16", "fp32", "q4f16", "int4", "q4", "int8", "quantized", "uint8", "bnb4"}
	}
	return []string{"int4", "q4", "int8", "quantized", "uint8", "bnb4", "fp32", "q4f16", "fp16"}
}

var devices = regexp.MustCompile(`cuda|gpu|directml|dml|web|qnn|npu|openvino|vitis|ryzen|tensorrt|trt|rocm|cpu`)

// rank sorts candidates, the best for the provider first.
func rank(found []candidate, provider string) {
	order := preference(provider)
	for i := range found {
		c := &found[i]
		precision := precisionOf(*c)
		if c.rank = slices.Index(order, precision) * 10; c.rank < 0 {
			c.rank = len(order) * 10
		}
		if c.layout == LayoutB && foreign(c.variant, provider) {
			c.rank += 1000
		}
		if strings.Contains(c.variant, "acc-level-4") { // int8 activations: the fast kernels
			c.rank--
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return strings.Compare(a.variant, b.variant)
	})
}

// precisionOf reads the variant's name. A graph that does not say is taken for what most are: int4 in layout B, else float32.
func precisionOf(c candidate) string {
	if v := path.Base(c.variant); c.layout != LayoutB && v != "model" {
		return v
	} else if c.layout != LayoutB {
		return "fp32"
	}
	v := strings.ToLower(c.variant)
	switch {
	case strings.Contains(v, "int8"):
		return "int8"
	case strings.Contains(v, "int4"), strings.Contains(v, "q4"), strings.Contains(v, "awq"):
		return "int4"
	case strings.Contains(v, "fp32"):
		return "fp32"
	case strings.Contains(v, "fp16"):
		return "fp16"
	}
	return "int4"
}

// foreign says whether a folder's name tells that it was exported for another device only.
func foreign(variant, provider string) bool {
	named := devices.FindAllString(strings.ToLower(variant), -1)
	if len(named) == 0 || slices.Contains(named, "cpu") {
		return false
	}
	return provider != "cuda" || !slices.Contains(named, "cuda") && !slices.Contains(named, "gpu")
}

// choose takes those of the variant that was asked for, or all, and puts the best one first. Two that are equally good and
// lie in different places are two models: the user decides.
func choose(found []candidate, o FindOptions) ([]candidate, error) {
	rank(found, o.Provider)
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = c.variant
	}
	if o.Variant != "" {
		match := func(f func(string) bool) []candidate {
			return slices.DeleteFunc(slices.Clone(found), func(c candidate) bool { return !f(c.variant) })
		}
		got := match(func(v string) bool { return v == o.Variant })
		if len(got) == 0 {
			got = match(func(v string) bool { return path.Base(v) == o.Variant })
		}
		if len(got) == 0 {
			got = match(func(v string) bool { return strings.Contains(strings.ToLower(v), strings.ToLower(o.Variant)) })
		}
		if len(got) == 0 {
			return nil, fmt.Errorf("%w: no variant %q, there are %s", ErrNoModel, o.Variant, listing(names))
		}
		found = got
	}
	if len(found) > 1 && found[0].rank == found[1].rank && path.Dir(found[0].variant) != path.Dir(found[1].variant) {
		return nil, fmt.Errorf("%w: several models; choose one as folder or variant: %s", ErrNoModel, listing(names))
	}
	return found, nil
}

// warn notes what the user should know about the chosen graph.
func (f *Files) warn(provider string) {
	if provider != "" && provider != "cpu" {
		return
	}
	if f.Layout == LayoutB && foreign(f.Variant, provider) {
		f.Warnings = append(f.Warnings, fmt.Sprintf("%s was exported for another device", f.Variant))
	}
	for _, t := range f.graph.Graph.Outputs {
		if t.Type.String() == "float16" {
			f.Warnings = append(f.Warnings,
				"a float16 graph is computed in float32 on the CPU: slower than q4 or int4, and up to twice its file's size in memory")
			return
		}
	}
}
