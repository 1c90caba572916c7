package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// The drawing area of a chart, in pixels.
const (
	chartWidth, chartHeight                 = 520, 272
	chartLeft, chartRight, chartTop, chartX = 56, 508, 32, 228 // chartX is where the axis lies
	binsMost                                = 40
)

// chart is what the page draws: bars over named places.
type chart struct {
	Title, XLabel, YLabel string
	Bars                  []bar
	XTicks, YTicks        []tick
	Width, Height         int
	Left, Right, Axis     float64
}

type bar struct {
	X, Y, Width, Height float64
	Side                int // 0 is the report, 1 what stands beside it
	Label               string
	LabelX, LabelY      float64
	Tip                 string
	Low, High           float64 // whiskers; equal if there are none
}

type tick struct {
	At    float64
	Label string
}

// bars is a chart of one value a place for each side. NaN is none.
func bars(title, xLabel string, places []string, sides [][]Result) *chart {
	c := &chart{Title: title, XLabel: xLabel, YLabel: "tokens per second", Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartRight, Axis: chartX}
	most := 0.0
	for _, side := range sides {
		for _, r := range side {
			most = max(most, r.Median+r.Deviation)
		}
	}
	y := c.yAxis(most * 1.1) // with room for the numbers above the bars
	slot := float64(chartRight-chartLeft) / float64(len(places))
	width := min(slot*0.8/float64(len(sides)), 70)
	for i, place := range places {
		middle := chartLeft + (float64(i)+0.5)*slot
		c.XTicks = append(c.XTicks, tick{middle, place})
		for s, side := range sides {
			r := side[i]
			if r.Median <= 0 {
				continue
			}
			x := middle + (float64(s)-float64(len(sides))/2)*width
			c.Bars = append(c.Bars, bar{
				X: x + 1, Y: y(r.Median), Width: width - 2, Height: chartX - y(r.Median), Side: s,
				Label: short(r.Median), LabelX: x + width/2, LabelY: y(r.Median+r.Deviation) - 5, Tip: fmt.Sprintf("%s: %s %s", r.Test, r.value(), unitOf(r)),
				Low: y(r.Median - r.Deviation), High: y(r.Median + r.Deviation),
			})
		}
	}
	return c
}

// yAxis makes the ticks up to most and gives where a value lies.
func (c *chart) yAxis(most float64) func(float64) float64 {
	step := niceStep(most / 4)
	top := max(math.Ceil(most/step), 1) * step
	y := func(v float64) float64 { return chartX - (chartX-chartTop)*min(max(v, 0), top)/top }
	for i := 0; float64(i)*step <= top*1.001; i++ {
		c.YTicks = append(c.YTicks, tick{y(float64(i) * step), strconv.FormatFloat(float64(i)*step, 'g', 6, 64)})
	}
	return y
}

// niceStep is the smallest of 1, 2, 5 times a power of ten that is not below x.
func niceStep(x float64) float64 {
	if x <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= x {
			return m * power
		}
	}
	return 10 * power
}

// short is a number with about three digits.
func short(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// histogram is a chart of how the times between tokens lie, stragglers in the last place.
func histogram(title string, sides [][]float64) *chart {
	var all []float64
	for _, s := range sides {
		all = append(all, s...)
	}
	if len(all) == 0 {
		return nil
	}
	low, high := slices.Min(all), min(quantile(all, 0.99), 3*median(all))
	if high <= low {
		high = low + max(low*0.1, 1e-3)
	}
	step := niceStep((high - low) / binsMost * 2)
	low = math.Floor(low/step) * step
	n := int(math.Ceil((high-low)/step)) + 1 // and one for what is above
	c := &chart{Title: title, XLabel: "milliseconds between tokens; the last place holds all that is slower", YLabel: "share of tokens, %",
		Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartRight, Axis: chartX}
	shares := make([][]float64, len(sides))
	most := 0.0
	for s, gaps := range sides {
		shares[s] = make([]float64, n)
		for _, g := range gaps {
			shares[s][min(int((g-low)/step), n-1)] += 100 / float64(len(gaps))
		}
		most = max(most, slices.Max(shares[s]))
	}
	y := c.yAxis(most)
	slot := float64(chartRight-chartLeft) / float64(n)
	width := slot / float64(len(sides))
	for i := range n {
		x := chartLeft + float64(i)*slot
		if i%max((n+7)/8, 1) == 0 {
			c.XTicks = append(c.XTicks, tick{x, strconv.FormatFloat(low+float64(i)*step, 'g', 4, 64)})
		}
		for s := range sides {
			if share := shares[s][i]; share > 0 {
				c.Bars = append(c.Bars, bar{X: x + float64(s)*width, Y: y(share), Width: max(width-0.5, 0.5), Height: chartX - y(share), Side: s,
					Tip: fmt.Sprintf("from %.4g ms: %.1f %%", low+float64(i)*step, share)})
			}
		}
	}
	return c
}

// unitOf is the unit that value leaves out.
func unitOf(r Result) string {
	if r.Unit == UnitMS {
		return ""
	}
	return "tokens per second"
}
