package wizard

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/claude"
	"github.com/shammah/shammah-engine/internal/hub"
)

// Step is a question, or something that has to be done between two of them.
type Step int

// The steps, in their order. Large follows a size that does not fit; of Repo, KeyEnv, Key and Check only those come that are needed.
const (
	Hardware Step = iota
	Family
	Repo
	Size
	Large
	Claude
	KeyEnv
	Key
	Check
	Checking // the caller checks Wizard.Key and calls Checked
	Preview
	Saving // the caller saves Values and calls Saved
	Download
	Done
)

const (
	yes = "yes"
	no  = "no"
)

// Question is what to ask now. There is none while checking, saving, and when all is done.
func (w *Wizard) Question() (Question, error) {
	q := Question{Step: w.step, Notice: w.notice, Back: w.canGoBack()}
	var err error
	switch w.step {
	case Hardware:
		w.askHardware(&q)
	case Family:
		w.askFamily(&q)
	case Repo:
		q.Title, q.Kind, q.Default = "Which model?", Write, w.a.Repo
		q.Text = []string{"owner/name or owner/name@revision of the Hugging Face Hub, an alias that `models` lists, or a folder.", "It has to hold a language model in ONNX form."}
	case Size:
		w.askSize(&q)
	case Large:
		e := w.chosen()
		q.Title, q.Default = "Take it all the same?", no
		q.Text = []string{fmt.Sprintf("%s is too large for this machine: %s.", e.Alias, w.trouble(e)), fmt.Sprintf("Loading it will be refused unless that changes. %s fits.", w.fitting())}
		q.Options = []Option{{Value: no, Label: "No: choose another"}, {Value: yes, Label: "Yes: take " + e.Alias}}
	case Claude:
		w.askClaude(&q)
	case KeyEnv:
		q.Title, q.Kind, q.Default = "Which variable holds the key?", Write, w.a.KeyEnv
		q.Text = []string{"The name of an environment variable. Only the name is stored."}
	case Key:
		q.Title, q.Kind = "The key for Claude?", Secret
		if q.Text = []string{"It is stored in " + w.facts.Path + ", which only you can read."}; w.Key() != "" {
			q.Text = append(q.Text, "Nothing keeps the key that is there.")
		}
	case Check:
		q.Title, q.Default = "Check the key now?", no
		q.Text = []string{"One request to Claude's service, which uses no tokens."}
		q.Options = []Option{{Value: yes, Label: "Yes"}, {Value: no, Label: "No"}}
		if w.a.Check {
			q.Default = yes
		}
	case Preview:
		err = w.askPreview(&q)
	case Download:
		q.Title, q.Default = "Download "+w.Model()+" now?", yes
		q.Options = []Option{{Value: yes, Label: "Yes"}, {Value: no, Label: "No: `shammah-engine pull " + w.Model() + "` does it later"}}
		if w.a.Later {
			q.Default = no
		}
	}
	if n := w.number(); n > 0 {
		q.Title = fmt.Sprintf("%d/5 · %s", n, q.Title)
	}
	return q, err
}

// number counts the screens as a user sees them: what follows from an answer belongs to it.
func (w *Wizard) number() int {
	switch w.step {
	case Hardware:
		return 1
	case Family, Repo:
		return 2
	case Size, Large:
		return 3
	case Claude, KeyEnv, Key, Check:
		return 4
	case Preview:
		return 5
	}
	return 0
}

func (w *Wizard) askHardware(q *Question) {
	f := w.facts
	q.Title, q.Default = "What shall models run on?", w.a.Backend
	row := func(name, format string, a ...any) {
		q.Text = append(q.Text, fmt.Sprintf("%-10s %s", name, fmt.Sprintf(format, a...)))
	}
	row("processor", "%s: %d cores, %d threads for a model", f.Processor, f.CPU.Physical, f.CPU.Threads())
	if f.Memory.Total > 0 {
		row("memory", "%s available of %s", bytesText(f.Memory.Available), bytesText(f.Memory.Total))
	} else {
		row("memory", "not known")
	}
	if f.Disk > 0 {
		row("disk", "%s free for models, in %s", bytesText(f.Disk), f.Models)
	}
	q.Options = []Option{{Value: "auto", Label: "auto    the best that works for a model"}}
	for _, b := range f.Backends {
		o := Option{Value: b.Name, Label: fmt.Sprintf("%-7s %s", b.Name, b.Found), Trouble: b.Trouble}
		if o.Trouble != "" {
			o.Label = fmt.Sprintf("%-7s cannot run here", b.Name)
			row(b.Name, "cannot run here: %s", b.Trouble)
		} else {
			row(b.Name, "%s", b.Found)
		}
		q.Options = append(q.Options, o)
	}
}

func (w *Wizard) askFamily(q *Question) {
	q.Title, q.Default = "Which family of models?", w.a.Family
	for _, f := range families() {
		var list []string
		for _, e := range f {
			list = append(list, e.Alias)
		}
		q.Options = append(q.Options, Option{Value: familyKey(f[0]), Label: fmt.Sprintf("%-16s  %s", f[0].Family, strings.Join(list, ", "))})
	}
	q.Options = append(q.Options,
		Option{Value: hub.Tiny, Label: "none              the small model inside the program, nothing to download"},
		Option{Value: Own, Label: "another           a repository or folder of your own"})
}

