package config

import (
	"cmp"
	"fmt"
	"strings"
)

// Line is one setting as `config show` prints it.
type Line struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // masked if it is a key; "" if not set
	Source string `json:"source"`
	Doc    string `json:"doc"`
}

// Lines lists every setting with its source.
func (s *Settings) Lines() (lines []Line) {
	for _, k := range keys() {
		lines = append(lines, Line{Key: k.String(), Value: k.shown(k.text(&s.Config)), Source: s.Source(k.String()).String(), Doc: k.doc})
	}
	return lines
}

// Get is the value of a dotted key as text, masked if it is secret.
func (s *Settings) Get(name string) (string, error) {
	k, err := find(name)
	if err != nil {
		return "", fmt.Errorf("config: get: %w", err)
	}
	return k.shown(k.text(&s.Config)), nil
}

// Source says where the value of a dotted key came from.
func (s *Settings) Source(key string) Source { return s.sources[key] }

// ClaudeKey is the key for Claude and where it came from; "" if there is none. The variable wins over the file.
func (s *Settings) ClaudeKey() (key string, from Source) {
	if name := s.Claude.APIKeyEnv; name != "" {
		if key := strings.TrimSpace(s.env(name)); key != "" {
			return key, Source{Rank: Environment, Name: name}
		}
	}
	if s.Claude.APIKey == "" {
		return "", Source{}
	}
	return s.Claude.APIKey, s.Source("claude.api_key")
}

// Choice is which model is meant: by exactly one of Path, Repo, and Family with Size; none of them is the program's own choice.
type Choice struct {
	Path         string
	Repo         string // alias, owner/name or a folder, as the user wrote it
	Family, Size string
	Variant      string
	Revision     string
	Source       Source // of what names the model
}

// Choice decides between the ways to name a model. The strongest source wins: --model over a path in the file; within one source path over
// repo over family. Variant and revision belong to the model they were written for: those from a weaker source than the name do not count.
func (s *Settings) Choice() (c Choice) {
	m, named := s.Model, Default
	for _, o := range []struct {
		key   string
		value string
		take  Choice
	}{
		{"model.path", m.Path, Choice{Path: m.Path}},
		{"model.repo", m.Repo, Choice{Repo: m.Repo}},
		{"model.family", cmp.Or(m.Family, m.Size), Choice{Family: m.Family, Size: m.Size}},
	} {
		from := s.Source(o.key)
		if o.key == "model.family" && s.Source("model.size").Rank > from.Rank {
			from = s.Source("model.size")
		}
		if o.value != "" && from.Rank > named {
			c, named = o.take, from.Rank
			c.Source = from
		}
	}
	if s.Source("model.variant").Rank >= named {
		c.Variant = m.Variant
	}
	if s.Source("model.revision").Rank >= named {
		c.Revision = m.Revision
	}
	return c
}
