package lora

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

const headerBytesMax = 4 << 20

// readSafetensors reads PEFT's weights: eight bytes with the length of a JSON header, the header, and the tensors without a gap.
func readSafetensors(f io.ReaderAt, size int64, c config) (*Adapter, error) {
	tensors, err := readHeader(f, size)
	if err != nil {
		return nil, err
	}
	a, err := assemble(f, tensors, false, peftName, c.scale)
	if err != nil {
		return nil, err
	}
	a.Base = c.base
	return a, nil
}

func readHeader(f io.ReaderAt, size int64) ([]tensor, error) {
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, fmt.Errorf("it has %d bytes, expected a safetensors file", size)
	}
	if err := readFull(f, prefix[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case n > uint64(size)-8:
		return nil, fmt.Errorf("its header has %d bytes, but the file only %d; is it a safetensors file, and whole?", n, size)
	case n > headerBytesMax:
		return nil, fmt.Errorf("its header has %d bytes, expected at most %d", n, headerBytesMax)
	}
	header := make([]byte, n)
	if err := readFull(f, header, 8); err != nil {
		return nil, err
	}
	if len(header) == 0 || header[0] != '{' {
		return nil, errors.New("its header is no JSON object; is it a safetensors file?")
	}
	o, err := jsonobject.Parse(header, nestingMax)
	if err != nil {
		return nil, fmt.Errorf("its JSON is wrong: %w", err)
	}
	if len(o.Keys) > tensorsMax {
		return nil, fmt.Errorf("it has %d tensors, expected at most %d", len(o.Keys), tensorsMax)
	}
	return layOut(o, 8+int64(n), size)
}

// placed is a tensor with where its bytes end.
type placed struct {
	tensor
	end int64
}

// layOut checks that the tensors of a header fill the rest of the file: none overlaps another, and nothing lies between or behind them.
func layOut(o *jsonobject.Object, from, size int64) ([]tensor, error) {
	var list []placed
	for _, name := range o.Keys {
		entry, ok := o.Values[name].(*jsonobject.Object)
		if !ok {
			return nil, fmt.Errorf("its header has %s for %q, expected an object", jsonobject.Describe(o.Values[name]), jsonobject.Shorten(name))
		}
		if name == "__metadata__" {
			continue
		}
		t, err := headerTensor(name, entry, from, size)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	slices.SortStableFunc(list, func(x, y placed) int { return int(min(max(x.at-y.at, -1), 1)) })
	at := from
	tensors := make([]tensor, len(list))
	for i, t := range list {
		switch {
		case t.at < at:
			return nil, fmt.Errorf("tensors %s and %s overlap", jsonobject.Shorten(list[i-1].name), jsonobject.Shorten(t.name))
		case t.at > at:
			return nil, fmt.Errorf("%d bytes before tensor %s belong to none", t.at-at, jsonobject.Shorten(t.name))
		}
		at, tensors[i] = t.end, t.tensor
	}
	if at != size {
		return nil, fmt.Errorf("%d bytes behind the last tensor belong to none", size-at)
	}
	return tensors, nil
}

func headerTensor(name string, entry *jsonobject.Object, from, size int64) (p placed, err error) {
	label := jsonobject.Shorten(name)
	var e element
	switch kind := entry.Values["dtype"]; kind {
	case "F32":
		e = float32s
	case "F16":
		e = float16s
	case "BF16":
		e = bfloat16s
	default:
		return p, fmt.Errorf("tensor %s is of %s, expected F32, F16 or BF16", label, jsonobject.Describe(kind))
	}
	dims, ok := integers(entry.Values["shape"])
	if !ok {
		return p, fmt.Errorf("tensor %s has the shape %s, expected a list of sizes", label, jsonobject.Describe(entry.Values["shape"]))
	}
	offsets, ok := integers(entry.Values["data_offsets"])
	if !ok || len(offsets) != 2 || offsets[0] > offsets[1] {
		return p, fmt.Errorf("tensor %s has the offsets %v, expected its first byte and its end", label, jsonobject.Describe(entry.Values["data_offsets"]))
	}
	if offsets[1] > size-from {
		return p, fmt.Errorf("tensor %s ends at byte %d of the data, but the file has only %d: is it whole?", label, offsets[1], size-from)
	}
	t, err := newTensor(name, dims, e, from+offsets[0], offsets[1]-offsets[0])
	return placed{t, from + offsets[1]}, err
}

func integers(v any) (list []int64, ok bool) {
	values, ok := v.([]any)
	if !ok || len(values) > 8 {
		return nil, false
	}
	for _, v := range values {
		n, ok := jsonobject.Integer(v, 0, math.MaxInt64)
		if !ok {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}

var (
	halfName   = regexp.MustCompile(`^(.+)\.lora_([AB])(?:\.default)?\.weight$`)
	moduleName = regexp.MustCompile(`^[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*$`)
)

const moduleBytesMax = 256

// peftPrefix stands before the base model's own names in what PEFT saves.
const peftPrefix = "base_model.model."

// peftName says which half of which module a tensor of PEFT's is.
func peftName(name string) (module string, half byte, err error) {
	m := halfName.FindStringSubmatch(name)
	switch {
	case m != nil:
	case strings.Contains(name, "lora_magnitude_vector"):
		return "", 0, fmt.Errorf("tensor %s belongs to DoRA, which is not supported", jsonobject.Shorten(name))
	case strings.Contains(name, "lora_embedding_"):
		return "", 0, fmt.Errorf("tensor %s changes an embedding, which is not supported", jsonobject.Shorten(name))
	default:
		return "", 0, fmt.Errorf("tensor %s is no half of a LoRA pair (NAME.lora_A.weight or NAME.lora_B.weight); other changes of the base are not supported", jsonobject.Shorten(name))
	}
	return checkModule(name, strings.TrimPrefix(m[1], peftPrefix), m[2][0])
}

func checkModule(name, module string, half byte) (string, byte, error) {
	if len(module) > moduleBytesMax || !moduleName.MatchString(module) {
		return "", 0, fmt.Errorf("tensor %q is not named as a module is: letters, digits and _ between dots", jsonobject.Shorten(name))
	}
	return module, half, nil
}
