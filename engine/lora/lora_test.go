package lora

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// wanted is what the adapter of testdata holds, by module.
type wanted map[string]struct {
	A     [][]float32 `json:"a"`
	B     [][]float32 `json:"b"`
	Scale float32     `json:"scale"`
}

// Every form of the same adapter gives the same product: Scale B A.
func TestForms(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "want.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want wanted
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	for path, base := range map[string]string{
		"f32": "owner/base", "f16": "owner/base", "f16/adapter_model.safetensors": "owner/base", "f32.onnx_adapter": "", "f16.onnx_adapter": "",
	} {
		a, err := Load(filepath.Join("testdata", path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if a.Rank != 2 || a.Base != base || len(a.Modules) != len(want) || !slices.IsSortedFunc(a.Modules, func(x, y Module) int { return strings.Compare(x.Name, y.Name) }) {
			t.Errorf("%s: rank %d of %q with %d modules, want 2, %q, %d", path, a.Rank, a.Base, len(a.Modules), base, len(want))
		}
		for _, m := range a.Modules {
			w, ok := want[m.Name]
			if !ok || m.Outputs != len(w.B) || m.Inputs != len(w.A[0]) || m.Rank != len(w.A) {
				t.Errorf("%s: %s is (%d, %d) of rank %d, want %v", path, m.Name, m.Outputs, m.Inputs, m.Rank, w)
				continue
			}
			for o := range m.Outputs {
				for i := range m.Inputs {
					got, product := float32(0), float32(0)
					for r := range m.Rank {
						got += m.Scale * m.B[o*m.Rank+r] * m.A[r*m.Inputs+i]
						product += w.Scale * w.B[o][r] * w.A[r][i]
					}
					if got != product {
						t.Errorf("%s: %s at (%d, %d) is %v, want %v", path, m.Name, o, i, got, product)
					}
				}
			}
		}
	}
}

// Every bit pattern of 16 bits, against a computation in float64.
func TestHalf(t *testing.T) {
	for bits := range 1 << 16 {
		e, f := bits>>10&31, float64(bits&0x3ff)
		want := math.Ldexp(1024+f, e-25)
		switch e {
		case 0:
			want = math.Ldexp(f, -24)
		case 31:
			want = math.Inf(1)
			if f != 0 {
				want = math.NaN()
			}
		}
		if bits>>15 == 1 {
			want = -want
		}
		got := float64(half(uint16(bits)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != math.Signbit(want) && !math.IsNaN(want) {
			t.Fatalf("%#04x is %v, want %v", bits, got, want)
		}
	}
}

const plainConfig = `{"peft_type": "LORA", "r": 2, "lora_alpha": 4}`

// weights is a safetensors file with a header as it is given, "N" standing for nothing, and zeros of so many bytes.
func weights(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

const (
	entryA = `"base_model.model.l.lora_A.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}`
	entryB = `"base_model.model.l.lora_B.weight":{"dtype":"F32","shape":[5,2],"data_offsets":[24,64]}`
)

// with replaces a part of the plain header, which must have it.
func with(t *testing.T, old, new string) string {
	t.Helper()
	header := "{" + entryA + "," + entryB + "}"
	if !strings.Contains(header, old) {
		t.Fatalf("the header has no %s", old)
	}
	return strings.Replace(header, old, new, 1)
}

// refused checks that an error is one line which names the matter.
func refused(t *testing.T, name string, a *Adapter, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted as %+v", name, a)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want a word about %q", name, err, word)
		}
	}
	if !errors.Is(err, ErrAdapter) || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 700 {
		t.Errorf("%s: %q is no line that wraps ErrAdapter", name, err)
	}
}

// put writes an adapter's folder.
func put(t testing.TB, config string, weights []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{ConfigFile: []byte(config), WeightsFile: weights} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// badWeights is a file and a word that its refusal must have.
type badWeights struct {
	name string
	data []byte
	word string
}

func refuseAll(t *testing.T, tests []badWeights) {
	t.Helper()
	for _, test := range tests {
		a, err := Load(put(t, plainConfig, test.data))
		refused(t, test.name, a, err, test.word, WeightsFile)
	}
}

// M-14: what is wrong with the file, the six abuses of safetensors first of all.
func TestBadSafetensors(t *testing.T) {
	zeros := make([]byte, 64)
	plain := with(t, "{", "{")
	length := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), plain...) }
	refuseAll(t, []badWeights{
		{"empty", nil, "it has 0 bytes"},
		{"short", []byte("1234567"), "it has 7 bytes"},
		{"a pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"},
		{"a web page", []byte("<!DOCTYPE html><html></html>"), "web page"},
		{"garbage", bytes.Repeat([]byte{0xff}, 100), "its header has 18446744073709551615 bytes"},
		{"header longer than the file", length(uint64(len(plain)) + 1), "is it a safetensors file, and whole?"},
		{"header of 2^63", length(1 << 63), "its header has 9223372036854775808 bytes"},
		{"header of 2^63-1", length(1<<63 - 1), "its header has 9223372036854775807 bytes"},
		{"header of nothing", length(0), "no JSON object"},
		{"overlap", weights(with(t, "[24,64]", "[20,60]"), zeros[:60]), "overlap"},
		{"the same bytes twice", weights(with(t, `[5,2],"data_offsets":[24,64]`, `[3,2],"data_offsets":[0,24]`), zeros[:24]), "overlap"},
		{"end before the beginning", weights(with(t, "[24,64]", "[64,24]"), zeros), "expected its first byte and its end"},
		{"gap", weights(with(t, "[24,64]", "[28,68]"), make([]byte, 68)), "4 bytes before tensor base_model.model.l.lora_B.weight belong to none"},
		{"gap in front", weights(with(t, `[2,3],"data_offsets":[0,24]`, `[1,5],"data_offsets":[4,24]`), zeros), "4 bytes before"},
		{"more behind", weights(plain, make([]byte, 65)), "1 bytes behind the last tensor"},
		{"duplicate name", weights(with(t, "lora_B", "lora_A"), zeros), "stands twice"},
		{"duplicate key", weights(with(t, `"dtype":"F32"`, `"dtype":"F32","dtype":"F32"`), zeros), `the key "dtype" stands twice`},
		{"bytes of another type", weights(with(t, `"F32"`, `"F16"`), zeros), "has 24 bytes, expected 2 times 3 times 2"},
		{"bytes of another shape", weights(with(t, "[2,3]", "[2,4]"), zeros), "has 24 bytes, expected 2 times 4 times 4"},
		{"beyond the end", weights(plain, zeros[:63]), "ends at byte 64 of the data, but the file has only 63"},
		{"offset of 2^63-1", weights(with(t, "64]", "9223372036854775807]"), zeros), "ends at byte 9223372036854775807"},
		{"offset of 2^64", weights(with(t, "64]", "18446744073709551616]"), zeros), "offsets a list of 2"},
		{"offset below zero", weights(with(t, "[0,", "[-8,"), zeros), "offsets a list of 2"},
		{"offset with a fraction", weights(with(t, "[0,", "[0.5,"), zeros), "offsets a list of 2"},
		{"three offsets", weights(with(t, "[24,64]", "[24,64,64]"), zeros), "offsets a list of 3"},
		{"nested", weights(strings.Repeat(`{"a":`, 100_000), nil), "nested more than 16 deep"},
		{"nested lists", weights(with(t, "[2,3]", strings.Repeat("[", 100_000)), zeros), "nested more than 16 deep"},
		{"half a header", weights(plain[:100], zeros), "its JSON is wrong: it ends in the middle of a value"},
		{"no JSON", weights("{]", zeros), "its JSON is wrong"},
		{"a list", weights("[1]", zeros), "no JSON object"},
		{"text behind the header", weights(plain+"x", zeros), "more text after the object"},
		{"a number for a tensor", weights(`{"a":1}`, nil), `its header has 1 for "a"`},
		{"many", weights("{"+many(tensorsMax+1)+"}", nil), "it has 4097 tensors, expected at most 4096"},
	})
	if a, err := Load(put(t, plainConfig, weights(plain, zeros))); err != nil || a.Modules[0].Scale != 2 {
		t.Errorf("the right file: %+v, %v", a, err)
	}
	turned := "{" + entryB + `,"__metadata__":{"format":"pt"},` + entryA + "}   "
	if a, err := Load(put(t, plainConfig, weights(turned, zeros))); err != nil || a.Modules[0].Inputs != 3 {
		t.Errorf("the header in another order: %+v, %v", a, err)
	}
}

