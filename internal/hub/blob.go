package hub

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const copyBytes = 256 << 10

// settled is how many bytes an attempt must bring so that the count of failures begins anew.
const settled = 64 << 10

// download brings one blob into the cache, unless it is there and right. The bytes that arrive are reported; a restart
// reports them negatively.
func (c *Client) download(ctx context.Context, p *Plan, f File, resume bool, on *progress) error {
	r := c.env.repo(p.Repo)
	free, err := c.hold(ctx, r.lockOf(f.Blob), func() { on.note(Waiting, f.Path, "another program is downloading it") })
	if err != nil {
		return err
	}
	defer free()
	if ok, err := c.isHere(ctx, r, p.Commit, f, on); ok || err != nil {
		return err
	}
	part, err := c.adopt(ctx, r, f, resume)
	if err != nil {
		return err
	}
	on.add(part.size)
	on.note(Started, f.Path, resumeNote(part.size))
	err = c.fill(ctx, p, part, on)
	if err == nil {
		err = part.promote(r.blob(f.Blob))
	}
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == CodeHash {
		// Once more from nothing, with a file of its own: the fault may have been in what was left from before.
		on.add(-part.size)
		on.note(Retrying, f.Path, "the hash is wrong; once more from the beginning")
		if err = part.restart(); err == nil {
			err = c.fill(ctx, p, part, on)
		}
		if err == nil {
			err = part.promote(r.blob(f.Blob))
		}
	}
	part.Close()
	if e := (*Error)(nil); errors.As(err, &e) && !keep(e) {
		c.discard(part.path)
	}
	if err == nil {
		on.note(Stored, f.Path, "")
	}
	return err
}

// keep says whether what has arrived may serve a later attempt.
func keep(e *Error) bool {
	if e.again == againLater {
		return true
	}
	switch e.Code {
	case CodeHash, CodeSize, CodeEncoding:
		return false
	}
	return !errors.Is(e, syscall.EIO) // what a failing disk has kept is not known
}

func resumeNote(size int64) string {
	if size == 0 {
		return ""
	}
	return fmt.Sprintf("goes on at byte %d", size)
}

// isHere says whether the right blob is in the cache. A wrong one is removed.
func (c *Client) isHere(ctx context.Context, r repo, hash string, f File, on *progress) (bool, error) {
	for _, path := range []string{r.blob(f.Blob), r.link(hash, f.Path)} {
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if path != r.blob(f.Blob) && !info.Mode().IsRegular() {
			continue // a link, and what it leads to was looked at
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			on.note(Checking, f.Path, "")
			sum, err := sumFile(ctx, path, f)
			if err != nil {
				return false, err
			}
			if sum == f.Blob {
				on.add(f.Size)
				on.note(Here, f.Path, "")
				return true, nil
			}
		}
		on.note(Retrying, f.Path, "what is in the cache is damaged")
		if !info.IsDir() {
			if err := c.disk.Remove(path); err != nil {
				return false, diskError("remove the damaged file "+path, err)
			}
		}
	}
	return false, nil
}

// sumFile is the hash of a file on the disk, in the way that its name was made.
func sumFile(ctx context.Context, path string, f File) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", diskError("read "+path, err)
	}
	defer file.Close()
	h := newHash(f)
	if _, err := io.CopyBuffer(onlyWriter{h}, &cancellable{ctx, onlyReader{file}}, make([]byte, copyBytes)); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", diskError("read "+path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fill downloads what is missing, over as many connections as it takes.
func (c *Client) fill(ctx context.Context, p *Plan, part *partial, on *progress) error {
	restarts := 0
	wait := func(pause time.Duration, err error) {
		on.note(Retrying, part.want.Path, fmt.Sprintf("in %.1f s: %v", pause.Seconds(), err))
	}
	for {
		err := c.insist(ctx, wait, func() (bool, error) {
			before := part.size
			err := c.attempt(ctx, p, part, on)
			return part.size-before >= settled, err
		})
		var e *Error
		if err == nil || !errors.As(err, &e) || e.again != againRestart || restarts > 0 {
			return err
		}
		restarts++
		on.add(-part.size)
		on.note(Retrying, part.want.Path, "from the beginning: "+err.Error())
		if err := part.restart(); err != nil {
			return err
		}
	}
}

