package tiny

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"os"
	"testing"
)

const bytesMax = 6 << 20

func TestFolderIsComplete(t *testing.T) {
	total := int64(0)
	for _, name := range []string{
		"model.onnx", "genai_config.json", "config.json", "generation_config.json",
		"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
	} {
		info, err := fs.Stat(FS(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.Size() == 0 {
			t.Errorf("%s is empty", name)
		}
		total += info.Size()
	}
	if total > bytesMax {
		t.Errorf("the folder holds %d bytes, more than %d", total, bytesMax)
	}
}

func TestFolderHoldsNothingElse(t *testing.T) {
	entries, err := fs.ReadDir(FS(), ".")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 7 {
		t.Errorf("got %d files, want 7: %v", len(entries), entries)
	}
}

func TestHeldoutQuestionsAreWellFormed(t *testing.T) {
	file, err := os.Open("testdata/heldout.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	groups := map[string]int{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var c struct {
			Group    string
			Messages []struct{ Role, Content string }
			Answer   string
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if n := len(c.Messages); n == 0 || c.Messages[n-1].Role != "user" || c.Answer == "" {
			t.Errorf("%s: want messages that end with the user's, and an answer", lines.Text())
		}
		groups[c.Group]++
	}
	if groups["facts"] < 100 || groups["recall"] < 20 {
		t.Errorf("got %v, want at least 100 facts and 20 dialogues", groups)
	}
}
