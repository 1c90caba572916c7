// Package config is the user's settings: what they are, where each came from, and the file that keeps them.
//
// A value comes from the command line, else from the environment, else from the file, else it is the default. The file is TOML,
// ~/.shammah/config.toml; SHAMMAH_HOME moves the folder, --config names another file. Values in it are taken as they are: ${NAME} is
// not expanded. Every key can be given by an environment variable too, SHAMMAH_SECTION_KEY or the shorter name in its tag; an empty
// variable counts as not set.
package config

import "github.com/shammah/shammah-engine/engine/sample"

// Config is all settings. The tags are the table of keys: name in the file, default, bounds or choices, variable and meaning.
// A nil pointer is a value that the model's own configuration decides.
type Config struct {
	Model      Model      `toml:"model"`
	Generation Generation `toml:"generation"`
	Claude     Claude     `toml:"claude"`
	Router     Router     `toml:"router"`
	Server     Server     `toml:"server"`
	UI         UI         `toml:"ui"`
	Cache      Cache      `toml:"cache"`
}

// Model says what answers. See Settings.Choice for which of its fields count.
type Model struct {
	Family   string   `toml:"family" doc:"family of the catalogue: qwen2.5, llama-3.2, ..."`
	Size     string   `toml:"size" one:"small medium large" doc:"size within the family"`
	Repo     string   `toml:"repo" env:"SHAMMAH_MODEL" doc:"alias, owner/name[@revision] or folder; wins over family and size"`
	Path     string   `toml:"path" doc:"folder with the model's files; wins over repo"`
	Variant  string   `toml:"variant" env:"SHAMMAH_VARIANT" doc:"which graph of several: q4, int8, fp16, fp32"`
	Revision string   `toml:"revision" doc:"branch, tag or commit of the repository"`
	Backend  string   `toml:"backend" default:"auto" one:"auto cpu cuda coreml" env:"SHAMMAH_PROVIDER" doc:"what the model runs on"`
	Lora     []string `toml:"lora" doc:"adapters that it is used with: a name or a path, with :scale behind it or without"`
	Draft    string   `toml:"draft" doc:"small model of the same vocabulary that guesses for this one: alias, owner/name or folder"`
	Threads  int      `toml:"threads" env:"SHAMMAH_THREADS" max:"4096" doc:"threads that compute; 0 is one for each physical core"`
}

// Generation says how answers are made.
type Generation struct {
	System            string   `toml:"system" doc:"what the model is told before the conversation"`
	Context           int      `toml:"context" env:"SHAMMAH_CONTEXT" doc:"tokens of prompt and answer together; 0 is 4096, or less if the model has less"`
	MaxTokens         int      `toml:"max_tokens" doc:"tokens of an answer; 0 is until the context is full"`
	Temperature       *float32 `toml:"temperature" doc:"0 takes the likeliest token always"`
	TopK              *int     `toml:"top_k" doc:"sample from the k likeliest tokens; 0 is all"`
	TopP              *float32 `toml:"top_p" doc:"sample from the likeliest tokens that together have this probability"`
	MinP              *float32 `toml:"min_p" doc:"leave out tokens less likely than this share of the likeliest"`
	RepetitionPenalty *float32 `toml:"repetition_penalty" doc:"above 1 makes tokens that were seen less likely"`
	PresencePenalty   *float32 `toml:"presence_penalty" doc:"taken from the logit of every token of the answer so far"`
	FrequencyPenalty  *float32 `toml:"frequency_penalty" doc:"taken from a token's logit each time it was in the answer so far"`
	Seed              *uint64  `toml:"seed" doc:"the same seed gives the same answer; another one each time if not set"`
	Stop              []string `toml:"stop" doc:"strings that end the answer"`
	Speculate         string   `toml:"speculate" default:"auto" one:"auto off" doc:"compute likely tokens several at once, where that is exact and pays"`
	Overflow          string   `toml:"overflow" default:"error" one:"error truncate shift" doc:"what to do when the context is too small"`
}

// Claude is the remote model.
type Claude struct {
	Enabled   bool   `toml:"enabled" default:"true" doc:"whether it may be asked at all"`
	APIKeyEnv string `toml:"api_key_env" default:"ANTHROPIC_API_KEY" doc:"variable that holds the key"`
	APIKey    string `toml:"api_key" secret:"true" env:"-" doc:"the key itself, if it is in no variable"`
	Model     string `toml:"model" doc:"model to ask"`
	BaseURL   string `toml:"base_url" doc:"another server with the same API"`
}

// Router says who answers.
type Router struct {
	Mode string `toml:"mode" default:"auto" one:"auto local claude" doc:"who answers: auto asks claude only when the local model cannot"`
}

// Server is for the command serve.
type Server struct {
	Address string `toml:"address" default:"127.0.0.1:8000" doc:"host and port to listen on"`
	APIKey  string `toml:"api_key" secret:"true" doc:"what clients must show"`
}

// UI is how the program looks on a terminal.
type UI struct {
	Color   string `toml:"color" default:"auto" one:"auto always never" doc:"colours on the terminal"`
	Status  bool   `toml:"status" default:"true" doc:"show the status line"`
	History bool   `toml:"history" default:"true" doc:"keep what was typed between runs"`
}

// Cache is where downloads are kept.
type Cache struct {
	Dir string `toml:"dir" doc:"folder of the Hub's cache; HF_HUB_CACHE and HF_HOME win over it"`
}

// Sampling is p, the model's own parameters, with what the user set in their place. Seed and Stop are for the caller.
func (g Generation) Sampling(p sample.Params) sample.Params {
	set(&p.Temperature, g.Temperature)
	set(&p.TopK, g.TopK)
	set(&p.TopP, g.TopP)
	set(&p.MinP, g.MinP)
	set(&p.RepetitionPenalty, g.RepetitionPenalty)
	set(&p.PresencePenalty, g.PresencePenalty)
	set(&p.FrequencyPenalty, g.FrequencyPenalty)
	return p
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
