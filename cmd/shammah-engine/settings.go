package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/internal/claude"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
)

// configFlag is a flag of the program: every command reads the configuration, and it may stand anywhere.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "the settings are in this `FILE` (default: SHAMMAH_CONFIG, or config.toml in SHAMMAH_HOME or ~/.shammah)"}
}

// configFile is the file that was asked for, "" if none was.
func configFile(c *cli.Context) string {
	return cmp.Or(c.String("config"), os.Getenv("SHAMMAH_CONFIG"))
}

// settings reads the configuration and says what is odd about it.
func settings(c *cli.Context) (*config.Settings, error) {
	s, err := config.Load(config.Options{Path: configFile(c), Env: os.Getenv})
	if err != nil {
		return nil, err
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", oneLine(w))
	}
	return s, nil
}

// hubEnv says where models are kept: where the variables of the Hub's own programs say, else where the configuration does, else where
// those programs keep them.
func hubEnv(c *cli.Context) hub.Env {
	dir := os.Getenv("HF_HUB_CACHE")
	s, err := config.Load(config.Options{Path: configFile(c), New: true, Env: os.Getenv})
	switch {
	case err != nil:
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", oneLine(err.Error()))
	case s.Cache.Dir != "" && (s.Source("cache.dir").Rank >= config.Environment || dir == "" && os.Getenv("HF_HOME") == ""):
		dir = s.Cache.Dir
	}
	env := hub.Environment(func(name string) string {
		if name == "HF_HUB_CACHE" {
			return dir
		}
		return os.Getenv(name)
	})
	if home, err := config.Home(os.Getenv); err == nil {
		env.Own = filepath.Join(home, "models")
	}
	return env
}

// configured reads the configuration, and gives each flag of the command that was not set the value that it has there.
func configured(c *cli.Context) (*config.Settings, error) {
	s, err := settings(c)
	if err != nil {
		return nil, err
	}
	return s, fillFlags(c, s)
}

// fillFlags sets the flags that the command has and that were not given. What is the default in the configuration, too, stays unset,
// but for the model and the provider.
func fillFlags(c *cli.Context, s *config.Settings) error {
	missing := map[string]bool{}
	for _, f := range c.Command.Flags {
		missing[f.Names()[0]] = !c.IsSet(f.Names()[0])
	}
	fill := func(flag, value string) error {
		if !missing[flag] || value == "" || flag == "max-tokens" && value == "0" { // which is no limit in the file
			return nil
		}
		if err := c.Set(flag, value); err != nil {
			return fmt.Errorf("use the configuration for --%s: %w", flag, err)
		}
		return nil
	}
	if missing["model"] {
		choice := s.Choice()
		name, err := modelName(choice)
		if err != nil {
			return err
		}
		if err := errors.Join(fill("model", cmp.Or(name, tinyName)), fill("variant", choice.Variant)); err != nil {
			return err
		}
		// No other model would fit them.
		if err := fill("draft", s.Model.Draft); err != nil {
			return err
		}
		for _, adapter := range s.Model.Lora {
			if err := fill("lora", adapter); err != nil {
				return err
			}
		}
	}
	if c.String("provider-library") != "" { // then --provider names one in the library
		missing["provider"] = false
	}
	for _, f := range []struct{ flag, key string }{
		{"router", "router.mode"}, {"mode", "router.mode"}, {"provider", "model.backend"}, {"threads", "model.threads"},
		{"context", "generation.context"}, {"system", "generation.system"}, {"max-tokens", "generation.max_tokens"},
		{"temperature", "generation.temperature"}, {"top-k", "generation.top_k"}, {"top-p", "generation.top_p"}, {"min-p", "generation.min_p"},
		{"repetition-penalty", "generation.repetition_penalty"}, {"presence-penalty", "generation.presence_penalty"},
		{"frequency-penalty", "generation.frequency_penalty"}, {"seed", "generation.seed"}, {"overflow", "generation.overflow"},
		{"speculate", "generation.speculate"},
	} {
		if s.Source(f.key).Rank == config.Default && f.flag != "provider" {
			continue
		}
		value, err := s.Get(f.key)
		if err != nil {
			return err
		}
		if err := fill(f.flag, value); err != nil {
			return err
		}
	}
	for _, stop := range s.Generation.Stop {
		if err := fill("stop", stop); err != nil {
			return err
		}
	}
	return nil
}

// modelName is the name of the model that the configuration means, "" for the program's own choice.
func modelName(c config.Choice) (string, error) {
	switch {
	case c.Path != "":
		return filepath.Abs(c.Path)
	case c.Repo != "" && c.Revision != "" && !strings.Contains(c.Repo, "@"):
		return c.Repo + "@" + c.Revision, nil
	case c.Repo != "":
		return c.Repo, nil
	case c.Family == "" && c.Size == "":
		return "", nil
	}
	return sizeOf(c)
}

// sizeOf is the model of a family that a size means: the catalogue lists each family by size.
func sizeOf(c config.Choice) (string, error) {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, s)
	}
	family := c.Family
	if family == "" {
		family = "Qwen2.5"
	}
	var aliases []string
	for _, e := range hub.Catalogue() {
		if e.Repo != "" && plain(e.Family) == plain(family) {
			aliases = append(aliases, e.Alias)
		}
	}
	if len(aliases) == 0 {
		return "", fmt.Errorf("find the model: the configuration names the family %q, which the catalogue does not have; `shammah-engine models` lists it", family)
	}
	switch c.Size {
	case "small":
		return aliases[0], nil
	case "large":
		return aliases[len(aliases)-1], nil
	}
	return aliases[len(aliases)/2], nil
}

// claudeClient is Claude as the configuration says: without a key, or switched off, it says so when it is asked.
func claudeClient(s *config.Settings, log zerolog.Logger) (*claude.Client, error) {
	text, _ := s.ClaudeKey()
	key, err := claude.NewKey(text)
	if err != nil {
		return nil, err
	}
	o := claude.Options{Key: key, Model: s.Claude.Model, BaseURL: s.Claude.BaseURL, Log: log}
	if !s.Claude.Enabled {
		o.Off = "the configuration switches Claude off (claude.enabled is false)"
	}
	return claude.New(o)
}
