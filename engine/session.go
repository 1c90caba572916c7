package engine

import (
	"fmt"
	"io/fs"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/ort"
)

// sessionOptions is how every session of a model is opened.
func (m *Model) sessionOptions(o Options) ort.SessionOptions {
	s := ort.SessionOptions{
		Threads: m.threads, Spin: o.Spin == nil || *o.Spin, Arena: true, RecordPlacement: true, HugePages: true, Providers: o.Providers,
	}
	if o.Kernels == KernelsExact {
		s.Config = map[string]string{"mlas.qnbit.force_fp32": "1"}
	}
	return s
}

// openSession opens the graph with the providers asked for, and notes which one truly runs.
func (m *Model) openSession(files model.Files, o Options) error {
	options := m.sessionOptions(o)
	var err error
	switch {
	case m.packed != nil:
		if err = m.openDerived(files, options); err == nil {
			return m.place(files)
		}
		return err
	case m.bare != nil:
		if err = m.openAdapted(files, options); err == nil {
			return m.place(files)
		}
		return err
	}
	if files.Dir == "" {
		var graph []byte
		if graph, err = fs.ReadFile(files.FS, files.Graph); err != nil {
			return fmt.Errorf("engine: read the graph: %w", err)
		}
		m.session, err = m.env.OpenSessionBytes(graph, options)
	} else {
		m.session, err = m.env.OpenSession(files.Path(files.Graph), options)
	}
	if err != nil {
		return err
	}
	return m.place(files)
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
