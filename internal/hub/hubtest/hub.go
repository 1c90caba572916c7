// Package hubtest is a Hub on this machine for tests: the part of its API that downloads need, over repositories in
// memory, with a second server in the place of its content network, and faults to order.
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Hub is an http.Handler of the Hub's API; CDN is the one that large files are redirected to.
type Hub struct {
	// URL and CDN are where the two servers are.
	URL, CDN string
	// Page is how many files one page of a list has, 0 for all.
	Page int

	mutex    sync.Mutex
	repos    map[string]map[string]*snapshot // owner/name, commit
	branches map[string]map[string]string    // owner/name, branch -> commit
	blobs    map[string][]byte               // sha256 -> content
	fault    func(w http.ResponseWriter, r *http.Request) bool
	requests []Request
}

type snapshot struct {
	files map[string][]byte
	names map[string]string // file -> name of its blob
}

// Request is one that a server got.
type Request struct {
	Host, Method, Path string
	Header             http.Header
	CDN                bool
}

// New starts both servers.
func New(t testing.TB) *Hub {
	t.Helper()
	h := &Hub{repos: map[string]map[string]*snapshot{}, branches: map[string]map[string]string{}, blobs: map[string][]byte{}}
	main, content := httptest.NewServer(h.Handler()), httptest.NewServer(h.Content())
	t.Cleanup(func() {
		main.CloseClientConnections()
		content.CloseClientConnections()
		main.Close()
		content.Close()
	})
	h.URL, h.CDN = main.URL, content.URL
	return h
}

// Add puts files on a branch of a repository as a new commit, which it returns. Files whose names end as those of graphs
// and their data do are large ones.
func (h *Hub) Add(repo, branch string, files map[string][]byte) (commit string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	sum, names := sha1.New(), map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names[name] = Blob(name, files[name])
		fmt.Fprintf(sum, "%s %d %s\n", name, len(files[name]), names[name])
		if IsLarge(name) {
			h.blobs[names[name]] = files[name]
		}
	}
	commit = hex.EncodeToString(sum.Sum(nil))
	if h.repos[repo] == nil {
		h.repos[repo], h.branches[repo] = map[string]*snapshot{}, map[string]string{}
	}
	h.repos[repo][commit] = &snapshot{maps.Clone(files), names}
	h.branches[repo][branch] = commit
	return commit
}

// IsLarge says whether the hub keeps a file of this name outside of git.
func IsLarge(name string) bool {
	return strings.HasSuffix(name, ".onnx") || strings.Contains(name, "data")
}

// SHA256 is the name of a large file's blob.
func SHA256(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// GitSHA1 is the name of a small file's blob.
func GitSHA1(b []byte) string {
	s := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(s[:])
}

// Blob is the name of a file's blob.
func Blob(name string, b []byte) string {
	if IsLarge(name) {
		return SHA256(b)
	}
	return GitSHA1(b)
}

// Fault lets f answer requests of both servers instead of them, as long as it returns true.
func (h *Hub) Fault(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.fault = f
}

// Requests are those that came so far.
func (h *Hub) Requests() []Request {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return slices.Clone(h.requests)
}

// Downloads counts the requests for contents so far.
func (h *Hub) Downloads() (n int) {
	for _, r := range h.Requests() {
		if r.Method == http.MethodGet && (r.CDN || strings.Contains(r.Path, "/resolve/")) {
			n++
		}
	}
	return n
}

// first notes a request and answers it if a fault was ordered.
func (h *Hub) first(w http.ResponseWriter, r *http.Request, cdn bool) bool {
	h.mutex.Lock()
	h.requests = append(h.requests, Request{r.Host, r.Method, r.URL.Path, r.Header.Clone(), cdn})
	f := h.fault
	h.mutex.Unlock()
	return f != nil && f(w, r)
}

// Handler is the hub.
func (h *Hub) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.first(w, r, false) {
			return
		}
		path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
		if rest, ok := strings.CutPrefix(path, "api/models/"); ok {
			h.api(w, r, rest)
			return
		}
		repo, rest, ok := strings.Cut(path, "/resolve/")
		revision, file, named := strings.Cut(rest, "/")
		if !ok || !named {
			http.NotFound(w, r)
			return
		}
		h.resolve(w, r, repo, unescape(revision), unescape(file))
	})
}

