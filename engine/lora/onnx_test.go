package lora

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parameter is one tensor of an .onnx_adapter.
type parameter struct {
	name string
	dims []int64
	kind int32
	data []byte
}

// flatbuffer writes an adapter of ONNX Runtime, back to front as the format wants it: a table's vectors lie behind it.
func flatbuffer(format int32, list []parameter) []byte {
	var b []byte
	u16 := func(x int) { b = binary.LittleEndian.AppendUint16(b, uint16(x)) }
	u32 := func(x int) { b = binary.LittleEndian.AppendUint32(b, uint32(x)) }
	point := func(at int) { binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at)) }
	u32(20)
	b = append(b, onnxIdentifier...)
	for _, x := range []int{12, 12, 4, 0, 0, 8} { // the root's list: its size, the table's, and four fields
		u16(x)
	}
	u32(12) // the root: how far back its list is
	u32(int(format))
	u32(0)
	point(28)
	u32(len(list))
	slots := len(b)
	for range list {
		u32(0)
	}
	for i, p := range list {
		for _, x := range []int{12, 20, 4, 8, 12, 16} {
			u16(x)
		}
		point(slots + 4*i)
		at := len(b)
		u32(12)
		for range 4 {
			u32(0)
		}
		binary.LittleEndian.PutUint32(b[at+12:], uint32(p.kind))
		point(at + 4)
		u32(len(p.name))
		b = append(b, p.name...)
		point(at + 8)
		u32(len(p.dims))
		for _, d := range p.dims {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		point(at + 16)
		u32(len(p.data))
		b = append(b, p.data...)
	}
	return b
}

// two is a right adapter: A (3, 2) and B (2, 5).
func two() []parameter {
	return []parameter{
		{"model.layers.1.attn.q_proj.lora_A.MatMul.weight", []int64{3, 2}, 1, make([]byte, 24)},
		{"model.layers.1.attn.q_proj.lora_B.MatMul.weight", []int64{2, 5}, 10, make([]byte, 20)},
	}
}

