package ort

// #include "library.h"
// #include "table.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"
)

// oldest is the first release whose faults in what we use are fixed.
const oldest = "1.28.1"

// LibraryVariable names the file or folder of the library in the environment; it is then the only place that is tried.
const LibraryVariable = "SHAMMAH_ORT_LIB"

// library is ONNX Runtime, opened. It is never unloaded: its threads and thread-local memory outlive the environment.
type library struct {
	table
	path    string
	version string
}

// Search lists the files that Open tries, in order: Options.Library or SHAMMAH_ORT_LIB alone, if set; else `lib` beside and above the
// executable, the user's cache folder, and the names that the system's loader knows (those without a folder).
func Search(o Options) []string {
	if explicit := explicitPlace(o.Library); explicit != "" {
		return inPlace(explicit)
	}
	var paths []string
	for _, dir := range folders() {
		paths = append(paths, inPlace(dir)...)
	}
	return append(paths, systemNames(runtime.GOOS)...)
}

func explicitPlace(option string) string {
	if option != "" {
		return option
	}
	return os.Getenv(LibraryVariable)
}

func folders() []string {
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		dirs = append(dirs, filepath.Join(dir, "lib"), filepath.Join(filepath.Dir(dir), "lib"))
	}
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(cache, "shammah-engine", "lib"))
	}
	return dirs
}

// inPlace is the library's file for a place that is a file, or a folder that holds it under any of its names.
func inPlace(place string) []string {
	info, err := os.Stat(place)
	if err != nil || !info.IsDir() {
		if err != nil && filepath.Ext(place) == "" {
			return []string{filepath.Join(place, systemNames(runtime.GOOS)[0])}
		}
		return []string{place}
	}
	if newest := newestIn(place, runtime.GOOS); newest != "" {
		return []string{newest}
	}
	return []string{filepath.Join(place, systemNames(runtime.GOOS)[0])}
}

// newestIn is the file of the highest version in a folder; "" when it has none. A name without a version wins, it is the one
// that whoever packed the folder meant.
func newestIn(dir, goos string) string {
	pattern, plain := "libonnxruntime.so*", "libonnxruntime.so"
	if goos == "darwin" {
		pattern, plain = "libonnxruntime*.dylib", "libonnxruntime.dylib"
	}
	found, _ := os.ReadDir(dir) // a folder that cannot be read has none
	best := ""
	for _, entry := range found {
		name := entry.Name()
		f := filepath.Join(dir, name)
		if ok, _ := filepath.Match(pattern, name); !ok { // the name alone: the folder's own may hold a pattern
			continue
		}
		if name == plain {
			return f
		}
		if fileVersion(name) != nil && (best == "" || versionLess(fileVersion(filepath.Base(best)), fileVersion(name))) {
			best = f
		}
	}
	return best
}

func systemNames(goos string) []string {
	if goos == "darwin" {
		return []string{"libonnxruntime.dylib"}
	}
	return []string{"libonnxruntime.so.1", "libonnxruntime.so"}
}

func openLibrary(option string) (library, error) {
	var tried []error
	for _, path := range Search(Options{Library: option}) {
		lib, err := tryLibrary(path)
		if err == nil {
			return lib, nil
		}
		tried = append(tried, err)
	}
	switch {
	case option != "":
		return library{}, fmt.Errorf("ort: open library: %w", tried[0])
	case explicitPlace("") != "":
		return library{}, fmt.Errorf("ort: open library, as %s says: %w", LibraryVariable, tried[0])
	}
	words := make([]string, len(tried))
	for i, err := range tried {
		words[i] = err.Error()
	}
	return library{}, fail("open library", "none of %d places has a usable ONNX Runtime (set %s to its file or folder): %s",
		len(tried), LibraryVariable, strings.Join(words, "; "))
}

// tryLibrary opens one file. Every error names it.
func tryLibrary(path string) (library, error) {
	if filepath.Base(path) != path { // a bare name is the system loader's to find
		if err := checkFile(path); err != nil {
			return library{}, err
		}
	}
	// Telemetry is read once, when the library is loaded.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return library{}, err
	}
	handle, err := dlopen(path, false)
	if err != nil {
		return library{}, err
	}
	lib, err := enter(handle, path)
	if err != nil {
		C.library_close(handle)
		return library{}, err
	}
	return lib, nil
}

func enter(handle unsafe.Pointer, path string) (library, error) {
	base := C.library_base(handle)
	if base == nil {
		return library{}, fmt.Errorf("%s: not ONNX Runtime: it has no OrtGetApiBase", path)
	}
	version := C.GoString(C.library_version(base))
	if versionLess(parseVersion(version), parseVersion(oldest)) {
		return library{}, fmt.Errorf("%s: ONNX Runtime %s is too old, %s or newer is needed", path, version, oldest)
	}
	api := C.library_table(base)
	if api == nil {
		return library{}, fmt.Errorf("%s: ONNX Runtime %s does not offer version %d of its C API, %s or newer is needed", path, version, C.ORT_API_VERSION, oldest)
	}
	return library{table{api}, path, version}, nil
}

// dlopen opens one shared library, for all others to see if global; the error is the loader's own words.
func dlopen(path string, global bool) (unsafe.Pointer, error) {
	name, err := cString(path)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(name))
	flag := C.int(0)
	if global {
		flag = 1
	}
	opened := C.library_open(name, flag)
	if opened.handle != nil {
		return opened.handle, nil
	}
	defer C.free(unsafe.Pointer(opened.error))
	words := oneLine(C.GoString(opened.error))
	if !strings.HasPrefix(words, path) {
		words = path + ": " + words
	}
	return nil, errors.New(words)
}

// cString refuses what C would cut short.
func cString(s string) (*C.char, error) {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return nil, fmt.Errorf("%q holds a NUL byte", s)
	}
	return C.CString(s), nil
}
