package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/ort"
)

// A derived graph is compared with the original, computed with float32 activations, before it is used for the first time: the logits after
// 1, 17, 63 and 64 tokens, so that a first token, prompts behind a past and a single step are all seen.
//
// Activations of 8 bits move logits by 3 to 14 % of their deviation (measured: SmolLM2-135M 13 %, where the runtime's own accuracy level 4
// moves them by 14 %; TestKernelsAgree prints both; 26 % where its weights had noise added and were quantised anew); a fault in packing,
// rotation or masking moves them by 50 % and more. The limits lie between.
const (
	errorMax  = 0.35 // root mean square of the differences, over the deviation of the logits
	cosineMin = 0.94 // follows from it, but for a common factor
	farMax    = 1.5  // the largest difference, over the deviation

	kernelsVersion = 2 // goes up whenever derived graphs or kernels change, so that all models are compared again
)

var checkLengths = []int{1, 16, 46, 1}

// Agreement is how the logits of a derived graph compare with the original's.
type Agreement struct {
	Cosine  float64 // least of all rows
	Error   float64 // root mean square of the differences over the deviation, largest of all rows
	Largest float64 // difference over the deviation
	TopSame bool    // the same best token wherever the original's lead is above twice the largest difference allowed
}

func (a Agreement) ok() bool {
	return a.Cosine >= cosineMin && a.Error <= errorMax && a.Largest <= farMax && a.TopSame
}

func (a Agreement) String() string {
	return fmt.Sprintf("cosine %.5f, error %.3f, largest difference %.2f of the deviation, same best token: %v", a.Cosine, a.Error, a.Largest, a.TopSame)
}

// probe computes the logits that are compared, a row for each of checkLengths: those of the model itself, or with adapters.
func (m *Model) probe(adapters ...adapted) ([][]float32, error) {
	cancel, release, err := m.take(context.Background())
	if err != nil {
		return nil, err
	}
	defer release()
	m.runner.cancel = cancel
	if err := errors.Join(m.runner.adapt(adapters...), m.runner.Keep(0)); err != nil {
		return nil, err
	}
	defer m.runner.Keep(0)
	var rows [][]float32
	state := uint32(1)
	for _, n := range checkLengths {
		if len(m.runner.Held())+n > m.context {
			break
		}
		ids := make([]int32, n)
		for i := range ids {
			state = state*1664525 + 1013904223
			ids[i] = int32(uint64(state) * uint64(m.spec.Vocab) >> 32)
		}
		logits, err := m.runner.Feed(context.Background(), ids)
		if err != nil {
			return nil, err
		}
		rows = append(rows, logits.Floats())
	}
	return rows, nil
}

// compare measures got against want, row by row.
func compare(want, got [][]float32) Agreement {
	a := Agreement{Cosine: 1, TopSame: len(want) == len(got)}
	for r := range min(len(want), len(got)) {
		w, g := want[r], got[r]
		n, mean := float64(len(w)), 0.0
		for _, v := range w {
			mean += float64(v) / n
		}
		var ww, gg, wg, diff, square, far float64
		best, second, top := math.Inf(-1), math.Inf(-1), 0
		gotTop := 0
		for i := range w {
			x, y := float64(w[i])-mean, float64(g[i])-mean
			ww, gg, wg = ww+x*x, gg+y*y, wg+x*y
			diff = math.Abs(x - y)
			square, far = square+diff*diff, max(far, diff)
			if x > best {
				best, second, top = x, best, i
			} else if x > second {
				second = x
			}
			if g[i] > g[gotTop] {
				gotTop = i
			}
		}
		deviation := math.Sqrt(ww / n)
		cosine := wg / math.Sqrt(ww*gg)
		if !(cosine <= a.Cosine) { // NaN too
			cosine = min(cosine, a.Cosine)
		}
		a.Cosine = cosine
		a.Error, a.Largest = max(a.Error, math.Sqrt(square/n)/deviation), max(a.Largest, far/deviation)
		if best-second > 2*farMax*deviation && top != gotTop {
			a.TopSame = false
		}
	}
	return a
}

