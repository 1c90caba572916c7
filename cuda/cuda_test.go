package cuda

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// machine is one with empty files of these names, and these variables.
func machine(env map[string]string, files ...string) Machine {
	root := fstest.MapFS{}
	for _, f := range files {
		root[strings.TrimPrefix(f, "/")] = &fstest.MapFile{}
	}
	return Machine{Root: root, Env: func(name string) string { return env[name] }}
}

func TestOptions(t *testing.T) {
	plain := map[string]string{"device_id": "0", "arena_extend_strategy": "kSameAsRequested", "do_copy_in_default_stream": "1", "use_tf32": "0", "enable_cuda_graph": "0"}
	with := func(pairs ...string) map[string]string {
		m := maps.Clone(plain)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name    string
		options Options
		want    map[string]string
	}{
		{"defaults", Options{}, plain},
		{"device", Options{Device: 1}, with("device_id", "1")},
		{"memory", Options{MemoryLimit: 1 << 33}, with("gpu_mem_limit", "8589934592")},
		{"arena", Options{Arena: NextPowerOfTwo}, with("arena_extend_strategy", "kNextPowerOfTwo")},
		{"TF32", Options{TF32: true}, with("use_tf32", "1")},
		{"graph", Options{Graph: true}, with("enable_cuda_graph", "1")},
		{"stream", Options{Stream: 0xfff0}, with("has_user_compute_stream", "1", "user_compute_stream", "65520")},
	} {
		p := c.options.Provider(machine(nil))
		if p.Name != Name || len(p.Libraries) != 5 || !maps.Equal(p.Options, c.want) {
			t.Errorf("%s: provider %q with %d libraries, options %v; want %q with 5, %v", c.name, p.Name, len(p.Libraries), p.Options, Name, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       Options
		err        string
	}{
		{"device", "1", Options{Device: 1}, ""},
		{"device", "-1", Options{}, "expected a number"},
		{"memory", "8GiB", Options{MemoryLimit: 8 << 30}, ""},
		{"memory", "0", Options{}, "such as 8GiB"},
		{"memory", "16EiB", Options{}, "such as 8GiB"},
		{"arena", "double", Options{Arena: NextPowerOfTwo}, ""},
		{"arena", "same", Options{Arena: SameAsRequested}, ""},
		{"arena", "half", Options{}, "same or double"},
		{"tf32", "on", Options{TF32: true}, ""},
		{"tf32", "off", Options{}, ""},
		{"tf32", "1", Options{}, "on or off"},
		{"graph", "on", Options{Graph: true}, ""},
		{"graph", "off", Options{}, ""},
		{"graph", "1", Options{}, "on or off"},
		{"libraries", "/opt/cuda", Options{Folder: "/opt/cuda"}, ""},
		{"libraries", "", Options{}, "a folder"},
		{"stream", "1", Options{}, "expected one of arena, device, graph, libraries, memory, tf32"},
	} {
		got, err := Parse(map[string]string{c.key: c.value})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%s=%s: %v, want an error with %q", c.key, c.value, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s=%s: %+v, %v; want %+v", c.key, c.value, got, err, c.want)
		}
	}
	for key := range Keys() {
		if _, err := Parse(map[string]string{key: "?\x00"}); err != nil && strings.Contains(err.Error(), "there is none") {
			t.Errorf("%s is listed and not taken", key)
		}
	}
}

func TestLibraries(t *testing.T) {
	const cudart = "libcudart.so.13"
	env := map[string]string{FolderVariable: "/nv", "VIRTUAL_ENV": "/venv", "CONDA_PREFIX": "/conda", "HOME": "/home/me"}
	all := []string{
		"/mine/" + cudart, "/nv/" + cudart, "/venv/lib/python3.12/site-packages/nvidia/cu13/lib/" + cudart,
		"/conda/lib/python3.12/site-packages/nvidia/cuda_runtime/lib/" + cudart,
		"/home/me/.local/lib/python3.13/site-packages/nvidia/cu13/lib/" + cudart,
		"/usr/local/lib/python3.12/dist-packages/nvidia/cu13/lib/" + cudart, "/usr/local/cuda-13.0/lib64/" + cudart,
	}
	paths := func(m Machine, folder, file string) []string {
		for _, l := range m.Libraries(folder) {
			if slices.Contains(l.Paths, file) {
				return l.Paths
			}
		}
		return nil
	}
	m := machine(env, append(all, "/nv/libcuda.so.1", "/venv/lib/python3.12/site-packages/nvidia/cu12/lib/libcudart.so.12")...)
	if got, want := paths(m, "/mine", cudart), append(slices.Clone(all), cudart); !slices.Equal(got, want) {
		t.Errorf("in order: got %q\nwant %q", got, want)
	}
	if got := paths(m, "", "libcuda.so.1"); !slices.Equal(got, []string{"libcuda.so.1"}) {
		t.Errorf("the driver: got %q, want the system's alone", got)
	}
	if got := paths(machine(nil), "", cudart); !slices.Equal(got, []string{cudart}) {
		t.Errorf("nothing there: got %q, want the loader's name", got)
	}
	if got := paths(machine(map[string]string{"HOME": "/ho[me"}), "rel/../x", cudart); !slices.Equal(got, []string{cudart}) {
		t.Errorf("odd folders: got %q, want the loader's name", got)
	}
	if got := paths(machine(nil, "/usr/lib/wsl/lib/libcuda.so.1"), "", "libcuda.so.1"); len(got) != 2 || got[1] != "/usr/lib/wsl/lib/libcuda.so.1" {
		t.Errorf("under WSL: got %q, want its driver too", got)
	}
	for _, l := range m.Libraries("") {
		if l.Hint == "" {
			t.Errorf("%v has no hint", l.Paths)
		}
	}
}

func TestDriver(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want string
		gpus []string
	}{
		{"none", fstest.MapFS{}, "", nil},
		{"closed", fstest.MapFS{"proc/driver/nvidia/version": file("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan\nGCC version: gcc version 13.3.0\n")}, "570.86.15", nil},
		{"open, two cards", fstest.MapFS{
			"proc/driver/nvidia/version":                       file("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build"),
			"proc/driver/nvidia/gpus/0000:01:00.0/information": file("Model: \t\t NVIDIA H100\nIRQ: 4\n"),
			"proc/driver/nvidia/gpus/0000:02:00.0/information": file("Model: \t\t NVIDIA L4\n"),
		}, "580.65.06", []string{"NVIDIA H100", "NVIDIA L4"}},
		{"garbage", fstest.MapFS{"proc/driver/nvidia/version": file("?")}, "", nil},
	} {
		d := Machine{Root: c.root}.Driver()
		if d.Version != c.want || !slices.Equal(d.Devices, c.gpus) {
			t.Errorf("%s: got %+v, want %q and %q", c.name, d, c.want, c.gpus)
		}
	}
}

func TestPresent(t *testing.T) {
	for file, want := range map[string]bool{"/etc/passwd": false, "/proc/driver/nvidia/version": true, "/dev/nvidiactl": true, "/dev/dxg": true} {
		if got := machine(nil, file).Present(); got != want {
			t.Errorf("with %s: %v, want %v", file, got, want)
		}
	}
}
