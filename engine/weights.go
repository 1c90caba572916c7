package engine

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/ort"
)

// weights is what the operators of a derived graph read: packed matrices in huge pages, which models of the same files share, and lists of
// floats.
type weights struct {
	*matrices
	release func() // of the matrices
	tensors *model.Tensors
	floats  *ort.Buffer
	lists   [][]float32
	context int
}

// matrices is the packed matrices of one or several open models. Nothing changes them.
type matrices struct {
	tensors *model.Tensors // while they are packed
	tiles   *ort.Buffer
	mapped  []mapping
	copies  []*ort.Buffer
	packed  []cpu.Packed
}

// loadWeights packs what the plan asks for, on so many threads, straight from the model's files. The matrices of a model that is open already
// under the same key are taken as they are; "" shares nothing.
func loadWeights(env *ort.Env, tensors *model.Tensors, plan *derive.Plan, key string, threads, context int) (*weights, error) {
	w := &weights{tensors: tensors, context: context}
	err := w.inline(plan.Model.Graph)
	if err == nil {
		err = w.loadFloats(env, plan.Floats)
	}
	if err == nil {
		err = w.shareMatrices(env, plan, key, threads)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *weights) shareMatrices(env *ort.Env, plan *derive.Plan, key string, threads int) error {
	open := func() (io.Closer, error) {
		m := &matrices{tensors: w.tensors}
		if err := m.load(env, plan, threads); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m.tensors = nil
		return m, nil
	}
	if key == "" {
		m, err := open()
		if err == nil {
			w.matrices, w.release = m.(*matrices), func() { m.Close() }
		}
		return err
	}
	m, release, err := env.Share(key, open)
	if err == nil {
		w.matrices, w.release = m.(*matrices), release
	}
	return err
}

// sharedKey names the matrices of a plan: those of the same files, cut and joined in the same way. "" where the files do not lie on disk.
func sharedKey(files model.Files, plan *derive.Plan) string {
	h := sha256.New()
	if !identify(h, files) {
		return ""
	}
	for _, m := range plan.Matrices {
		fmt.Fprintf(h, "%q %d %d %d %d %v %v\n", m.Name, m.Outputs, m.Inputs, m.Block, m.Bits, m.Zeros != nil, m.Weights != nil)
	}
	fmt.Fprintln(h, plan.Pairs)
	return string(h.Sum(nil))
}

func (w *matrices) load(env *ort.Env, plan *derive.Plan, threads int) error {
	var work []packing
	for _, m := range plan.Matrices {
		p, err := w.describe(env, m)
		if err != nil {
			return err
		}
		w.packed = append(w.packed, p)
	}
	at, total := place(w.packed, plan.Pairs)
	for i, m := range plan.Matrices {
		if m.Bits != 32 {
			work = append(work, cutPacking(i, at[i], m, w.packed[i].Matrix)...)
		}
	}
	var err error
	if w.tiles, err = env.NewHugeBuffer(total); err != nil {
		return fmt.Errorf("engine: pack the weights: %w", err)
	}
	base := unsafe.Pointer(unsafe.SliceData(w.tiles.Bytes()))
	for _, p := range work {
		if p.tile == 0 {
			w.packed[p.matrix].Tiles = unsafe.Add(base, p.at)
		}
	}
	return w.pack(plan.Matrices, work, threads)
}

// place says where each matrix begins in one piece of memory, in their order. The tiles of a pair take turns, as they are read: memory gives more
// to one stream than to two.
func place(list []cpu.Packed, pairs [][2]int) (at []int, total int) {
	at = make([]int, len(list))
	done := make([]bool, len(list))
	for i := range list {
		if done[i] || list[i].Bits == 32 {
			continue
		}
		group := []int{i}
		if k := slices.IndexFunc(pairs, func(p [2]int) bool { return slices.Contains(p[:], i) }); k >= 0 {
			group = pairs[k][:]
		}
		apart := 0
		for _, j := range group {
			at[j], done[j] = total+apart, true
			apart += list[j].TileBytes()
		}
		for _, j := range group {
			list[j].Apart = apart
		}
		total += list[i].Matrix.Tiles() * apart
	}
	return at, total
}

// inline copies the small weights that stay with the runtime into the graph.
func (w *weights) inline(g *onnx.Graph) error {
	for i := range g.Initializers {
		t := &g.Initializers[i]
		if t.External == nil {
			continue
		}
		size, err := t.Size()
		if err != nil {
			return err
		}
		t.Data = make([]byte, size)
		if err := w.tensors.ReadAt(t.Data, t, 0); err != nil {
			return err
		}
		t.Span = onnx.Span{}
	}
	return nil
}

// loadFloats reads the lists of floats; of tables by position only as many rows as the context has.
func (w *weights) loadFloats(env *ort.Env, list []derive.Floats) error {
	counts, total := make([]int, len(list)), 0
	for i, f := range list {
		if f.Table != nil {
			counts[i] = w.context * len(f.Table.Frequencies)
			total += (counts[i] + 15) &^ 15
			continue
		}
		n, err := f.Tensor.Elements()
		if err != nil {
			return err
		}
		if d := f.Tensor.Dims; len(d) == 2 && d[0] > int64(w.context) {
			n = int64(w.context) * d[1]
		}
		counts[i] = int(n)
		total += (counts[i] + 15) &^ 15
	}
	var err error
	if w.floats, err = env.NewBuffer(total * 4); err != nil {
		return fmt.Errorf("engine: load biases and tables: %w", err)
	}
	b := w.floats.Bytes()
	for i, f := range list {
		if f.Table != nil {
			copy(floatsOf(b[:counts[i]*4]), f.Table.Rows(w.context))
		} else if err := w.tensors.ReadAt(b[:counts[i]*4], f.Tensor, 0); err != nil {
			return err
		}
		w.lists = append(w.lists, unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), counts[i]))
		b = b[(counts[i]+15)&^15*4:]
	}
	return nil
}

