package selftest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/ort"
)

// version goes up whenever the test or what it tests changes, so that every provider is tested again.
const version = 2

// Memory is where it is kept what worked: a folder, "" for nowhere.
type Memory string

// Folder is the one in the user's cache.
func Folder() Memory {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return Memory(filepath.Join(cache, "shammah-engine", "providers"))
}

// Key names all that an outcome depends on: the runtime and its file, the driver, the provider with its options and libraries.
func Key(env *ort.Env, driver string, p ort.Provider) string {
	return key(env.Version(), env.Library(), driver, p)
}

func key(runtime, library, driver string, p ort.Provider) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q %q %q %q %q\n", version, runtime, driver, p.Name, p.Plugin, p.Device)
	for _, option := range slices.Sorted(maps.Keys(p.Options)) {
		fmt.Fprintf(h, "%q=%q\n", option, p.Options[option])
	}
	files := []string{library, p.Plugin}
	for _, l := range p.Libraries {
		files = append(files, l.Paths...)
	}
	for _, file := range files {
		if real, err := filepath.EvalSymlinks(file); err == nil && file != "" {
			file = real
		}
		info, err := os.Stat(file)
		if err != nil { // the system's loader finds it, or nobody
			fmt.Fprintf(h, "%q\n", file)
			continue
		}
		fmt.Fprintf(h, "%q %d %d\n", file, info.Size(), info.ModTime().UnixNano())
	}
	if model, err := fs.ReadFile(tiny.FS(), "model.onnx"); err == nil {
		sum := sha256.Sum256(model)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (m Memory) file(key string) string { return filepath.Join(string(m), key+".json") }

// Recall is what was remembered of a provider that worked.
func (m Memory) Recall(key string) (r Result, ok bool) {
	if m == "" {
		return r, false
	}
	data, err := os.ReadFile(m.file(key))
	return r, err == nil && json.Unmarshal(data, &r) == nil && r.Provider != ""
}

// Remember keeps that a provider works. What fails is not kept: it is tried again, as somebody may have mended it. A folder that cannot be
// written costs another test.
func (m Memory) Remember(key string, r Result) {
	data, err := json.Marshal(r)
	if m == "" || err != nil || os.MkdirAll(string(m), 0o755) != nil {
		return
	}
	_ = renameio.WriteFile(m.file(key), append(data, '\n'), 0o644)
}
