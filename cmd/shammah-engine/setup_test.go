package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/claude/claudetest"
	"github.com/shammah/shammah-engine/internal/config"
	"github.com/shammah/shammah-engine/internal/hub"
)

// tree is every file and folder under root, with sizes and modes.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func configText(t *testing.T, home string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(home, ".shammah", "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// From an empty home folder to an answer of a model that was chosen, downloaded and configured.
func TestSetupJourney(t *testing.T) {
	ownHome(t)
	qwenHub(t)
	home := os.Getenv("HOME")
	want(t, 0, "Saved: ", "setup", "--yes", "--size", "medium", "--force")
	if got, want := configText(t, home), "[model]\nfamily = \"qwen2.5\"\nsize = \"medium\"\nbackend = \"auto\"\n\n[claude]\nenabled = true\napi_key_env = \"ANTHROPIC_API_KEY\"\n"; got != want {
		t.Errorf("got the file\n%s\nwant\n%s", got, want)
	}
	want(t, 1, "fetch it with: shammah-engine pull qwen-1.5b", "run", "What is the capital of France?")
	want(t, 0, "qwen-1.5b is here", "pull", "qwen-1.5b")
	got := want(t, 0, "Paris", "run", "What is the capital of France?")
	if !strings.Contains(got.problems, "q4") {
		t.Errorf("got %q, want the model that was downloaded", got.problems)
	}
	want(t, 0, "Paris", "run", "--model", "qwen-1.5b", "What is the capital of France?")
	if got := command(t, "What is the capital of France?\n", "chat"); got.code != 0 || !strings.Contains(got.out, "Paris") {
		t.Errorf("chat: got %d %q %q", got.code, got.out, got.problems)
	}
	want(t, 0, "qwen-1.5b", "rm", "qwen-1.5b", "--yes")
	want(t, 0, "Talk: shammah-engine chat", "setup", "--yes", "--force", "--download")
	want(t, 0, "Paris", "run", "What is the capital of France?")
}

func TestSetupFlags(t *testing.T) {
	for _, test := range []struct {
		code  int
		words string
		args  string
		file  string // words of it; "" is none
	}{
		{0, "", "--family llama --size small --force --no-claude", "family = \"llama-3.2\"\nsize = \"small\""},
		{0, "", "--repo owner/name@v1 --key-env MY_KEY", "api_key_env = \"MY_KEY\""},
		{0, "", "--repo tiny", "repo = \"tiny\""},
		{0, "the CPU is taken instead", "--repo tiny --backend metal", "backend = \"cpu\""},
		{0, "", "--repo tiny --provider cpu", "backend = \"cpu\""},
		{2, "expected one of auto, cpu, cuda, coreml", "--backend tpu", ""},
		{1, "coreml cannot run here: this binary is for cpu", "--backend coreml", ""},
		{2, "expected one of tiny, qwen2.5", "--family gpt", ""},
		{2, "Llama 3.2 has: small, medium", "--family llama --size large", ""},
		{2, "give one or the other", "--family llama --repo tiny", ""},
		{2, "leaves no use for --key-env", "--no-claude --key-env X", ""},
		{2, "expected no argument", "qwen3", ""},
		{1, "qwen-1.5b", "--repo qwen-1.5", ""},
		{1, "is not the name of a variable", "--repo tiny --key-env MY-KEY", ""},
		{1, "that is a key", "--repo tiny --key-env sk-ant-oops", ""},
	} {
		t.Run(test.args, func(t *testing.T) {
			home := ownHome(t)
			before := tree(t, home)
			got := want(t, test.code, test.words, append([]string{"setup", "--yes"}, strings.Fields(test.args)...)...)
			if test.file == "" {
				if after := tree(t, home); after != before || got.out != "" {
					t.Errorf("something was written: %q\n%s", got.out, after)
				}
			} else if text := configText(t, home); !strings.Contains(text, test.file) {
				t.Errorf("the file is\n%s\nwant %q in it", text, test.file)
			}
		})
	}
}