// describe is a matrix as the kernels know it; rows of float32 are mapped where they lie.
func (w *matrices) describe(env *ort.Env, m derive.Matrix) (cpu.Packed, error) {
	p := cpu.Packed{Matrix: cpu.Matrix{Outputs: m.Outputs, Inputs: m.Inputs, Block: m.Block, Bits: m.Bits}}
	if m.Bits == 32 {
		f, at, err := w.tensors.Place(m.Weights)
		if err != nil {
			return p, err
		}
		mapped, err := mapFile(f, at, m.Outputs*m.Inputs*4)
		if err != nil {
			return p, err
		}
		w.mapped = append(w.mapped, mapped)
		if mapped.pages == nil { // it was read into Go's memory, where the kernels may not look for long
			copied, err := env.NewBuffer(len(mapped.bytes))
			if err != nil {
				return p, err
			}
			w.copies = append(w.copies, copied)
			copy(copied.Bytes(), mapped.bytes)
			mapped.bytes = copied.Bytes()
		}
		p.Tiles = unsafe.Pointer(unsafe.SliceData(mapped.bytes))
		return p, nil
	}
	if m.Zeros != nil {
		same, err := w.sameZeros(m)
		if err != nil {
			return p, err
		}
		p.Zeros = !same
	}
	return p, p.Check()
}

// sameZeros says whether all stored zero points are the one that is taken where none are stored.
func (w *matrices) sameZeros(m derive.Matrix) (bool, error) {
	size, err := m.Zeros.Size()
	if err != nil {
		return false, err
	}
	b := make([]byte, size)
	if err := w.tensors.ReadAt(b, m.Zeros, 0); err != nil {
		return false, err
	}
	want := byte(1) << (m.Bits - 1)
	packed, _ := m.ZerosPacked()
	if packed && m.Bits == 4 {
		want |= want << 4
		if blocks := m.Inputs / m.Block; blocks%2 == 1 { // the last nibble of a row stands for nothing
			for i := (blocks+1)/2 - 1; i < len(b); i += (blocks + 1) / 2 {
				b[i] = b[i]&15 | want&0xf0
			}
		}
	}
	return !slices.ContainsFunc(b, func(z byte) bool { return z != want }), nil
}

// packing is some tiles of one matrix, for one thread at a time.
type packing struct {
	matrix      int
	at          int // where the matrix's tiles begin in the buffer
	tile, tiles int
}

// cutPacking cuts a matrix so that what a thread reads at a time stays small.
func cutPacking(matrix, at int, m derive.Matrix, c cpu.Matrix) []packing {
	const bytesMax = 1 << 20
	each := max(1, bytesMax/(16*m.Inputs))
	if m.Transposed {
		each = c.Tiles() // read in one piece
	}
	var list []packing
	for t := 0; t < c.Tiles(); t += each {
		list = append(list, packing{matrix, at, t, min(each, c.Tiles()-t)})
	}
	return list
}

