package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/internal/adapters"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/filesystem"
	"github.com/shammah/shammah-engine/ort"
)

func loraFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "lora", Usage: "use the `ADAPTER`: its name (`lora list`) or path, with :SCALE behind it or without (repeatable); off is none, whatever else names one"}
}

// wantsAdapters says whether a model is opened with places for adapters where the runtime computes: for those that were asked for, and in a
// conversation for any that /lora may name. The latter on the CPU alone: another provider has no such places, and shall not be lost to what
// nobody asked for.
func wantsAdapters(c *cli.Context, providers []ort.Provider) bool {
	if asked := c.StringSlice("lora"); len(asked) > 0 {
		return !adapters.None(asked)
	}
	talks := c.Command.Name == "chat" || c.Command.Name == "run" && !c.Args().Present()
	return talks && len(providers) == 0 && len(adapterNames()) > 0
}

// adapterStore is where the user's adapters are kept.
func adapterStore() (adapters.Store, error) {
	home, err := config.Home(os.Getenv)
	return adapters.In(home), err
}

// adapterNames are the names in the store, as far as it can be read: for completion.
func adapterNames() (names []string) {
	store, err := adapterStore()
	if err != nil {
		return nil
	}
	list, _ := store.List()
	for _, k := range list {
		names = append(names, k.Name)
	}
	return names
}

// adapted is the adapters that a conversation or a request uses, and what of them a model has loaded.
type adapted struct {
	uses   []use
	model  *engine.Model
	loaded map[string]string // names to versions
	warn   func(line string)
}

// use is an adapter that was found. Its version is another one when its files were made anew: its name is then loaded again.
type use struct {
	adapters.Use
	version string
}

// newAdapted reads what was asked for, and finds it on this machine before any model is opened.
func newAdapted(texts []string, warn func(line string)) (*adapted, error) {
	a := &adapted{warn: warn}
	uses, err := findAdapters(texts)
	a.uses = uses
	return a, err
}

func flaggedAdapters(c *cli.Context) (*adapted, error) {
	return newAdapted(c.StringSlice("lora"), func(line string) { fmt.Fprintln(c.App.ErrWriter, line) })
}

func findAdapters(texts []string) (uses []use, err error) {
	parsed, err := adapters.ParseUses(texts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	for _, p := range parsed {
		u := use{Use: p}
		if u.Path != "" {
			err = u.findFiles()
		} else {
			var k adapters.Kept
			_, k, err = findAdapter(u.Name)
			u.version = fmt.Sprint(k.Files)
		}
		if err != nil {
			return nil, err
		}
		uses = append(uses, u)
	}
	return uses, nil
}

// findFiles finds an adapter that was named by its path; errors name that as it was given.
func (u *use) findFiles() (err error) {
	if u.Path, err = filesystem.ExpandHome(u.Path); err != nil {
		return err
	}
	files, err := lora.Files(u.Path)
	if err != nil {
		return err
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		u.version += fmt.Sprintln(info.Size(), info.ModTime())
	}
	u.Path, err = filepath.Abs(u.Path)
	return err
}

func findAdapter(name string) (adapters.Store, adapters.Kept, error) {
	store, err := adapterStore()
	if err != nil {
		return store, adapters.Kept{}, err
	}
	k, err := store.Find(name)
	return store, k, err
}

// on is the adapters for a request to a model, which has loaded each of them then.
func (a *adapted) on(m *engine.Model) ([]engine.AdapterUse, error) {
	if a.model != m {
		a.model, a.loaded = m, map[string]string{}
	}
	var list []engine.AdapterUse
	for _, u := range a.uses {
		if a.loaded[u.Name] != u.version {
			if err := a.load(m, u); err != nil {
				return nil, err
			}
			a.loaded[u.Name] = u.version
		}
		list = append(list, engine.AdapterUse{Name: u.Name, Scale: u.Scale})
	}
	return list, nil
}

// load brings one adapter into a model, in place of an earlier version.
func (a *adapted) load(m *engine.Model, u use) error {
	var adapter *lora.Adapter
	var err error
	base := ""
	if u.Path != "" {
		adapter, err = lora.Load(u.Path)
	} else if store, storeErr := adapterStore(); storeErr != nil {
		err = storeErr
	} else {
		var k adapters.Kept
		k, adapter, err = store.Load(u.Name)
		base = k.Base
	}
	if err == nil && a.loaded[u.Name] != "" {
		delete(a.loaded, u.Name)
		err = m.RemoveAdapter(u.Name)
	}
	if err == nil {
		err = m.LoadAdapter(u.Name, adapter)
	}
	if err != nil {
		return err
	}
	if base != "" && base != m.Spec().Name {
		a.warn(fmt.Sprintf("warning: the adapter %s was added for %s; its matrices fit %s, but that may be another model", u.Name, base, m.Spec().Name))
	}
	return nil
}

// names are the adapters as they are shown.
func (a *adapted) names() (list []string) {
	for _, u := range a.uses {
		list = append(list, u.String())
	}
	return list
}

// lasting is the adapters as a session keeps them.
func (a *adapted) lasting() (list []string) {
	for _, u := range a.uses {
		list = append(list, u.Lasting())
	}
	return list
}

// say tells which adapters are used, where there are any.
func (a *adapted) say(c *cli.Context) {
	if len(a.uses) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "with %s\n", strings.Join(a.names(), ", "))
	}
}

// titled is a model's name with the adapters that it is measured with.
func (a *adapted) titled(model string) string {
	return strings.Join(append([]string{model}, a.names()...), " + ")
}

// Adapt uses other adapters. What cannot be found, or does not fit the model that is there, changes nothing.
func (t *talker) Adapt(names []string) error {
	uses, err := findAdapters(names)
	if err != nil {
		return fmt.Errorf("/lora: %s", afterUsage(err))
	}
	before := t.adapted.uses
	t.adapted.uses = uses
	if m, ok := t.machine.Model(); ok {
		_, err = t.adapted.on(m.Model)
	}
	if err != nil {
		t.adapted.uses = before
	}
	if errors.Is(err, engine.ErrNoPlaces) && len(adapterNames()) > 0 { // there were none when it was opened
		return fmt.Errorf("/lora: %w; `/model %s` does so here", err, t.name)
	}
	return err
}

// afterUsage is an error's text without the word that its exit code comes from.
func afterUsage(err error) string { return strings.TrimPrefix(err.Error(), errUsage.Error()+": ") }

// Adapters are those in use and those in the store.
func (t *talker) Adapters() (used, known []string) { return t.adapted.names(), adapterNames() }

// completeAdapters lists the adapters of the store after --lora, and otherwise what the flag library does.
func completeAdapters(command *cli.Command) *cli.Command {
	command.BashComplete = func(c *cli.Context) {
		if n := len(os.Args); n > 1 && os.Args[n-2] == "--lora" {
			fmt.Fprintln(c.App.Writer, strings.Join(adapterNames(), "\n"))
			return
		}
		cli.DefaultCompleteWithFlags(command)(c)
	}
	return command
}

// completeNames lists the adapters of the store for a command that takes one.
func completeNames(c *cli.Context) {
	if c.NArg() == 0 {
		fmt.Fprintln(c.App.Writer, strings.Join(adapterNames(), "\n"))
	}
}

var errNoBase = errors.New("--base is missing: name the model that the adapter is for")
