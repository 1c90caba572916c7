package hub

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// File is one file of a repository.
type File struct {
	Path string `json:"path"` // slash-separated
	Size int64  `json:"size"`
	// Blob is what the content must hash to, and its name in the cache: the sha256 (64 digits) of a large file, git's
	// sha1 (40 digits) of a small one.
	Blob string `json:"blob"`
	xet  bool
}

// large says whether the hub keeps the file outside of git.
func (f File) large() bool { return len(f.Blob) == 64 }

const (
	listBytesMax = 64 << 20
	listFilesMax = 20_000
	listPagesMax = 1_000
	fileBytesMax = 1 << 44        // of one file, far above any real one, so that sums cannot overflow
	xetOnly      = 50_000_000_000 // bytes; larger files are not served over plain HTTP
)

// commitOf asks the hub which commit a branch or tag is now.
func (c *Client) commitOf(ctx context.Context, repo, revision string) (string, error) {
	if commit.MatchString(revision) {
		return revision, nil
	}
	var info struct {
		SHA string `json:"sha"`
	}
	q := query{repo: repo, revision: revision, toHub: true}
	address := c.access.Endpoint + "/api/models/" + repo + "/revision/" + url.PathEscape(revision)
	_, err := c.getJSON(ctx, address, q, func(d *json.Decoder) error { return d.Decode(&info) })
	if err != nil {
		return "", err
	}
	if !commit.MatchString(info.SHA) {
		return "", fail(CodeTree, "%s: the hub's answer names no commit for the revision %s, expected 40 hex digits; is %s a hub?", q, revision, c.access.Endpoint)
	}
	return info.SHA, nil
}

// tree lists the files of a commit by name. Files whose name could harm are left out: they cannot be wanted.
func (c *Client) tree(ctx context.Context, repo, hash string) (map[string]File, error) {
	q := query{repo: repo, revision: hash, toHub: true}
	l := &listing{q: q, files: map[string]File{}}
	seen := map[string]bool{}
	next := c.access.Endpoint + "/api/models/" + repo + "/tree/" + hash + "?recursive=true"
	for next != "" {
		if seen[next] || len(seen) >= listPagesMax {
			return nil, fail(CodeTree, "%s: the list of files has more than %d pages, or leads back to itself", q, listPagesMax)
		}
		seen[next] = true
		header, err := c.getJSON(ctx, next, q, l.read)
		if err != nil {
			return nil, err
		}
		if next, err = c.nextPage(header, next, q); err != nil {
			return nil, err
		}
	}
	return l.files, nil
}

// listing collects the pages of a tree.
type listing struct {
	q       query
	files   map[string]File
	entries int
}

