package adapters

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shammah/shammah-engine/engine/lora"
)

// Use is an adapter that was asked for: a name in a store or a path, and how strongly it counts.
type Use struct {
	Name  string
	Path  string // "" for one of the store
	Scale float32
}

func (u Use) String() string {
	if u.Scale == 1 {
		return u.Name
	}
	return u.Name + ":" + strconv.FormatFloat(float64(u.Scale), 'g', -1, 32)
}

// Lasting is how the use is named where it is to be found from any folder.
func (u Use) Lasting() string {
	if u.Path != "" {
		u.Name = u.Path
	}
	return u.String()
}

// Off stands in place of adapters for none: not those of a session or of the configuration either.
const Off = "off"

// None says whether what was asked for is no adapter.
func None(texts []string) bool { return len(texts) == 1 && texts[0] == Off }

const (
	scaleMax    = 100
	safetensors = ".safetensors"
)

// ParseUses reads name, name:scale, path or path:scale, each adapter once; or Off alone.
func ParseUses(texts []string) (uses []Use, err error) {
	if None(texts) {
		return nil, nil
	}
	for _, text := range texts {
		u, err := parseUse(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(uses, func(v Use) bool { return v.Name == u.Name }) {
			return nil, fmt.Errorf("adapters: read %q: %s is named twice; give it one scale", text, u.Name)
		}
		uses = append(uses, u)
	}
	return uses, nil
}

func parseUse(text string) (u Use, err error) {
	u = Use{Name: text, Scale: 1}
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		x, err := strconv.ParseFloat(text[at+1:], 32)
		if err == nil || !isPath(text) { // a path may have a colon of its own
			if err != nil || !(math.Abs(x) <= scaleMax) || float32(x) == 0 {
				return u, fmt.Errorf("adapters: read %q: the scale is %q, expected a number from -%d to %d that is not 0; leave the adapter out to do without it", text, text[at+1:], scaleMax, scaleMax)
			}
			u = Use{Name: text[:at], Scale: float32(x)}
		}
	}
	if isPath(u.Name) {
		u.Path = u.Name
		return u, nil
	}
	return u, CheckName(u.Name)
}

// isPath says whether a text can only mean a place on disk.
func isPath(s string) bool {
	return strings.ContainsRune(s, filepath.Separator) || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "~") || strings.HasSuffix(s, lora.OnnxSuffix) ||
		strings.HasSuffix(s, safetensors)
}