// reference is what the original gives for the probe, and the memory that it was foreseen to take.
func reference(env *ort.Env, files model.Files, o Options) (rows [][]float32, bytes int64, err error) {
	o.Kernels, o.HalfCache, o.NoText, o.Context, o.Adapters = KernelsExact, false, true, model.CompareTokens, false
	m, err := openFiles(env, files, o)
	if err != nil {
		return nil, 0, err
	}
	rows, err = m.probe()
	bytes, sizeErr := m.Peak(model.Use{})
	return rows, bytes, errors.Join(err, sizeErr, m.Close())
}

// check is a comparison under way: want is nil where there is nothing to compare.
type check struct {
	file string
	want [][]float32
}

// beginCheck recalls whether the derived graph is known to be right, and else computes what it will be compared with. One that is known to be
// wrong is given up.
func (m *Model) beginCheck(files model.Files, o Options) (check, error) {
	if m.packed == nil || files.Dir == "" { // the embedded model is checked by the tests
		return check{}, nil
	}
	c := check{file: checkFile(fingerprint(m.env, files, o.HalfCache))}
	if a, known := recall(c.file); known {
		if !a.ok() {
			m.kernels = "they were compared with the original graph: " + a.String()
			err := m.closeDerived()
			m.packed, m.notes = nil, nil
			err = errors.Join(err, m.replan(files, o))
			m.notes = append(m.notes, unlike(m.kernels))
			return check{}, err
		}
		return check{}, nil
	}
	m.log.Info().Str("model", m.spec.Name).Msg("comparing our kernels with the runtime's, once for each model")
	var err error
	c.want, m.compared, err = reference(m.env, files, o)
	if errors.Is(err, ErrMemory) {
		m.log.Warn().Err(err).Msg("no memory to compare our kernels with the original graph")
		return check{}, nil
	}
	return c, err
}

// endCheck compares; why says what is wrong with the derived graph.
func (m *Model) endCheck(c check) (why string) {
	if c.want == nil {
		return ""
	}
	got, err := m.probe()
	if err != nil {
		return "they could not be compared with the original graph: " + err.Error()
	}
	a := compare(c.want[:min(len(got), len(c.want))], got)
	if len(got) == len(c.want) { // a context too small for the whole probe has seen less
		remember(c.file, a)
	}
	if !a.ok() {
		return "they were compared with the original graph: " + a.String()
	}
	m.log.Debug().Str("model", m.spec.Name).Stringer("agreement", a).Msg("our kernels agree with the runtime's")
	return ""
}

// unlike warns that a derived graph was given up.
func unlike(why string) string { return "the runtime computes it, and not our kernels: " + why }

// replan plans the original again, after a derived graph was given up.
func (m *Model) replan(files model.Files, o Options) (err error) {
	if m.spec, err = files.Load(model.Signature{}); err != nil {
		return err
	}
	if err := m.planAdapters(files, o); err != nil {
		return err
	}
	return m.plan(o)
}

// fingerprint names a model's files and everything that a derived graph depends on, "" where they do not lie on disk.
func fingerprint(env *ort.Env, files model.Files, half bool) string {
	h := sha256.New()
	fmt.Fprintln(h, kernelsVersion, cpu.Rung(), env.Version(), half)
	if !identify(h, files) {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// identify writes which files a model has: their places, sizes and times. It is false where they do not lie on disk.
func identify(h io.Writer, files model.Files) bool {
	if files.Dir == "" {
		return false
	}
	for _, file := range append([]string{files.Graph}, files.Data...) {
		path, err := filepath.EvalSymlinks(files.Path(file))
		if err != nil {
			return false
		}
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		fmt.Fprintln(h, path, info.Size(), info.ModTime().UnixNano())
	}
	return true
}

// checkFile is where the outcome of a check is remembered, "" where it cannot be: in $SHAMMAH_CHECKS, or the user's cache folder.
func checkFile(print string) string {
	dir := os.Getenv("SHAMMAH_CHECKS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(cache, "shammah-engine", "checks")
	}
	if print == "" {
		return ""
	}
	return filepath.Join(dir, print+".json")
}

// recall reads what was remembered; ok is false where there is nothing.
func recall(path string) (a Agreement, ok bool) {
	b, err := os.ReadFile(path)
	return a, path != "" && err == nil && json.Unmarshal(b, &a) == nil
}

// remember writes the outcome. A folder that cannot be written costs the next start another check.
func remember(path string, a Agreement) {
	b, err := json.Marshal(a)
	if err != nil || path == "" || os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return
	}
	_ = renameio.WriteFile(path, append(b, '\n'), 0o644)
}
