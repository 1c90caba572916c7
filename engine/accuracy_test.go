package engine

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// How far our kernels may be from exact computation, and from the runtime's own with activations of 8 bits (accuracy level 4). Both round
// the activations, each in its own way, so which of them guesses a text a little better is chance: the differences of
// their log-probabilities, token by token, deviate by about 0.1, which is 0.2 % of the perplexity over 2,000 tokens.
const (
	perplexityMax = 0.005 // above the exact one
	perplexityFar = 0.003 // above the runtime's
)

// accuracyTokens is how many greedy tokens are compared: SHAMMAH_ACCURACY_TOKENS, which `make accuracy` sets to 2,000.
func accuracyTokens(t *testing.T) int {
	v := os.Getenv("SHAMMAH_ACCURACY_TOKENS")
	if v == "" {
		return 200
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 100 {
		t.Fatalf("SHAMMAH_ACCURACY_TOKENS is %q, expected a number from 100 up", v)
	}
	return n
}

// accuracy is what one way of computing gives.
type accuracy struct {
	text []Score // of the text's tokens, window by window
	same float64 // share of the exact model's greedy tokens that are the likeliest here too
}

// continuation is what the exact model says, greedily, after a piece of the text.
type continuation struct {
	prompt int
	ids    []int32
}

// Perplexity of a text of our own, and agreement with the greedy tokens of exact computation: ours beside the runtime's.
func TestAccuracy(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	dir, n := realModel(t), accuracyTokens(t)
	text, err := os.ReadFile(filepath.Join("..", "scripts", "accuracy", "text.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	var said []continuation
	measure := func(k Kernels) (a accuracy) {
		t.Helper()
		spin := false // other tests may run beside this one
		m, err := Open(ortest.Env(t), dir, Options{Kernels: k, Context: 512, Spin: &spin})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if why := m.Kernels(); (why == "") != (k == KernelsAuto) {
			t.Fatalf("kernels %d: got %q", k, why)
		}
		if k == KernelsExact {
			if ids, err = m.Encode(Request{Prompt: string(text), Overflow: decode.OverflowTruncate}); err != nil {
				t.Fatal(err)
			}
			said = greedy(t, m, ids, n)
		}
		for window := range slices.Chunk(ids, m.Context()) {
			a.text = append(a.text, scores(t, m, window)...)
		}
		a.same = agreement(t, m, said)
		return a
	}
	exact, runtimes, ours := measure(KernelsExact), measure(KernelsOff), measure(KernelsAuto)
	pe, pr, po := Perplexity(exact.text), Perplexity(runtimes.text), Perplexity(ours.text)
	noise := deviation(ours.text, runtimes.text) / math.Sqrt(float64(len(ours.text)))
	t.Logf("perplexity over %d tokens: exact %.4f, the runtime's accuracy level 4 %.4f (%+.2f %%), ours %.4f (%+.2f %%); chance moves the last two apart by %.2f %%",
		len(ours.text), pe, pr, 100*(pr/pe-1), po, 100*(po/pe-1), 100*noise)
	t.Logf("the same likeliest token at %d greedy tokens of the exact model: level 4 %.2f %%, ours %.2f %%; the exact model itself, several tokens at a time, %.2f %%",
		n, 100*runtimes.same, 100*ours.same, 100*exact.same)
	if math.Abs(po/pe-1) > perplexityMax {
		t.Errorf("got a perplexity of %.4f, want at most %.1f %% from the exact %.4f", po, 100*perplexityMax, pe)
	}
	if po > pr*(1+perplexityFar) {
		t.Errorf("got a perplexity of %.4f, want no more than the runtime's %.4f and %.1f %% for chance", po, pr, 100*perplexityFar)
	}
	// Two standard deviations of the difference between two shares of n, of which each misses some by itself.
	miss := max(1-runtimes.same, 0.01)
	margin := 2 * math.Sqrt(2*miss*(1-miss)/float64(n))
	if ours.same < runtimes.same-margin {
		t.Errorf("got the same likeliest token at %.2f %%, want the runtime's %.2f %% and at most %.2f less", 100*ours.same, 100*runtimes.same, 100*margin)
	}
	if exact.same < 0.99 {
		t.Errorf("the exact model agrees with itself at %.2f %%: the comparison is wrong", 100*exact.same)
	}
}

// greedy continues n/100 pieces of the text, 100 tokens each.
func greedy(t *testing.T, m *Model, ids []int32, n int) (said []continuation) {
	t.Helper()
	const prompt, length = 32, 100
	for i := range n / length {
		at := i * (len(ids) - prompt) / (n / length)
		piece := ids[at : at+prompt]
		said = append(said, continuation{prompt, slices.Concat(piece, tokens(t, m, Request{Tokens: piece, MaxTokens: length, IgnoreEnd: true}))})
	}
	return said
}

// agreement is the share of what was said that m finds likeliest too.
func agreement(t *testing.T, m *Model, said []continuation) float64 {
	t.Helper()
	same, all := 0, 0
	for _, c := range said {
		for i, s := range scores(t, m, c.ids)[c.prompt-1:] {
			all++
			if s.Top == c.ids[c.prompt+i] {
				same++
			}
		}
	}
	return float64(same) / float64(all)
}

// deviation is that of the differences of the log-probabilities, token by token.
func deviation(a, b []Score) float64 {
	var sum, square float64
	for i := range a {
		d := a[i].LogProb - b[i].LogProb
		sum, square = sum+d, square+d*d
	}
	n := float64(len(a))
	return math.Sqrt(square/n - sum/n*sum/n)
}

func scores(t *testing.T, m *Model, ids []int32) []Score {
	t.Helper()
	s, err := m.Score(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
