package quantise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/filesystem"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// ErrExists is wrapped by errors about a place that is taken.
var ErrExists = errors.New("it is there already")

// others are files beside a model's configuration that this program does not read and other programs do.
var others = []string{"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE"}

// Write writes the model into a folder that is not there yet; it appears whole, or not at all. progress, which may be nil, is told how many of
// Bytes are written, by one goroutine at a time, in order.
func (p *Plan) Write(ctx context.Context, dir string, o Origin, progress func(done int64)) (err error) {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("quantise: write %s: %w", dir, ErrExists)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return failed(dir, err)
	}
	if _, err := Sweep(parent, false); err != nil {
		return failed(dir, err)
	}
	margin := p.Bytes/20 + 64<<20
	if free, err := p.free(parent); err == nil && free < p.Bytes+margin {
		return fmt.Errorf("quantise: write %s: %s are needed, and %s are free there; free some space", dir, size(p.Bytes+margin), size(free))
	}
	work, free, err := hold(parent, filepath.Base(dir))
	if err != nil {
		return failed(dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
		free()
	}()
	if err := p.fill(ctx, work, o, progress); err != nil {
		return failed(dir, err)
	}
	if err := os.Rename(work, dir); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("quantise: write %s: %w", dir, ErrExists)
	} else if err != nil {
		return failed(dir, err)
	}
	if err := filesystem.SyncDir(parent); err != nil {
		return fmt.Errorf("quantise: write %s: it is there and whole, but a power failure now could lose it: %w", dir, err)
	}
	return nil
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// failed is an error of writing, without the name of the temporary folder.
func failed(dir string, err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = fmt.Errorf("%s %s: %w", e.Op, filepath.Base(e.Path), e.Err)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("quantise: write %s: %w", dir, err)
}

// fill writes everything into the folder work, and reads it as a model.
func (p *Plan) fill(ctx context.Context, work string, o Origin, progress func(int64)) error {
	if err := os.MkdirAll(filepath.Dir(filepath.Join(work, p.GraphName())), 0o777); err != nil {
		return err
	}
	if err := p.copyFiles(work); err != nil {
		return err
	}
	if err := p.writeData(ctx, filepath.Join(work, filepath.Dir(p.GraphName()), p.dataName()), progress); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(work, p.GraphName()), p.encoded); err != nil {
		return err
	}
	o.Block, o.Bits, o.HeadBits, o.TableBits = Block, 4, p.HeadBits, p.TableBits
	text, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(work, originName), append(text, '\n')); err != nil {
		return err
	}
	f, err := model.Find(nil, work, model.FindOptions{})
	if err == nil {
		_, err = f.Load(model.Signature{})
	}
	if err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	return errors.Join(filesystem.SyncDir(work), ctx.Err())
}

// copyFiles copies configuration, tokenizer and template, each beside the other however they lay.
func (p *Plan) copyFiles(work string) error {
	s := p.Source
	for _, name := range []string{s.Config, s.GenerationConfig, s.GenAIConfig, s.Tokenizer, s.TokenizerConfig, s.ChatTemplate} {
		if name == "" {
			continue
		}
		if err := copyFile(s.FS, name, filepath.Join(work, filepath.Base(name))); err != nil {
			return err
		}
	}
	root := "."
	for _, name := range []string{s.Config, s.GenAIConfig, s.Tokenizer} {
		if name != "" {
			root = filepath.ToSlash(filepath.Dir(name))
			break
		}
	}
	for _, name := range others {
		from := filepath.ToSlash(filepath.Join(root, name))
		if info, err := fs.Stat(s.FS, from); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := copyFile(s.FS, from, filepath.Join(work, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(fsys fs.FS, name, to string) error {
	in, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func writeFile(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// part is a cut of a piece.
type part struct {
	piece
	cut
}

// writeData writes every piece where layOut placed it.
func (p *Plan) writeData(ctx context.Context, name string, progress func(int64)) error {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(p.dataBytes); err != nil {
		return err
	}
	var parts []part
	for _, x := range p.pieces {
		if x.matrix != nil {
			for _, c := range x.matrix.cuts() {
				parts = append(parts, part{x, c})
			}
			continue
		}
		length, err := x.copied.Size()
		if err != nil {
			return err
		}
		for at := int64(0); at < length; at += pieceBytes {
			parts = append(parts, part{x, cut{int(at), int(min(at+pieceBytes, length))}})
		}
	}
	var telling sync.Mutex
	var done int64
	err = parallel(ctx, parts, func(x part, b *buffers) error {
		n, err := p.writePart(out, x, b)
		if progress != nil && err == nil {
			telling.Lock()
			defer telling.Unlock()
			done += n
			progress(done)
		}
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(out.Sync(), out.Close())
}

func (p *Plan) writePart(out *os.File, x part, b *buffers) (written int64, err error) {
	if x.matrix != nil {
		return p.writeRows(out, x.matrix, x.cut, b)
	}
	raw := room(&b.raw, x.cut.to-x.from)
	if err := p.tensors.ReadAt(raw, x.copied, int64(x.from)); err != nil {
		return 0, err
	}
	at := x.piece.to.External.Offset + int64(x.from)
	if x.copied.Type == onnx.Float16 {
		floats := room(&b.rows, len(raw)/2)
		toFloats(floats, raw, onnx.Float16)
		raw, at = bytesOf(floats), at+int64(x.from)
	}
	_, err = out.WriteAt(raw, at)
	return int64(len(raw)), err
}

// writeRows quantises rows of a matrix.
func (p *Plan) writeRows(out *os.File, m *matrix, c cut, b *buffers) (written int64, err error) {
	x, err := p.rows(m, c, &b.raw, &b.rows)
	if err != nil {
		return 0, err
	}
	blocks, each := (m.columns+Block-1)/Block, Block*m.bits/8
	n := (c.to - c.from) * blocks
	codes, scales := room(&b.codes, n*each), room(&b.scales, n*4)
	round := round4
	if m.bits == 8 {
		round = round8
	}
	for i := range n {
		row, column := i/blocks, i%blocks*Block
		w := x[row*m.columns+column : row*m.columns+min(column+Block, m.columns)]
		scale, ok := round(w, codes[i*each:(i+1)*each])
		if !ok {
			return 0, fmt.Errorf("tensor %.80q: output %d has a weight among inputs %d to %d that is no finite number; fetch the model again, or export it anew",
				m.from.Name, c.from+row, column, column+len(w)-1)
		}
		put32(scales[4*i:], scale)
	}
	at := int64(c.from) * int64(blocks)
	if _, err := out.WriteAt(codes, m.codes.External.Offset+at*int64(each)); err != nil {
		return 0, err
	}
	if _, err := out.WriteAt(scales, m.scales.External.Offset+at*4); err != nil {
		return 0, err
	}
	written = int64(len(codes) + len(scales))
	if m.zeros != nil {
		zeros := room(&b.raw, n)
		for i := range zeros {
			zeros[i] = 128
		}
		if _, err := out.WriteAt(zeros, m.zeros.External.Offset+at); err != nil {
			return 0, err
		}
		written += int64(n)
	}
	return written, nil
}