// M-14: tensors that make no adapter.
func TestBadTensors(t *testing.T) {
	zeros := make([]byte, 64)
	number := func(at int, x float32) []byte {
		b := slices.Clone(zeros)
		binary.LittleEndian.PutUint32(b[at:], math.Float32bits(x))
		return b
	}
	plain := with(t, "{", "{")
	refuseAll(t, []badWeights{
		{"none", weights("{}", nil), "it holds no matrix"},
		{"only metadata", weights(`{"__metadata__":{"format":"pt"}}`, nil), "it holds no matrix"},
		{"float64", weights(with(t, `"F32"`, `"F64"`), zeros), `is of "F64", expected F32, F16 or BF16`},
		{"int8", weights(with(t, `"F32"`, `"I8"`), zeros), `is of "I8"`},
		{"no type", weights(with(t, `"dtype":"F32",`, ``), zeros), "is of null"},
		{"rank 2^31", weights(with(t, "[2,3]", "[2147483648,3]"), zeros), "the shape (2147483648, 3)"},
		{"rank 2^31-1", weights(with(t, "[2,3]", "[2147483647,3]"), zeros), "has 24 bytes, expected 2147483647 times 3 times 4"},
		{"a product over 2^64", weights(with(t, "[2,3]", "[2147483647,2147483647]"), zeros), "has 24 bytes"},
		{"rank 0", weights(with(t, `[2,3],"data_offsets":[0,24]`, `[0,3],"data_offsets":[0,0]`), zeros), "the shape (0, 3)"},
		{"a vector", weights(with(t, "[2,3]", "[6]"), zeros), "1 dimensions, expected a matrix"},
		{"a scalar", weights(with(t, "[2,3]", "[]"), zeros), "0 dimensions"},
		{"a convolution", weights(with(t, "[2,3]", "[2,3,1,1]"), zeros), "4 dimensions"},
		{"no shape", weights(with(t, "[2,3]", "null"), zeros), "the shape null"},
		{"ranks that differ", weights(with(t, "[5,2]", "[2,5]"), zeros), "the matrices of l disagree: lora_A is (2, 3), lora_B is (2, 5)"},
		{"another rank than configured", weights(with(t, `[2,3],"data_offsets":[0,24]},"base_model.model.l.lora_B.weight":{"dtype":"F32","shape":[5,2]`,
			`[1,6],"data_offsets":[0,24]},"base_model.model.l.lora_B.weight":{"dtype":"F32","shape":[10,1]`), zeros), "the matrices of l have the rank 1, but adapter_config.json says 2"},
		{"no partner", weights("{"+entryA+"}", zeros[:24]), "lora_B of l is missing"},
		{"no partner either", weights(with(t, "base_model.model.l.lora_B", "base_model.model.k.lora_B"), zeros), "is missing"},
		{"an embedding", weights(with(t, "lora_A.weight", "lora_embedding_A"), zeros), "changes an embedding"},
		{"DoRA", weights(with(t, "lora_A.weight", "lora_magnitude_vector"), zeros), "belongs to DoRA"},
		{"a bias", weights(with(t, "lora_A.weight", "lora_A.bias"), zeros), "is no half of a LoRA pair"},
		{"a saved module", weights(with(t, "lora_A.weight", "modules_to_save.weight"), zeros), "is no half of a LoRA pair"},
		{"a name with a new line", weights(with(t, "base_model.model.l.", `base_model.model.l\nx.`), zeros), "is no half of a LoRA pair"},
		{"a name with an escape", weights(with(t, "base_model.model.l.", `base_model.model.l\u001bx.`), zeros), "not named as a module is"},
		{"a name that climbs", weights(with(t, "base_model.model.l.", "base_model.model.../l."), zeros), "not named as a module is"},
		{"a name of nothing", weights(with(t, "base_model.model.l.", "base_model.model.."), zeros), "not named as a module is"},
		{"a long name", weights(with(t, "base_model.model.l.", strings.Repeat("l", 5000)+"."), zeros), "not named as a module is"},
		{"the same half twice", weights("{"+entryA+","+entryB+`,"l.lora_A.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[64,88]}}`, make([]byte, 88)), "both half A of l"},
		{"NaN", weights(plain, number(8, float32(math.NaN()))), "lora_A.weight holds NaN at (0, 2)"},
		{"infinite", weights(plain, number(60, float32(math.Inf(-1)))), "lora_B.weight holds -Inf at (4, 1)"},
	})
}

