package repl

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/internal/config"
)

// setting is a name that /set knows.
type setting struct {
	name, meaning string
	set           func(g *config.Generation, value string) error // "" is the model's own
	show          func(g *config.Generation) string              // "" is the model's own
}

// modelsOwn is what takes a setting back.
const modelsOwn = "default"

func settings() []setting {
	return []setting{
		number("temperature", "0 takes the likeliest token always; higher is more varied", func(g *config.Generation) **float32 { return &g.Temperature }),
		{"top_k", "sample from the k likeliest tokens; 0 is all", func(g *config.Generation, value string) error {
			return pointer(&g.TopK, value, "a whole number", strconv.Atoi)
		}, func(g *config.Generation) string { return shown(g.TopK) }},
		number("top_p", "sample from the likeliest tokens that together have this probability", func(g *config.Generation) **float32 { return &g.TopP }),
		number("min_p", "leave out tokens less likely than this share of the likeliest", func(g *config.Generation) **float32 { return &g.MinP }),
		number("repetition_penalty", "above 1 makes tokens that were seen less likely", func(g *config.Generation) **float32 { return &g.RepetitionPenalty }),
		number("presence_penalty", "taken from every token of the answer so far", func(g *config.Generation) **float32 { return &g.PresencePenalty }),
		number("frequency_penalty", "taken from a token each time it was in the answer", func(g *config.Generation) **float32 { return &g.FrequencyPenalty }),
		{"seed", "the same seed gives the same answer", func(g *config.Generation, value string) error {
			return pointer(&g.Seed, value, "a whole number, 0 or more", func(v string) (uint64, error) { return strconv.ParseUint(v, 10, 64) })
		}, func(g *config.Generation) string { return shown(g.Seed) }},
		{"max_tokens", "end the answer after so many tokens", func(g *config.Generation, value string) error {
			n := 0
			if value != "" {
				var err error
				if n, err = strconv.Atoi(value); err != nil || n <= 0 {
					return fmt.Errorf("expected a positive number")
				}
			}
			g.MaxTokens = n
			return nil
		}, func(g *config.Generation) string {
			if g.MaxTokens == 0 {
				return ""
			}
			return strconv.Itoa(g.MaxTokens)
		}},
		{"stop", "end the answer before this text", func(g *config.Generation, value string) error {
			if g.Stop = nil; value != "" {
				g.Stop = []string{value}
			}
			return nil
		}, func(g *config.Generation) string { return strings.Join(g.Stop, " ") }},
	}
}

// number is a setting of the sampler.
func number(name, meaning string, field func(*config.Generation) **float32) setting {
	return setting{name, meaning, func(g *config.Generation, value string) error {
		return pointer(field(g), value, "a number", func(v string) (float32, error) {
			x, err := strconv.ParseFloat(v, 32)
			return float32(x), err
		})
	}, func(g *config.Generation) string { return shown(*field(g)) }}
}

func pointer[T any](to **T, value, expected string, parse func(string) (T, error)) error {
	if value == "" {
		*to = nil
		return nil
	}
	x, err := parse(value)
	if err != nil {
		return fmt.Errorf("expected %s", expected)
	}
	*to = &x
	return nil
}

func shown[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// change sets one of them, or takes it back, and leaves all as it is if the value cannot be used.
func (s *Session) change(name, value string) error {
	if value == modelsOwn {
		value = ""
	}
	names := []string{}
	for _, setting := range settings() {
		names = append(names, setting.name)
		if setting.name != name {
			continue
		}
		changed := s.Settings
		if err := setting.set(&changed, value); err != nil {
			return fmt.Errorf("/set %s: found %q, %w", name, value, err)
		}
		// The model's own parameters may not be known yet: these are as good as any.
		if err := changed.Sampling(sample.Params{Temperature: 1, TopP: 1}).Check(math.MaxInt32); err != nil {
			return fmt.Errorf("/set: %w", err)
		}
		s.Settings = changed
		return nil
	}
	return fmt.Errorf("/set: there is no %q%s; /set lists them all", name, didYouMean(name, names))
}

// settingLines lists the settings with what they are.
func (s *Session) settingLines() []string {
	var lines []string
	for _, setting := range settings() {
		value := setting.show(&s.Settings)
		if value == "" {
			value = modelsOwn
		}
		lines = append(lines, fmt.Sprintf("%-19s %-9s %s", setting.name, value, setting.meaning))
	}
	return lines
}
