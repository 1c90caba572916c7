package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrTruncated is wrapped by errors about a file that ends before what it announces.
var ErrTruncated = errors.New("the file ends too early")

// ErrMalformed is wrapped by errors about bytes that are no ONNX model.
var ErrMalformed = errors.New("not an ONNX model")

// What one file may hold. Real language models stay far below: a graph of 64 layers has about 20,000 nodes.
const (
	fieldsMax   = 2 << 20   // fields of messages that are looked into
	keptMax     = 128 << 20 // bytes kept of it, in names and structures
	stringMax   = 1 << 20   // bytes of one name
	keepMax     = 64 << 10  // bytes of one string attribute worth keeping
	nestingMax  = 8         // graphs inside graphs
	rankMax     = 64        // dimensions of a tensor
	messageCost = 160       // bytes that a message counts for, about the size of Node, Tensor and Attribute
	windowSize  = 64 << 10
)

// reader walks a protobuf file through a small window; a skipped field is never read.
type reader struct {
	src    io.ReaderAt
	size   int64
	pos    int64
	window []byte
	at     int64 // file offset of window[0]
	fields int
	kept   int64
}

// field is one field of a message. For a length-delimited one the reader stands at the payload's start.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value uint64 // of varint and fixed types
	end   int64  // where the field ends
}

// peek returns up to n bytes at the current position, fewer only at the end of the file.
func (r *reader) peek(n int) ([]byte, error) {
	if left := r.size - r.pos; int64(n) > left {
		n = int(left)
	}
	skip := r.pos - r.at
	if skip < 0 || skip+int64(n) > int64(len(r.window)) {
		want := min(int64(max(n, windowSize)), r.size-r.pos)
		if int64(cap(r.window)) < want {
			r.window = make([]byte, want)
		}
		r.window = r.window[:want]
		got, err := r.src.ReadAt(r.window, r.pos)
		if int64(got) < want {
			r.window = r.window[:got]
			if err == nil || err == io.EOF {
				err = fmt.Errorf("%w: at byte %d of %d", ErrTruncated, r.pos+int64(got), r.size)
			}
			if got < n {
				return nil, err
			}
		}
		r.at, skip = r.pos, 0
	}
	return r.window[skip : skip+int64(n)], nil
}

func (r *reader) varint(end int64) (uint64, error) {
	b, err := r.peek(int(min(end-r.pos, binary.MaxVarintLen64)))
	if err != nil {
		return 0, err
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, r.malformed(protowire.ParseError(n))
	}
	r.pos += int64(n)
	return v, nil
}

func (r *reader) malformed(cause error) error {
	if errors.Is(cause, io.ErrUnexpectedEOF) && r.size-r.pos < binary.MaxVarintLen64 {
		return fmt.Errorf("%w: at byte %d", ErrTruncated, r.size)
	}
	return fmt.Errorf("%w: byte %d: %v", ErrMalformed, r.pos, cause)
}

// each calls f for every field of the message that ends at end, and leaves the reader there.
func (r *reader) each(end int64, f func(field) error) error {
	for r.pos < end {
		if r.fields++; r.fields > fieldsMax {
			return fmt.Errorf("%w: more than %d fields", ErrMalformed, fieldsMax)
		}
		x, err := r.next(end)
		if err != nil {
			return err
		}
		if err := f(x); err != nil {
			return err
		}
		r.pos = x.end
	}
	return nil
}

func (r *reader) next(end int64) (field, error) {
	tag, err := r.varint(end)
	if err != nil {
		return field{}, err
	}
	if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return field{}, fmt.Errorf("%w: byte %d: field number %d", ErrMalformed, r.pos, tag>>3)
	}
	x := field{num: protowire.Number(tag >> 3), typ: protowire.Type(tag & 7)}
	switch x.typ {
	case protowire.VarintType:
		x.value, err = r.varint(end)
		x.end = r.pos
	case protowire.Fixed32Type, protowire.Fixed64Type:
		width := 4
		if x.typ == protowire.Fixed64Type {
			width = 8
		}
		var b []byte
		if b, err = r.peek(width); err != nil {
			return field{}, err
		}
		if x.end = r.pos + int64(width); x.end > end || len(b) < width {
			return field{}, r.overrun(end, int64(width))
		}
		if width == 4 {
			x.value = uint64(le32(b))
		} else {
			x.value = le64(b)
		}
	case protowire.BytesType:
		var n uint64
		if n, err = r.varint(end); err == nil && n > uint64(end-r.pos) {
			return field{}, r.overrun(end, int64(min(n, 1<<62)))
		}
		x.end = r.pos + int64(n)
	default:
		return field{}, fmt.Errorf("%w: byte %d: wire type %d", ErrMalformed, r.pos, x.typ)
	}
	return x, err
}

// overrun tells a file that was cut off from one that is nonsense: only the former announces more than the file holds.
func (r *reader) overrun(end, n int64) error {
	if end == r.size || r.pos+n > r.size {
		return fmt.Errorf("%w: a field of %d bytes starts at byte %d of %d", ErrTruncated, n, r.pos, r.size)
	}
	return fmt.Errorf("%w: byte %d: a field of %d bytes, and its message ends after %d", ErrMalformed, r.pos, n, end-r.pos)
}

// bytes copies the payload of a length-delimited field, at most limit bytes of it.
func (r *reader) bytes(x field, limit int64) ([]byte, error) {
	n := x.end - r.pos
	if x.typ != protowire.BytesType || n > limit {
		return nil, fmt.Errorf("%w: byte %d: field %d is no text of at most %d bytes", ErrMalformed, r.pos, x.num, limit)
	}
	if err := r.keep(n); err != nil {
		return nil, err
	}
	b, err := r.peek(int(n))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < n {
		return nil, r.overrun(x.end, n)
	}
	return append([]byte(nil), b...), nil
}

func (r *reader) string(x field) (string, error) {
	b, err := r.bytes(x, stringMax)
	return string(b), err
}

// into appends the text of a field to a list.
func (r *reader) into(list *[]string, x field) error {
	s, err := r.string(x)
	if err != nil {
		return err
	}
	*list = append(*list, s)
	return r.keep(16)
}

// keep counts memory that the model will hold.
func (r *reader) keep(n int64) error {
	if r.kept += n; r.kept > keptMax {
		return fmt.Errorf("%w: its graph takes more than %d bytes", ErrMalformed, keptMax)
	}
	return nil
}

// message checks that the field can hold one, and counts it.
func (r *reader) message(x field) error {
	if x.typ != protowire.BytesType {
		return fmt.Errorf("%w: byte %d: field %d has wire type %d, a message was expected", ErrMalformed, r.pos, x.num, x.typ)
	}
	return r.keep(messageCost)
}

// integers appends the values of a repeated integer field, packed or not, at most limit of them in all, and counts them.
func (r *reader) integers(list *[]int64, x field, limit int) error {
	had := len(*list)
	if x.typ == protowire.VarintType {
		*list = append(*list, int64(x.value))
	} else if err := r.message(x); err != nil {
		return err
	}
	for x.typ == protowire.BytesType && r.pos < x.end {
		v, err := r.varint(x.end)
		if err != nil {
			return err
		}
		*list = append(*list, int64(v))
		if len(*list) > limit {
			break
		}
	}
	if len(*list) > limit {
		return fmt.Errorf("%w: byte %d: more than %d integers in field %d", ErrMalformed, r.pos, limit, x.num)
	}
	return r.keep(8 * int64(len(*list)-had))
}

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
