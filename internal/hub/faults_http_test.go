package hub

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

// isWeights says whether a request is for the contents of the q4 graph's weights.
func (w *world) isWeights(r *http.Request) bool {
	return r.URL.Path == "/blobs/"+hubtest.SHA256(w.files["onnx/model_q4.onnx_data"])
}

// onWeights orders a fault for the first n requests (0 for all) for the weights; the others are answered as usual.
func (w *world) onWeights(n int, f func(out http.ResponseWriter, r *http.Request, body []byte)) {
	seen := 0
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if !w.isWeights(r) {
			return false
		}
		w.mutex.Lock()
		seen++
		mine := n == 0 || seen <= n
		w.mutex.Unlock()
		if mine {
			f(out, r, w.files["onnx/model_q4.onnx_data"])
		}
		return mine
	})
}

// weightRequests are the requests for the weights so far.
func (w *world) weightRequests() (requests []hubtest.Request) {
	for _, r := range w.hub.Requests() {
		if r.CDN && strings.HasSuffix(r.Path, hubtest.SHA256(w.files["onnx/model_q4.onnx_data"])) {
			requests = append(requests, r)
		}
	}
	return requests
}

// The statuses that end a pull at once, each with its own words.
func TestStatusFinal_D01_D02_D03_D07(t *testing.T) {
	tests := []struct {
		name   string
		path   string // that the answer is for
		status int
		header []string
		code   Code
		words  []string
	}{
		{"D-01 no token or a bad one", "/api/", 401, nil, CodeAuth, []string{"token is missing or invalid", "HF_TOKEN"}},
		{"D-01 private or not there", "/api/", 401, []string{"X-Error-Code", "RepoNotFound"}, CodeAuth, []string{"no repository owner/model", "private", "HF_TOKEN"}},
		{"D-02 gated", "/resolve/", 403, []string{"X-Error-Code", "GatedRepo"}, CodeGated, []string{"accept the author's conditions", "/owner/model", "HF_TOKEN"}},
		{"D-02 gated without a word", "/api/", 403, nil, CodeGated, []string{"/owner/model"}},
		{"D-03 repository", "/api/", 404, []string{"X-Error-Code", "RepoNotFound"}, CodeRepo, []string{"there is no repository owner/model"}},
		{"D-03 revision", "/api/", 404, []string{"X-Error-Code", "RevisionNotFound"}, CodeRevision, []string{"no revision main"}},
		{"D-03 file", "/resolve/", 404, []string{"X-Error-Code", "EntryNotFound"}, CodeEntry, []string{"no such file"}},
		{"D-07 400", "/resolve/", 400, nil, CodeHTTP, []string{"answers 400"}},
		{"D-07 410", "/blobs/", 410, nil, CodeHTTP, []string{"answers 410"}},
		{"D-07 451 with words", "/api/", 451, []string{"X-Error-Message", "not \u202ehere, " + canary}, CodeHTTP, []string{"answers 451", "***"}},
		{"a header that is none, with the token in it", "/api/", 200, []string{"X-Words", "\x1b[31m" + canary}, CodeConnect, []string{"***"}},
		{"204 is no file", "/blobs/", 204, nil, CodeHTTP, []string{"answers 204"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, test.path) {
					return false
				}
				answer(test.status, test.header...)(out)
				return true
			})
			_, err := w.pull(PlanOptions{})
			w.wantError(err, test.code, test.words...)
			if len(w.pauses) > 0 && test.code != CodeConnect {
				t.Errorf("it was tried again after %v", w.pauses)
			}
			if strings.ContainsAny(err.Error(), "\x1b\u202e") {
				t.Errorf("control characters in %q", err)
			}
		})
	}
}

func TestRangeNotSatisfiable_D04(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "always": 0} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.leave(100_000, "")
			w.onWeights(times, func(out http.ResponseWriter, r *http.Request, body []byte) {
				answer(416, "Content-Range", "bytes */7")(out)
			})
			_, err := w.pull(PlanOptions{})
			if times == 0 {
				w.wantError(err, CodeRange, "no such part")
				if n := len(w.weightRequests()); n != 2 {
					t.Errorf("%d requests, want one more from the beginning", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.whole(q4Files...)
			if r := w.weightRequests(); len(r) != 2 || r[0].Header.Get("Range") != "bytes=100000-" || r[1].Header.Get("Range") != "" {
				t.Errorf("requests %v", r)
			}
		})
	}
}