func loadOnnx(t *testing.T, data []byte) (*Adapter, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x"+OnnxSuffix)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

// M-14 in ONNX Runtime's form.
func TestBadOnnx(t *testing.T) {
	a, err := loadOnnx(t, flatbuffer(1, two()))
	if err != nil || a.Modules[0].Name != "model.layers.1.self_attn.q_proj" || a.Modules[0].Inputs != 3 || a.Modules[0].Outputs != 5 || a.Modules[0].Scale != 1 {
		t.Fatalf("the right file: %+v, %v", a, err)
	}
	change := func(f func(p []parameter)) []byte {
		list := two()
		f(list)
		return flatbuffer(1, list)
	}
	nan := func(p []parameter) { binary.LittleEndian.PutUint16(p[1].data[18:], 0x7e00) }
	for _, test := range []struct {
		name string
		data []byte
		word string
	}{
		{"empty", nil, "it has 0 bytes"},
		{"garbage", bytes.Repeat([]byte("garbage "), 8), "no TORT at byte 4"},
		{"a model", []byte("\x08\x07\x12\x07pytorch\x3a"), "no TORT"},
		{"another format", flatbuffer(2, two()), "version 2 of the format, expected 1"},
		{"no tensor", flatbuffer(1, nil), "it holds no matrix"},
		{"no partner", flatbuffer(1, two()[:1]), "lora_B of model.layers.1.self_attn.q_proj is missing"},
		{"the same twice", flatbuffer(1, append(two(), two()...)), "both half A"},
		{"another name", change(func(p []parameter) { p[0].name = "input_ids" }), "is no half of a LoRA pair"},
		{"quantised", change(func(p []parameter) { p[0].name = "q.lora_A.MatMul.weight_Q4" }), "is no half of a LoRA pair"},
		{"no name", change(func(p []parameter) { p[0].name = "" }), "is no half of a LoRA pair"},
		{"a name with a new line", change(func(p []parameter) { p[0].name = "a\nb.lora_A.weight" }), "is no half of a LoRA pair"},
		{"a long name", change(func(p []parameter) { p[0].name = strings.Repeat("x", 513) }), "a tensor's name has 513 bytes"},
		{"int8", change(func(p []parameter) { p[0].kind = 3 }), "the data type 3"},
		{"type below zero", change(func(p []parameter) { p[0].kind = -1 }), "the data type -1"},
		{"NaN", change(nan), "holds NaN at (1, 4)"},
		{"a vector", change(func(p []parameter) { p[0].dims = []int64{6} }), "1 dimensions"},
		{"a thousand dimensions", change(func(p []parameter) { p[0].dims = make([]int64, 1000) }), "9 dimensions"},
		{"rank 2^31", change(func(p []parameter) { p[0].dims[1] = 1 << 31 }), "the shape (3, 2147483648)"},
		{"rank below zero", change(func(p []parameter) { p[0].dims[1] = -2 }), "the shape (3, -2)"},
		{"fewer bytes than the shape", change(func(p []parameter) { p[0].data = p[0].data[:20] }), "has 20 bytes, expected 3 times 2 times 4"},
		{"ranks that differ", change(func(p []parameter) { p[1].dims = []int64{5, 2} }), "disagree"},
		{"PEFT's order of a square matrix", change(func(p []parameter) {
			p[0].dims, p[0].data = []int64{2, 3}, make([]byte, 24)
			p[1].dims, p[1].data = []int64{3, 2}, make([]byte, 12)
		}), "expected lora_A as (inputs, rank)"},
	} {
		a, err := loadOnnx(t, test.data)
		refused(t, test.name, a, err, test.word, OnnxSuffix)
	}
}

// No byte of a right file can be changed so that something breaks: it is an adapter still, or refused in one line.
func TestOnnxByteByByte(t *testing.T) {
	good := flatbuffer(1, two())
	for at := range good {
		for _, x := range []byte{0x00, 0x01, 0x7f, 0x80, 0xff, good[at] ^ 4} {
			data := slices.Clone(good)
			data[at] = x
			if a, err := readOnnx(bytes.NewReader(data), int64(len(data))); err != nil {
				if strings.ContainsAny(err.Error(), "\n\x00") {
					t.Errorf("byte %d as %#x: %q is not one line", at, x, err)
				}
			} else {
				sound(t, a, len(data))
			}
		}
		if a, err := readOnnx(bytes.NewReader(good[:at]), int64(at)); err == nil {
			t.Errorf("the first %d bytes are accepted as %+v", at, a)
		}
	}
}

// A few bytes may not claim more than the file has: tables that share one vector.
func TestOnnxSharedBytes(t *testing.T) {
	list := two()
	list[0].dims, list[0].data = []int64{1000, 2}, make([]byte, 8000)
	data := flatbuffer(1, append(list, list[0])) // and then all slots lead to the first table
	slots := 36
	first := int(binary.LittleEndian.Uint32(data[slots:])) + slots
	for i := range 3 {
		binary.LittleEndian.PutUint32(data[slots+4*i:], uint32(first-slots-4*i))
	}
	a, err := loadOnnx(t, data)
	refused(t, "shared", a, err, "its tensors overlap")
}

// sound checks what every adapter that was accepted has to be.
func sound(t *testing.T, a *Adapter, bytes int) {
	t.Helper()
	total := 0
	for i, m := range a.Modules {
		if len(m.A) != m.Rank*m.Inputs || len(m.B) != m.Rank*m.Outputs || m.Rank < 1 || m.Rank > a.Rank || !(m.Scale > 0) || math.IsInf(float64(m.Scale), 0) {
			t.Errorf("module %s: %d and %d numbers, rank %d of %d, (%d, %d), scale %v", m.Name, len(m.A), len(m.B), m.Rank, a.Rank, m.Outputs, m.Inputs, m.Scale)
		}
		for _, x := range slices.Concat(m.A, m.B) {
			if x-x != 0 {
				t.Errorf("module %s holds %v", m.Name, x)
			}
		}
		if i > 0 && a.Modules[i-1].Name >= m.Name || !moduleName.MatchString(m.Name) {
			t.Errorf("module %d is %q", i, m.Name)
		}
		total += len(m.A) + len(m.B)
	}
	if len(a.Modules) == 0 || 2*total > bytes {
		t.Errorf("%d modules with %d numbers from %d bytes", len(a.Modules), total, bytes)
	}
}

func FuzzOnnx(f *testing.F) {
	f.Add(flatbuffer(1, two()))
	f.Add(flatbuffer(1, nil))
	for _, name := range []string{"f32", "f16"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+OnnxSuffix))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readOnnx(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			sound(t, a, len(data))
		} else if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("%q is not one line", err)
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	plain := "{" + entryA + "," + entryB + "}"
	f.Add([]byte(plainConfig), weights(plain, make([]byte, 64)))
	f.Add([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_rslora": true, "rank_pattern": {"l": 2}, "alpha_pattern": {"[k-m]": 3}}`), weights(plain, make([]byte, 64)))
	config, err := os.ReadFile(filepath.Join("testdata", "f16", ConfigFile))
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join("testdata", "f16", WeightsFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(config, data)
	f.Fuzz(func(t *testing.T, config, data []byte) {
		line := func(err error) {
			if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("%q is not one line", err)
			}
		}
		c, err := parseConfig(config)
		if err != nil {
			line(err)
			if c, err = parseConfig([]byte(plainConfig)); err != nil {
				t.Fatal(err)
			}
		}
		a, err := readSafetensors(bytes.NewReader(data), int64(len(data)), c)
		if err != nil {
			line(err)
			return
		}
		sound(t, a, len(data))
	})
}
