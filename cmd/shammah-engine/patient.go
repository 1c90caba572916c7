package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/cpuid/v2"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/cuda"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/provider"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

// machine looks at what there is to compute with.
func (p *patient) machine() {
	p.line("program", "shammah-engine %s, %s build, %s/%s", version, provider.Build, runtime.GOOS, runtime.GOARCH)
	c := sys.ReadCPU()
	p.line("processor", "%s: %d physical cores, %d threads by default", cpuid.CPU.BrandName, c.Physical, c.Threads())
	if c.Quota > 0 && c.Quota < float64(c.Physical) {
		p.add(finding{"quota", fmt.Sprintf("the control group allows %.2g processors of %d", c.Quota, c.Physical), note, "a container needs --cpus, or a pod limits.cpu"})
	}
	p.line("features", "%s", strings.Join(cpu.Features(), " "))
	p.line("kernels", "%s (this machine can run %s)", cpu.Rung(), strings.Join(cpu.Rungs(), ", "))
	switch memory, err := sys.ReadMemory(); {
	case err != nil:
		p.add(finding{"memory", "not known: " + err.Error(), note, ""})
	case memory.Limit > 0:
		p.line("memory", "%s available of %s, which the control group limits to %s", humanize.IBytes(uint64(memory.Available)), humanize.IBytes(uint64(memory.Total)), humanize.IBytes(uint64(memory.Limit)))
	default:
		p.line("memory", "%s available of %s", humanize.IBytes(uint64(memory.Available)), humanize.IBytes(uint64(memory.Total)))
	}
	if runtime.GOOS == "linux" {
		p.hugePages(os.DirFS("/"))
	}
}

// hugePages says whether packed weights get huge pages: the kernels ask for them, which "madvise" is enough for.
func (p *patient) hugePages(root fs.FS) {
	const file = "sys/kernel/mm/transparent_hugepage/enabled"
	text, err := fs.ReadFile(root, file)
	_, rest, _ := strings.Cut(string(text), "[")
	mode, _, ok := strings.Cut(rest, "]")
	switch {
	case err != nil || !ok:
		p.add(finding{"huge pages", "this kernel has none", note, "weights lie in small pages: decoding is up to a fifth slower"})
	case mode == "never":
		p.add(finding{"huge pages", "switched off", note, "echo madvise | sudo tee /" + file})
	default:
		p.line("huge pages", "%s", mode)
	}
}

// configuration says where the settings are and what is odd about them.
func (p *patient) configuration(s *config.Settings, err error) {
	if err != nil {
		p.add(finding{"config", err.Error(), failed, "mend the file, or name another with --config"})
		return
	}
	if s.Path == "" {
		p.add(finding{"config", "there is no place for it: the defaults hold, and no adapter or feedback can be kept", note, "set HOME, or SHAMMAH_HOME"})
		return
	}
	found := s.Path
	if info, err := os.Stat(s.Path); err == nil {
		found = fmt.Sprintf("%s, mode %04o", s.Path, info.Mode().Perm())
	} else if errors.Is(err, fs.ErrNotExist) {
		found += ", not there: the defaults hold (`setup` writes it)"
	}
	p.line("config", "%s", found)
	for _, w := range s.Warnings { // who may read a key that is in it, too
		p.add(finding{"config", w, note, ""})
	}
}

// folders looks at where files are kept.
func (p *patient) folders() {
	p.folder("models", hubEnv(p.c).Cache)
	cache, err := os.UserCacheDir()
	if err != nil {
		p.add(finding{"cache", "none: " + err.Error(), note, "set HOME or XDG_CACHE_HOME: what was checked once is checked at each start now"})
		return
	}
	p.folder("cache", filepath.Join(cache, "shammah-engine"))
}

// folder says whether a folder, or the nearest that exists above it, takes files.
func (p *patient) folder(name, dir string) {
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || filepath.Dir(at) == at {
			break
		}
		at = filepath.Dir(at)
	}
	f, err := os.CreateTemp(at, ".shammah-doctor-*")
	if err != nil {
		p.add(finding{name, fmt.Sprintf("%s: cannot be written: %s", dir, cause(err)), note, "give yourself the right to write to " + at})
		return
	}
	err = errors.Join(f.Close(), os.Remove(f.Name()))
	free := ""
	if disk, diskErr := sys.ReadDisk(at); diskErr == nil {
		free = ", " + humanize.IBytes(uint64(disk)) + " free"
	}
	if err != nil {
		free += "; " + err.Error()
	}
	p.line(name, "%s%s", dir, free)
}

// cause is an error of the system without the path that it is about.
func cause(err error) string {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// hub asks the hub of models for an answer.
func (p *patient) hub(ctx context.Context) {
	access, err := hub.AccessFrom(os.Getenv)
	if err != nil {
		p.add(finding{"hub", err.Error(), failed, ""})
		return
	}
	if access.Offline {
		p.add(finding{"hub", "HF_HUB_OFFLINE is set: nothing is downloaded", note, ""})
		return
	}
	client, err := hubClient(p.c)
	if err != nil {
		p.add(finding{"hub", err.Error(), failed, ""})
		return
	}
	defer client.Close()
	if err := client.Reach(ctx); err != nil {
		p.add(finding{"hub", fmt.Sprintf("%s does not answer: %v", access.Endpoint, err), failed, "HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror; models that are here run without it"})
		return
	}
	p.line("hub", "%s answers", access.Endpoint)
}

// pythonLimit is how long Python may take to say what it has.
const pythonLimit = 20 * time.Second

// python says whether adapters can be trained: nothing else needs it.
func (p *patient) python(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pythonLimit)
	defer cancel()
	home, err := config.Home(os.Getenv)
	if err != nil {
		return // the configuration's own line says so
	}
	path, err := trainingPython(ctx, p.c, home)
	if err != nil {
		found, fix, _ := strings.Cut(strings.TrimPrefix(oneLine(err.Error()), "lora train: "), "; ")
		if found = strings.TrimPrefix(found, "training: "); fix != "" {
			fix += " (to train adapters: nothing else needs it)"
		}
		p.add(finding{"python", found, note, fix})
		return
	}
	p.line("python", "%s, with all that training adapters needs", path)
}

// cuda looks for NVIDIA's driver and libraries.
func (p *patient) cuda(w provider.Wish) {
	m := provider.Machine()
	if d := m.Driver(); d.Version != "" {
		p.line("driver", "NVIDIA %s: %s", d.Version, strings.Join(d.Devices, ", "))
	}
	o, err := cuda.Parse(w.Options)
	if err != nil {
		return // the provider's own line says so
	}
	for _, l := range m.Libraries(o.Folder) {
		path, err := l.Open()
		if err != nil {
			p.add(finding{"CUDA", strings.Join(l.Paths, ", ") + ": not found", note, l.Hint})
			continue
		}
		p.line("CUDA", "%s", path)
	}
}

// plugin says what a plug-in library offers.
func (p *patient) plugin(env *ort.Env, w provider.Wish) {
	if w.Library == "" {
		return
	}
	path, err := filepath.Abs(w.Library)
	if err != nil {
		path = w.Library
	}
	devices, err := env.Plugin(path)
	switch {
	case err != nil:
		p.add(finding{"plug-in", err.Error(), failed, "--provider-library names the library that the package calls its provider"})
	case len(devices) == 0:
		p.add(finding{"plug-in", path + " finds nothing on this machine that it could compute on", failed, "see which hardware it is for"})
	}
	for _, d := range devices {
		p.line("plug-in", "%s of %s, on a %s", d.Provider, d.Vendor, d.Kind)
	}
}