// leave puts the first n bytes of the weights into the cache, as an interrupted download does.
func (w *world) leave(n int, etag string) (path string) {
	w.Helper()
	r := w.env.repo(testRepo)
	path = r.blob(hubtest.SHA256(w.files["onnx/model_q4.onnx_data"]) + ".0123456789abcdef" + incomplete)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, w.files["onnx/model_q4.onnx_data"][:n], 0o644); err != nil {
		w.Fatal(err)
	}
	if etag != "" {
		if err := os.WriteFile(path+etagSuffix, []byte(etag), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	return path
}

// A folder may have any name: none of its characters is a pattern.
func TestGoesOnInAnyFolder_D08(t *testing.T) {
	w := newWorld(t)
	w.env.Cache = filepath.Join(t.TempDir(), `[models] *?\`, "hub")
	w.client = w.newClient(w.client.access)
	w.leave(100_000, "")
	p, err := w.pull(PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
	if r := w.weightRequests(); len(r) != 1 || r[0].Header.Get("Range") != "bytes=100000-" {
		t.Errorf("requests %v, want one for the rest", r)
	}
	if p.Missing >= p.Total()-99_999 {
		t.Errorf("%d of %d bytes were said to be missing, though 100000 of them were there", p.Missing, p.Total())
	}
}

func TestTooManyRequests_D05(t *testing.T) {
	date := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) []string {
		return []string{"Retry-After", date.Add(d).Format(http.TimeFormat), "Date", date.Format(http.TimeFormat)}
	}
	tests := []struct {
		name   string
		header []string
		want   time.Duration
	}{
		{"seconds", []string{"Retry-After", "7"}, 7 * time.Second},
		{"a date", at(9 * time.Second), 9 * time.Second},
		{"capped", []string{"Retry-After", "86400"}, time.Minute},
		{"a date far off", at(1e6 * time.Second), time.Minute},
		{"a date gone by", at(-time.Hour), time.Second / 2},
		{"negative", []string{"Retry-After", "-3"}, time.Second / 2},
		{"nonsense", []string{"Retry-After", "soon"}, time.Second / 2},
		{"nothing", nil, time.Second / 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.onWeights(1, func(out http.ResponseWriter, r *http.Request, body []byte) { answer(429, test.header...)(out) })
			if _, err := w.pull(PlanOptions{}); err != nil || !slices.Equal(w.pauses, []time.Duration{test.want}) {
				t.Errorf("got pauses %v, %v; want %v", w.pauses, err, test.want)
			}
		})
	}
	t.Run("five tries", func(t *testing.T) {
		w := newWorld(t)
		w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) { answer(429)(out) })
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeRate, "answers 429")
		if n := len(w.weightRequests()); n != 5 {
			t.Errorf("%d tries, want 5", n)
		}
	})
	t.Run("jitter", func(t *testing.T) {
		w := newWorld(t)
		w.client.jitter = func() float64 { return 1 }
		w.onWeights(1, func(out http.ResponseWriter, r *http.Request, body []byte) { answer(429, "Retry-After", "7")(out) })
		if _, err := w.pull(PlanOptions{}); err != nil || w.pauses[0] <= 7*time.Second || w.pauses[0] > 8*time.Second {
			t.Errorf("got pauses %v, %v; want a little more than 7 s", w.pauses, err)
		}
	})
}

func TestServerErrors_D06(t *testing.T) {
	for _, status := range []int{408, 500, 502, 503, 504} {
		w := newWorld(t)
		w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) { answer(status)(out) })
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeServer, fmt.Sprint(status))
		if want := []time.Duration{5e8, 1e9, 2e9, 4e9}; !slices.Equal(w.pauses, want) {
			t.Errorf("%d: pauses %v, want %v", status, w.pauses, want)
		}
	}
	// The list and the commit are tried again too.
	w := newWorld(t)
	seen := map[string]bool{}
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		first := strings.HasPrefix(r.URL.Path, "/api/") && !seen[r.URL.Path]
		seen[r.URL.Path] = true
		if first {
			answer(503)(out)
		}
		return first
	})
	if _, err := w.pull(PlanOptions{}); err != nil || len(w.pauses) != 2 {
		t.Errorf("the list: %v after %v", err, w.pauses)
	}
}

// A server that always breaks off but gets on is never given up; one that does not is.
func TestCountBeginsAnewWithProgress_D06_D08(t *testing.T) {
	w := newWorld(t)
	w.files["onnx/model_q4.onnx_data"] = bytes.Repeat([]byte("0123456789abcdef"), 70_000)
	w.files["onnx/model_q4.onnx"] = graphOf("model_q4.onnx_data", 1_120_000)
	w.commit = w.hub.Add(testRepo, "main", w.files)
	w.onWeights(0, cut(100_000))
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
	requests := w.weightRequests()
	if len(requests) != 12 {
		t.Errorf("%d requests, want 12", len(requests))
	}
	for i, r := range requests[1:] {
		if want := fmt.Sprintf("bytes=%d-", (i+1)*100_000); r.Header.Get("Range") != want || r.Header.Get("If-Range") == "" {
			t.Errorf("request %d: Range %q, If-Range %q; want %q and the etag", i+1, r.Header.Get("Range"), r.Header.Get("If-Range"), want)
		}
	}
	w = newWorld(t)
	w.onWeights(0, cut(10))
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeSize, "the connection ended after 50 of 200000 bytes")
	if w.blobsAreRight() == 0 {
		t.Error("what had arrived was thrown away")
	}
	w.hub.Fault(nil)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
}

// cut answers with n bytes less than it announces.
func cut(n int) func(out http.ResponseWriter, r *http.Request, body []byte) {
	return func(out http.ResponseWriter, r *http.Request, body []byte) {
		from := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		out.Header().Set("Etag", `"`+hubtest.SHA256(body)+`"`)
		out.Header().Set("Content-Length", fmt.Sprint(len(body)-from))
		if from > 0 {
			out.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
			out.WriteHeader(http.StatusPartialContent)
		}
		_, _ = out.Write(body[from:min(from+n, len(body))])
	}
}

func TestRangeIgnored_D09(t *testing.T) {
	w := newWorld(t)
	w.leave(100_000, "")
	w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = out.Write(body)
	})
	p, err := w.pull(PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
	if last := w.events[len(w.events)-1]; last.Done != p.Total() {
		t.Errorf("%d of %d bytes are counted", last.Done, p.Total())
	}
}

func TestWrongContentRange_D10(t *testing.T) {
	for _, header := range []string{"bytes 0-199999/200000", "bytes 100000-199999/300000", "bytes 100001-199999/200000", "bytes 100000-199998/200000", "", "items 1-2/3"} {
		w := newWorld(t)
		w.leave(100_000, "")
		w.onWeights(1, func(out http.ResponseWriter, r *http.Request, body []byte) {
			out.Header().Set("Content-Range", header)
			out.WriteHeader(http.StatusPartialContent)
			_, _ = out.Write(body[:100_000])
		})
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Errorf("%q: %v", header, err)
		}
		w.whole(q4Files...)
		if r := w.weightRequests(); len(r) != 2 || r[1].Header.Get("Range") != "" {
			t.Errorf("%q: requests %v, want a second one from the beginning", header, r)
		}
	}
	// A part that nobody asked for.
	w := newWorld(t)
	w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Content-Range", "bytes 0-199999/200000")
		out.WriteHeader(http.StatusPartialContent)
		_, _ = out.Write(body)
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeRange, "a part though the whole was asked for")
}

func TestTooLong_D11(t *testing.T) {
	w := newWorld(t)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/tokenizer.json") { // without a length, so that only counting tells
			_, _ = out.Write(w.files["tokenizer.json"])
			out.(http.Flusher).Flush()
			for range 100 {
				if _, err := out.Write(make([]byte, 1<<20)); err != nil {
					return true
				}
			}
			t.Error("all of 100 MB was read")
			return true
		}
		return false
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeSize, "more than the expected 18 bytes", "tokenizer.json")
	w = newWorld(t)
	w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Content-Length", "200004")
		_, _ = out.Write(append(slices.Clone(body), "more"...))
	})
	_, err = w.pull(PlanOptions{})
	w.wantError(err, CodeSize, "announces 200004 bytes, expected 200000")
}

func TestNoLength_D12(t *testing.T) {
	w := newWorld(t)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tokenizer.json") {
			return false
		}
		_, _ = out.Write(w.files["tokenizer.json"][:5])
		out.(http.Flusher).Flush()
		_, _ = out.Write(w.files["tokenizer.json"][5:])
		return true
	})
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Errorf("a small file: %v", err)
	}
	w.whole(q4Files...)
	w = newWorld(t)
	w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) {
		_, _ = out.Write(body[:1000])
		out.(http.Flusher).Flush()
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeSize, "does not say how long it is")
}

func TestCompressed_D13(t *testing.T) {
	for _, path := range []string{"/api/", "/tokenizer.json", "/blobs/"} {
		w := newWorld(t)
		w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("Accept-Encoding is %q", r.Header.Get("Accept-Encoding"))
			}
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			answer(200, "Content-Encoding", "gzip", "Content-Length", "4")(out)
			_, _ = out.Write([]byte("\x1f\x8bxx"))
			return true
		})
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeEncoding, "gzip")
	}
}