// The configuration's own text stays, and what is in the way of a choice goes.
func TestSetupKeepsTheFile(t *testing.T) {
	home := ownHome(t)
	path := filepath.Join(home, ".shammah", "config.toml")
	writeConfig(t, path, "# mine\n[model]\npath = \"/models/old\" # an old one\nvariant = \"q4\"\n\n[ui]\ncolor = \"never\"\n")
	t.Setenv("SHAMMAH_MODEL", "tiny")
	want(t, 0, "note: SHAMMAH_MODEL is set, and names the model instead of the file", "setup", "--yes", "--family", "qwen3", "--size", "small", "--force")
	text := configText(t, home)
	for _, part := range []string{"# mine\n", "path = \"\" # an old one\n", "variant = \"\"\n", "color = \"never\"\n", "family = \"qwen3\"\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("the file is\n%s\nwant %q in it", text, part)
		}
	}
	writeConfig(t, path, "[model\n")
	want(t, 1, "mend it", "setup", "--yes")
	if text := configText(t, home); text != "[model\n" {
		t.Errorf("a broken file became %q", text)
	}
}

// Lines of a pipe; whatever ends them early, nothing is written.
func TestSetupPipe(t *testing.T) {
	home := ownHome(t)
	before := tree(t, home)
	const toTheEnd = "\ntiny\n3\n" // backend, family, no Claude
	for _, test := range []struct {
		lines string
		code  int
		words string
	}{
		{"q\n", exitInterrupted, "Nothing was written"}, {toTheEnd + "q\n", exitInterrupted, "Nothing was written"},
		{"", exitFailure, "the answers ended"}, {toTheEnd, exitFailure, "the answers ended"}, {toTheEnd + "2\n", 0, "Nothing was written"},
	} {
		got := command(t, test.lines, "setup")
		if got.code != test.code || !strings.Contains(got.out+got.problems, test.words) {
			t.Errorf("%q: got %d %q %q; want %d, %q", test.lines, got.code, got.out, got.problems, test.code, test.words)
		}
		if after := tree(t, home); after != before {
			t.Errorf("%q: something was written:\n%s", test.lines, after)
		}
	}
	got := command(t, "cuda\nb\n\nb\ncpu\n9\n3\n1\n", "setup")
	if got.code != 0 || !strings.Contains(got.out, "`make cuda` makes one") || !strings.Contains(got.out, "right on CPU") {
		t.Errorf("got %d %q %q", got.code, got.out, got.problems)
	}
	if text := configText(t, home); text != "[model]\nrepo = \"tiny\"\nbackend = \"cpu\"\n\n[claude]\nenabled = false\n" {
		t.Errorf("the file is\n%s", text)
	}
}

