package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

// faultyDisk asks before each operation what is to happen: nil lets it be done. It does not wait for the real disk.
type faultyDisk struct {
	mutex  sync.Mutex
	log    []string
	before func(n int, op, path string) error
}

func (d *faultyDisk) ask(op, path string) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.log = append(d.log, op+" "+path)
	if d.before == nil {
		return nil
	}
	if err := d.before(len(d.log), op, path); err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

func (d *faultyDisk) MkdirAll(dir string) error {
	if err := d.ask("mkdir", dir); err != nil {
		return err
	}
	return realDisk{}.MkdirAll(dir)
}
func (d *faultyDisk) Rename(from, to string) error {
	if err := d.ask("rename", to); err != nil {
		return err
	}
	return realDisk{}.Rename(from, to)
}
func (d *faultyDisk) Symlink(target, path string) error {
	if err := d.ask("symlink", path); err != nil {
		return err
	}
	return realDisk{}.Symlink(target, path)
}
func (d *faultyDisk) Remove(path string) error {
	if err := d.ask("remove", path); err != nil {
		return err
	}
	return realDisk{}.Remove(path)
}
func (d *faultyDisk) SyncDir(dir string) error {
	return d.ask("syncdir", dir)
}
func (d *faultyDisk) Open(path string, flag int) (diskFile, error) {
	if err := d.ask("open", path); err != nil {
		return nil, err
	}
	f, err := realDisk{}.Open(path, flag)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d, path}, nil
}

type faultyFile struct {
	diskFile
	disk *faultyDisk
	path string
}

// Write writes the half when it fails, as a disk does that fills up.
func (f *faultyFile) Write(b []byte) (int, error) {
	if err := f.disk.ask("write", f.path); err != nil {
		n, _ := f.diskFile.Write(b[:len(b)/2])
		return n, err
	}
	return f.diskFile.Write(b)
}
func (f *faultyFile) Sync() error {
	return f.disk.ask("sync", f.path)
}
func (f *faultyFile) Truncate(n int64) error {
	if err := f.disk.ask("truncate", f.path); err != nil {
		return err
	}
	return f.diskFile.Truncate(n)
}
func (f *faultyFile) Close() error {
	err := f.disk.ask("close", f.path)
	return errors.Join(err, f.diskFile.Close())
}

// on fails one kind of operation on paths that contain part.
func on(op, part string, err error) func(int, string, string) error {
	return func(_ int, o, path string) error {
		if o == op && strings.Contains(path, part) {
			return err
		}
		return nil
	}
}

func TestDiskFull_D25(t *testing.T) {
	w := newWorld(t)
	w.client.space = func(string) (int64, error) { return 209_000, nil }
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeSpace, "are needed in", "are free", "HF_HUB_CACHE")
	w.client.space = func(string) (int64, error) { return 211_000, nil }
	if w.Run("what is there counts", func(t *testing.T) {
		w.leave(150_000, "")
		w.client.space = func(string) (int64, error) { return 60_000, nil }
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Error(err)
		}
	}); !w.Failed() {
		w.whole(q4Files...)
	}
	sum := hubtest.SHA256(modelFiles()["onnx/model_q4.onnx_data"])
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		w := newWorld(t)
		writes := 0
		w.client.disk = &faultyDisk{before: func(_ int, op, path string) error {
			if op == "write" && strings.Contains(path, sum) && !strings.HasSuffix(path, etagSuffix) {
				if writes++; writes == 1 {
					return full
				}
			}
			return nil
		}}
		w.onWeights(0, trickle)
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeSpace, "free some space", "goes on where it stopped")
		w.client.disk = &faultyDisk{}
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(q4Files...)
		if r := w.weightRequests(); !strings.HasPrefix(r[len(r)-1].Header.Get("Range"), "bytes=") {
			t.Errorf("%v: it did not go on where it stopped: %v", full, r)
		}
	}
}

// trickle serves a body in many small parts.
func trickle(out http.ResponseWriter, r *http.Request, body []byte) {
	from := 0
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	out.Header().Set("Etag", `"`+hubtest.SHA256(body)+`"`)
	out.Header().Set("Content-Length", fmt.Sprint(len(body)-from))
	if from > 0 {
		out.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		out.WriteHeader(http.StatusPartialContent)
	}
	for at := from; at < len(body); at += 10_000 {
		_, _ = out.Write(body[at:min(at+10_000, len(body))])
		out.(http.Flusher).Flush()
	}
}

