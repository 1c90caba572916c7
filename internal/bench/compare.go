package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// Ratio is how much faster one side is than another, with an interval that holds the true ratio 19 times of 20.
type Ratio struct {
	Value     float64
	Low, High float64 // both 0 if there are too few samples for an interval
}

// Verdict is the ratio in a word.
func (r Ratio) Verdict() string {
	switch {
	case r.High == 0:
		return "too few samples"
	case r.Low > 1:
		return "faster"
	case r.High < 1:
		return "slower"
	}
	return "no difference seen"
}

// Speed is how much faster b is than a: above 1, whatever the unit, b is better. It is Hodges and Lehmann's estimate, the median of the
// ratios of all pairs, with the interval of the Mann-Whitney test: no distribution is taken for granted, and it is exact for few samples.
func Speed(a, b Result) Ratio {
	var logs []float64
	for _, x := range a.Samples {
		for _, y := range b.Samples {
			if x > 0 && y > 0 {
				logs = append(logs, math.Log(y/x))
			}
		}
	}
	if a.Unit == UnitMS {
		for i := range logs {
			logs[i] = -logs[i]
		}
	}
	slices.Sort(logs)
	if len(logs) == 0 || len(logs) < len(a.Samples)*len(b.Samples) {
		return Ratio{}
	}
	r := Ratio{Value: math.Exp(median(logs))}
	if k := rankSum(len(a.Samples), len(b.Samples)); k > 0 {
		r.Low, r.High = math.Exp(logs[k-1]), math.Exp(logs[len(logs)-k])
	}
	return r
}

// rankSum is the number k for which the k-th smallest and the k-th largest of the n*m pairs bound the interval: the largest with
// 2 P(U < k) at most 0.05, U being Mann and Whitney's; 0 if there is none.
func rankSum(n, m int) int {
	const exact = 50
	if n > exact || m > exact { // U is normal
		mean, dev := float64(n*m)/2, math.Sqrt(float64(n)*float64(m)*float64(n+m+1)/12)
		return max(int(mean-1.96*dev), 0)
	}
	// ways[j][u]: of choosing j of the numbers seen so far such that U is u, each number i adding i less its rank among the chosen.
	ways := make([][]float64, n+1)
	for j := range ways {
		ways[j] = make([]float64, n*m+1)
	}
	ways[0][0] = 1
	for i := range n + m {
		for j := min(i, n-1); j >= 0; j-- {
			if add := i - j; add <= m {
				for u := n*m - add; u >= 0; u-- {
					ways[j+1][u+add] += ways[j][u]
				}
			}
		}
	}
	all := 0.0
	for _, c := range ways[n] {
		all += c
	}
	below, k := 0.0, 0
	for ; k <= n*m; k++ {
		if below += ways[n][k]; 2*below > 0.05*all {
			break
		}
	}
	return k
}

// Compare writes how b's tests compare with a's, as a table.
func Compare(w io.Writer, a, b Report) error {
	rows := [][]string{{"test", "first", "second", "second is faster by", "95 % interval", "", "its peak memory"}}
	var alone []string
	for _, t := range a.Results {
		u := b.find(t.Test)
		if u == nil {
			alone = append(alone, t.Test+" is in the first report alone")
			continue
		}
		ratio, interval, memory := Speed(t, *u), "", ""
		if ratio.High > 0 {
			interval = fmt.Sprintf("%.3f to %.3f", ratio.Low, ratio.High)
		}
		if t.PeakMemory > 0 && u.PeakMemory > 0 {
			memory = fmt.Sprintf("%.3f", float64(u.PeakMemory)/float64(t.PeakMemory))
		}
		rows = append(rows, []string{t.Test, t.value(), u.value(), fmt.Sprintf("%.3f", ratio.Value), interval, ratio.Verdict(), memory})
	}
	for _, u := range b.Results {
		if a.find(u.Test) == nil {
			alone = append(alone, u.Test+" is in the second report alone")
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	text := "\nmedian of the ratios of all pairs of samples (Hodges-Lehmann) with the interval of the Mann-Whitney test; drift of the machine between the two runs is not in it\n"
	for i, r := range []Report{a, b} {
		text += fmt.Sprintf("%s: %s, %s %s, %s, %d threads, %s, shammah-engine %s\n", []string{"first", "second"}[i], r.Model, r.Layout, r.Variant, r.Provider, r.Threads, r.CPU, r.Version)
	}
	for _, line := range alone {
		text += line + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// find is the result of a test, nil if there is none. The name may be written in the older form, without spaces around @.
func (r Report) find(test string) *Result {
	want, err := Parse(test)
	for i := range r.Results {
		got, gotErr := Parse(r.Results[i].Test)
		if r.Results[i].Test == test || err == nil && gotErr == nil && got == want {
			return &r.Results[i]
		}
	}
	return nil
}
