package bench

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// The tables of the Mann-Whitney test, two-sided at 5 %: U below or at the critical value is significant, so k is that value and 1.
func TestRankSum(t *testing.T) {
	for _, c := range []struct{ n, m, want int }{
		{1, 1, 0}, {3, 3, 0}, {3, 5, 1}, {4, 4, 1}, {5, 5, 3}, {5, 8, 7}, {7, 9, 13}, {10, 10, 24}, {20, 20, 128}, {8, 5, 7},
	} {
		if got := rankSum(c.n, c.m); got != c.want {
			t.Errorf("%d and %d samples: k = %d, want %d", c.n, c.m, got, c.want)
		}
	}
	if exact, normal := rankSum(50, 50), rankSum(51, 51); math.Abs(float64(normal-exact)) > 60 || normal <= exact {
		t.Errorf("50 samples give k = %d, 51 give %d: the two ways do not meet", exact, normal)
	}
}

func TestSpeed(t *testing.T) {
	rate := func(x ...float64) Result { return Result{Unit: UnitRate, Samples: x} }
	time := func(x ...float64) Result { return Result{Unit: UnitMS, Samples: x} }
	for _, c := range []struct {
		name    string
		a, b    Result
		value   float64
		verdict string
	}{
		{"faster", rate(10, 10, 10, 11, 11), rate(20, 20, 20, 22, 22), 2, "faster"},
		{"slower", rate(20, 20.1, 20.2, 20.3), rate(10, 10.05, 10.1, 10.15), 0.5, "slower"},
		{"fewer milliseconds are faster", time(20, 20, 20, 20), time(10, 10, 10, 10), 2, "faster"},
		{"equal", rate(1, 2, 3, 4, 5), rate(1, 2, 3, 4, 5), 1, "no difference seen"},
		{"few", rate(1, 1, 1), rate(2, 2, 2), 2, "too few samples"},
		{"none", rate(), rate(2), 0, "too few samples"},
		{"a rate of nothing", rate(0, 1, 1, 1), rate(2, 2, 2, 2), 0, "too few samples"},
	} {
		got := Speed(c.a, c.b)
		if math.Abs(got.Value-c.value) > 1e-9 || got.Verdict() != c.verdict || got.High > 0 && (got.Low > got.Value || got.High < got.Value) {
			t.Errorf("%s: got %+v, %s; want %v, %s", c.name, got, got.Verdict(), c.value, c.verdict)
		}
	}
}

func TestCompare(t *testing.T) {
	a, b := sampleReport(1), sampleReport(2)
	a.Results[3].Test = "tg128@d4096" // as older files have it
	b.Results = append(b.Results[1:], Result{Test: "copy", Unit: UnitRate})
	var out bytes.Buffer
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| pp512 ", "| tg128@d4096 ", " 2.000 |", "pp16 is in the first report alone", "copy is in the second report alone", "too few samples", "Mann-Whitney"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "| pp16") {
		t.Errorf("what only one has was compared:\n%s", out.String())
	}
}