func many(n int) string { return each(n, `"l%d":{}`) }

func each(n int, format string) string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(entries, ",")
}

// M-14: what is wrong with the configuration.
func TestBadConfig(t *testing.T) {
	file := weights(with(t, "{", "{"), make([]byte, 64))
	change := func(old, new string) string {
		if !strings.Contains(plainConfig, old) {
			t.Fatalf("the configuration has no %s", old)
		}
		return strings.Replace(plainConfig, old, new, 1)
	}
	add := func(more string) string { return change("{", "{"+more+", ") }
	for _, test := range []struct{ name, config, word string }{
		{"empty", "", "ends in the middle"},
		{"a list", "[]", "a JSON object was expected"},
		{"half", plainConfig[:20], "ends in the middle"},
		{"two", plainConfig + plainConfig, "more text after the object"},
		{"nested", strings.Repeat("[", 100_000), "nested more than 16 deep"},
		{"duplicate", add(`"r": 2`), `"r" stands twice`},
		{"Python's NaN", change("4", "NaN"), "its JSON is wrong"},
		{"alpha 0", change("4", "0"), `"lora_alpha" is 0, expected a number above 0`},
		{"alpha below 0", change("4", "-4"), `"lora_alpha" is -4`},
		{"alpha beyond float32", change("4", "1e300"), `"lora_alpha" is 1e300`},
		{"alpha beyond float64", change("4", "1e999"), `"lora_alpha" is 1e999`},
		{"alpha that vanishes", change("4", "1e-46"), "the scale of l is too small"},
		{"alpha a text", change("4", `"4"`), `"lora_alpha" is "4"`},
		{"no scale", change(`, "lora_alpha": 4`, ""), `"lora_alpha" is missing`},
		{"scale null", change("4", "null"), `"lora_alpha" is missing`},
		{"no rank", change(`"r": 2, `, ""), `"r" is missing`},
		{"rank 0", change("2", "0"), `"r" is 0, expected a whole number from 1 to 4096`},
		{"rank 2^31", change("2", "2147483648"), `"r" is 2147483648`},
		{"rank 2^63", change("2", "9223372036854775808"), `"r" is 9223372036854775808`},
		{"half a rank", change("2", "2.5"), `"r" is 2.5`},
		{"another rank", change("2", "3"), "have the rank 2, but adapter_config.json says 3"},
		{"other letter case", change(`"r"`, `"R"`), `"R" is in other letter case`},
		{"another type", change("LORA", "ADALORA"), `"peft_type" is "ADALORA"`},
		{"no type", change(`"peft_type": "LORA", `, ""), `"peft_type" is missing`},
		{"another task", add(`"task_type": "SEQ_CLS"`), `"task_type" is "SEQ_CLS"`},
		{"bias", add(`"bias": "lora_only"`), `"bias" is "lora_only"`},
		{"bias of A and B", add(`"lora_bias": true`), `"lora_bias" is true`},
		{"DoRA", add(`"use_dora": true`), `"use_dora" is true: DoRA`},
		{"a kind to come", add(`"use_xlora": true`), `"use_xlora" is true`},
		{"saved modules", add(`"modules_to_save": ["lm_head"]`), `"modules_to_save" is a list of 1`},
		{"trained tokens", add(`"trainable_token_indices": [1]`), `"trainable_token_indices" is a list of 1`},
		{"repeated layers", add(`"layer_replication": [[0,4],[2,5]]`), `"layer_replication" is a list of 2`},
		{"single parameters", add(`"target_parameters": ["experts.gate"]`), `"target_parameters" is a list of 1`},
		{"a base that was changed", add(`"init_lora_weights": "pissa_niter_16"`), `"init_lora_weights" is "pissa_niter_16"`},
		{"rslora a text", add(`"use_rslora": "yes"`), `"use_rslora" is "yes"`},
		{"fan_in_fan_out a number", add(`"fan_in_fan_out": 1`), `"fan_in_fan_out" is 1`},
		{"rank pattern a list", add(`"rank_pattern": [1]`), `"rank_pattern" is a list of 1`},
		{"rank pattern of 2^31", add(`"rank_pattern": {"l": 2147483648}`), `gives "l" the rank 2.147483648e+09`},
		{"rank pattern that disagrees", add(`"rank_pattern": {"l": 7}`), "says 7"},
		{"rank pattern that is none", add(`"rank_pattern": {"(": 2}`), `the pattern "(", which is no regular expression`},
		{"rank pattern with repetitions", add(`"rank_pattern": {"l{1,9}": 2}`), `the pattern "l{1,9}"`},
		{"alpha patterns that could take minutes", add(`"alpha_pattern": {` + each(40, `".*.*.*.*.*.*.*.*.*.*.*.*q%d": 1`) + `}`),
			`"alpha_pattern" has more than 1024 bytes of regular expressions`},
		{"alpha pattern of 0", add(`"alpha_pattern": {"l": 0}`), `"alpha_pattern.l" is 0`},
		{"a name that breaks the line", add(`"use_\n\u001b[2J": true`), "use_??[2J"},
	} {
		a, err := Load(put(t, test.config, file))
		refused(t, test.name, a, err, test.word)
	}
}

