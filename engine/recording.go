package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/ort"
)

// graphOption is the key by which the CUDA provider is told to record runs.
const graphOption = "enable_cuda_graph"

// records says whether a provider was told to record runs.
func records(providers []ort.Provider) bool {
	return slices.ContainsFunc(providers, func(p ort.Provider) bool { return p.Options[graphOption] == "1" })
}

// unrecorded is the same providers, told not to record.
func unrecorded(providers []ort.Provider) []ort.Provider {
	list := slices.Clone(providers)
	for i, p := range list {
		if p.Options[graphOption] == "1" {
			list[i].Options = maps.Clone(p.Options)
			list[i].Options[graphOption] = "0"
		}
	}
	return list
}

// recordingsMost is how often a step is recorded anew: the runtime keeps every recording as long as its session.
const recordingsMost = 16

// recording is a one-token step of a single sequence that a device's provider records once (a CUDA graph) and then replays: one launch in place
// of hundreds. A replay looks at nothing of this process, so that ids, positions, mask and results lie in the device's memory, each in one
// place, and the mask always has the length of the context, with zeros behind the tokens. Three runs make a step: laying out the inputs
// from 24 bytes, the replay, and bringing the largest logits here. Its first two replays, when the model is
// opened, are compared with plain steps, two because the first has the very inputs that were recorded: where they differ, or one fails,
// steps go on without it.
type recording struct {
	m       *Model
	runner  *runner
	call    *ort.Call
	options *ort.RunOptions // with the recording's number
	number  int
	layout  *ownGraph
	step    *ort.Value   // (3) int64: the token, its position, the length with it
	inputs  []*ort.Value // the device's own ids, positions, mask and scale, as layout writes them
	results []*ort.Value // the device's own of top's largest
	doubts  int          // replays that are still compared
	why     string       // it is no longer used; "" while it is
	replays int          // for tests: how many there were
}

// openRecording records r's steps, and tries them on two tokens. The error says what stands against it; steps then go on without.
func (m *Model) openRecording(r *runner) error {
	switch {
	case r.top == nil || r.cache == nil || r.cache.Device() == "":
		return errors.New("cache and logits do not both lie on the device")
	case r.mask == nil || r.keep != nil || r.branch != nil || r.wanted != nil:
		return errors.New("the graph has no mask, or asks how much it shall compute")
	case r.capacity < 3:
		return errors.New("the context is too short")
	}
	g := &recording{m: m, runner: r}
	if err := g.open(r); err != nil {
		return errors.Join(err, g.Close())
	}
	r.recording = g
	return g.try()
}

// try computes steps behind a short prompt until nothing is in doubt, or something stands against the recording.
func (g *recording) try() error {
	r := g.runner
	r.few(sample.Params{})
	defer r.few()
	prompt := []int32{0, 1, 2, 3, 4}[:min(5, r.capacity-g.doubts)]
	if err := errors.Join(r.Keep(0), r.feedChunk(prompt, 1)); err != nil {
		return err
	}
	for id := range int32(g.doubts) {
		if err := r.feedChunk([]int32{id}, 1); err != nil {
			return err
		}
	}
	if err := r.Keep(0); err != nil {
		return err
	}
	if g.why != "" {
		return errors.New(g.why)
	}
	return nil
}

func (g *recording) open(r *runner) (err error) {
	if g.call, err = r.session.NewCall(r.top.inputs, r.top.outputs); err != nil {
		return err
	}
	if err := g.openLayout(); err != nil {
		return err
	}
	for i, v := range r.top.largest {
		on, err := r.session.NewDeviceTensor(g.m.device, v.Type(), v.Shape()...)
		if err != nil {
			return err
		}
		g.results = append(g.results, on)
		g.call.SetOutput(i, on)
	}
	g.call.SetOutput(len(g.results), r.top.all)
	for i, v := range r.cache.Past() {
		g.call.SetInput(r.at.past+i, v)
	}
	for i, v := range r.cache.Present() {
		g.call.SetOutput(r.top.present+i, v)
	}
	return g.renew()
}

