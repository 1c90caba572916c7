package model

import (
	"cmp"
	"fmt"
	"io/fs"

	"github.com/shammah/shammah-engine/internal/jsonobject"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// Load compares the configuration files with the graph's signature and describes the model.
// sig is what the session says; the zero Signature means what the graph's own file declares, so that a model can be
// checked, and its memory estimated, before a session is opened.
func (f Files) Load(sig Signature) (*Spec, error) {
	if err := f.readGraph(); err != nil {
		return nil, err
	}
	if sig.Inputs == nil && sig.Outputs == nil {
		sig = signature(f.graph.Graph)
	}
	l := loader{Files: f, sig: sig, spec: &Spec{Name: hubName(f.Dir), BOS: -1, Pad: -1}}
	for _, step := range []func() error{l.readConfigs, l.checkDomains, l.bind, l.checkSizes, l.readText} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	l.spec.Parameters = parameters(f.graph.Graph, l.config.tied, int64(l.spec.Vocab)*int64(l.spec.Hidden))
	l.spec.weights, l.spec.width = weights(f.graph.Graph), width(f.graph.Graph, l.spec.Vocab)
	if info, err := fs.Stat(f.FS, cmp.Or(f.Tokenizer, ".")); err == nil && f.Tokenizer != "" {
		l.spec.tokenizerBytes = info.Size()
	}
	l.spec.StepBytes = StepBytes(f.graph.Graph)
	l.spec.Files = l.Files
	l.spec.graph = nil // a few MB that nothing needs any more
	return l.spec, nil
}

// loader holds what Load gathers on its way.
type loader struct {
	Files
	sig        Signature
	spec       *Spec
	config     config
	genai      genai
	generation object
}

func (l *loader) readConfigs() error {
	o, err := l.object(l.Files.Config)
	if err != nil {
		return err
	}
	if l.config, err = parseConfig(o); err != nil {
		return err
	}
	if err := l.config.refuse(); err != nil {
		return err
	}
	if o, err = l.object(l.GenAIConfig); err != nil {
		return err
	}
	l.genai = genai{config: config{bos: -1, pad: -1}, search: object{failed: new(error)}}
	if l.GenAIConfig != "" {
		if l.genai, err = parseGenAI(o); err != nil {
			return err
		}
	}
	if l.generation, err = l.object(l.GenerationConfig); err != nil {
		return err
	}
	l.spec.Family = l.config.family
	if l.spec.Family == "" {
		l.spec.Family = l.genai.family
	}
	l.spec.Sampling, err = parseDefaults(l.generation, l.genai.search)
	return err
}

// checkDomains refuses operators that only a native library of the model's own could provide: none is ever loaded.
func (l *loader) checkDomains() error {
	own := map[string]bool{}
	for _, f := range l.graph.Functions {
		own[f.Domain+"."+f.Name] = true
	}
	var foreign *onnx.Node
	walk(l.graph.Graph, func(n *onnx.Node, _ bool) {
		switch n.Domain {
		case "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview",
			"com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.microsoft.dml", "com.ms.internal.nhwc":
			return
		}
		if !own[n.Domain+"."+n.Op] {
			foreign = n
		}
	})
	if foreign == nil {
		return nil
	}
	return fmt.Errorf("model: check %s: %w: operator %s of domain %q is not the runtime's own, and libraries that come with a model are never loaded",
		l.label(l.Graph), ErrUnsupported, jsonobject.Shorten(foreign.Op), jsonobject.Shorten(foreign.Domain))
}

// signature is what the graph's file declares.
func signature(g *onnx.Graph) Signature {
	constant := map[string]bool{}
	for _, t := range g.Initializers {
		constant[t.Name] = true
	}
	info := func(v onnx.Value) TensorInfo {
		t := TensorInfo{Name: v.Name, Type: v.Type.String(), Shape: make([]int64, len(v.Shape))}
		for i, d := range v.Shape {
			t.Shape[i] = d.Size
		}
		return t
	}
	var s Signature
	for _, v := range g.Inputs {
		if constant[v.Name] {
			s.Overridable = append(s.Overridable, v.Name)
			continue
		}
		s.Inputs = append(s.Inputs, info(v))
	}
	for _, v := range g.Outputs {
		s.Outputs = append(s.Outputs, info(v))
	}
	return s
}
