package engine

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/ort"
)

// sessionOptions is how every session of a model is opened.
func (m *Model) sessionOptions(o Options) ort.SessionOptions {
	s := ort.SessionOptions{
		Threads: m.threads, Spin: o.Spin == nil || *o.Spin, Arena: true, RecordPlacement: true, HugePages: true, Providers: o.Providers,
		OneThread: m.device.Name != "", // CUDA's provider keeps handles and recordings for each thread that ran it
	}
	if o.Kernels == KernelsExact {
		s.Config = map[string]string{"mlas.qnbit.force_fp32": "1"}
	}
	return s
}

// openSession opens the graph with the providers asked for, and notes which one truly runs.
func (m *Model) openSession(files model.Files, o Options) error {
	options := m.sessionOptions(o)
	err := m.openGraph(files, options)
	if err != nil && m.records { // a provider that records refuses a graph of which it does not hold all
		options.Providers = unrecorded(options.Providers)
		refused := err
		if err = m.openGraph(files, options); err == nil {
			m.records = false
			m.notes = append(m.notes, "steps are not recorded: "+refused.Error())
		}
	}
	if err != nil {
		return err
	}
	return m.place(files)
}

func (m *Model) openGraph(files model.Files, options ort.SessionOptions) (err error) {
	switch {
	case m.packed != nil:
		err = m.openDerived(files, options)
	case m.bare != nil:
		err = m.openAdapted(files, options)
	case m.topped != nil:
		var graph []byte
		if graph, err = m.topped.write(files); err == nil {
			err = m.openWritten(files, graph, options)
		}
	case files.Dir == "":
		var graph []byte
		if graph, err = fs.ReadFile(files.FS, files.Graph); err != nil {
			return fmt.Errorf("engine: read the graph: %w", err)
		}
		m.session, err = m.env.OpenSessionBytes(graph, options)
	default:
		m.session, err = m.env.OpenSession(files.Path(files.Graph), options)
	}
	return err
}

// write encodes a graph that was edited.
func (d *derived) write(files model.Files) ([]byte, error) {
	source, err := d.tensors.Graph()
	if err != nil {
		return nil, err
	}
	graph, err := onnx.Write(d.plan.Model, source)
	if err != nil {
		return nil, fmt.Errorf("engine: open %s: write its graph anew: %w", name(files), err)
	}
	return graph, nil
}

// openWritten opens a graph that was written anew. Weights that lie outside of it stay where they are.
func (m *Model) openWritten(files model.Files, graph []byte, options ort.SessionOptions) (err error) {
	if files.Dir != "" {
		options.Config = maps.Clone(options.Config)
		if options.Config == nil {
			options.Config = map[string]string{}
		}
		options.Config["session.model_external_initializers_file_folder_path"] = filepath.Dir(files.Path(files.Graph))
	}
	m.session, err = m.env.OpenSessionBytes(graph, options)
	return err
}

// signature is the session's inputs and outputs as plain values.
func signature(s *ort.Session) model.Signature {
	plain := func(infos []ort.TensorInfo) []model.TensorInfo {
		list := make([]model.TensorInfo, len(infos))
		for i, t := range infos {
			list[i] = model.TensorInfo{Name: t.Name, Type: t.Type.String(), Shape: t.Shape}
		}
		return list
	}
	g := model.Signature{Inputs: plain(s.Inputs()), Outputs: plain(s.Outputs())}
	for _, t := range s.Overridable() {
		g.Overridable = append(g.Overridable, t.Name)
	}
	return g
}
