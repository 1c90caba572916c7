package hub

import (
	"maps"
	"os"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// externalData lists the files that a graph keeps weights in, as it names them.
func externalData(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := onnx.Read(f, info.Size())
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, t := range m.External() {
		names[t.External.Location] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}
