// Package lora reads LoRA adapters: low-rank additions to a model's matrices, as PEFT and ONNX Runtime keep them.
//
// What comes out is checked: every matrix has its partner, their shapes agree, every number is finite, and the scale is the one that the
// adapter was trained with. What would need more than the two products, such as DoRA or saved modules, is refused by name. A hostile file
// is an error, and takes memory in proportion to its own size.
package lora

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrAdapter is wrapped by errors about an adapter that cannot be used, whatever the disk does.
var ErrAdapter = errors.New("bad adapter")

// Adapter is a checked adapter: low-rank additions to a model's matrices.
type Adapter struct {
	Base    string   // what its files say it was trained on, "" if they do not
	Rank    int      // the largest of its modules'
	Modules []Module // sorted by name
}

// Module is the addition to one matrix: y += Scale * B (A x).
type Module struct {
	Name            string // PEFT's module name without prefix: "model.layers.0.self_attn.q_proj"
	Rank            int
	Inputs, Outputs int
	Scale           float32   // alpha / rank, or alpha / sqrt(rank) with rslora
	A               []float32 // (rank, inputs)
	B               []float32 // (outputs, rank)
}

// Parameters is the number of an adapter's values.
func (a *Adapter) Parameters() (n int64) {
	for _, m := range a.Modules {
		n += int64(len(m.A) + len(m.B))
	}
	return n
}

// The names of an adapter's files.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
	OnnxSuffix  = ".onnx_adapter"
)

const (
	fileBytesMax   = 4 << 30
	configBytesMax = 1 << 20
	rankMax        = 4096
	tensorsMax     = 4096 // a model of 128 layers with 7 matrices in each has 1792
)

// Load reads an adapter: a PEFT folder (adapter_config.json and adapter_model.safetensors), a .safetensors file beside its
// adapter_config.json, or an .onnx_adapter file.
func Load(path string) (*Adapter, error) {
	files, err := Files(path)
	if err != nil {
		return nil, err
	}
	if len(files) == 1 {
		return loadFile(files[0], readOnnx)
	}
	var c config
	if _, err := loadFile(files[0], func(f io.ReaderAt, size int64) (_ *Adapter, err error) {
		if size > configBytesMax {
			return nil, fmt.Errorf("it has %d bytes, expected at most %d", size, configBytesMax)
		}
		data := make([]byte, size)
		if err := readFull(f, data, 0); err != nil {
			return nil, err
		}
		c, err = parseConfig(data)
		return nil, err
	}); err != nil {
		return nil, err
	}
	return loadFile(files[1], func(f io.ReaderAt, size int64) (*Adapter, error) { return readSafetensors(f, size, c) })
}

// Files finds the files of an adapter: one .onnx_adapter, or configuration and weights in this order.
func Files(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("lora: find the adapter: %w", err)
	}
	bad := func(format string, a ...any) ([]string, error) {
		return nil, fmt.Errorf("lora: find the adapter %s: %w: %s", path, ErrAdapter, fmt.Sprintf(format, a...))
	}
	if info.IsDir() {
		return filesIn(path)
	}
	switch {
	case !info.Mode().IsRegular():
		return bad("it is no regular file")
	case strings.HasSuffix(path, OnnxSuffix):
		return []string{path}, nil
	case strings.HasSuffix(path, ".safetensors"):
		config := filepath.Join(filepath.Dir(path), ConfigFile)
		if _, err := os.Stat(config); err != nil {
			return bad("there is no %s beside it, which holds the scale", ConfigFile)
		}
		return []string{config, path}, nil
	case strings.HasSuffix(path, ".bin"), strings.HasSuffix(path, ".pt"), strings.HasSuffix(path, ".pth"):
		return bad("a pickle can run code when it is read; save the adapter as safetensors")
	}
	return bad("expected a PEFT folder, a .safetensors file beside its %s, or an %s file", ConfigFile, OnnxSuffix)
}

func filesIn(dir string) ([]string, error) {
	config, weights := filepath.Join(dir, ConfigFile), filepath.Join(dir, WeightsFile)
	_, configErr := os.Stat(config)
	_, weightsErr := os.Stat(weights)
	if configErr == nil && weightsErr == nil {
		return []string{config, weights}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("lora: find the adapter: %w", err)
	}
	var onnx []string
	pickle := false
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), OnnxSuffix) {
			onnx = append(onnx, filepath.Join(dir, e.Name()))
		}
		pickle = pickle || e.Name() == "adapter_model.bin"
	}
	missing := ConfigFile
	if configErr == nil {
		missing = WeightsFile
	}
	switch {
	case len(onnx) == 1 && configErr != nil && weightsErr != nil:
		return onnx, nil
	case len(onnx) > 1:
		return nil, fmt.Errorf("lora: find the adapter in %s: %w: it holds %d %s files; name one", dir, ErrAdapter, len(onnx), OnnxSuffix)
	case pickle && weightsErr != nil:
		return nil, fmt.Errorf("lora: find the adapter in %s: %w: adapter_model.bin is a pickle, which can run code when it is read; save the adapter as safetensors", dir, ErrAdapter)
	}
	return nil, fmt.Errorf("lora: find the adapter in %s: %w: there is no %s", dir, ErrAdapter, missing)
}

