package lora

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// An .onnx_adapter is a flatbuffer:
//
//	table Adapter   { format_version:int; adapter_version:int; model_version:int; parameters:[Parameter]; }
//	table Parameter { name:string; dims:[int64]; data_type:int; raw_data:[uint8]; }
//
// with the identifier TORT and the numbers of TensorProto.DataType. A parameter is fed to the graph's input of its name. So A lies as
// (inputs, rank) and B as (rank, outputs), and since the file has no place for a scale, B is multiplied by it.
//
// Source: onnxruntime/lora/adapter_format/adapter_schema.fbs, https://github.com/microsoft/onnxruntime
const (
	onnxIdentifier = "TORT"
	onnxFormat     = 1
)

// Fields of the tables, by their number.
const (
	fieldFormat     = 0
	fieldParameters = 3

	fieldName = 0
	fieldDims = 1
	fieldType = 2
	fieldData = 3
)

func readOnnx(f io.ReaderAt, size int64) (*Adapter, error) {
	b := buffer{f, min(size, math.MaxInt32)} // offsets in a flatbuffer have 32 bits
	var head [8]byte
	if size < int64(len(head)) {
		return nil, fmt.Errorf("it has %d bytes, expected an adapter of ONNX Runtime", size)
	}
	if err := readFull(f, head[:], 0); err != nil {
		return nil, err
	}
	if string(head[4:]) != onnxIdentifier {
		return nil, fmt.Errorf("it has no %s at byte 4: it is no adapter of ONNX Runtime", onnxIdentifier)
	}
	root, err := b.table(int64(binary.LittleEndian.Uint32(head[:4])))
	if err != nil {
		return nil, err
	}
	format, err := root.int32(fieldFormat)
	if err != nil {
		return nil, err
	}
	if format != onnxFormat {
		return nil, fmt.Errorf("it has version %d of the format, expected %d", format, onnxFormat)
	}
	at, n, err := root.vector(fieldParameters, 4)
	if err != nil {
		return nil, err
	}
	if n > tensorsMax {
		return nil, fmt.Errorf("it has %d tensors, expected at most %d", n, tensorsMax)
	}
	tensors := make([]tensor, 0, n)
	sum := int64(0)
	for i := range n {
		offset, err := b.uint32(at + 4*i)
		if err != nil {
			return nil, err
		}
		t, err := b.parameter(at + 4*i + int64(offset))
		if err != nil {
			return nil, err
		}
		if sum += int64(t.rows) * int64(t.columns) * t.element.bytes; sum > size {
			return nil, errors.New("its tensors overlap: together they are larger than the file")
		}
		tensors = append(tensors, t)
	}
	return assemble(f, tensors, true, onnxName, func(string, int) (float32, error) { return 1, nil })
}

// parameter reads one tensor's table.
func (b buffer) parameter(at int64) (t tensor, err error) {
	table, err := b.table(at)
	if err != nil {
		return t, err
	}
	at, n, err := table.vector(fieldName, 1)
	if err != nil {
		return t, err
	}
	if n > 2*moduleBytesMax {
		return t, fmt.Errorf("a tensor's name has %d bytes, expected at most %d", n, 2*moduleBytesMax)
	}
	text := make([]byte, n)
	if err := readFull(b.f, text, at); err != nil {
		return t, err
	}
	name := string(text)
	kind, err := table.int32(fieldType)
	if err != nil {
		return t, err
	}
	var e element
	switch kind {
	case 1:
		e = float32s
	case 10:
		e = float16s
	case 16:
		e = bfloat16s
	default:
		return t, fmt.Errorf("tensor %s has the data type %d, expected 1 (float), 10 (float16) or 16 (bfloat16)", jsonobject.Shorten(name), kind)
	}
	if at, n, err = table.vector(fieldDims, 8); err != nil {
		return t, err
	}
	dims := make([]int64, min(n, 9))
	for i := range dims {
		if dims[i], err = b.int64(at + 8*int64(i)); err != nil {
			return t, err
		}
	}
	if at, n, err = table.vector(fieldData, 1); err != nil {
		return t, err
	}
	return newTensor(name, dims, e, at, n)
}

