// Package model turns a model's folder into a checked description of it: which files it has, what its graph takes and
// gives, how large it is, and where its text ends.
//
// Find looks at the files, Load compares what they say with what the graph declares. Nothing here is native, and nothing
// reads weights: a folder that does not hold together is refused in milliseconds, before a session is opened.
package model

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/shammah/shammah-engine/internal/jsonobject"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// ErrNoModel is wrapped by errors about a folder that holds no model.
var ErrNoModel = errors.New("no model")

// ErrUnsupported is wrapped by errors about a model of a kind that this program does not run.
var ErrUnsupported = errors.New("not supported")

// ErrContract is wrapped by errors about a graph and configuration files that disagree with each other.
var ErrContract = errors.New("the model's parts disagree")

// ErrFile is wrapped by errors about a file that is missing, damaged or where it may not be.
var ErrFile = errors.New("bad model file")

// Layout is one of the three ways in which exported models are laid out in a folder.
type Layout int

const (
	// LayoutA has configuration files in the root and graphs under onnx/ (transformers.js, Optimum).
	LayoutA Layout = iota + 1
	// LayoutB has a genai_config.json beside the graph (onnxruntime-genai).
	LayoutB
	// LayoutC has graph and configuration files in the root.
	LayoutC
)

func (l Layout) String() string {
	switch l {
	case LayoutA:
		return "A"
	case LayoutB:
		return "B"
	case LayoutC:
		return "C"
	}
	return "unknown"
}

// Files are the files of one model. Names are slash-separated and relative to FS; "" is an absent file.
type Files struct {
	FS       fs.FS
	Dir      string   // the folder on disk that FS shows, "" for an embedded model
	Graph    string   // the ONNX file
	Data     []string // the files that hold its external data
	Layout   Layout
	Variant  string // "q4", "fp32", or the folder of a layout B model
	Bytes    int64  // of graph and data
	Warnings []string

	Config, GenerationConfig, GenAIConfig, Tokenizer, TokenizerConfig string

	// ChatTemplate is a separate template: chat_template.jinja or chat_template.json.
	ChatTemplate string

	graph *onnx.Model
}

// Path is where the named file lies on disk. It is only meaningful when Dir is set.
func (f Files) Path(name string) string { return filepath.Join(f.Dir, filepath.FromSlash(name)) }

// label names a file in messages: its path on disk when it has one.
func (f Files) label(name string) string {
	if f.Dir == "" {
		return jsonobject.Printable(name)
	}
	return jsonobject.Printable(f.Path(name))
}

// TensorInfo is one input or output of a session.
type TensorInfo struct {
	Name  string
	Type  string  // "float32", "float16", "int64", ...
	Shape []int64 // -1 is symbolic
}

// Signature is what a session says about its graph.
type Signature struct {
	Inputs, Outputs []TensorInfo
	Overridable     []string // initializers that a run may replace, such as LoRA matrices
}

// KVNames are the two tensors of one layer's cache. Both are the same name where one tensor holds both halves.
type KVNames struct{ Key, Value string }

// Spec is a model whose files and graph agree.
type Spec struct {
	Files
	Family     string // model_type, such as "qwen2"
	Name       string // owner/name when the folder is one of the Hub's cache, else the folder's name
	Parameters int64  // 0 when unknown

	Vocab, Layers, KVHeads, HeadDim, Heads, Hidden int

	ContextMax int // tokens
	Batch      int // rows of a run when the graph fixes them, 0 when any number will do

	// Names of tensors; "" is a tensor that the graph does not have.
	InputIDs, Mask, Positions, NumLogits, UseCacheBranch, Logits string

	NumLogitsShape []int64 // of NumLogits: () or (1)

	// LoRA names inputs for the matrices of one adapter, with which the graph was exported. The engine takes them out of it.
	LoRA []string

	// Past and Present name each layer's cache as (batch, kv_heads, length, head_dim), or (2, batch, kv_heads, length,
	// head_dim) when Combined. They are empty for a graph without a cache.
	Past, Present []KVNames
	Combined      bool
	Shared        bool   // past feeds GroupQueryAttention straight, so past and present may be one buffer
	LastRowOnly   bool   // logits are (batch, 1, vocab) however long the prompt is
	LogitsRows    string // input (n) int64 of a derived graph: logits are (batch, n, vocab), of these tokens of the run

	KVType, LogitsType string // "float32" or "float16"

	End              []int32 // ids that end a text, sorted
	BOS, Pad         int32   // -1 when absent
	BOSText, EOSText string
	Template         string // jinja source, "" = none
	TemplateSource   string // the file it stands in, or "built-in <name>"
	Sampling         Defaults

	StepBytes int64 // of weights that computing one token reads from the graph as it is in its file

	weights        Weights
	width          int64 // see width
	tokenizerBytes int64 // of its file
}

// SetWeights replaces what MemoryEstimate takes for the weights: those of a derived graph.
func (s *Spec) SetWeights(w Weights) {
	w.Nodes, w.Own = s.weights.Nodes/2, true // the graph was read, and the runtime has few nodes of it
	s.weights = w
}

// Defaults are the sampling parameters that the model's author recommends; nil is a value that is not given.
type Defaults struct {
	DoSample                                   *bool
	Temperature, TopP, MinP, RepetitionPenalty *float32
	PresencePenalty, FrequencyPenalty          *float32
	TopK, MaxNewTokens, MinNewTokens           *int
}

// contractError is one thing on which the parts of a model disagree.
type contractError struct{ file, item, want, found string }

func (e *contractError) Error() string {
	return fmt.Sprintf("model: check %s: %s: expected %s, found %s", e.file, e.item, e.want, e.found)
}

func (e *contractError) Unwrap() error { return ErrContract }