// loadFile reads one file, whose size is bounded before anything is allocated for it.
func loadFile(path string, read func(f io.ReaderAt, size int64) (*Adapter, error)) (*Adapter, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for ever
		return nil, fmt.Errorf("lora: read %s: %w: it is no regular file", path, ErrAdapter)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lora: read the adapter: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("lora: read the adapter: %w", err)
	}
	if info.Size() > fileBytesMax {
		return nil, fmt.Errorf("lora: read %s: %w: it has %d bytes, expected at most %d", path, ErrAdapter, info.Size(), int64(fileBytesMax))
	}
	a, err := read(f, info.Size())
	var disk *fs.PathError
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &disk):
		return nil, fmt.Errorf("lora: read the adapter: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("lora: read %s: %w: it became shorter while it was read", path, ErrAdapter)
	}
	if what := pointer(f); what != "" {
		err = errors.New(what)
	}
	return nil, fmt.Errorf("lora: read %s: %w: %w", path, ErrAdapter, err)
}

// pointer says what lies there in place of a file that was never fetched.
func pointer(f io.ReaderAt) string {
	var head [64]byte
	n, _ := f.ReadAt(head[:], 0)
	text := strings.ToLower(string(head[:n]))
	switch {
	case strings.HasPrefix(text, "version https://git-lfs"):
		return "it is a Git LFS pointer; fetch the file itself with git lfs pull"
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"):
		return "it is a web page"
	}
	return ""
}

// pair is the two matrices of a module, as far as they were found.
type pair struct{ a, b *tensor }

// assemble makes an adapter of matrices. Place says which half of which module a tensor is; scale what the module is multiplied by. In
// PEFT's files A is (rank, inputs) and B (outputs, rank); transposed says that they are the other way round.
func assemble(f io.ReaderAt, tensors []tensor, transposed bool, place func(name string) (module string, half byte, err error),
	scale func(module string, rank int) (float32, error)) (*Adapter, error) {
	pairs := map[string]pair{}
	for i := range tensors {
		t := &tensors[i]
		module, half, err := place(t.name)
		if err != nil {
			return nil, err
		}
		p := pairs[module]
		slot := &p.a
		if half == 'B' {
			slot = &p.b
		}
		if *slot != nil {
			return nil, fmt.Errorf("tensors %s and %s are both half %c of %s", (*slot).name, t.name, half, module)
		}
		*slot = t
		pairs[module] = p
	}
	if len(pairs) == 0 {
		return nil, errors.New("it holds no matrix")
	}
	a := &Adapter{Modules: make([]Module, 0, len(pairs))}
	for module, p := range pairs {
		m, err := p.check(module, transposed)
		if err == nil {
			m.Scale, err = scale(module, m.Rank)
		}
		if err != nil {
			return nil, err
		}
		a.Rank = max(a.Rank, m.Rank)
		a.Modules = append(a.Modules, m)
	}
	slices.SortFunc(a.Modules, func(x, y Module) int { return strings.Compare(x.Name, y.Name) })
	for i := range a.Modules { // all shapes are known to be right: now the numbers
		m := &a.Modules[i]
		p := pairs[m.Name]
		var err error
		if m.A, err = p.a.read(f); err != nil {
			return nil, err
		}
		if m.B, err = p.b.read(f); err != nil {
			return nil, err
		}
		if transposed {
			m.A, m.B = transpose(m.A, m.Inputs, m.Rank), transpose(m.B, m.Rank, m.Outputs)
		}
	}
	return a, nil
}

// check compares the shapes of a module's halves.
func (p pair) check(module string, transposed bool) (m Module, err error) {
	switch {
	case p.a == nil:
		return m, fmt.Errorf("tensor %s has no partner: lora_A of %s is missing", p.b.name, module)
	case p.b == nil:
		return m, fmt.Errorf("tensor %s has no partner: lora_B of %s is missing", p.a.name, module)
	}
	rank, inputs, outputs, inner := p.a.rows, p.a.columns, p.b.rows, p.b.columns
	if transposed {
		rank, inputs, outputs, inner = p.a.columns, p.a.rows, p.b.columns, p.b.rows
	}
	switch {
	case rank != inner:
		return m, fmt.Errorf("the matrices of %s disagree: lora_A is (%d, %d), lora_B is (%d, %d); expected the same rank in both", module, p.a.rows, p.a.columns, p.b.rows, p.b.columns)
	case rank > rankMax:
		return m, fmt.Errorf("tensor %s has the rank %d, expected at most %d", p.a.name, rank, rankMax)
	case transposed && rank > min(inputs, outputs):
		return m, fmt.Errorf("the matrices of %s have the rank %d and make a matrix (%d, %d): expected lora_A as (inputs, rank) and lora_B as (rank, outputs)", module, rank, outputs, inputs)
	}
	return Module{Name: module, Rank: rank, Inputs: inputs, Outputs: outputs}, nil
}

// transpose turns a matrix of rows by columns around.
func transpose(x []float32, rows, columns int) []float32 {
	y := make([]float32, len(x))
	for i := range rows {
		for j := range columns {
			y[j*rows+i] = x[i*columns+j]
		}
	}
	return y
}
