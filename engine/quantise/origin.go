package quantise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shammah/shammah-engine/internal/filesystem"
)

// Origin says where a quantised model came from; it lies beside it.
type Origin struct {
	From    string `json:"from"`              // the folder, or owner/name of the Hub
	Commit  string `json:"commit,omitempty"`  // of the Hub
	Variant string `json:"variant,omitempty"` // of several there
	Stamp   string `json:"stamp,omitempty"`   // which files of the folder, so that another export is not taken for the same

	Bits      int `json:"bits"`
	Block     int `json:"block"`
	HeadBits  int `json:"head_bits,omitempty"`
	TableBits int `json:"embedding_bits,omitempty"`
}

// String is one line for people.
func (o Origin) String() string {
	s := "quantised here from " + o.From
	if o.Commit != "" {
		s += fmt.Sprintf("@%.12s", o.Commit)
	}
	if o.Variant != "" {
		s += " (" + o.Variant + ")"
	}
	s += fmt.Sprintf(", int%d block %d", o.Bits, o.Block)
	if o.HeadBits != 0 {
		s += fmt.Sprintf(", language head int%d", o.HeadBits)
	}
	if o.TableBits != 0 {
		s += fmt.Sprintf(", embedding int%d", o.TableBits)
	}
	return s
}

// Same says whether two copies have the same source.
func (o Origin) Same(other Origin) bool {
	return o.From == other.From && o.Commit == other.Commit && o.Variant == other.Variant && o.Stamp == other.Stamp
}

const originName = "quantised.json"

// ReadOrigin reads what Write left in a folder; ok is false where nothing is, or something else.
func ReadOrigin(dir string) (o Origin, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, originName))
	return o, err == nil && json.Unmarshal(b, &o) == nil && o.Bits == 4
}

// unfinished is how the name of a folder ends that is being written.
const unfinished = ".unfinished"

// removed is how the name of a folder ends that is being removed.
const removed = ".removed"

// hold makes a folder to work in, which Sweep leaves alone until free is called or the process ends.
func hold(parent, name string) (dir string, free func(), err error) {
	return filesystem.Hold(func() (string, error) {
		dir := filepath.Join(parent, fmt.Sprintf(".%s.%d%s", name, os.Getpid(), unfinished))
		return dir, os.Mkdir(dir, 0o777)
	})
}

// Sweep removes what a Write, or the removal of a model, left behind in a folder of models that was ended without a chance to clean up. What is being written stays. With
// dry it only says how much there is.
func Sweep(parent string, dry bool) (bytes int64, err error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), ".") || !strings.HasSuffix(entry.Name(), unfinished) && !strings.HasSuffix(entry.Name(), removed) {
			continue
		}
		dir := filepath.Join(parent, entry.Name())
		free, ok := filesystem.Seize(dir)
		if !ok {
			continue
		}
		bytes += held(dir)
		if !dry {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		free()
	}
	return bytes, err
}

// held is the bytes of the files below a folder.
func held(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}
