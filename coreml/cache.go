package coreml

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// hashed is the name of a file in a cache that names files by what is in them, as the Hub's does.
var hashed = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Key is what tells a model's file from any other: its sha256. CoreML's cache is not told when a file changes, so each version has a folder
// of its own. A file whose name is its hash, behind a link or not, is not read for it.
func Key(graph string) (string, error) {
	real, err := filepath.EvalSymlinks(graph)
	if err != nil {
		return "", fmt.Errorf("coreml: name the cache of %s: %w", graph, err)
	}
	if name := filepath.Base(real); hashed.MatchString(name) {
		return name[:32], nil
	}
	f, err := os.Open(real)
	if err != nil {
		return "", fmt.Errorf("coreml: name the cache of %s: %w", graph, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("coreml: name the cache of %s: %w", graph, err)
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// For is the options for one model: its compiled form is kept in a folder of its own below cache.
func (o Options) For(graph, cache string) (Options, error) {
	key, err := Key(graph)
	if err == nil {
		o.CacheDir = filepath.Join(cache, key)
	}
	return o, err
}
