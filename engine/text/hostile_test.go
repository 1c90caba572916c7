package text

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inChild runs the test again in a process of its own, since what is tested could abort it, and
// reports whether this is that process.
func inChild(t *testing.T) bool {
	t.Helper()
	const env = "TEXT_TEST_CHILD"
	if os.Getenv(env) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1", "GOTRACEBACK=none")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the process ended with %v (134 and 139 are crashes):\n%s", err, out)
	}
	if strings.Contains(string(out), "panicked at") && strings.Contains(string(out), "thread '") {
		t.Errorf("the library wrote to standard error:\n%s", out)
	}
	return false
}

const special1 = `{"id":%s,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}`

// tokenizerJSON is a small tokenizer.json with some of its fields changed.
func tokenizerJSON(changes map[string]string) string {
	fields := map[string]string{
		"version": `"1.0"`, "truncation": "null", "padding": "null", "added_tokens": "[]", "normalizer": "null",
		"pre_tokenizer": "null", "post_processor": "null", "decoder": "null",
		"model": `{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`,
	}
	for name, value := range changes {
		fields[name] = value
	}
	var out []string
	for name, value := range fields {
		out = append(out, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(out, ",") + "}"
}

func split(pattern string) string {
	quoted, _ := json.Marshal(pattern)
	return fmt.Sprintf(`{"type":"Split","pattern":{"Regex":%s},"behavior":"Isolated","invert":false}`, quoted)
}

// What must not load, and a part of the error. T-01 to T-07.
var hostile = map[string]struct{ json, want string }{
	"T-01 merge overrun":       {tokenizerJSON(map[string]string{"model": `{"type":"BPE","continuing_subword_prefix":"######","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`}), ""},
	"T-01 merge unknown":       {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":0},"merges":["a b"]}`}), ""},
	"T-01 merge of one":        {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":0},"merges":["a"]}`}), ""},
	"T-02 Precompiled null":    {tokenizerJSON(map[string]string{"normalizer": `{"type":"Precompiled","precompiled_charsmap":null}`}), ""},
	"T-02 Precompiled short":   {tokenizerJSON(map[string]string{"normalizer": `{"type":"Precompiled","precompiled_charsmap":"AAAAAQ=="}`}), ""},
	"T-02 Precompiled garbage": {tokenizerJSON(map[string]string{"normalizer": `{"type":"Precompiled","precompiled_charsmap":"%%%"}`}), ""},
	"T-03 empty":               {"", "empty"},
	"T-03 null":                {"null", "null"},
	"T-03 truncated":           {tokenizerJSON(nil)[:100], "EOF"},
	"T-03 trailing":            {tokenizerJSON(nil) + "x", "trailing"},
	"T-03 BOM":                 {"\ufeff" + tokenizerJSON(nil), ""},
	"T-03 no model":            {"{}", "model"},
	"T-03 deep":                {strings.Repeat("[", 100_000), "deeper"},
	"T-03 deep field":          {tokenizerJSON(map[string]string{"decoder": strings.Repeat(`{"type":"Sequence","decoders":[`, 50_000) + strings.Repeat("]}", 50_000)}), "deeper"},
	"T-03 not UTF-8":           {tokenizerJSON(map[string]string{"version": "\"\xff\""}), ""},
	"T-03 version":             {tokenizerJSON(map[string]string{"version": `"7"`}), "version"},
	"T-04 negative":            {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":-1},"merges":[]}`}), "-1"},
	"T-04 huge":                {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":4294967295},"merges":[]}`}), "4294967295"},
	"T-04 too huge":            {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":1e30},"merges":[]}`}), ""},
	"T-04 text":                {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":"0"},"merges":[]}`}), ""},
	"T-04 twice":               {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}`}), "id 0"},
	"T-04 no vocabulary":       {tokenizerJSON(map[string]string{"model": `{"type":"BPE","vocab":{},"merges":[]}`}), "empty"},
	"T-04 added huge":          {tokenizerJSON(map[string]string{"added_tokens": "[" + fmt.Sprintf(special1, "4000000000") + "]"}), "4000000000"},
	"T-04 added negative":      {tokenizerJSON(map[string]string{"added_tokens": "[" + fmt.Sprintf(special1, "-3") + "]"}), "-3"},
	"T-04 added elsewhere":     {tokenizerJSON(map[string]string{"added_tokens": "[" + fmt.Sprintf(special1, "9") + "]"}), "has the id 9"},
	"T-04 Unigram unknown":     {tokenizerJSON(map[string]string{"model": `{"type":"Unigram","unk_id":7,"vocab":[["a",0.0]]}`}), ""},
	"T-05 bad pattern":         {tokenizerJSON(map[string]string{"pre_tokenizer": split("(a")}), "(a"},
	"T-05 catastrophe":         {tokenizerJSON(map[string]string{"pre_tokenizer": split(`(a+)+\1$`)}), "(a+)+"},
	"T-05 catastrophe ahead":   {tokenizerJSON(map[string]string{"normalizer": `{"type":"Replace","pattern":{"Regex":"(?=(a|a|aa)+\\1b)c"},"content":""}`}), ""},
	"T-05 huge pattern":        {tokenizerJSON(map[string]string{"pre_tokenizer": split(`((a{1000}){1000}){1000}`)}), "1000"},
	"T-05 huge lookahead":      {tokenizerJSON(map[string]string{"pre_tokenizer": split(`(?:(?:(?:(?=a)b?){999}){999}){999}`)}), ""},
	"T-05 deep pattern":        {tokenizerJSON(map[string]string{"pre_tokenizer": split(strings.Repeat("(", 100_000) + strings.Repeat(")", 100_000))}), ""},
	"T-07 unknown model":       {tokenizerJSON(map[string]string{"model": `{"type":"Oracle","vocab":{"a":0}}`}), "Oracle"},
	"T-07 unknown step":        {tokenizerJSON(map[string]string{"pre_tokenizer": `{"type":"Oracle"}`}), ""},
	"T-07 unknown decoder":     {tokenizerJSON(map[string]string{"decoder": `{"type":"Oracle"}`}), ""},
	"decoder looks back":       {tokenizerJSON(map[string]string{"decoder": `{"type":"BPEDecoder","suffix":"</w>"}`}), "streamed"},
	"decoder cuts":             {tokenizerJSON(map[string]string{"decoder": `{"type":"Strip","content":" ","start":0,"stop":3}`}), "streamed"},
	"decoder swells":           {tokenizerJSON(map[string]string{"decoder": swell(), "model": manyTokens()}), "MB"},
}

// swell is a Replace that makes megabytes of a letter.
func swell() string {
	return `{"type":"Replace","pattern":{"String":"a"},"content":"` + strings.Repeat("b", 1<<20) + `"}`
}

func manyTokens() string {
	vocab := map[string]int{}
	for i := range 10_000 {
		vocab[fmt.Sprintf("a%d", i)] = i
	}
	data, err := json.Marshal(map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}})
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestHostileTokenizers(t *testing.T) {
	if !inChild(t) {
		return
	}
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			tok, err := Parse([]byte(c.json))
			if err == nil {
				tok.Close()
				t.Fatal("it loads, want an error")
			}
			msg := err.Error()
			if !strings.Contains(msg, c.want) || strings.ContainsAny(msg, "\n\r") || len(msg) > 2000 {
				t.Errorf("got %q, want one short line with %q", msg, c.want)
			}
			t.Logf("%v: %s", time.Since(begin).Round(time.Millisecond), msg)
		})
	}
}

func TestHostileTruncations(t *testing.T) {
	if !inChild(t) {
		return
	}
	whole := tokenizerJSON(map[string]string{"decoder": decoders["llama"], "pre_tokenizer": split("a+"), "added_tokens": "[" + fmt.Sprintf(special1, "3") + "]"})
	for cut := range len(whole) {
		if tok, err := Parse([]byte(whole[:cut])); err == nil {
			tok.Close()
			t.Errorf("the first %d bytes load", cut)
		}
	}
	tok, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	tok.Close()
}

// T-06, and things that are no files.
func TestLoadOddFiles(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.json")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 200<<20); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		large: "209715200 bytes", dir: "not a regular file", pipe: "not a regular file",
		filepath.Join(dir, "none"): "no such file", "/dev/zero": "not a regular file",
	} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

// Files that load, and work against the one who encodes: each call ends, with ids or an error.
func TestHostileEncodes(t *testing.T) {
	if !inChild(t) {
		return
	}
	for name, changes := range map[string]map[string]string{
		"padding":        {"padding": `{"strategy":{"Fixed":4000000000},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"a"}`},
		"truncation":     {"truncation": `{"direction":"Right","max_length":1,"strategy":"LongestFirst","stride":0}`},
		"replace":        {"normalizer": swell()},
		"replace empty":  {"normalizer": `{"type":"Replace","pattern":{"String":""},"content":"xxxx"}`},
		"replace twice":  {"normalizer": `{"type":"Sequence","normalizers":[` + strings.Repeat(`{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaa"},`, 30) + `{"type":"Lowercase"}]}`},
		"prepend":        {"normalizer": `{"type":"Prepend","prepend":"` + strings.Repeat("a", 1<<20) + `"}`},
		"split empty":    {"pre_tokenizer": `{"type":"Split","pattern":{"String":""},"behavior":"Isolated","invert":false}`},
		"split nothing":  {"pre_tokenizer": split("")},
		"backtracking":   {"pre_tokenizer": split(`(?=((x|y)+)+z)(?<=q)x`)},
		"post-processor": {"post_processor": templateProcessing(3000)},
		"no unknown":     {"model": `{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100000000,"vocab":{"a":0,"##a":1}}`},
		"lstrip":         {"added_tokens": `[{"id":0,"content":"a","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,"special":true}]`},
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := Parse([]byte(tokenizerJSON(changes)))
			if err != nil {
				t.Fatal(err)
			}
			defer tok.Close()
			for _, text := range []string{"", "a", "ab ab", strings.Repeat("a", 20_000), strings.Repeat("xy", 10_000) + "z"} {
				begin := cpuTime()
				ids, err := tok.Encode(text, EncodeOptions{AddSpecial: true})
				if took := cpuTime() - begin; took > 3*time.Second {
					t.Errorf("%d bytes took %v", len(text), took)
				}
				if name == "padding" && len(ids) > len(text) || name == "truncation" && strings.HasPrefix(text, "aaa") && len(ids) != len(text) {
					t.Errorf("%d bytes: %d ids; padding and truncation must be ignored", len(text), len(ids))
				}
				if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
					t.Errorf("the error is not one line: %v", err)
				}
			}
		})
	}
}

// templateProcessing adds n times n tokens.
func templateProcessing(n int) string {
	ids, tokens := strings.Repeat("0,", n-1)+"0", strings.Repeat(`"a",`, n-1)+`"a"`
	piece := `{"SpecialToken":{"id":"a","type_id":0}},`
	return fmt.Sprintf(`{"type":"TemplateProcessing","single":[%s{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"a":{"id":"a","ids":[%s],"tokens":[%s]}}}`,
		strings.Repeat(piece, n), ids, tokens)
}

// C-02: templates that would take for ever, all memory or all stack.
func TestHostileTemplates(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	if !inChild(t) {
		return
	}
	grow := func(step string) string {
		return `{% set ns = namespace(s='aaaaaaaa', l=[1], q=[1]) %}{% for i in range(60) %}{% set ns.s = ` + step + ` %}{% endfor %}`
	}
	const nested = `{% set ns = namespace(s=[1], q=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.q = [ns.q, ns.q] %}{% endfor %}`
	for name, src := range map[string]string{
		"loops":           `{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}`,
		"range":           `{{ range(10 ** 12) | list }}`,
		"output":          `{% for a in range(9999) %}` + strings.Repeat("x", 1000) + `{% endfor %}`,
		"text doubled":    grow(`ns.s ~ ns.s`),
		"text added":      grow(`ns.s + ns.s`),
		"text repeated":   `{{ 'x' * 10 ** 15 }}`,
		"text replaced":   grow(`ns.s | replace('a', 'aaaaaaaa')`),
		"text replaced 2": grow(`ns.s.replace('a', 'aaaaaaaa')`),
		"text joined":     grow(`ns.s.join([ns.s, ns.s])`),
		"text padded":     `{{ 'x'.center(10 ** 15) }}`,
		"text formatted":  `{{ '{:999999999d}'.format(1) }}{{ '%999999999d' | format(1) }}`,
		"indent":          `{{ 'x\ny' | indent(10 ** 9) }}`,
		"block":           `{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set b %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = b %}{% endfor %}`,
		"list added":      `{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}{{ ns.s }}`,
		"list repeated":   `{{ ([1] * 10 ** 12) | tojson }}`,
		"nested shown":    nested + `{{ ns.s }}`,
		"nested text":     nested + `{{ 'a' ~ ns.s }}`,
		"nested JSON":     nested + `{{ ns.s | tojson }}`,
		"nested equal":    nested + `{{ ns.s == ns.q }}`,
		"nested sorted":   nested + `{{ [ns.s, ns.q] | sort }}`,
		"nested key":      nested + `{{ {ns.s: 1} }}`,
		"nested raised":   nested + `{{ raise_exception(ns.s) }}`,
		"deep shown":      `{% set ns = namespace(s=[]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}`,
		"deep JSON":       `{% set ns = namespace(s={}) %}{% for i in range(90000) %}{% set ns.s = {'a': ns.s} %}{% endfor %}{{ ns.s | tojson }}`,
		"itself":          `{% set ns = namespace() %}{% set ns.s = [ns] %}{{ 'a' ~ ns }}{{ ns }}`,
		"itself JSON":     `{% set ns = namespace() %}{% set ns.s = [ns] %}{{ ns | tojson }}`,
		"itself equal":    `{% set a = namespace() %}{% set a.s = [a] %}{% set b = namespace() %}{% set b.s = [b] %}{{ [a] == [b] }}{{ missing.x }}`,
		"macro":           `{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}`,
		"recursive":       `{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}`,
		"source":          strings.Repeat("x", 1<<20),
		"parentheses":     `{{ ` + strings.Repeat("(", 50_000) + `1` + strings.Repeat(")", 50_000) + ` }}`,
		"ifs":             strings.Repeat("{% if 1 %}", 10_000),
		"undefined deep":  `{{ a` + strings.Repeat(".a", 50_000) + ` }}`,
		"calls deep":      `{{ f` + strings.Repeat("()", 50_000) + ` }}`,
	} {
		t.Run(name, func(t *testing.T) {
			begin := cpuTime()
			tmpl, err := ParseTemplate(src)
			if err == nil {
				_, err = tmpl.Render(nil)
				tmpl.Close()
			}
			if err == nil {
				t.Error("it renders, want an error")
			} else if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error is not one line: %v", err)
			}
			if took := cpuTime() - begin; took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			t.Log(err)
		})
	}
	// What had to be left behind stands still.
	before := cpuTime()
	time.Sleep(500 * time.Millisecond)
	if used := cpuTime() - before; used > 100*time.Millisecond {
		t.Errorf("%v of CPU time are used in half a second in which nothing is asked for", used)
	}
}

// cpuTime is what this process has computed: a busy machine makes it no longer.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Terms that nest deep but are harmless still work.
func TestDeepTemplates(t *testing.T) {
	if !inChild(t) {
		return
	}
	for src, want := range map[string]string{
		`{{ ` + strings.Repeat("not ", 30_000) + `1 }}`:    "True",
		`{{ 1` + strings.Repeat("+1", 50_000) + ` }}`:      "50001",
		`{{ ` + strings.Repeat("-", 100_000) + `1 }}`:      "1",
		`{{ 1` + strings.Repeat("**1", 30_000) + ` }}`:     "1",
		`{{ 'a'` + strings.Repeat("|lower", 20_000) + `}}`: "a",
	} {
		got, err := parseTemplate(t, src).Render(nil)
		if err != nil || got != want {
			t.Errorf("%.30s...: got %q (%v), want %q", src, got, err, want)
		}
	}
}