// What PEFT's configuration says about the scale.
func TestScale(t *testing.T) {
	header := `{"base_model.model.model.layers.1.q.lora_A.weight":{"dtype":"BF16","shape":[4,3],"data_offsets":[0,24]},` +
		`"base_model.model.model.layers.1.q.lora_B.default.weight":{"dtype":"F16","shape":[5,4],"data_offsets":[24,64]}}`
	for _, test := range []struct {
		name, more string
		want       float32
	}{
		{"plain", `"r": 4, "lora_alpha": 16`, 4},
		{"a fraction", `"r": 4, "lora_alpha": 0.5`, 0.125},
		{"rslora", `"r": 4, "lora_alpha": 16, "use_rslora": true`, 8},
		{"rslora with a pattern", `"r": 4, "lora_alpha": 16, "use_rslora": true, "alpha_pattern": {"q": 32}`, 16},
		{"rank pattern", `"r": 8, "lora_alpha": 16, "rank_pattern": {"q": 4}`, 4},
		{"rank pattern by its whole name", `"r": 8, "lora_alpha": 16, "rank_pattern": {"^model.layers.1.q": 4}`, 4},
		{"rank pattern of another layer", `"r": 4, "lora_alpha": 16, "rank_pattern": {"layers.11.q": 9, "ayers.1.q": 9}`, 4},
		{"alpha pattern, the first counts", `"r": 4, "lora_alpha": 16, "alpha_pattern": {"k": 1, "layers.[0-9].q": 8, "q": 2}`, 2},
		{"what does not matter", `"r": 4, "lora_alpha": 16, "fan_in_fan_out": true, "bias": "none", "modules_to_save": null, "use_dora": false, "rank_pattern": {},
			"init_lora_weights": "gaussian", "loftq_config": {}, "layers_to_transform": [1], "peft_version": "0.21.2", "task_type": "CAUSAL_LM", "qalora_group_size": 16`, 4},
	} {
		a, err := Load(put(t, `{"peft_type": "LORA", "base_model_name_or_path": "a/b", `+test.more+"}", weights(header, make([]byte, 64))))
		if err != nil || len(a.Modules) != 1 || a.Modules[0].Scale != test.want || a.Modules[0].Name != "model.layers.1.q" || a.Base != "a/b" {
			t.Errorf("%s: %+v, %v, want the scale %v", test.name, a, err, test.want)
		}
	}
}