// entry is one line of the hub's list.
type entry struct {
	Type string  `json:"type"`
	Path string  `json:"path"`
	OID  string  `json:"oid"`
	Size int64   `json:"size"`
	Xet  *string `json:"xetHash"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

func (l *listing) read(d *json.Decoder) error {
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return fail(CodeTree, "%s: the list of files is no list", l.q)
	}
	for d.More() {
		if l.entries++; l.entries > listFilesMax {
			return fail(CodeTree, "%s: the list has more than %d files and folders, which is no model's repository", l.q, listFilesMax)
		}
		var e entry
		if err := d.Decode(&e); err != nil {
			return err
		}
		if e.Type != "file" || !isSafe(e.Path) {
			continue
		}
		f := File{Path: e.Path, Size: e.Size, Blob: e.OID, xet: e.Xet != nil && *e.Xet != ""}
		digits := 40
		if e.LFS != nil {
			f.Size, f.Blob, digits = e.LFS.Size, strings.TrimPrefix(e.LFS.OID, "sha256:"), 64
		}
		if _, err := hex.DecodeString(f.Blob); err != nil || len(f.Blob) != digits || strings.ToLower(f.Blob) != f.Blob {
			return fail(CodeTree, "%s: the hash of %s is %.80q, expected %d hex digits", l.q, e.Path, f.Blob, digits)
		}
		if f.Size < 0 || f.Size > fileBytesMax {
			return fail(CodeTree, "%s: the size of %s is %d", l.q, e.Path, f.Size)
		}
		if _, twice := l.files[e.Path]; twice {
			return fail(CodeTree, "%s: %s is in the list twice", l.q, e.Path)
		}
		l.files[e.Path] = f
	}
	_, err := d.Token()
	return err
}

// getJSON fetches an answer of the hub's API, with retries, and gives it to read once it is whole.
func (c *Client) getJSON(ctx context.Context, address string, q query, read func(*json.Decoder) error) (http.Header, error) {
	var body []byte
	var header http.Header
	err := c.insist(ctx, nil, func() (bool, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		a, err := c.get(ctx, address, nil)
		if err != nil {
			return false, err
		}
		defer a.Body.Close()
		if err := c.checkStatus(a, q); err != nil {
			return false, err
		}
		if e := a.Header.Get("Content-Encoding"); e != "" && e != "identity" {
			return false, encodingError(q, e)
		}
		header = a.Header
		body, err = io.ReadAll(io.LimitReader(newSteady(a.Body, cancel), listBytesMax+1))
		if err != nil {
			return false, c.bodyError(ctx, q, err)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if len(body) > listBytesMax {
		return nil, fail(CodeTree, "%s: the answer has more than %d MiB", q, listBytesMax>>20)
	}
	var known *Error
	err = read(json.NewDecoder(bytes.NewReader(body)))
	switch {
	case errors.As(err, &known):
		return nil, known
	case err != nil:
		return nil, fail(CodeTree, "%s: the hub's answer is no JSON of the form expected%s", q, looks(body)).because(err)
	}
	return header, nil
}

// nextPage is the address of the page that follows, "" after the last one.
func (c *Client) nextPage(h http.Header, page string, q query) (string, error) {
	for _, link := range strings.Split(strings.Join(h.Values("Link"), ","), ",") {
		address, rel, _ := strings.Cut(strings.TrimSpace(link), ">")
		if !strings.HasPrefix(address, "<") || !strings.Contains(rel, `rel="next"`) {
			continue
		}
		base, err := url.Parse(page)
		if err != nil {
			return "", err
		}
		u, err := base.Parse(address[1:])
		if err != nil || !sameOrigin(u, c.hub) || u.User != nil {
			return "", fail(CodeTree, "%s: the list goes on at another server", q)
		}
		return u.String(), nil
	}
	return "", nil
}

// bodyError says why an answer broke off.
func (c *Client) bodyError(ctx context.Context, q query, err error) error {
	switch {
	case isCancelled(ctx):
		return ctx.Err()
	case errors.Is(err, errStalled) || errors.Is(context.Cause(ctx), errStalled):
		return fail(CodeStall, "%s: the server gave no byte for %v, or less than 1 kB/s for %v", q, silenceMax/time.Second*time.Second, window).retry(againLater)
	}
	return fail(CodeConnect, "%s: the connection broke off", q).because(c.scrub(err)).retry(againLater)
}

func encodingError(q query, encoding string) error {
	return fail(CodeEncoding, "%s: the server sends it compressed (Content-Encoding %.20q) though that was not asked for; a proxy may do that", q, encoding)
}

// looks adds what a body really is, where that explains an error.
func looks(head []byte) string {
	s := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(string(head[:min(len(head), 512)]), "\ufeff")))
	switch {
	case strings.HasPrefix(s, "<!doctype html"), strings.HasPrefix(s, "<html"), strings.HasPrefix(s, "<head"):
		return "; it is a web page: a login page of this network, or a proxy's, answers instead of the hub"
	case strings.HasPrefix(s, "version https://git-lfs"):
		return "; it is a pointer of git LFS instead of the file: this server or mirror does not have the file itself"
	}
	return ""
}

// reserved are names that Windows gives to devices; caches are shared with it.
var reserved = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$`)

// isSafe says whether a name of the hub's may become a path below a folder of this machine, on whatever file system.
func isSafe(name string) bool {
	if name == "" || len(name) > 1024 || !utf8.ValidString(name) || path.Clean(name) != name || path.IsAbs(name) {
		return false
	}
	if strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(`\:*?"<>|`, r)
	}) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || part == "." || len(part) > 255 || reserved.MatchString(part) || strings.HasSuffix(part, ".") || strings.TrimSpace(part) != part {
			return false
		}
	}
	return true
}