func (w *matrices) pack(list []derive.Matrix, work []packing, threads int) error {
	var next atomic.Int64
	errs := make([]error, max(threads, 1))
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			var buffers packBuffers
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(work) {
					return
				}
				errs[i] = w.packOne(list[work[n].matrix], work[n], &buffers)
			}
		})
	}
	group.Wait()
	return cmp.Or(errs...) // one is enough to know that the weights are damaged
}

// packBuffers are what one thread reads into.
type packBuffers struct{ codes, scales, zeros []byte }

// piece reads rows [from, to) of a tensor that has so many bytes a row.
func (w *matrices) piece(into *[]byte, t *onnx.Tensor, from, to, rowBytes int) ([]byte, error) {
	n := (to - from) * rowBytes
	*into = slices.Grow((*into)[:0], n)[:n]
	return *into, w.tensors.ReadAt(*into, t, int64(from)*int64(rowBytes))
}

func (w *matrices) packOne(m derive.Matrix, p packing, b *packBuffers) error {
	c := w.packed[p.matrix].Matrix
	bytes := c.TileBytes()
	into := w.tiles.Bytes()[p.at+p.tile*c.Apart : p.at+(p.tile+p.tiles-1)*c.Apart+bytes]
	from, to := p.tile*16, min((p.tile+p.tiles)*16, m.Outputs)
	if m.Weights != nil {
		return w.packFloats(m, c, p, into, from, to, b)
	}
	var codes cpu.Codes
	var err error
	if codes.Codes, err = w.piece(&b.codes, m.Codes, from, to, m.Inputs*m.Bits/8); err != nil {
		return err
	}
	blocks := m.Inputs / m.Block
	if b.scales, err = w.piece(&b.scales, m.Scales, from, to, blocks*4); err != nil {
		return err
	}
	codes.Scales = floatsOf(b.scales)
	if c.Zeros {
		packed, _ := m.ZerosPacked()
		row := blocks
		if packed {
			row = (blocks*m.Bits + 7) / 8
		}
		if codes.Zeros, err = w.piece(&b.zeros, m.Zeros, from, to, row); err != nil {
			return err
		}
		codes.PackedZeros = packed
	}
	part := c
	part.Outputs = to - from
	if err := part.Pack(into, codes); err != nil {
		return fmt.Errorf("engine: pack %q: %w; fetch the model again", m.Name, err)
	}
	return nil
}

// packFloats quantises float32 weights on their way.
func (w *matrices) packFloats(m derive.Matrix, c cpu.Matrix, p packing, into []byte, from, to int, b *packBuffers) error {
	part := c
	part.Outputs = to - from
	var err error
	if !m.Transposed {
		if b.codes, err = w.piece(&b.codes, m.Weights, from, to, m.Inputs*4); err == nil {
			err = part.PackFloats(into, floatsOf(b.codes), m.Inputs, 1)
		}
	} else {
		var f *model.File
		var at int64
		if f, at, err = w.tensors.Place(m.Weights); err != nil {
			return err
		}
		var mapped mapping
		if mapped, err = mapFile(f, at, m.Outputs*m.Inputs*4); err != nil {
			return err
		}
		err = errors.Join(part.PackFloats(into, floatsOf(mapped.bytes), 1, m.Outputs), mapped.close())
	}
	if err != nil {
		return fmt.Errorf("engine: pack %q: %w", m.Name, err)
	}
	return nil
}

// floatsOf sees bytes as float32.
func floatsOf(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// stepBytes is what computing one token reads of the packed matrices, and of what the runtime kept.
func (w *weights) stepBytes(plan *derive.Plan) int64 {
	bytes := model.StepBytes(plan.Model.Graph)
	for i, m := range plan.Matrices {
		if !m.Lookup {
			bytes += int64(w.packed[i].Matrix.Tiles()) * int64(w.packed[i].TileBytes())
		}
	}
	return bytes
}

// Close frees everything; the session that reads it must be gone.
func (w *weights) Close() {
	if w.release != nil {
		w.release()
	}
	if w.floats != nil {
		w.floats.Close()
	}
}

// Close frees the matrices, which nobody uses any more.
func (w *matrices) Close() error {
	var errs []error
	for _, b := range append([]*ort.Buffer{w.tiles}, w.copies...) {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	for _, m := range w.mapped {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}
