package sample

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// TestCheck is G-03 of the faults: what is refused is named with its value.
func TestCheck(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tooMuch := float64(1e308)
	with := func(change func(*Params)) Params {
		p := Params{Temperature: 0.7, TopP: 1, RepetitionPenalty: 1}
		change(&p)
		return p
	}
	for _, c := range []struct {
		p    Params
		want string // "" is accepted
	}{
		{Params{}, ""},
		{with(func(p *Params) {}), ""},
		{with(func(p *Params) { p.Temperature = nan }), "temperature is NaN"},
		{with(func(p *Params) { p.Temperature = -1 }), "temperature is -1"},
		{with(func(p *Params) { p.Temperature = inf }), "temperature is +Inf"},
		{with(func(p *Params) { p.Temperature = 1e9 }), ""},
		{with(func(p *Params) { p.Temperature = 0 }), ""},
		{with(func(p *Params) { p.Temperature = math.SmallestNonzeroFloat32 }), ""},
		{with(func(p *Params) { p.TopK = -1 }), "top_k is -1"},
		{with(func(p *Params) { p.TopK = math.MaxInt }), ""},
		{with(func(p *Params) { p.TopP = 0 }), "top_p is 0, expected a number above 0"},
		{with(func(p *Params) { p.TopP = 1.1 }), "top_p is 1.1"},
		{with(func(p *Params) { p.TopP = -0.1 }), "top_p is -0.1"},
		{with(func(p *Params) { p.TopP = nan }), "top_p is NaN"},
		{with(func(p *Params) { p.TopP = math.SmallestNonzeroFloat32 }), ""},
		{Params{TopP: nan}, "top_p is NaN"},
		{with(func(p *Params) { p.MinP = -0.1 }), "min_p is -0.1"},
		{with(func(p *Params) { p.MinP = 1 }), ""},
		{with(func(p *Params) { p.MinP = 1.5 }), "min_p is 1.5"},
		{with(func(p *Params) { p.MinP = nan }), "min_p is NaN"},
		{with(func(p *Params) { p.RepetitionPenalty = 0 }), ""},
		{with(func(p *Params) { p.RepetitionPenalty = -1 }), "repetition_penalty is -1"},
		{with(func(p *Params) { p.RepetitionPenalty = 1e-30 }), "repetition_penalty is 1e-30"},
		{with(func(p *Params) { p.RepetitionPenalty = float32(tooMuch) }), "repetition_penalty is +Inf"},
		{with(func(p *Params) { p.RepetitionPenalty = nan }), "repetition_penalty is NaN"},
		{with(func(p *Params) { p.PresencePenalty = float32(-tooMuch) }), "presence_penalty is -Inf"},
		{with(func(p *Params) { p.PresencePenalty = 2.5 }), "presence_penalty is 2.5"},
		{with(func(p *Params) { p.FrequencyPenalty = nan }), "frequency_penalty is NaN"},
		{with(func(p *Params) { p.FrequencyPenalty = -2 }), ""},
		{with(func(p *Params) { p.LogitBias = map[int32]float32{0: -100, 9: 100} }), ""},
		{with(func(p *Params) { p.LogitBias = map[int32]float32{10: 1} }), "logit_bias is given for token 10, expected a token from 0 to 9"},
		{with(func(p *Params) { p.LogitBias = map[int32]float32{-1: 1} }), "logit_bias is given for token -1"},
		{with(func(p *Params) { p.LogitBias = map[int32]float32{3: nan} }), "logit_bias is NaN for token 3"},
		{with(func(p *Params) { p.LogitBias = map[int32]float32{3: 101} }), "logit_bias is 101 for token 3"},
		{with(func(p *Params) { p.Seed = math.MaxUint64 }), ""},
	} {
		err := c.p.Check(10)
		var param *ParamError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: got %q, expected it to be accepted", c.p, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &param)):
			t.Errorf("%+v: got %v, expected a ParamError with %q", c.p, err, c.want)
		}
	}
}