var (
	onnxHalf  = regexp.MustCompile(`^(.+)\.lora_([AB])(?:\.default)?(?:\.MatMul)?\.weight$`)
	onnxLayer = regexp.MustCompile(`(^|\.)(layers\.[0-9]+)\.attn\.`)
)

// onnxName says which half of which module a graph's input is. The exporters of onnxruntime-genai shorten self_attn.
func onnxName(name string) (module string, half byte, err error) {
	m := onnxHalf.FindStringSubmatch(name)
	if m == nil {
		return "", 0, fmt.Errorf("tensor %s is no half of a LoRA pair (NAME.lora_A.MatMul.weight or NAME.lora_B.MatMul.weight); quantised ones and other inputs are not supported", jsonobject.Shorten(name))
	}
	module = strings.TrimPrefix(m[1], peftPrefix)
	return checkModule(name, onnxLayer.ReplaceAllString(module, "${1}${2}.self_attn."), m[2][0])
}

// Input says which half, 'A' or 'B', of which module an input of a graph is that was exported for adapters: the name of a parameter of an
// .onnx_adapter.
func Input(name string) (module string, half byte, ok bool) {
	module, half, err := onnxName(name)
	return module, half, err == nil
}

// buffer reads a flatbuffer in place. Every offset in it is checked against the file's size.
type buffer struct {
	f    io.ReaderAt
	size int64
}

var errOffset = errors.New("an offset in it leads out of the file: it is damaged")

func (b buffer) bytes(at, n int64, to []byte) error {
	if at < 0 || n > b.size || at > b.size-n {
		return errOffset
	}
	return readFull(b.f, to[:n], at)
}

func (b buffer) uint16(at int64) (uint16, error) {
	var x [2]byte
	err := b.bytes(at, 2, x[:])
	return binary.LittleEndian.Uint16(x[:]), err
}

func (b buffer) uint32(at int64) (uint32, error) {
	var x [4]byte
	err := b.bytes(at, 4, x[:])
	return binary.LittleEndian.Uint32(x[:]), err
}

func (b buffer) int64(at int64) (int64, error) {
	var x [8]byte
	err := b.bytes(at, 8, x[:])
	return int64(binary.LittleEndian.Uint64(x[:])), err
}

// table is where a table and the list of its fields' places begin.
type table struct {
	buffer
	at, fields int64
	length     int64 // of the list in bytes
}

func (b buffer) table(at int64) (t table, err error) {
	back, err := b.uint32(at)
	if err != nil {
		return t, err
	}
	t = table{buffer: b, at: at, fields: at - int64(int32(back))}
	length, err := b.uint16(t.fields)
	t.length = int64(length)
	return t, err
}

// field is where a field lies, 0 if it has its default.
func (t table) field(number int64) (int64, error) {
	if 4+2*number+2 > t.length {
		return 0, nil
	}
	offset, err := t.uint16(t.fields + 4 + 2*number)
	if err != nil || offset == 0 {
		return 0, err
	}
	return t.at + int64(offset), nil
}

func (t table) int32(number int64) (int32, error) {
	at, err := t.field(number)
	if err != nil || at == 0 {
		return 0, err
	}
	x, err := t.uint32(at)
	return int32(x), err
}

// vector is where the elements of a vector begin, and how many there are; their bytes lie inside the file.
func (t table) vector(number, bytes int64) (at, n int64, err error) {
	if at, err = t.field(number); err != nil || at == 0 {
		return 0, 0, err
	}
	offset, err := t.uint32(at)
	if err != nil {
		return 0, 0, err
	}
	at += int64(offset)
	length, err := t.uint32(at)
	if err != nil {
		return 0, 0, err
	}
	at, n = at+4, int64(length)
	if n*bytes > t.size-at {
		return 0, 0, errOffset
	}
	return at, n, nil
}
