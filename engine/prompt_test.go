package engine

import (
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
)

// What configurations write about sampling can be asked for as it is.
func TestDefaultSamplingCanBeUsed(t *testing.T) {
	yes := true
	f := func(v float32) *float32 { return &v }
	i := func(v int) *int { return &v }
	for _, c := range []struct {
		name string
		d    model.Defaults
		want sample.Params
	}{
		{"nothing", model.Defaults{}, sample.Params{TopP: 1, RepetitionPenalty: 1}},
		{"drawing", model.Defaults{DoSample: &yes, Temperature: f(0.7), TopK: i(20), TopP: f(0.8)}, sample.Params{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1}},
		{"top-k off as some write it", model.Defaults{DoSample: &yes, TopK: i(-1)}, sample.Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1}},
		{"top-p that leaves one token", model.Defaults{DoSample: &yes, TopK: i(20), TopP: f(0)}, sample.Params{Temperature: 1, TopK: 1, TopP: 1, RepetitionPenalty: 1}},
		{"a temperature of 0", model.Defaults{DoSample: &yes, Temperature: f(0), TopP: f(0)}, sample.Params{TopK: 1, TopP: 1, RepetitionPenalty: 1}},
	} {
		got := DefaultSampling(&model.Spec{Sampling: c.d})
		if got.Temperature != c.want.Temperature || got.TopK != c.want.TopK || got.TopP != c.want.TopP || got.RepetitionPenalty != c.want.RepetitionPenalty {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if err := got.Check(100); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
