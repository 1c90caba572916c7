package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// golden is testdata/golden.json: what an oracle in Python says greedy decoding gives (scripts/fixtures).
type golden struct {
	Prompts [][]int32
	Outputs []struct {
		Oracle  string
		Folders []string
		IDs     [][]int32
	}
	Chat struct {
		Messages []chat.Message
		Prompt   []int32
		IDs      []int32
		Text     string
	}
}

func readGolden(t testing.TB) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// openFixture opens one of testdata's models.
func openFixture(t testing.TB, name string, o Options) *Model {
	t.Helper()
	m, err := Open(ortest.Env(t), filepath.Join("testdata", name), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// tokens runs a request to its end and gives its ids.
func tokens(t testing.TB, m *Model, q Request) []int32 {
	t.Helper()
	var ids []int32
	for token, err := range m.Generate(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if token.ID >= 0 {
			ids = append(ids, token.ID)
		}
	}
	return ids
}

// batch is what tokens is, of the rows of a batch.
func batch(t testing.TB, m *Model, requests []Request) [][]int32 {
	t.Helper()
	ids := make([][]int32, len(requests))
	for token, err := range m.GenerateBatch(t.Context(), requests) {
		if err != nil {
			t.Fatal(err)
		}
		if token.ID >= 0 {
			ids[token.Row] = append(ids[token.Row], token.ID)
		}
	}
	return ids
}

func TestGolden(t *testing.T) {
	g := readGolden(t)
	for _, output := range g.Outputs {
		for _, folder := range output.Folders {
			t.Run(folder, func(t *testing.T) {
				for _, chunk := range []int{0, 16, 7, 1} {
					m := openFixture(t, folder, Options{Chunk: chunk, Threads: 1, Kernels: KernelsOff})
					for i, prompt := range g.Prompts {
						got := tokens(t, m, Request{Tokens: prompt, MaxTokens: len(output.IDs[i]), IgnoreEnd: true})
						if !slices.Equal(got, output.IDs[i]) {
							t.Errorf("chunks of %d, prompt of %d tokens:\ngot  %v\nwant %v (%s)", chunk, len(prompt), got, output.IDs[i], output.Oracle)
						}
					}
				}
			})
		}
	}
}

func TestGoldenBatch(t *testing.T) {
	g := readGolden(t)
	for _, output := range g.Outputs {
		for _, folder := range output.Folders {
			t.Run(folder, func(t *testing.T) {
				m := openFixture(t, folder, Options{Threads: 1, Kernels: KernelsOff})
				for _, rows := range [][]int{{0, 1, 2, 3}, {3, 0}, {2}, {1, 1, 3, 2, 0}} {
					var requests []Request
					for n, i := range rows {
						requests = append(requests, Request{Tokens: g.Prompts[i], MaxTokens: len(output.IDs[i]) - 5*n, IgnoreEnd: true})
					}
					got := batch(t, m, requests)
					for n, i := range rows {
						if want := output.IDs[i][:len(output.IDs[i])-5*n]; !slices.Equal(got[n], want) {
							t.Errorf("rows %v, row %d:\ngot  %v\nwant %v (%s)", rows, n, got[n], want, output.Oracle)
						}
					}
				}
			})
		}
	}
}

func TestGoldenChat(t *testing.T) {
	g := readGolden(t)
	for _, folder := range g.Outputs[0].Folders {
		t.Run(folder, func(t *testing.T) {
			m := openFixture(t, folder, Options{})
			q := Request{Messages: g.Chat.Messages, MaxTokens: 64}
			ids, err := m.Encode(q)
			if err != nil || !slices.Equal(ids, g.Chat.Prompt) {
				t.Fatalf("encode the conversation: got %v, %v\nwant %v", ids, err, g.Chat.Prompt)
			}
			var text string
			var got []int32
			finish := ""
			for token, err := range m.Generate(t.Context(), q) {
				if err != nil {
					t.Fatal(err)
				}
				text += token.Text
				if token.ID >= 0 {
					got = append(got, token.ID)
				}
				if token.Stats != nil {
					finish = fmt.Sprint(token.Stats.Finish)
				}
			}
			want := g.Chat.IDs[:len(g.Chat.IDs)-1] // the oracle's list closes with the end of text, which is not given out
			if !slices.Equal(got, want) || text != g.Chat.Text || finish != "stop" {
				t.Errorf("got %v %q, ended by %q\nwant %v %q, ended by stop", got, text, finish, want, g.Chat.Text)
			}
		})
	}
}

// A second turn, a retry and an undo give the same tokens from what the cache holds as from an empty one.
func TestReusedPrefixesGiveTheSameTokens(t *testing.T) {
	g := readGolden(t)
	for _, folder := range g.Outputs[0].Folders {
		t.Run(folder, func(t *testing.T) {
			m := openFixture(t, folder, Options{Threads: 1, Kernels: KernelsOff})
			for i, prompt := range g.Prompts {
				ids := g.Outputs[0].IDs[i]
				for _, kept := range []int{0, 1, 20, 63, 63, 20} {
					turn := slices.Concat(prompt, ids[:kept])
					var got []int32
					var stats *Stats
					for token, err := range m.Generate(t.Context(), Request{Tokens: turn, MaxTokens: 64 - kept, IgnoreEnd: true}) {
						if err != nil {
							t.Fatal(err)
						}
						if token.ID >= 0 {
							got = append(got, token.ID)
						}
						stats = token.Stats
					}
					if !slices.Equal(got, ids[kept:]) {
						t.Errorf("prompt of %d tokens and %d more, %d of them reused:\ngot  %v\nwant %v", len(prompt), kept, stats.Reused, got, ids[kept:])
					}
					if kept > 0 && stats.Reused != len(turn)-1 {
						t.Errorf("prompt of %d tokens and %d more: reused %d, want all but the last", len(prompt), kept, stats.Reused)
					}
				}
			}
		})
	}
}
