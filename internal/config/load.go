package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/internal/adapters"
)

// fileBytesMax bounds the file: a configuration is never that large.
const fileBytesMax = 64 << 10

// Rank orders the sources of a value: a higher one wins.
type Rank int

// The sources, from the weakest to the strongest.
const (
	Default Rank = iota
	File
	Environment
	Flag
)

// Source says where a value came from.
type Source struct {
	Rank Rank
	Name string // the file, the variable or the flag
	Line int    // in the file
}

func (s Source) String() string {
	switch s.Rank {
	case File:
		return fmt.Sprintf("%s, line %d", s.Name, s.Line)
	case Environment, Flag:
		return s.Name
	}
	return "default"
}

// FlagValue is a key that the command line sets.
type FlagValue struct {
	Key  string // "model.backend"
	Name string // as the user knows it: "--provider"
	Text string
}

// Options says where Load looks.
type Options struct {
	Path  string              // --config; "" is the file in Home
	New   bool                // the file may be missing even if it is asked for: it is about to be written
	Flags []FlagValue         // what the command line sets
	Env   func(string) string // os.Getenv
}

// Settings is a configuration with the source of each of its values. It is not changed after Load.
type Settings struct {
	Config
	Path     string   // of the file, whether it is there or not; empty without a home folder
	Warnings []string // one line each
	sources  map[string]Source
	env      func(string) string
}

// Home is the folder of the program's own files: SHAMMAH_HOME, or .shammah in the user's.
func Home(env func(string) string) (string, error) {
	if home := env("SHAMMAH_HOME"); home != "" {
		return filepath.Abs(home)
	}
	home := env("HOME")
	if home == "" {
		return "", errors.New("config: find the home folder: HOME is not set; set it, or SHAMMAH_HOME")
	}
	return filepath.Join(home, ".shammah"), nil
}

// Path is the configuration file: the one that is asked for, or config.toml in Home.
func Path(asked string, env func(string) string) (string, error) {
	if asked != "" {
		return filepath.Abs(asked)
	}
	home, err := Home(env)
	return filepath.Join(home, "config.toml"), err
}

// Load reads the settings. A file that was not asked for may be missing.
func Load(o Options) (*Settings, error) {
	path, err := Path(o.Path, o.Env)
	if err != nil {
		path = "" // who has no home folder, a service for one, has no file in it
	}
	s := &Settings{Config: defaults(), Path: path, sources: map[string]Source{}, env: o.Env}
	data, mode, err := readFile(path)
	absent := errors.Is(err, fs.ErrNotExist) || o.Path == "" && errors.Is(err, syscall.ENOTDIR)
	if err != nil && (o.Path != "" && !o.New || !absent) {
		return nil, err
	}
	if err = s.readDocument(data); err != nil {
		return nil, fmt.Errorf("config: read %s: %w", path, err)
	}
	if mode.Perm()&0o077 != 0 && hasSecret(&s.Config) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s holds a key and others on this machine can read it: run chmod 600 %s", path, path))
	}
	for _, k := range keys() {
		if k.env != "" && o.Env(k.env) != "" {
			if err := s.setText(k, o.Env(k.env), Source{Rank: Environment, Name: k.env}); err != nil {
				return nil, fmt.Errorf("config: read the environment: %s: %w", k.env, err)
			}
		}
	}
	for _, f := range o.Flags {
		k, err := find(f.Key)
		if err == nil {
			err = s.setText(k, f.Text, Source{Rank: Flag, Name: f.Name})
		}
		if err != nil {
			return nil, fmt.Errorf("config: read the command line: %s: %w", f.Name, err)
		}
	}
	if key, err := check(&s.Config); err != nil {
		return nil, fmt.Errorf("config: check the settings: %w (from %v)", err, s.Source(key))
	}
	return s, nil
}

// defaults is the configuration without any source.
func defaults() (c Config) {
	for _, k := range keys() {
		if k.fallback == "" {
			continue
		}
		v, err := k.parse(k.fallback)
		if err == nil {
			err = k.assign(&c, v)
		}
		if err != nil {
			panic("BUG: config: default of " + k.String() + ": " + err.Error())
		}
	}
	return c
}

func (s *Settings) readDocument(data []byte) error {
	d, err := parse(data)
	if err != nil {
		return err
	}
	return d.apply(&s.Config, func(k key, line int) {
		s.sources[k.String()] = Source{Rank: File, Name: s.Path, Line: line}
	})
}

func (s *Settings) setText(k key, text string, from Source) error {
	v, err := k.parse(text)
	if err != nil {
		return err
	}
	s.sources[k.String()] = from
	return k.assign(&s.Config, v)
}

// readFile reads a file that may be anything.
func readFile(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, 0, fmt.Errorf("config: read %s: %w: give yourself the right to, or name another file with --config", path, fs.ErrPermission)
	case err != nil:
		return nil, 0, fmt.Errorf("config: read %s: %w", path, cause(err))
	case info.IsDir():
		return nil, 0, fmt.Errorf("config: read %s: it is a folder, expected a file", path)
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("config: read %s: it is not a regular file", path)
	case info.Size() > fileBytesMax:
		return nil, 0, fmt.Errorf("config: read %s: it has %d bytes, expected at most %d", path, info.Size(), fileBytesMax)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, fmt.Errorf("config: read %s: %w", path, cause(err))
	}
	return data, info.Mode(), nil
}

// cause is what the system said, without the path that the caller names.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// check tests what depends on more than one key's type, and names the key that is wrong.
func check(c *Config) (key string, err error) {
	g := c.Generation
	if err := g.Sampling(sample.Params{Temperature: 1, TopP: 1}).Check(0); err != nil {
		var p *sample.ParamError
		errors.As(err, &p)
		key = "generation." + p.Name
		return key, fmt.Errorf("%s is %s, expected %s", key, p.Found, p.Expected)
	}
	if _, err := chat.NewStops(g.Stop); err != nil {
		return "generation.stop", fmt.Errorf("generation.stop: %w", err)
	}
	if _, err := adapters.ParseUses(c.Model.Lora); err != nil {
		return "model.lora", fmt.Errorf("model.lora: %w", err)
	}
	if strings.HasPrefix(c.Claude.APIKey, "${") || strings.HasPrefix(c.Claude.APIKey, "$(") {
		return "claude.api_key", errors.New("claude.api_key names a variable, which is not expanded here: put its name into claude.api_key_env instead")
	}
	if u, err := url.Parse(c.Claude.BaseURL); c.Claude.BaseURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil) {
		return "claude.base_url", errors.New("claude.base_url is no address, expected https://host without user or password")
	}
	return "", nil
}

func hasSecret(c *Config) bool {
	for _, k := range keys() {
		if k.secret && k.text(c) != "" {
			return true
		}
	}
	return false
}