func TestDiskFails_D26_D27_D28(t *testing.T) {
	sum := hubtest.SHA256(modelFiles()["onnx/model_q4.onnx_data"])
	tests := []struct {
		name     string
		op, part string
		err      error
		words    []string
	}{
		{"D-26 write", "write", sum + ".", syscall.EIO, []string{"the disk failed"}},
		{"D-26 fsync", "sync", sum, syscall.EIO, []string{"the disk failed"}},
		{"D-26 close", "close", sum, syscall.EIO, []string{"the disk failed"}},
		{"D-26 rename", "rename", sum, syscall.EIO, []string{"the disk failed"}},
		{"D-26 fsync of the folder", "syncdir", "blobs", syscall.EIO, []string{"the disk failed"}},
		{"D-27 read-only", "mkdir", "", syscall.EROFS, []string{"read-only", "HF_HOME", "HF_HUB_CACHE"}},
		{"D-28 not allowed", "mkdir", "", syscall.EACCES, []string{"may not write", "HF_HOME"}},
		{"D-28 files open", "open", sum, syscall.EMFILE, []string{"too many", "ulimit"}},
		{"D-28 long name", "open", sum, syscall.ENAMETOOLONG, []string{"too long", "HF_HUB_CACHE"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.client.disk = &faultyDisk{before: on(test.op, test.part, test.err)}
			_, err := w.pull(PlanOptions{})
			w.wantError(err, CodeCache, test.words...)
			if !errors.Is(err, test.err) {
				t.Errorf("%v does not wrap %v", err, test.err)
			}
			if _, err := os.Stat(w.env.repo(testRepo).blob(sum)); err == nil && test.op != "syncdir" {
				t.Error("the blob has its name")
			}
			w.client.disk = &faultyDisk{}
			if _, err := w.pull(PlanOptions{}); err != nil {
				t.Fatal(err)
			}
			w.whole(q4Files...)
		})
	}
}

// A model that is complete is found where nothing can be written.
func TestReadOnlyCacheRuns_D27(t *testing.T) {
	w := newWorld(t)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	before := snapshotOf(t, w.env.Cache)
	if _, err := Resolve(testRepo, w.env); err != nil {
		t.Error(err)
	}
	if _, _, err := List(w.env); err != nil {
		t.Error(err)
	}
	for _, err := range Verify(t.Context(), testRepo, w.env) {
		if err != nil {
			t.Error(err)
		}
	}
	if after := snapshotOf(t, w.env.Cache); !slices.Equal(before, after) {
		t.Errorf("looking changed the cache: %v, before %v", after, before)
	}
}

func snapshotOf(t *testing.T, dir string) (names []string) {
	for path, d := range files(dir) {
		info, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(path, info.Size(), info.ModTime()))
	}
	return names
}

func TestWithoutLinks_D29(t *testing.T) {
	for _, refusal := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS} {
		w := newWorld(t)
		w.files["tokenizer_config.json"] = w.files["generation_config.json"] // two files of one content
		w.commit = w.hub.Add(testRepo, "main", w.files)
		w.client.disk = &faultyDisk{before: on("symlink", "", refusal)}
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(q4Files...)
		if info, err := os.Lstat(w.env.repo(testRepo).link(w.commit, "onnx/model_q4.onnx")); err != nil || !info.Mode().IsRegular() {
			t.Errorf("it is no file: %v", err)
		}
		before := w.hub.Downloads()
		if _, err := w.pull(PlanOptions{}); err != nil || w.hub.Downloads() != before {
			t.Errorf("the second pull: %v, %d downloads", err, w.hub.Downloads()-before)
		}
		write(t, w.env.repo(testRepo).link(w.commit, "onnx/model_q4.onnx"), "damaged")
		if _, err := w.pull(PlanOptions{Variant: "fp32"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(append(q4Files, "onnx/model.onnx", "onnx/model.onnx_data")...)
	}
}

var errDead = errors.New("the process is dead")

// The process dies at each of its file operations in turn: nothing wrong ever has a blob's name, and the next pull ends well.
func TestDeathAtEachOperation_D33(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		disk := &faultyDisk{}
		disk.before = func(at int, op, path string) error {
			if at >= n {
				return errDead
			}
			return nil
		}
		w.client.disk = disk
		w.onWeights(0, trickle)
		_, err := w.pull(PlanOptions{})
		w.blobsAreRight()
		if err == nil {
			if n < 60 {
				t.Errorf("a pull has %d operations only", n)
			}
			w.whole(q4Files...)
			return
		}
		if b, _ := os.ReadFile(w.env.repo(testRepo).ref("main")); len(b) > 0 {
			w.whole(q4Files...) // it may be found only when it is complete
		}
		w.client.disk = &faultyDisk{}
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatalf("after the death at operation %d (%s): %v", n, disk.log[n-1], err)
		}
		w.whole(q4Files...)
		if t.Failed() {
			t.Fatalf("after the death at operation %d (%s)", n, disk.log[n-1])
		}
	}
}

