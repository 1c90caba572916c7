package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/model"
)

// trial finds out, on the first long prompt that comes, whether half a chunk is read faster on this machine: the usual length and its half in
// turn, forth and back, so that a growing cache slows both alike. What was found is remembered for the model, the kernels and the threads.
// A nil trial is over.
type trial struct {
	file   string // where the outcome is remembered
	chunk  int
	chosen func(chunk int)
	now    func() time.Time

	step        int // in the order, -1: not begun
	began       time.Time
	whole, half time.Duration
}

// halves is the order: false is a whole chunk, true a half. Its length in tokens is four chunks.
var halves = [...]bool{false, true, true, true, true, false}

// worthHalving is how much faster a half must be: below it is noise.
const worthHalving = 0.97

// newTrial begins one where the chunk is the usual one and our kernels compute; nil if there is nothing to find out. What was remembered is
// taken at once.
func (m *Model) newTrial(files model.Files, o Options) *trial {
	if m.packed == nil || o.Chunk > 0 || m.cache == nil || m.chunk != m.spec.ChunkTokens() {
		return nil
	}
	file := chunkFile(files, m.threads)
	if file == "" {
		return nil
	}
	t := &trial{file: file, chunk: m.chunk, now: time.Now, step: -1, chosen: func(chunk int) { m.chunk, m.runner.chunk = chunk, chunk }}
	if chunk, ok := recallChunk(file); ok && (chunk == m.chunk || chunk == m.chunk/2) {
		t.chosen(chunk)
		return nil
	}
	return t
}

// next is the length of the next run of a prompt that has so many tokens left.
func (t *trial) next(left, chunk int) int {
	if t == nil || t.step < 0 && left < 4*t.chunk {
		return min(left, chunk)
	}
	t.step, t.began = max(t.step, 0), t.now()
	if halves[t.step] {
		return min(left, t.chunk/2)
	}
	return min(left, t.chunk)
}

// ran notes that the run is over, and gives the trial that goes on.
func (t *trial) ran(err error) *trial {
	switch {
	case t == nil || t.step < 0:
		return t
	case err != nil: // it was cancelled, perhaps: another prompt will do
		t.step, t.whole, t.half = -1, 0, 0
		return t
	}
	if took := t.now().Sub(t.began); halves[t.step] {
		t.half += took
	} else {
		t.whole += took
	}
	if t.step++; t.step < len(halves) {
		return t
	}
	chunk := t.chunk
	if float64(t.half) < worthHalving*float64(t.whole) {
		chunk /= 2
	}
	rememberChunk(t.file, chunk)
	t.chosen(chunk)
	return nil
}

// chunkFile is where the outcome is remembered, beside those of checks; "" where it cannot be.
func chunkFile(files model.Files, threads int) string {
	h := sha256.New()
	fmt.Fprintln(h, kernelsVersion, cpu.Rung(), threads)
	if !identify(h, files) {
		return ""
	}
	return checkFile("chunk-" + hex.EncodeToString(h.Sum(nil)[:16]))
}

// chunkFound is what stands in the file.
type chunkFound struct {
	Chunk int `json:"chunk"`
}

func recallChunk(path string) (chunk int, ok bool) {
	var f chunkFound
	b, err := os.ReadFile(path)
	ok = err == nil && json.Unmarshal(b, &f) == nil && f.Chunk > 0
	return f.Chunk, ok
}

// rememberChunk writes the outcome. A folder that cannot be written costs the next start another trial.
func rememberChunk(path string, chunk int) {
	b, err := json.Marshal(chunkFound{chunk})
	if err != nil || os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return
	}
	_ = renameio.WriteFile(path, append(b, '\n'), 0o644)
}