func (w *Wizard) askSize(q *Question) {
	q.Title = "Which size?"
	q.Text = []string{"Downloads and memory are those of the variant for the CPU, with a full", "context of 4,096 tokens; \"about\" is from the number of parameters.", "The larger, the better the answers, and the slower."}
	if w.facts.Memory.Total > 0 {
		q.Text = append(q.Text, bytesText(w.facts.Memory.Available)+" of memory are available here.")
	}
	for _, e := range w.family() {
		q.Options = append(q.Options, Option{Value: e.Size, Label: w.sizeLabel(e)})
	}
	if q.Default = w.a.Size; w.chosen().Alias == "" {
		if q.Default = w.recommended(); q.Default == "" {
			q.Default = q.Options[0].Value
		}
	}
}

func (w *Wizard) askClaude(q *Question) {
	q.Title, q.Default = "May Claude answer while the model of this machine cannot?", w.a.Claude
	q.Text = []string{"That takes a key for Anthropic's service, and prompts go there then.", "Without one everything stays here."}
	found := "not set now"
	if w.facts.Env(w.a.KeyEnv) != "" {
		found = "set"
	}
	q.Options = []Option{
		{Value: byVariable, Label: fmt.Sprintf("Yes, the key is in a variable (%s: %s)", w.a.KeyEnv, found)},
		{Value: byFile, Label: "Yes, keep the key in the configuration file"},
		{Value: nobody, Label: "No"},
	}
}

func (w *Wizard) askPreview(q *Question) error {
	lines, err := w.preview()
	q.Title, q.Default, q.Text = "Save this?", yes, append([]string{w.facts.Path + ":", ""}, lines...)
	q.Options = []Option{{Value: yes, Label: "Save"}, {Value: no, Label: "Leave, and write nothing"}}
	return err
}

// ErrDiscarded says that the user left without saving.
var ErrDiscarded = errors.New("nothing was written")

// Answer takes the answer to the question, and goes on. An error is about the answer: the question stays. But ErrDiscarded ends it.
func (w *Wizard) Answer(value string) error {
	q, err := w.Question()
	if err != nil {
		return err
	}
	value, notice := strings.TrimSpace(value), ""
	if w.step == Hardware && strings.EqualFold(value, "metal") {
		value, notice = "cpu", noMetal
	}
	if q.Kind == Choose {
		i := slices.IndexFunc(q.Options, func(o Option) bool { return strings.EqualFold(o.Value, value) })
		if i < 0 {
			return fmt.Errorf("found %q, expected one of %s", value, strings.Join(q.values(), ", "))
		}
		if value = q.Options[i].Value; q.Options[i].Trouble != "" {
			return fmt.Errorf("%s cannot run here: %s", value, q.Options[i].Trouble)
		}
	}
	if err := w.take(value); err != nil {
		return err
	}
	w.notice = notice
	return nil
}

func (q Question) values() (list []string) {
	for _, o := range q.Options {
		list = append(list, o.Value)
	}
	return list
}

// take keeps a valid choice, or a text that is checked here, and goes to the step that follows from it.
func (w *Wizard) take(value string) error {
	switch w.step {
	case Hardware:
		w.a.Backend = value
		w.to(Family)
	case Family:
		if value != w.a.Family {
			w.a.Family, w.a.Size = value, ""
		}
		w.to(map[string]Step{Own: Repo, hub.Tiny: Claude}[value])
		if w.step == Hardware {
			w.step = Size
		}
	case Repo:
		return w.takeRepo(value)
	case Size:
		w.a.Size = value
		if w.to(Claude); w.trouble(w.chosen()) != "" && !w.a.Force {
			w.step = Large
		}
	case Large:
		if value == no {
			w.Back()
			return nil
		}
		w.to(Claude)
	case Claude:
		w.a.Claude = value
		w.to(map[string]Step{byVariable: KeyEnv, byFile: Key, nobody: Preview}[value])
	case KeyEnv, Key:
		return w.takeKey(value)
	case Check:
		w.a.Check = value == yes
		if w.to(Preview); w.a.Check {
			w.step = Checking
		}
	case Preview:
		if value == no {
			return ErrDiscarded
		}
		w.to(Saving)
	case Download:
		w.wanted = value == yes
		w.to(Done)
	}
	return nil
}

func (w *Wizard) takeRepo(name string) error {
	if name == "" {
		return errors.New("a name is needed: owner/name, an alias or a folder")
	}
	name, err := w.facts.Repo(name)
	if err != nil {
		return err
	}
	w.a.Repo = name
	w.to(Claude)
	return nil
}

// takeKey keeps the key, or the name of its variable. A check is offered for a key that is there.
func (w *Wizard) takeKey(value string) error {
	if w.step == Key {
		if _, err := claude.NewKey(value); err != nil {
			return err
		}
		if value == "" && w.Key() == "" {
			return errors.New("a key is needed; go back if there is none")
		}
		if value != "" {
			w.a.Key = value
		}
	} else {
		if strings.HasPrefix(value, "sk-") {
			return errors.New("that is a key, and not the name of a variable; go back to keep it in the file")
		}
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(value) {
			return fmt.Errorf("%q is not the name of a variable, expected letters, digits and _", value)
		}
		w.a.KeyEnv = value
	}
	if w.to(Preview); w.Key() != "" {
		w.step = Check
	}
	return nil
}
