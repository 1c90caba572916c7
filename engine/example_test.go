package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/ort"
)

// library is where `make` leaves ONNX Runtime; an installed program finds it by itself.
const library = "../build/lib"

// One answer. The model is the embedded one; engine.Open takes a folder instead.
func ExampleModel_Generate() {
	env, err := ort.Open(ort.Options{Library: library})
	if err != nil {
		log.Fatal(err)
	}
	defer env.Close()
	model, err := engine.OpenFS(env, tiny.FS(), engine.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	request := engine.Request{Messages: []chat.Message{{Role: chat.User, Content: "What is the capital of France?"}}}
	for token, err := range model.Generate(context.Background(), request) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(token.Text)
	}
	// Output: The capital of France is Paris.
}

// A stream that is cancelled after three tokens. The last token carries the figures, beside the context's error.
func ExampleModel_Generate_cancel() {
	env, err := ort.Open(ort.Options{Library: library})
	if err != nil {
		log.Fatal(err)
	}
	defer env.Close()
	model, err := engine.OpenFS(env, tiny.FS(), engine.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request := engine.Request{Messages: []chat.Message{{Role: chat.User, Content: "Tell me a story about a fox."}}}
	tokens := 0
	for token, err := range model.Generate(ctx, request) {
		if token.Stats == nil {
			if tokens++; tokens == 3 {
				cancel()
			}
			continue
		}
		fmt.Println(token.Stats.Finish, token.Stats.Generated, errors.Is(err, context.Canceled))
	}
	// Output: cancelled 3 true
}

// Several prompts in the same steps. Each row is what the prompt alone would give.
func ExampleModel_GenerateBatch() {
	env, err := ort.Open(ort.Options{Library: library})
	if err != nil {
		log.Fatal(err)
	}
	defer env.Close()
	model, err := engine.OpenFS(env, tiny.FS(), engine.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	var requests []engine.Request
	for _, country := range []string{"France", "Japan", "Italy"} {
		requests = append(requests, engine.Request{Messages: []chat.Message{{Role: chat.User, Content: "What is the capital of " + country + "?"}}, MaxTokens: 32})
	}
	answers := make([]string, len(requests))
	for token, err := range model.GenerateBatch(context.Background(), requests) {
		if err != nil {
			log.Fatal(err)
		}
		answers[token.Row] += token.Text
	}
	for _, answer := range answers {
		fmt.Println(answer)
	}
	// Output:
	// The capital of France is Paris.
	// The capital of Japan is Tokyo.
	// The capital of Italy is Rome.
}

// What was computed for a prompt is kept, here in memory, and taken up by another model of the same files.
func ExampleModel_Save() {
	env, err := ort.Open(ort.Options{Library: library})
	if err != nil {
		log.Fatal(err)
	}
	defer env.Close()
	request := engine.Request{Prompt: "Tell me a story about a fox.", MaxTokens: 1}
	var kept bytes.Buffer
	for _, run := range []string{"first", "second"} {
		model, err := engine.OpenFS(env, tiny.FS(), engine.Options{})
		if err != nil {
			log.Fatal(err)
		}
		if run == "second" {
			if _, err := model.Restore(context.Background(), &kept); err != nil {
				log.Print(err) // refused: all is computed again
			}
		}
		for token, err := range model.Generate(context.Background(), request) {
			if err != nil {
				log.Fatal(err)
			}
			if token.Stats != nil {
				fmt.Println(run, "computes", token.Stats.PromptTokens-token.Stats.Reused, "of", token.Stats.PromptTokens, "tokens")
			}
		}
		if _, err := model.Save(context.Background(), &kept, nil); err != nil {
			log.Fatal(err)
		}
		model.Close()
	}
	// Output:
	// first computes 8 of 8 tokens
	// second computes 1 of 8 tokens
}
