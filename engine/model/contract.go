package model

import (
	"fmt"
	"slices"
	"strconv"
)

// checkSizes compares types, ranks and sizes of the bound tensors with the configuration files. The graph's fixed shapes
// say what is true; a file that says otherwise belongs to another model.
func (l *loader) checkSizes() error {
	s := l.spec
	in, out := byName(l.sig.Inputs), byName(l.sig.Outputs)
	if err := l.checkInputs(in); err != nil {
		return err
	}
	logits := out[s.Logits]
	if !isFloat(logits.Type) {
		return l.broken("output "+s.Logits, "float32 or float16", logits.Type)
	}
	if len(logits.Shape) != 3 {
		return l.broken("output "+s.Logits, "3 dimensions (batch, length, vocab)", shape(logits.Shape))
	}
	s.LogitsType = logits.Type
	facts := sizes{}
	facts.take(l.label(l.Graph), "vocab", logits.Shape[2])
	s.LastRowOnly = logits.Shape[1] == 1 || lastRow(l.graph.Graph, s.Logits)
	for i := range s.Past {
		if err := l.checkLayer(i, in, out, facts); err != nil {
			return err
		}
	}
	if len(s.Past) > 0 {
		facts.take(l.label(l.Graph), "layers", int64(len(s.Past)))
		s.Shared = !s.Combined && sharesCache(l.graph.Graph, s)
	}
	return l.settle(facts)
}

func isFloat(t string) bool { return t == "float32" || t == "float16" }

func shape(dims []int64) string {
	if dims == nil {
		return "no shape"
	}
	return fmt.Sprint(dims)
}

// checkInputs checks type, rank and that no length is fixed, for all inputs but the cache.
func (l *loader) checkInputs(in map[string]TensorInfo) error {
	s := l.spec
	for _, name := range []string{s.InputIDs, s.Mask, s.Positions} {
		if name == "" {
			continue
		}
		t := in[name]
		switch {
		case t.Type != "int64":
			return l.broken("input "+name, "int64", t.Type)
		case len(t.Shape) != 2:
			return l.broken("input "+name, "2 dimensions (batch, length)", shape(t.Shape))
		case t.Shape[1] >= 0:
			return l.broken("input "+name, "a length that may change", shape(t.Shape))
		case t.Shape[0] > 0:
			s.Batch = int(min(t.Shape[0], 1<<20))
		}
	}
	if s.NumLogits != "" {
		t := in[s.NumLogits]
		if t.Type != "int64" || len(t.Shape) > 1 {
			return l.broken("input "+s.NumLogits, "one int64", t.Type+" "+shape(t.Shape))
		}
		s.NumLogitsShape = make([]int64, len(t.Shape))
		for i := range t.Shape {
			s.NumLogitsShape[i] = 1
		}
	}
	if s.UseCacheBranch != "" && in[s.UseCacheBranch].Type != "bool" {
		return l.broken("input "+s.UseCacheBranch, "bool", in[s.UseCacheBranch].Type)
	}
	return nil
}

// checkLayer checks one layer's four tensors (two when keys and values lie together).
func (l *loader) checkLayer(i int, in, out map[string]TensorInfo, facts sizes) error {
	s := l.spec
	for _, t := range []TensorInfo{in[s.Past[i].Key], in[s.Past[i].Value], out[s.Present[i].Key], out[s.Present[i].Value]} {
		if !isFloat(t.Type) {
			return l.broken("cache tensor "+t.Name, "float32 or float16", t.Type)
		}
		if s.KVType == "" {
			s.KVType = t.Type
		}
		if t.Type != s.KVType {
			return l.broken("cache tensor "+t.Name, s.KVType+" as the others", t.Type)
		}
		dims := t.Shape
		want := "4 dimensions (batch, kv_heads, length, head_dim)"
		if s.Combined {
			want = "5 dimensions (2, batch, kv_heads, length, head_dim)"
			if len(dims) != 5 || dims[0] >= 0 && dims[0] != 2 {
				return l.broken("cache tensor "+t.Name, want, shape(dims))
			}
			dims = dims[1:]
		}
		if len(dims) != 4 {
			return l.broken("cache tensor "+t.Name, want, shape(dims))
		}
		if dims[2] >= 0 {
			return l.broken("cache tensor "+t.Name, "a length that may change", shape(t.Shape))
		}
		if dims[0] > 0 {
			s.Batch = int(min(dims[0], 1<<20))
		}
		for _, f := range []struct {
			name string
			dim  int64
		}{{"kv_heads", dims[1]}, {"head_dim", dims[3]}} {
			if known, ok := facts[f.name]; ok && f.dim >= 0 && known.value != f.dim {
				return l.broken("cache tensor "+t.Name, fmt.Sprintf("%s of %d as in the other layers", f.name, known.value), strconv.FormatInt(f.dim, 10))
			}
			facts.take(l.label(l.Graph), f.name, f.dim)
		}
	}
	return nil
}

