// Package filesystem is what this program does with names on disk beyond package os: a ~ in front, names that outlive a power failure, and
// folders that are held while somebody works in them.
package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Expand replaces a ~ in front that no shell has replaced, such as one behind a =, by the folder home.
func Expand(path, home string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		return filepath.Join(home, path[1:])
	}
	return path
}

// ExpandHome is Expand with the user's own folder, which need not be known for a path without a ~.
func ExpandHome(path string) (string, error) {
	if Expand(path, "/") == path {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("filesystem: expand %s: %w", path, err)
	}
	return Expand(path, home), nil
}

// SyncDir makes the names in a folder outlive a power failure.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
