package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
)

//go:embed page.html
var pageTemplate string

// HTML writes one page that needs nothing else: charts and tables of the report and, unless it is nil, of another beside it.
func (r Report) HTML(w io.Writer, beside *Report) error {
	reports := []Report{r}
	if beside != nil {
		reports = append(reports, *beside)
	}
	page := struct {
		Title   string
		Charts  []*chart
		Reports []Report
		Names   []string
		Tables  [][][]string
		Notes   [][]string
	}{Title: r.Model + ", benchmark", Reports: reports, Charts: charts(reports)}
	for i, r := range reports {
		name := fmt.Sprintf("%s, %s %s, %s, %d threads", r.Model, r.Layout, r.Variant, r.Provider, r.Threads)
		if i == 1 {
			name = "beside it: " + name
		}
		page.Names, page.Tables, page.Notes = append(page.Names, name), append(page.Tables, r.rows()), append(page.Notes, r.notes())
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("BUG: bench: read the page's template: %w", err)
	}
	return t.Execute(w, page)
}

// charts are those that the results have values for. Tests that differ in more than their place are left out.
func charts(reports []Report) (list []*chart) {
	writes := func(t Test) bool { return t.Kind == Plain && t.Prompt == 0 }
	single := first(reports, func(t Test) bool { return writes(t) && t.Rows <= 1 })
	batch := first(reports, func(t Test) bool { return writes(t) && t.Rows > 1 })
	for _, c := range []struct {
		title, label string
		place        func(Test) (int, bool)
	}{
		{"Reading, by length of the prompt", "tokens of the prompt", func(t Test) (int, bool) {
			return t.Prompt, t.Kind == Plain && t.Generate == 0 && t.Depth == 0
		}},
		{"Writing, by depth", "tokens in the cache before", func(t Test) (int, bool) {
			return t.Depth, writes(t) && t.Rows <= 1 && t.Generate == single.Generate
		}},
		{"Writing, by batch", "rows at once; the rate is that of all together", func(t Test) (int, bool) {
			return max(t.Rows, 1), writes(t) && t.Generate == batch.Generate && t.Depth == batch.Depth
		}},
	} {
		if drawn := byPlace(reports, c.title, c.label, c.place); drawn != nil {
			list = append(list, drawn)
		}
	}
	if drawn := gapsChart(reports); drawn != nil {
		list = append(list, drawn)
	}
	return list
}

// first is the first test of its kind, or none.
func first(reports []Report, is func(Test) bool) Test {
	for _, r := range reports {
		for _, result := range r.Results {
			if t, err := Parse(result.Test); err == nil && is(t) {
				return t
			}
		}
	}
	return Test{}
}

// byPlace is a chart of the tests that have a place in it; of several at one place the first counts.
func byPlace(reports []Report, title, label string, place func(Test) (int, bool)) *chart {
	found := make([]map[int]Result, len(reports))
	places := map[int]bool{}
	for s, r := range reports {
		found[s] = map[int]Result{}
		for _, result := range r.Results {
			t, err := Parse(result.Test)
			if err != nil {
				continue
			}
			at, ok := place(t)
			if _, taken := found[s][at]; ok && !taken {
				found[s][at], places[at] = result, true
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	order := slices.Sorted(maps.Keys(places))
	names := make([]string, len(order))
	sides := make([][]Result, len(reports))
	for i, at := range order {
		names[i] = fmt.Sprint(at)
		for s := range reports {
			sides[s] = append(sides[s], found[s][at])
		}
	}
	return bars(title, label, names, sides)
}

// gapsChart is the histogram of the first test that has times between tokens, and of the same test beside it.
func gapsChart(reports []Report) *chart {
	for _, r := range reports[0].Results {
		if len(r.GapsMS) == 0 {
			continue
		}
		sides := [][]float64{r.GapsMS}
		if len(reports) > 1 {
			if other := reports[1].find(r.Test); other != nil && len(other.GapsMS) > 0 {
				sides = append(sides, other.GapsMS)
			}
		}
		return histogram("Time between tokens, "+r.Test, sides)
	}
	return nil
}