func unescape(s string) string {
	u, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return u
}

// refuse answers as the Hub does when there is no such thing.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", code)
	http.Error(w, code, status)
}

func (h *Hub) find(w http.ResponseWriter, repo, revision string) (*snapshot, string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.repos[repo] == nil {
		refuse(w, http.StatusNotFound, "RepoNotFound")
		return nil, ""
	}
	if c := h.branches[repo][revision]; c != "" {
		revision = c
	}
	s := h.repos[repo][revision]
	if s == nil {
		refuse(w, http.StatusNotFound, "RevisionNotFound")
	}
	return s, revision
}

func (h *Hub) api(w http.ResponseWriter, r *http.Request, rest string) {
	parts := strings.Split(rest, "/")
	if len(parts) == 2 {
		parts = append(parts, "revision", "main")
	}
	if len(parts) < 4 {
		http.NotFound(w, r)
		return
	}
	repo := parts[0] + "/" + parts[1]
	s, commit := h.find(w, repo, unescape(parts[3]))
	if s == nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch parts[2] {
	case "revision":
		var siblings []map[string]any
		for _, name := range slices.Sorted(maps.Keys(s.files)) {
			siblings = append(siblings, map[string]any{"rfilename": name})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": repo, "modelId": repo, "sha": commit, "private": false, "gated": false, "tags": []string{}, "siblings": siblings})
	case "tree":
		h.tree(w, r, s)
	}
}

func (h *Hub) tree(w http.ResponseWriter, r *http.Request, s *snapshot) {
	list := []map[string]any{}
	dirs := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		for i, c := range name {
			if dir := name[:i]; c == '/' && !dirs[dir] {
				dirs[dir] = true
				list = append(list, map[string]any{"type": "directory", "oid": GitSHA1(nil), "size": 0, "path": dir})
			}
		}
		b := s.files[name]
		e := map[string]any{"type": "file", "oid": s.names[name], "size": len(b), "path": name}
		if IsLarge(name) {
			e["oid"] = GitSHA1([]byte("pointer " + name))
			e["lfs"] = map[string]any{"oid": s.names[name], "size": len(b), "pointerSize": 134}
		}
		list = append(list, e)
	}
	if h.Page > 0 {
		var from int
		_, _ = fmt.Sscanf(r.URL.Query().Get("cursor"), "%d", &from)
		if to := from + h.Page; to < len(list) {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, h.URL, r.URL.Path, to))
			list = list[:to]
		}
		list = list[min(from, len(list)):]
	}
	_ = json.NewEncoder(w).Encode(list)
}

func (h *Hub) resolve(w http.ResponseWriter, r *http.Request, repo, revision, file string) {
	s, commit := h.find(w, repo, revision)
	if s == nil {
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	b, ok := s.files[file]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound")
		return
	}
	if IsLarge(file) {
		sum := s.names[file]
		w.Header().Set("X-Linked-Etag", `"`+sum+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(b)))
		w.Header().Set("Location", h.CDN+"/blobs/"+sum+"?Signature=secret-of-the-address")
		w.WriteHeader(http.StatusFound)
		return
	}
	w.Header().Set("Etag", `"`+s.names[file]+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// Content is the content network: blobs by their hash.
func (h *Hub) Content() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.first(w, r, true) {
			return
		}
		sum := strings.TrimPrefix(r.URL.Path, "/blobs/")
		h.mutex.Lock()
		b, ok := h.blobs[sum]
		h.mutex.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Etag", `"`+sum+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
}