// Every blob: its last write, then fsync, then the rename, then the fsync of the folder; and only then the snapshot.
func TestOrder_D35(t *testing.T) {
	w := newWorld(t)
	disk := &faultyDisk{}
	w.client.disk = disk
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	r := w.env.repo(testRepo)
	firstLink := slices.IndexFunc(disk.log, func(s string) bool { return strings.HasPrefix(s, "symlink ") })
	for _, name := range q4Files {
		sum := hubtest.Blob(name, w.files[name])
		last := func(op string) int {
			at := -1
			for i, s := range disk.log {
				if strings.HasPrefix(s, op+" "+r.blob(sum)) && !strings.HasSuffix(s, etagSuffix) {
					at = i
				}
			}
			return at
		}
		written, synced, named := last("write"), last("sync"), last("rename")
		folder := slices.Index(disk.log[max(named, 0):], "syncdir "+r.blobs()) + named
		if !(0 <= written && written < synced && synced < named && named < folder && folder < firstLink) {
			t.Errorf("%s: write %d, fsync %d, rename %d, fsync of the folder %d, first link %d", name, written, synced, named, folder, firstLink)
		}
	}
	link := func(name string) int { return slices.Index(disk.log, "rename "+r.link(w.commit, name)) }
	if ref := slices.Index(disk.log, "rename "+r.ref("main")); link("onnx/model_q4.onnx") < link("onnx/model_q4.onnx_data") || ref < link("onnx/model_q4.onnx") {
		t.Error("the graph is not the last of the files, or the reference not after it")
	}
}

func TestStalePartials_D36_D37(t *testing.T) {
	day := 24 * time.Hour
	tests := []struct {
		name  string
		age   time.Duration
		skew  int // years that the clock is wrong
		swept bool
	}{
		{"eight days", 8 * day, 0, true},
		{"six days", 6 * day, 0, false},
		{"in the future", -400 * day, 0, false},
		{"clock behind", 8 * day, -10, false},
		{"clock ahead", 0, 10, true},
	}
	for _, test := range tests {
		w := newWorld(t)
		w.client.now = func() time.Time { return time.Now().AddDate(test.skew, 0, 0) }
		path := w.env.repo(testRepo).blob(strings.Repeat("a", 64) + ".0123456789abcdef" + incomplete)
		for _, name := range []string{path, path + etagSuffix} {
			write(t, name, "left")
			if err := os.Chtimes(name, time.Time{}, time.Now().Add(-test.age)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(q4Files...)
		if exists(path) == test.swept || exists(path+etagSuffix) == test.swept {
			t.Errorf("%s: there is a partial: %v, its etag: %v; want it swept: %v", test.name, exists(path), exists(path+etagSuffix), test.swept)
		}
	}
	// One that is in use stays, however old it is.
	w := newWorld(t)
	path := w.leave(1000, "")
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-30*day)); err != nil {
		t.Fatal(err)
	}
	l := w.client.lock(path)
	if ok, err := l.TryLock(); err != nil || !ok {
		t.Fatal(err)
	}
	if g, _, err := w.client.Collect(true, false); err != nil || len(g.Paths) != 0 {
		t.Errorf("collected %v, %v", g.Paths, err)
	}
	_ = l.Unlock()
	if g, _, err := w.client.Collect(false, true); err != nil || len(g.Paths) != 1 || !exists(path) {
		t.Errorf("would collect %v, %v", g.Paths, err)
	}
	if g, _, err := w.client.Collect(false, false); err != nil || len(g.Paths) != 1 || exists(path) || g.Bytes != 1000 {
		t.Errorf("collected %v, %v", g, err)
	}
}

func TestCollect(t *testing.T) {
	w := newWorld(t)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	first := w.commit
	other := modelFiles()
	other["config.json"] = []byte(`{"model_type": "other"}`)
	w.files, w.commit = other, w.hub.Add(testRepo, "main", other)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	lost := w.env.repo(testRepo).blob(hubtest.GitSHA1([]byte("lost")))
	write(t, lost, "lost")
	g, busy, err := w.client.Collect(false, false)
	if err != nil || len(busy) != 0 || !slices.Equal(g.Paths, []string{lost}) || g.Bytes != 4 {
		t.Errorf("collected %+v, %v, %v", g, busy, err)
	}
	// One revision goes, and what it alone had.
	if g, err := w.client.Remove(testRepo + "@" + first); err != nil || len(g.Paths) != 1 {
		t.Errorf("removed %v, %v", g.Paths, err)
	}
	w.whole(q4Files...)
	free, err := w.client.hold(t.Context(), w.env.repo(testRepo).pullLock(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Remove(testRepo); !errors.Is(err, ErrInUse) {
		t.Errorf("while it is in use: %v", err)
	}
	free()
	if g, err := w.client.Remove(testRepo); err != nil || len(g.Paths) != len(q4Files) {
		t.Errorf("removed %v, %v", g.Paths, err)
	}
	if left, _ := filepath.Glob(w.env.Cache + "/models--*"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if _, err := w.client.Remove(testRepo); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
}