// sizes are the numbers known so far, and who said so.
type sizes map[string]fact

type fact struct {
	value int64
	by    string
}

// take notes a size unless it is unknown (symbolic or not given) or known already.
func (z sizes) take(by, name string, value int64) {
	if _, known := z[name]; !known && value > 0 {
		z[name] = fact{value, by}
	}
}

// settle takes each size from the graph, else from genai_config.json, else from config.json, and refuses contradictions.
func (l *loader) settle(facts sizes) error {
	s := l.spec
	graphQuery(l.graph.Graph, func(name string, v int64) { facts.take(l.label(l.Graph), name, v) })
	for _, c := range []config{l.genai.config, l.config} {
		for _, x := range []struct {
			name  string
			value int
		}{{"vocab", c.vocab}, {"layers", c.layers}, {"heads", c.heads}, {"kv_heads", c.kvHeads}, {"head_dim", c.headDim}, {"hidden", c.hidden}} {
			known, ok := facts[x.name]
			if ok && x.value > 0 && known.value != int64(x.value) {
				return &contractError{c.file, x.name, fmt.Sprintf("%d as in %s", known.value, known.by), strconv.Itoa(x.value)}
			}
			facts.take(c.file, x.name, int64(x.value))
		}
	}
	facts.take("", "kv_heads", facts["heads"].value) // every head has its own keys where nothing else is said
	if heads, hidden := facts["heads"].value, facts["hidden"].value; heads > 0 && hidden%heads == 0 {
		facts.take("", "head_dim", hidden/heads)
	}
	bounds := []struct {
		name   string
		into   *int
		max    int64
		needed bool
	}{
		{"vocab", &s.Vocab, vocabMax, true}, {"layers", &s.Layers, layersMax, len(s.Past) > 0},
		{"kv_heads", &s.KVHeads, headsMax, len(s.Past) > 0}, {"head_dim", &s.HeadDim, headDimMax, len(s.Past) > 0},
		{"heads", &s.Heads, headsMax, false}, {"hidden", &s.Hidden, hiddenMax, false},
	}
	for _, b := range bounds {
		v := facts[b.name].value
		if v > b.max || v == 0 && b.needed {
			return l.broken(b.name, fmt.Sprintf("a number from 1 to %d in the graph or a configuration file", b.max), strconv.FormatInt(v, 10))
		}
		*b.into = int(v)
	}
	return l.settleContext()
}

// settleContext finds how many tokens a sequence may have.
func (l *loader) settleContext() error {
	s := l.spec
	for _, c := range []int{l.genai.context, l.config.context} {
		if s.ContextMax == 0 {
			s.ContextMax = c
		}
	}
	rows := rotaryRows(l.graph.Graph)
	switch {
	case s.ContextMax == 0 && rows == 0:
		s.ContextMax = 2048
		l.Files.Warnings = append(slices.Clip(l.Files.Warnings), "no file says how long the context may be; 2048 tokens are assumed")
	case rows > 0 && (s.ContextMax == 0 || rows < s.ContextMax):
		s.ContextMax = rows // the graph holds no rotation for later positions
	}
	_, err := s.KVBytes(s.ContextMax)
	return err
}