// A pattern that is a name matches as the regular expression that it is, and there may be one for each module.
func TestNamesAsPatterns(t *testing.T) {
	modules := []string{"q", "aq", "a.q", "a_q", "model.layers.1.q", "model.layers.11.q", "model_layers_1_q", "x.model.layers.1.q", "1.q", "q.1"}
	for _, source := range []string{"q", "a.q", "layers.1.q", "model.layers.1.q", "1.q", "_q", "Q"} {
		expression := pattern{expression: regexp.MustCompile(`^(?:.*\.)?(?:` + source + `)$`)}
		for _, module := range modules {
			if got, want := (pattern{name: source}).matches(module), expression.matches(module); got != want {
				t.Errorf("%q matches %q: got %v, want %v", source, module, got, want)
			}
		}
	}
	config := `{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "rank_pattern": {` + each(500, `"model.layers.%d.mlp.down_proj": 3`) + `}}`
	c, err := parseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string]float64{"model.layers.499.mlp.down_proj": 3, "model.layers.500.mlp.down_proj": 2} {
		if got := of(c.rankPattern, module, 2); got != want {
			t.Errorf("%s: the rank %v, want %v", module, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	good := weights(with(t, "{", "{"), make([]byte, 64))
	dir := put(t, plainConfig, good)
	write := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(t.TempDir(), "x"+OnnxSuffix)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, word := range map[string]string{
		t.TempDir():                   "there is no adapter_config.json",
		write("adapter_model.bin"):    "a pickle can run code",
		write("adapter.gguf"):         "expected a PEFT folder",
		write("adapter.safetensors"):  "there is no adapter_config.json beside it",
		pipe:                          "it is no regular file",
		filepath.Dir(write("a.json")): "there is no adapter_config.json",
		filepath.Dir(write("adapter_config.json")): "there is no adapter_model.safetensors",
		filepath.Dir(write("adapter_model.bin")):   "adapter_model.bin is a pickle",
	} {
		a, err := Load(path)
		refused(t, path, a, err, word)
	}
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that does not exist: %v", err)
	}
	if _, err := Load(filepath.Join(dir, WeightsFile)); err != nil {
		t.Errorf("the weights beside their configuration: %v", err)
	}
	large := filepath.Join(t.TempDir(), "x"+OnnxSuffix)
	f, err := os.Create(large)
	if err == nil {
		err = errors.Join(f.Truncate(fileBytesMax+1), f.Close()) // a hole: it takes no room
	}
	if err != nil {
		t.Skipf("this file system has no holes: %v", err)
	}
	a, err := Load(large)
	refused(t, "a huge file", a, err, "expected at most 4294967296")
}
