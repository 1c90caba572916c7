package text

// #include "text.h"
import "C"

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Template is a parsed chat template. It is safe for concurrent use, Close included.
type Template struct {
	Now func() time.Time // for strftime_now in the template; set it before the first render

	mu   sync.RWMutex
	tmpl unsafe.Pointer // nil when closed
}

// TemplateError is why a template could not be parsed or rendered.
type TemplateError struct {
	Op     string // parse or render
	Line   int    // of the template, 0 if unknown
	Raised bool   // the template itself refused the messages, by raise_exception
	Msg    string
}

func (e *TemplateError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("text: %s template: %s", e.Op, e.Msg)
	}
	return fmt.Sprintf("text: %s template: line %d: %s", e.Op, e.Line, e.Msg)
}

// ParseTemplate parses a chat template as transformers would: Jinja2 with trim_blocks, lstrip_blocks
// and loop controls. Filters and tests that do not exist are errors here already.
func ParseTemplate(src string) (*Template, error) {
	data, n := bytesOf(src)
	r := C.shammah_text_template_new(data, n)
	if r.status != C.SHAMMAH_TEXT_OK {
		return nil, templateError("parse", r)
	}
	return &Template{Now: time.Now, tmpl: r.data}, nil
}

// Close frees the template after renders that are under way.
func (t *Template) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tmpl != nil {
		C.shammah_text_template_free(t.tmpl)
		t.tmpl = nil
	}
	return nil
}

// Render renders with variables, which travel as JSON: messages, add_generation_prompt, bos_token,
// tools and so on. A json.RawMessage keeps the order of its keys, which a map does not. Work, depth,
// output (8 MB) and time (2 s) are limited.
func (t *Template) Render(vars map[string]any) (string, error) {
	out, _, err := t.render(vars, nil)
	return out, err
}

// Prompt is a rendered prompt that remembers what in it is content.
type Prompt struct {
	text string
	mark rune // stands in control tokens that came from content, 0 if there are none
}

// String is the prompt as the model's template renders it.
func (p Prompt) String() string {
	if p.mark == 0 {
		return p.text
	}
	return strings.ReplaceAll(p.text, string(p.mark), "")
}

// RenderPrompt renders for a tokenizer: control tokens in the result are the template's own, and those
// in the content of messages, tools and documents are remembered as text. Only strings at the top of
// vars (bos_token and the like) may bring control tokens.
func (t *Template) RenderPrompt(tok *Tokenizer, vars map[string]any) (Prompt, error) {
	tok.mu.RLock()
	defer tok.mu.RUnlock()
	if tok.handle == nil {
		return Prompt{}, ErrClosed
	}
	out, mark, err := t.render(vars, tok.handle)
	return Prompt{text: out, mark: mark}, err
}

// EncodePrompt turns a rendered prompt into ids. Control tokens come from the template only; nothing
// is added, since templates bring their own BOS. Most is as in EncodeOptions.
func (t *Tokenizer) EncodePrompt(p Prompt, most int) ([]int32, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	return t.encode(p.text, EncodeOptions{Most: most}, p.mark)
}

func (t *Template) render(vars map[string]any, handle unsafe.Pointer) (string, rune, error) {
	data, err := marshal(vars)
	if err != nil {
		return "", 0, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.tmpl == nil {
		return "", 0, ErrClosed
	}
	now := t.Now()
	_, offset := now.Zone()
	first := (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(data)))
	r := C.shammah_text_template_render(t.tmpl, handle, first, C.size_t(len(data)), C.int64_t(now.Unix()+int64(offset)))
	if r.status != C.SHAMMAH_TEXT_OK {
		return "", 0, templateError("render", r)
	}
	mark := rune(r.detail)
	return takeBytes(r), mark, nil
}

func templateError(op string, r C.struct_shammah_text_reply) error {
	line, raised := int(r.detail), r.status == C.SHAMMAH_TEXT_RAISED
	return &TemplateError{Op: op, Line: line, Raised: raised, Msg: takeBytes(r)}
}