// openLayout opens the graph that writes a step's inputs to where the recording reads them.
func (g *recording) openLayout() (err error) {
	r, capacity := g.runner, int64(g.runner.capacity)
	if g.step, err = r.env.NewTensor(ort.Int64, 3); err != nil {
		return err
	}
	places := make([]byte, 0, 8*capacity)
	for i := range capacity {
		places = binary.LittleEndian.AppendUint64(places, uint64(i))
	}
	graph := &onnx.Graph{
		Name:    "layout",
		Inputs:  []onnx.Value{{Name: "step", Type: onnx.Int64, Shape: []onnx.Dim{{Size: 3}}}, {Name: "scale_here", Type: onnx.Float32, Shape: []onnx.Dim{{Size: 1}, {Size: 1}}}},
		Outputs: []onnx.Value{{Name: "ids", Type: onnx.Int64}, {Name: "positions", Type: onnx.Int64}, {Name: "mask", Type: onnx.Int64}, {Name: "scale", Type: onnx.Float32}},
	}
	add := func(op, out string, inputs []string, attributes ...onnx.Attribute) {
		graph.Nodes = append(graph.Nodes, onnx.Node{Name: out, Op: op, Inputs: inputs, Outputs: []string{out}, Attributes: attributes})
	}
	constant := func(name string, dims []int64, data []byte) {
		add("Constant", name, nil, onnx.Attribute{Name: "value", Tensor: &onnx.Tensor{Name: name, Type: onnx.Int64, Dims: dims, Data: data}})
	}
	for i, out := range []string{"ids", "positions", "length"} {
		which := "which_" + out
		constant(which, []int64{1, 1}, binary.LittleEndian.AppendUint64(nil, uint64(i)))
		add("Gather", out, []string{"step", which})
	}
	constant("places", []int64{1, capacity}, places)
	add("Less", "seen", []string{"places", "length"})
	add("Cast", "mask", []string{"seen"}, onnx.Attribute{Name: "to", Int: int64(onnx.Int64)})
	add("Identity", "scale", []string{"scale_here"})
	if g.layout, err = g.m.transfer.openOwn(graph); err != nil {
		return err
	}
	g.layout.call.SetInput(0, g.step)
	g.layout.call.SetInput(1, r.top.scale)
	for i, shape := range [][]int64{{1, 1}, {1, 1}, {1, capacity}, {1, 1}} {
		kind := ort.Int64
		if i == 3 {
			kind = ort.Float32
		}
		v, err := r.session.NewDeviceTensor(g.m.device, kind, shape...)
		if err != nil {
			return err
		}
		g.inputs = append(g.inputs, v)
		g.layout.call.SetOutput(i, v)
	}
	g.call.SetInput(r.at.ids, g.inputs[0])
	if r.at.positions >= 0 {
		g.call.SetInput(r.at.positions, g.inputs[1])
	}
	g.call.SetInput(r.at.mask, g.inputs[2])
	g.call.SetInput(r.top.at, g.inputs[3])
	return nil
}

// renew lets the next step be recorded anew. Who takes memory of the session for longer than a run must call it: a recording's own memory is
// not known to the runtime as taken. It may be called on nil.
func (g *recording) renew() error {
	if g == nil || g.why != "" {
		return nil
	}
	if g.number++; g.number > recordingsMost {
		g.drop(fmt.Sprintf("it was recorded %d times", recordingsMost))
		return nil
	}
	if g.options != nil {
		g.options.Close()
	}
	var err error
	if g.options, err = g.m.env.NewRunOptions(); err != nil {
		return err
	}
	g.doubts = 2
	return g.options.Record(g.number)
}

// drop ends the use of the recording.
func (g *recording) drop(why string) {
	g.why = why
	g.m.log.Warn().Str("why", why).Msg("steps are no longer replayed on the device")
}

// used says whether a step of n tokens is the recording's.
func (g *recording) used(n int) bool { return g != nil && g.why == "" && n == 1 && g.runner.top.on }

// run computes the step that was laid out for a plain run, and leaves the largest logits where that does: replayed, or plainly while the
// replay is in doubt, and where it fails.
func (g *recording) run(cancel *ort.RunOptions) error {
	t := g.runner.top
	failed := g.replay()
	if failed == nil && g.doubts == 0 {
		return nil
	}
	var replayed []float32
	if failed == nil {
		var row sample.Logits
		row, failed = t.whole(0)
		replayed = slices.Clone(row.F32)
	}
	if err := t.run(cancel); err != nil { // writes keys and values anew, whatever the replay wrote
		if failed != nil {
			err = fmt.Errorf("%w; before that, replaying a recorded step failed: %w; the provider's option graph=off goes without", err, failed)
		}
		return err
	}
	if failed != nil {
		g.drop(failed.Error())
		return nil
	}
	plain, err := t.whole(0)
	if err != nil {
		return err
	}
	if a := compare([][]float32{plain.F32}, [][]float32{replayed}); !a.ok() {
		g.drop(fmt.Sprintf("replayed, the step computes something else: %s", a))
		return nil
	}
	if g.doubts--; g.doubts == 0 {
		g.m.log.Info().Msg("one-token steps are replayed on the device from here on")
	}
	return nil
}

func (g *recording) replay() error {
	r := g.runner
	step, at := ort.View[int64](g.step), int64(r.lengths[0])
	step[0], step[1], step[2] = ort.View[int64](r.ids)[0], at, at+1
	if err := g.layout.call.Run(nil); err != nil {
		return err
	}
	if err := g.call.Run(g.options); err != nil {
		return err
	}
	if err := g.m.transfer.copyAll(r.top.largest, g.results); err != nil {
		return err
	}
	g.replays++
	r.top.took()
	return nil
}

// Close may be called twice, and on nil.
func (g *recording) Close() error {
	if g == nil {
		return nil
	}
	var errs []error
	if g.call != nil {
		errs = append(errs, g.call.Close())
	}
	if g.options != nil {
		errs = append(errs, g.options.Close())
	}
	errs = append(errs, g.layout.Close())
	for _, v := range slices.Concat(g.inputs, g.results, []*ort.Value{g.step}) {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}