// attempt asks once for what is missing and appends it.
func (c *Client) attempt(ctx context.Context, p *Plan, part *partial, on *progress) error {
	f := part.want
	if part.size == f.Size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if part.size > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", part.size))
		if part.etag != "" {
			header.Set("If-Range", part.etag)
		}
	}
	a, err := c.get(ctx, c.address(p, f), header)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	q := query{repo: p.Repo, revision: p.Commit, file: f.Path, toHub: sameOrigin(a.Request.URL, c.hub)}
	if err := c.checkStatus(a, q); err != nil {
		return err
	}
	if e := a.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return encodingError(q, e)
	}
	switch etag := a.Header.Get("Etag"); {
	case part.size == 0 && a.StatusCode == http.StatusOK:
		part.setETag(etag)
	case part.size == 0:
		return fail(CodeRange, "%s: the server sends a part though the whole was asked for", q)
	case a.StatusCode == http.StatusOK: // it ignores ranges, or the file changed
		on.add(-part.size)
		if err := part.restart(); err != nil {
			return err
		}
		part.setETag(etag)
	default:
		if err := checkRange(a.Header.Get("Content-Range"), part.size, f.Size, q); err != nil {
			return err
		}
		if part.etag != "" && isStrong(etag) && etag != part.etag {
			return fail(CodeRange, "%s: the file changed at the server in between", q).retry(againRestart)
		}
	}
	return c.receive(ctx, a, part, q, on, cancel)
}

// address is where the hub serves a file of the plan's commit.
func (c *Client) address(p *Plan, f File) string {
	parts := strings.Split(f.Path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return c.access.Endpoint + "/" + p.Repo + "/resolve/" + p.Commit + "/" + strings.Join(parts, "/")
}

func checkRange(got string, from, size int64, q query) error {
	want := fmt.Sprintf("bytes %d-%d/%d", from, size-1, size)
	if strings.Join(strings.Fields(got), " ") != want {
		return fail(CodeRange, "%s: the server sends the part %.60q, expected %q", q, got, want).retry(againRestart)
	}
	return nil
}

// receive appends the body. It stops one byte after the expected end.
func (c *Client) receive(ctx context.Context, a *http.Response, part *partial, q query, on *progress, cancel context.CancelCauseFunc) error {
	f := part.want
	missing := f.Size - part.size
	body := newSteady(a.Body, cancel)
	if n := a.ContentLength; n >= 0 && n != missing {
		head, _ := io.ReadAll(io.LimitReader(body, 512))
		return fail(CodeSize, "%s: the server announces %d bytes, expected %d%s", q, n, missing, looks(head))
	} else if n < 0 && f.large() {
		return fail(CodeSize, "%s: the server does not say how long it is, expected %d bytes; a proxy may do that", q, missing)
	}
	buffer := make([]byte, min(copyBytes, missing+1))
	for {
		n, err := body.Read(buffer[:min(int64(len(buffer)), f.Size-part.size+1)])
		if int64(n) > f.Size-part.size {
			return fail(CodeSize, "%s: the server sends more than the expected %d bytes%s", q, f.Size, looks(part.head))
		}
		if n > 0 {
			written, writeErr := part.Write(buffer[:n])
			on.add(int64(written))
			if writeErr != nil {
				return diskError("write "+part.path, writeErr)
			}
		}
		switch {
		case err == io.EOF && part.size == f.Size:
			return nil
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return fail(CodeSize, "%s: the connection ended after %d of %d bytes%s", q, part.size, f.Size, looks(part.head)).retry(againLater)
		case err != nil:
			return c.bodyError(ctx, q, err)
		}
	}
}
