package text

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func parseTemplate(t testing.TB, src string) *Template {
	t.Helper()
	tmpl, err := ParseTemplate(src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tmpl.Close() })
	return tmpl
}

// Thirty real templates, and what Python's Jinja2 made of them.
func TestTemplatesEqualJinja2(t *testing.T) {
	data, err := os.ReadFile(shared(t, "data/chat_templates/llama.cpp/test-chat-template.cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Messages            json.RawMessage `json:"messages"`
		AddGenerationPrompt bool            `json:"add_generation_prompt"`
		Cases               []struct {
			Name     string  `json:"name"`
			Template string  `json:"template_str"`
			BOS      string  `json:"bos_token"`
			EOS      string  `json:"eos_token"`
			Want     *string `json:"python_jinja2_output"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := parseTemplate(t, c.Template).Render(map[string]any{
				"messages": file.Messages, "add_generation_prompt": file.AddGenerationPrompt,
				"bos_token": c.BOS, "eos_token": c.EOS,
			})
			if c.Want == nil {
				t.Logf("Jinja2 gave no output; ours: %q, %v", got, err)
				return
			}
			compared++
			if err != nil || got != *c.Want {
				t.Errorf("got  %q (%v)\nwant %q", got, err, *c.Want)
			}
		})
	}
	if compared < 20 {
		t.Errorf("only %d cases were compared", compared)
	}
}

func TestOtherTemplatesRender(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "data/chat_templates/llama.cpp"), "*.jinja"))
	if err != nil || len(files) == 0 {
		t.Fatal("no templates", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := parseTemplate(t, string(src)).Render(map[string]any{
			"messages":              []map[string]any{{"role": "user", "content": "Hello"}},
			"add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>",
		})
		t.Logf("%s: %q %v", filepath.Base(file), out, err)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
