package engine

import (
	"context"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/sample"
)

// BenchmarkToken is what a token costs on a model so small that almost nothing is computed: an operation is one token,
// so allocations per operation are allocations per token. The runtime's own share is measured beside it.
func BenchmarkToken(b *testing.B) {
	for _, c := range []struct {
		name, folder string
		text         bool
	}{{"shared cache", "b-fp32", true}, {"shared cache, no text", "b-fp32", false}, {"swapped cache", "a-fp32", true}} {
		b.Run(c.name, func(b *testing.B) {
			m := openFixture(b, c.folder, Options{Threads: 1})
			const length = 400
			b.ReportAllocs()
			var compute time.Duration
			timed := &timedModel{runner: m.runner, spent: &compute}
			b.ResetTimer() // opening the model is no token
			for done := 0; done < b.N; done += length {
				b.StopTimer()
				r, release, err := m.prepare(Request{Tokens: []int32{1}, MaxTokens: length, IgnoreEnd: true, TokensOnly: !c.text})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				for _, err := range decode.Generate(b.Context(), timed, r) {
					if err != nil {
						b.Fatal(err)
					}
				}
				release()
			}
			tokens := float64((b.N + length - 1) / length * length)
			b.ReportMetric(float64(b.Elapsed()-compute)/tokens, "ns-outside-model/token")
		})
	}
}

// BenchmarkSampler is a sampler's share of a token at a vocabulary of true size.
func BenchmarkSampler(b *testing.B) {
	const vocab = 151936
	row := make([]float32, vocab)
	for i := range row {
		row[i] = float32((i*7919)%10007) / 1000
	}
	for _, c := range []struct {
		name   string
		params sample.Params
	}{
		{"greedy", sample.Params{}},
		{"top-k 20, top-p 0.8", sample.Params{Temperature: 0.7, TopK: 20, TopP: 0.8}},
		{"top-p 0.95", sample.Params{Temperature: 1, TopP: 0.95}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := sample.New(c.params, vocab, kernels())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Next(sample.Logits{F32: row}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// timedModel measures the time inside the model.
type timedModel struct {
	*runner
	spent *time.Duration
}

func (t *timedModel) Feed(ctx context.Context, ids []int32) (sample.Logits, error) {
	start := time.Now()
	l, err := t.runner.Feed(ctx, ids)
	*t.spent += time.Since(start)
	return l, err
}