// A key is checked at the address that is configured, and is shown nowhere but in the file, which only its owner reads.
func TestSetupKey(t *testing.T) {
	home := ownHome(t)
	good := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"type":"model","id":"claude-sonnet-5-5","display_name":"Claude","created_at":"2026-01-01T00:00:00Z"}`)
	}
	api := claudetest.New(claudetest.Status(401, "authentication_error", "invalid x-api-key"), good)
	t.Setenv("SHAMMAH_CLAUDE_BASE_URL", api.Serve(t))
	// The first check fails and leads back to the question, the second one works.
	got := command(t, "\ntiny\nfile\n"+claudetest.Canary+"\nyes\nfile\n"+claudetest.Canary+"\nyes\nyes\n", "setup")
	if got.code != 0 || !strings.Contains(got.out, "check the key for Claude") || !strings.Contains(got.out, "The key works.") {
		t.Errorf("got %d %q %q", got.code, got.out, got.problems)
	}
	if strings.Contains(got.out+got.problems, claudetest.Canary) {
		t.Errorf("the key is shown:\n%s%s", got.out, got.problems)
	}
	path := filepath.Join(home, ".shammah", "config.toml")
	if info, err := os.Stat(path); err != nil || !strings.Contains(configText(t, home), claudetest.Canary) {
		t.Errorf("the key was not kept: %v", err)
	} else if info.Mode().Perm() != 0o600 {
		t.Errorf("the file with a key has the mode %v, want 0600", info.Mode())
	}
	if n := len(api.Requests()); n != 2 {
		t.Errorf("the service was asked %d times, want 2", n)
	}
	refusing := claudetest.New(claudetest.Status(401, "authentication_error", "invalid x-api-key"))
	t.Setenv("SHAMMAH_CLAUDE_BASE_URL", refusing.Serve(t))
	t.Setenv("MY_KEY", claudetest.Canary)
	before := tree(t, home)
	want(t, 1, "check the key for Claude", "setup", "--yes", "--key-env", "MY_KEY", "--check-key")
	if after := tree(t, home); after != before {
		t.Error("a key that does not work was kept")
	}
}

// A family and a size mean the same model to the wizard that writes them and to the commands that read them.
func TestSizesAgree(t *testing.T) {
	for _, e := range hub.Catalogue() {
		if e.Repo == "" {
			continue
		}
		family := strings.ToLower(strings.ReplaceAll(e.Family, " ", "-"))
		if got, err := modelName(config.Choice{Family: family, Size: e.Size}); err != nil || got != e.Alias {
			t.Errorf("%s, %s is %q, %v; want %s", family, e.Size, got, err, e.Alias)
		}
	}
}

// The forms on a terminal: choosing, going back, leaving, saving.
func TestSceneSetup(t *testing.T) {
	home := t.TempDir()
	variables := []string{"HOME=" + home, "SHAMMAH_HOME=", "HF_HUB_CACHE=" + filepath.Join(home, "hub"), "SHAMMAH_CONFIG="}
	before := tree(t, home)

	s := newStage(t, "xterm-256color", variables, "setup")
	s.until(`1/5 · What shall models run on\?`)
	s.keys("Down", "Enter")
	s.until(`Which family`)
	// A terminal answers a program's questions about it with sequences that begin with Escape: one right before them is part of them.
	for end := time.Now().Add(patience); time.Now().Before(end) && !strings.Contains(s.tmux("capture-pane", "-p"), "┃ 1/5"); time.Sleep(time.Second) {
		s.keys("Escape")
	}
	s.until(`run on\? cpu\n(\w|\W)*┃ 1/5`, "-S", "-")
	s.keys("Enter")
	s.until(`Which family`)
	s.keys("C-c")
	if code := s.ended(); code != "130" {
		t.Errorf("Ctrl-C ended the program with %s, want 130", code)
	}
	s.until("Nothing was written")
	if after := tree(t, home); after != before {
		t.Errorf("Ctrl-C left something written:\n%s", after)
	}
	s.tmux("kill-server")

	s = newStage(t, "xterm-256color", variables, "setup", "--repo", "tiny")
	s.until(`1/5`)
	s.keys("Enter")
	s.until(`2/5`)
	s.keys("Up", "Enter") // from a repository of one's own to the model inside the program
	s.until(`4/5 · May Claude`)
	s.keys("Down", "Enter")
	s.until(`The key for Claude`)
	s.keys(claudetest.Canary)
	s.until(`\*{20}`)
	s.keys("Enter")
	s.until(`Check the key now`)
	s.keys("Enter")
	s.until(`5/5 · Save this`)
	s.keys("Enter")
	if code := s.ended(); code != "0" {
		t.Errorf("the program ended with %s, want 0", code)
	}
	if shown := s.tmux("capture-pane", "-p", "-S", "-"); strings.Contains(shown, claudetest.Canary) || !strings.Contains(shown, "Saved: ") {
		t.Errorf("the terminal shows the key, or does not say that it saved:\n%s", shown)
	}
	if text := configText(t, home); text != "[model]\nrepo = \"tiny\"\nbackend = \"auto\"\n\n[claude]\nenabled = true\napi_key = \""+claudetest.Canary+"\"\n" {
		t.Errorf("the file is\n%s", text)
	}
}
