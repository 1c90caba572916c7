package ort

// #include "library.h"
// #include "table.h"
import "C"

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// PluginDevice is hardware that a plug-in library can compute on, and the provider that does.
type PluginDevice struct {
	Provider string // such as OpenVINOExecutionProvider
	Vendor   string // of the provider
	Kind     string // cpu, gpu, npu
}

// plugins are the plug-in libraries that the environment knows. They stay until it goes: their threads may outlive the sessions.
type plugins struct {
	mu   sync.Mutex
	open map[string]plugin // by path
}

// plugin is a library that was registered.
type plugin struct {
	name    string
	before  []*C.OrtEpDevice // that were there when it came
	devices []*C.OrtEpDevice // that came with it, nil until they were asked for
}

// title is the name to register a library by, which some give to their provider: that of its file, unless another has it.
func (p *plugins) title(path string) string {
	name := strings.TrimPrefix(filepath.Base(path), "lib")
	name, _, _ = strings.Cut(name, ".")
	for _, other := range p.open {
		if other.name == name {
			return path
		}
	}
	return name
}

// Plugin loads a library that brings execution providers, once, and says on what they can compute.
// Implements: OrtApi::RegisterExecutionProviderLibrary, OrtApi::GetEpDevices.
func (e *Env) Plugin(path string) ([]PluginDevice, error) {
	if err := e.hold(); err != nil {
		return nil, fail("plug-in provider "+path, "%w", err)
	}
	defer e.drop()
	found, err := e.plugin(path)
	if err != nil {
		return nil, err
	}
	devices := make([]PluginDevice, len(found))
	for i, d := range found {
		devices[i] = e.device(d)
	}
	return devices, nil
}

// PluginProvider is the name of the provider that a session with p would have, of a plug-in library.
func (e *Env) PluginProvider(p Provider) (string, error) {
	if err := e.hold(); err != nil {
		return "", fail("plug-in provider "+p.Plugin, "%w", err)
	}
	defer e.drop()
	found, err := e.plugin(p.Plugin)
	if err != nil {
		return "", err
	}
	d, err := e.choose(p, found)
	if err != nil {
		return "", fail("plug-in provider "+p.Plugin, "%w", err)
	}
	return e.device(d).Provider, nil
}

func (e *Env) device(d *C.OrtEpDevice) PluginDevice {
	kind := "cpu"
	switch C.ort_device_kind(e.c, d) {
	case C.OrtHardwareDeviceType_GPU:
		kind = "gpu"
	case C.OrtHardwareDeviceType_NPU:
		kind = "npu"
	}
	return PluginDevice{C.GoString(C.ort_device_provider(e.c, d)), C.GoString(C.ort_device_vendor(e.c, d)), kind}
}

// plugin registers the library at path, unless it is known, and gives the devices that came with it.
func (e *Env) plugin(path string) ([]*C.OrtEpDevice, error) {
	e.plugins.mu.Lock()
	defer e.plugins.mu.Unlock()
	p, known := e.plugins.open[path]
	if !known {
		if err := checkFile(path); err != nil {
			return nil, fail("plug-in provider", "%w", err)
		}
		before, err := e.devices()
		if err != nil {
			return nil, err.in("plug-in provider %s", path)
		}
		p = plugin{name: e.plugins.title(path), before: before}
		if err := keepSignals(func() error { return e.register(p.name, path) }); err != nil {
			return nil, err
		}
		if e.plugins.open == nil {
			e.plugins.open = map[string]plugin{}
		}
		e.plugins.open[path] = p // before anything can fail: it cannot be registered twice
	}
	if p.devices == nil {
		after, err := e.devices()
		if err != nil {
			return nil, err.in("plug-in provider %s", path)
		}
		p.devices = slices.DeleteFunc(after, func(d *C.OrtEpDevice) bool { return slices.Contains(p.before, d) })
		e.plugins.open[path] = p
	}
	return p.devices, nil
}

// register opens the library itself first, for the loader's own words, and so that it stays in memory when the environment goes.
func (e *Env) register(name, path string) error {
	handle, err := dlopen(path, false)
	if err != nil {
		return fail("plug-in provider", "open %w", err)
	}
	all, err := cStrings("CreateEpFactories", path, name)
	if err != nil {
		return fail("plug-in provider", "%w", err)
	}
	defer all.free()
	if C.library_has(handle, all.at(0)) == 0 {
		C.library_close(handle)
		return fail("plug-in provider", "%s: it has no CreateEpFactories: a library, but no plug-in of ONNX Runtime", path)
	}
	if err := e.check(C.ort_plugin_register(e.c, e.ptr, all.at(2), all.at(1))); err != nil {
		return err.in("plug-in provider %s", path)
	}
	return nil
}

// devices are all that the environment has, also of libraries that were not loaded by Plugin.
func (e *Env) devices() ([]*C.OrtEpDevice, *Error) {
	list := C.ort_devices(e.c, e.ptr)
	if err := e.check(list.status); err != nil {
		return nil, err
	}
	devices := make([]*C.OrtEpDevice, list.n)
	for i, p := range unsafe.Slice(list.list, list.n) {
		devices[i] = (*C.OrtEpDevice)(p)
	}
	return devices, nil
}

// appendPlugin adds a provider of a plug-in library. Implements: OrtApi::SessionOptionsAppendExecutionProvider_V2.
func (s *sessionOptions) appendPlugin(p Provider, keys, values **C.char, n C.size_t) error {
	found, err := s.env.plugin(p.Plugin)
	if err != nil {
		return err
	}
	d, err := s.env.choose(p, found)
	if err != nil {
		return fail("plug-in provider "+p.Plugin, "%w", err)
	}
	if err := s.check(C.ort_append_device(s.c, s.ptr, s.env.ptr, d, keys, values, n)); err != nil {
		return err.in("plug-in provider %s", p.Plugin)
	}
	return nil
}

// choose takes the device that the provider asks for, or the best one.
func (e *Env) choose(p Provider, found []*C.OrtEpDevice) (*C.OrtEpDevice, error) {
	var offers []string
	for _, kind := range []string{"gpu", "npu", "cpu"} {
		for _, d := range found {
			is := e.device(d)
			if is.Kind != kind {
				continue
			}
			if named := p.name() == "" || strings.EqualFold(p.name(), strings.TrimSuffix(is.Provider, "ExecutionProvider")); named && (p.Device == "" || strings.EqualFold(p.Device, kind)) {
				return d, nil
			}
			offers = append(offers, is.Provider+" on "+kind)
		}
	}
	if offers == nil {
		return nil, fmt.Errorf("it finds nothing on this machine that it could compute on")
	}
	asked := strings.TrimSpace("provider " + p.name())
	if p.Device != "" {
		asked += " on " + p.Device
	}
	return nil, fmt.Errorf("it has no %s, only %s", asked, strings.Join(offers, ", "))
}
