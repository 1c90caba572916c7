package hub

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// tick is how often bytes are reported.
const tick = 100 * time.Millisecond

// Pull downloads what a plan lists. The last event is Finished, or comes with the error. A model becomes visible when all
// of it is here and right, and not before. Who stops listening stops the download; what has arrived is kept for the next.
func (c *Client) Pull(ctx context.Context, p *Plan) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		stopped := make(chan struct{})
		events, result := make(chan Event), make(chan error, 1)
		on := &progress{events: events, stopped: stopped}
		go func() { result <- c.pull(ctx, p, on) }()
		running := true
		defer func() {
			cancel()
			close(stopped)
			if running {
				<-result
			}
		}()
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		last := int64(-1)
		for {
			var e Event
			select {
			case e = <-events:
			case <-ticker.C:
				if e = on.fill(Event{Kind: Progress}); e.Done == last {
					continue
				}
				last = e.Done
			case err := <-result:
				running = false
				if err != nil {
					yield(on.fill(Event{Kind: Progress}), err)
					return
				}
				yield(on.fill(Event{Kind: Finished, Dir: p.Dir}), nil)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (c *Client) pull(ctx context.Context, p *Plan, on *progress) error {
	if p.tree == nil {
		return errNoPlan
	}
	on.total.Store(p.Total())
	on.files.Store(int32(len(p.Files)))
	r := c.env.repo(p.Repo)
	free, err := c.hold(ctx, r.pullLock(), func() { on.note(Waiting, "", "another pull of "+p.Repo+" is under way") })
	if err != nil {
		return err
	}
	defer free()
	if err := c.prepare(r, p.Commit); err != nil {
		return err
	}
	c.sweep(r, staleAfter, false, &Garbage{})
	if err := c.checkSpace(r, p); err != nil {
		return err
	}
	resume := c.locksWork(r)
	if err := c.downloadAll(ctx, p, p.Files, resume, on); err != nil {
		return err
	}
	if err := c.addNamed(ctx, p, resume, on); err != nil {
		return err
	}
	// The graph comes last in the list: it is what makes the folder a model.
	folders := map[string]bool{r.snapshot(p.Commit): true}
	for _, f := range p.Files {
		if err := c.place(r, p, f); err != nil {
			return err
		}
		folders[filepath.Dir(r.link(p.Commit, f.Path))] = true
	}
	for dir := range folders {
		if err := c.disk.SyncDir(dir); err != nil {
			return diskError("store the snapshot "+dir, err)
		}
	}
	return c.setRef(r, p.Revision, p.Commit)
}

// downloadAll brings files, a few at a time, the largest first. The first failure stops the others.
func (c *Client) downloadAll(ctx context.Context, p *Plan, files []File, resume bool, on *progress) error {
	// Two files of the same content are one blob.
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Blob, b.Blob), cmp.Compare(a.Path, b.Path))
	})
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, f := range files {
		group.Go(func() error { return c.download(groupCtx, p, f, resume, on) })
	}
	err := group.Wait()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return ctx.Err()
	}
	return err
}

// addNamed downloads weights that the graph names and whose names do not follow its own.
func (c *Client) addNamed(ctx context.Context, p *Plan, resume bool, on *progress) error {
	r := c.env.repo(p.Repo)
	graph := p.Files[len(p.Files)-1]
	more, err := p.graphNames(c.whereIs(r, p.Commit, graph))
	if err != nil || len(more) == 0 {
		return err
	}
	for _, f := range more {
		on.total.Add(f.Size)
		on.files.Add(1)
		on.note(Added, f.Path, "the graph has weights in it")
	}
	p.Files = slices.Concat(more, p.Files)
	if err := c.checkSpace(r, p); err != nil {
		return err
	}
	return c.downloadAll(ctx, p, more, resume, on)
}

// whereIs is a file's blob, or its place in the snapshot on a file system without links.
func (c *Client) whereIs(r repo, hash string, f File) string {
	if isFile(r.blob(f.Blob)) {
		return r.blob(f.Blob)
	}
	return r.link(hash, f.Path)
}

// checkSpace refuses a download that the disk cannot hold, with a margin for everybody else.
func (c *Client) checkSpace(r repo, p *Plan) error {
	var missing int64
	for _, f := range p.Files {
		if !seemsHere(r, p.Commit, f) {
			missing += f.Size - leftOf(r, f)
		}
	}
	if missing <= 0 {
		return nil
	}
	missing += missing / 20
	free, err := c.space(r.dir)
	if err != nil {
		return diskError("ask how much space is left in "+r.dir, err)
	}
	if free < missing {
		return fail(CodeSpace, "download %s: %s are needed in %s, and %s are free; free some space, choose a smaller --variant, or set HF_HUB_CACHE to a folder on a larger disk",
			p.Repo, bytesText(missing), c.env.Cache, bytesText(free))
	}
	return nil
}
