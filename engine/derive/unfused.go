package derive

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// ErrUnfused is wrapped by errors about attention of plain nodes that is not exactly understood.
var ErrUnfused = errors.New("the attention is not one that is known")

// Unfused is one layer's attention as Optimum and transformers.js write it: rotary embedding, concatenation of past and new, scores,
// mask, softmax, all as plain nodes. It stands for what one attention operator over a shared cache computes, for rows without padding
// whose positions count on from the past.
type Unfused struct {
	Layer int

	// Query, Key and Value are what comes out of the projections, biases and norms of each head included.
	Query, Key, Value                  string
	QueryShape, KeyShape, ValueShape   HeadShape
	PastKey, PastValue                 string // graph inputs; one and the same where the cache is combined
	PresentKey, PresentValue           string // graph outputs, in the same way
	Output                             string // (batch, length, heads*head_dim), goes into the output projection
	Heads, KVHeads, HeadDim, RotaryDim int    // RotaryDim 0: positions do not turn queries and keys
	Interleaved                        bool   // pairs are neighbours, not half a RotaryDim apart

	InverseFrequencies []float32 // (RotaryDim/2)
	RotaryScale        float32   // cosines and sines are multiplied with it, mostly 1
	Scale              float32   // of the scores
	Softcap            float32   // scores become Softcap*tanh(score/Softcap); 0: none
	Window             int       // a query at p sees the keys p-Window+1 to p; -1: all up to p
}

// HeadShape is how the heads lie in a tensor.
type HeadShape int

const (
	Joined     HeadShape = iota // (batch, length, heads*head_dim)
	Split                       // (batch, length, heads, head_dim)
	HeadsFirst                  // (batch, heads, length, head_dim)
)

func (s HeadShape) String() string {
	return [...]string{"(batch, length, heads*head_dim)", "(batch, length, heads, head_dim)", "(batch, heads, length, head_dim)"}[s]
}

// String is one line for people.
func (u Unfused) String() string {
	s := fmt.Sprintf("layer %d: %d heads over %d of %d, scale %.6g", u.Layer, u.Heads, u.KVHeads, u.HeadDim, u.Scale)
	if u.RotaryDim > 0 {
		s += fmt.Sprintf(", rotary over %d", u.RotaryDim)
		if u.Interleaved {
			s += " in neighbours"
		}
		if u.RotaryScale != 1 {
			s += fmt.Sprintf(" times %.6g", u.RotaryScale)
		}
	}
	if u.Softcap != 0 {
		s += fmt.Sprintf(", soft cap %.6g", u.Softcap)
	}
	if u.Window >= 0 {
		s += fmt.Sprintf(", window of %d", u.Window)
	}
	return s
}

// FindUnfused returns every layer's attention, in the order of layers, or an error that says what did not fit: then the graph is to
// be left as it is. m and spec belong to each other; read is asked for the few constants that are needed.
//
// What is found by the shape of the graph is proved by computing it: both the nodes of the graph and the operator that would replace
// them, on numbers of all kinds, and the mask and the rotation also at every length that a constant of the graph could be about.
func FindUnfused(m *onnx.Model, spec *model.Spec, read oracle.Read) ([]Unfused, error) {
	f := &finder{graph: m.Graph, spec: spec}
	if err := f.suits(m); err != nil {
		return nil, err
	}
	f.index()
	layers, err := f.match()
	if err != nil {
		return nil, err
	}
	found := func() []Unfused {
		list := make([]Unfused, len(layers))
		for i, l := range layers {
			list[i] = l.Unfused
		}
		return list
	}
	if err := f.nothingElse(found()); err != nil {
		return nil, err
	}
	p := &prover{finder: f, oracle: oracle.New(m, read), read: read, layers: layers, trunk: map[string]int{}, masks: map[string]int{}}
	if err := p.prove(); err != nil {
		return nil, err
	}
	return found(), nil
}

// contextMin is the shortest context in which everything that could differ has room to.
const contextMin = 16

// suits says what makes a model unfit before its graph is looked at.
func (f *finder) suits(m *onnx.Model) error {
	s := f.spec
	switch {
	case len(m.Functions) > 0:
		return refuse("the graph has functions of its own")
	case len(s.Past) == 0 || len(s.Past) != len(s.Present):
		return refuse("the graph has no cache")
	case s.KVHeads < 1 || s.HeadDim < 2 || s.KVHeads > 1<<12 || s.HeadDim > 1<<12:
		return refuse("a cache of %d heads of %d", s.KVHeads, s.HeadDim)
	case s.ContextMax < contextMin:
		return refuse("a context of %d tokens; proofs need %d", s.ContextMax, contextMin)
	case s.Batch > 1:
		return refuse("the graph fixes the batch to %d rows", s.Batch)
	}
	return nil
}

// UnusedInputs are the graph's inputs that nothing needs once the attentions are operators: positions, for one. The mask, which
// tells how long rows are, is among them where nothing else reads it.
func UnusedInputs(g *onnx.Graph, found []Unfused) []string {
	f := &finder{graph: g}
	f.index()
	used := map[string]bool{}
	for _, n := range f.live(found) {
		for _, in := range reads(n) {
			used[in] = true
		}
	}
	for _, u := range found {
		used[u.PastKey], used[u.PastValue], used[u.Query], used[u.Key], used[u.Value] = true, true, true, true, true
	}
	for _, v := range g.Outputs {
		used[v.Name] = true
	}
	var unused []string
	for _, v := range g.Inputs {
		if !used[v.Name] {
			unused = append(unused, v.Name)
		}
	}
	return unused
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("derive: find attention: %w: %s", ErrUnfused, fmt.Sprintf(format, args...))
}

// refuseAt names the node that did not fit.
func refuseAt(n *onnx.Node, format string, args ...any) error {
	if n == nil {
		return refuse("a tensor that no node makes: "+format, args...)
	}
	return refuse("%s: %s", oracle.Label(n), fmt.Sprintf(format, args...))
}

// axisIs says whether a node's axis is one of two ways to write it.
func axisIs(n *onnx.Node, axis, fromEnd int) bool {
	a := n.Attribute("axis")
	return a != nil && (a.Int == int64(axis) || a.Int == int64(fromEnd))
}

// unless returns the first error that is one.
func unless(errs ...error) error { return cmp.Or(errs...) }
