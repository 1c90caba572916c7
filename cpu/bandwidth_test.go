package cpu

import "testing"

// Every byte is read once, however the work is cut: the function itself holds the sum against what it wrote.
func TestReadBandwidth(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 7, 64} {
		if rate, err := readBandwidth(threads, 2<<20, 2); err != nil || rate <= 0 {
			t.Errorf("%d threads: got %v bytes a second, %v", threads, rate, err)
		}
	}
	for _, threads := range []int{0, -1, 1 << 20} {
		if _, err := readBandwidth(threads, 2<<20, 1); err == nil {
			t.Errorf("%d threads were no error", threads)
		}
	}
}

func BenchmarkReadBandwidth(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(string(rune('0'+threads)), func(b *testing.B) {
			for b.Loop() {
				rate, err := ReadBandwidth(threads)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(rate/1e9, "GB/s")
			}
		})
	}
}
