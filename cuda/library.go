package cuda

import (
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/ort"
)

// FolderVariable names a folder with NVIDIA's libraries in the environment.
const FolderVariable = "SHAMMAH_CUDA_LIB"

// Machine is where NVIDIA's libraries and driver are looked for.
type Machine struct {
	Root fs.FS               // of all files
	Env  func(string) string // variables
}

// needed is what the provider's library needs, in the order in which one needs the other. It has no path to any of them, so each is
// opened before it, and a missing one can be named.
func needed() []struct{ file, hint string } {
	const driver = "no NVIDIA driver (install version 580 or newer; a container needs --gpus all)"
	const toolkit = "no CUDA 13 (pip install nvidia-cuda-runtime nvidia-cublas nvidia-curand)"
	return []struct{ file, hint string }{
		{"libcuda.so.1", driver}, {"libcudart.so.13", toolkit}, {"libcublasLt.so.13", toolkit}, {"libcublas.so.13", toolkit}, {"libcurand.so.10", toolkit},
	}
}

// Libraries says where each of NVIDIA's libraries may be: in folder, where FolderVariable says, in the folders of Python packages, in
// NVIDIA's own, and where the system's loader finds it. The driver is the system's alone.
func (m Machine) Libraries(folder string) (list []ort.Library) {
	for _, n := range needed() {
		l := ort.Library{Hint: n.hint}
		for _, dir := range m.folders(folder) {
			if file := path.Join(dir, n.file); n.file != "libcuda.so.1" && m.exists(file) {
				l.Paths = append(l.Paths, file)
			}
		}
		l.Paths = append(l.Paths, n.file)
		if wsl := "/usr/lib/wsl/lib/" + n.file; m.exists(wsl) {
			l.Paths = append(l.Paths, wsl)
		}
		list = append(list, l)
	}
	return list
}

// folders are those that may hold NVIDIA's libraries, in order.
func (m Machine) folders(folder string) (dirs []string) {
	for _, dir := range []string{folder, m.Env(FolderVariable)} {
		if full, err := filepath.Abs(dir); err == nil && dir != "" {
			dirs = append(dirs, full)
		}
	}
	var prefixes []string
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if p := m.Env(name); p != "" {
			prefixes = append(prefixes, p)
		}
	}
	if home := m.Env("HOME"); home != "" {
		prefixes = append(prefixes, path.Join(home, ".local"))
	}
	for _, prefix := range append(prefixes, "/usr/local", "/usr") {
		for _, packages := range []string{"site-packages", "dist-packages"} {
			dirs = append(dirs, m.glob(path.Join(prefix, "lib", "python3*", packages, "nvidia", "*", "lib"))...)
		}
	}
	return append(dirs, m.glob("/usr/local/cuda*/lib64")...)
}

// glob is fs.Glob with absolute paths, the highest version first: python3.9 sorts after python3.13, but pip's folder of the wrong CUDA has
// other file names, so that this only decides between equals.
func (m Machine) glob(pattern string) []string {
	found, _ := fs.Glob(m.Root, strings.TrimPrefix(pattern, "/")) // fails only on a bad pattern, of which a prefix may be one
	for i := range found {
		found[i] = "/" + found[i]
	}
	slices.Reverse(found)
	return found
}

func (m Machine) exists(file string) bool {
	info, err := fs.Stat(m.Root, strings.TrimPrefix(path.Clean(file), "/"))
	return err == nil && info.Mode().IsRegular()
}

// Driver is NVIDIA's kernel driver.
type Driver struct {
	Version string // "" where there is none that says so
	Devices []string
}

// Driver reads what the kernel's driver says of itself.
func (m Machine) Driver() (d Driver) {
	// NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build ...
	text, _ := fs.ReadFile(m.Root, "proc/driver/nvidia/version") // absent: no driver
	line, _, _ := strings.Cut(string(text), "\n")
	for _, word := range strings.Fields(line) {
		if strings.Count(word, ".") > 0 && strings.Trim(word, "0123456789.") == "" {
			d.Version = word
			break
		}
	}
	for _, file := range m.glob("/proc/driver/nvidia/gpus/*/information") {
		text, _ := fs.ReadFile(m.Root, file[1:]) // a card that was taken out meanwhile
		for line := range strings.Lines(string(text)) {
			if model, ok := strings.CutPrefix(line, "Model:"); ok {
				d.Devices = append(d.Devices, strings.TrimSpace(model))
			}
		}
	}
	slices.Reverse(d.Devices)
	return d
}

// Present says whether there is any sign of NVIDIA's driver, without loading a library.
func (m Machine) Present() bool {
	for _, sign := range []string{"proc/driver/nvidia/version", "dev/nvidiactl", "dev/dxg"} { // the last is WSL's
		if _, err := fs.Stat(m.Root, sign); err == nil {
			return true
		}
	}
	return false
}
