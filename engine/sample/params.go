// Package sample turns a row of logits into a token: greedy, or at random among the candidates that the parameters leave.
//
// # Order
//
// The parameters act in the order of transformers, and of llama.cpp where the two agree:
//
//  1. logit bias
//  2. repetition penalty, over the tokens of prompt and output (Keskar et al., 2019, https://arxiv.org/abs/1909.05858)
//  3. frequency and presence penalty, over the tokens of the output, as OpenAI's API defines them
//  4. tokens that are forbidden for this step
//  5. temperature: logits are divided by it; llama.cpp does this last, transformers and we before the filters
//  6. top-k: the k largest logits stay
//  7. top-p: of what top-k left, the smallest set of the most likely tokens whose probability reaches p (Holtzman et al., 2020,
//     https://arxiv.org/abs/1904.09751)
//  8. min-p: of these, what is at least min_p times as likely as the most likely one (Nguyen et al., 2024,
//     https://arxiv.org/abs/2407.01082)
//
// The token is then drawn with the probabilities of what is left. Equal logits stand in the order of their ids.
//
// # Seeds
//
// A draw takes one number of PCG-DXSM (math/rand/v2) seeded with Params.Seed. The same seed, parameters and logits give the same
// tokens, on every machine and in every version of this package; what differs between machines is the logits. Greedy draws nothing.
package sample

import (
	"fmt"
	"math"
	"slices"
)

// Bounds of the parameters. Those of presence, frequency and bias are OpenAI's.
const (
	repetitionMin = 0.01
	repetitionMax = 100
	penaltyMax    = 2
	biasMax       = 100
)

// Params says how tokens are chosen. The zero value is greedy, without penalties.
type Params struct {
	Temperature       float32           // 0 is greedy; the filters below mean nothing then
	TopK              int               // 0 is off; more than the vocabulary is the whole vocabulary
	TopP              float32           // above 0 up to 1, which is off
	MinP              float32           // from 0, which is off, to 1
	RepetitionPenalty float32           // 1 is off, as is 0; above 1 makes a token that was there less likely
	PresencePenalty   float32           // from -2 to 2; 0 is off
	FrequencyPenalty  float32           // from -2 to 2; 0 is off
	LogitBias         map[int32]float32 // from -100 to 100, added to the logit of the token
	Seed              uint64            // every value is a seed, 0 too
}

// ParamError says which parameter cannot be used and why.
type ParamError struct {
	Name     string // as in JSON: "top_p"
	Found    string
	Expected string
}

func (e *ParamError) Error() string {
	return fmt.Sprintf("sample: check the parameters: %s is %s, expected %s", e.Name, e.Found, e.Expected)
}

// Check reports the first parameter that is out of its range, for a model of vocab tokens, as a *ParamError.
func (p Params) Check(vocab int) error {
	if !(p.Temperature >= 0) || math.IsInf(float64(p.Temperature), 0) {
		return paramError("temperature", p.Temperature, "0 (greedy) or a finite number above it")
	}
	if p.TopK < 0 {
		return paramError("top_k", p.TopK, "0 (off) or more")
	}
	if p.Temperature == 0 && p.TopP == 0 {
		p.TopP = 1
	}
	if !(p.TopP > 0 && p.TopP <= 1) {
		return paramError("top_p", p.TopP, "a number above 0 and up to 1 (off)")
	}
	if !(p.MinP >= 0 && p.MinP <= 1) {
		return paramError("min_p", p.MinP, "a number from 0 (off) to 1")
	}
	if r := p.RepetitionPenalty; r != 0 && !(r >= repetitionMin && r <= repetitionMax) {
		return paramError("repetition_penalty", r, fmt.Sprintf("a number from %g to %d; 1 is off", repetitionMin, repetitionMax))
	}
	for _, c := range []struct {
		name  string
		value float32
	}{{"presence_penalty", p.PresencePenalty}, {"frequency_penalty", p.FrequencyPenalty}} {
		if !(c.value >= -penaltyMax && c.value <= penaltyMax) {
			return paramError(c.name, c.value, fmt.Sprintf("a number from -%d to %d; 0 is off", penaltyMax, penaltyMax))
		}
	}
	for _, b := range p.biases() {
		if b.id < 0 || int(b.id) >= vocab {
			return paramError("logit_bias", fmt.Sprintf("given for token %d", b.id), fmt.Sprintf("a token from 0 to %d", vocab-1))
		}
		if !(b.value >= -biasMax && b.value <= biasMax) {
			return paramError("logit_bias", fmt.Sprintf("%v for token %d", b.value, b.id), fmt.Sprintf("a number from -%d to %d", biasMax, biasMax))
		}
	}
	return nil
}

func paramError(name string, found any, expected string) error {
	return &ParamError{Name: name, Found: fmt.Sprint(found), Expected: expected}
}

type bias struct {
	id    int32
	value float32
}

// biases lists LogitBias by id, so that errors and results do not depend on the order of a map.
func (p Params) biases() []bias {
	list := make([]bias, 0, len(p.LogitBias))
	for id, value := range p.LogitBias {
		list = append(list, bias{id, value})
	}
	slices.SortFunc(list, func(a, b bias) int { return int(a.id) - int(b.id) })
	return list
}
