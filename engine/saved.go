package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/model"
)

// A saved cache is: savedMagic, the version and the header's length as uint32, the header as JSON, the tokens as int32, keys and values as
// kv.Cache writes them, and the SHA-256 of all that. Numbers are little-endian. What is read is bounded by the model's own context.
const (
	savedMagic     = "shammah cache\n\x00\x00"
	savedVersion   = 1
	savedHeaderMax = 64 << 10
)

// savedKey is what keys and values depend on beside the tokens. A model takes those of an equal key, and no others.
type savedKey struct {
	Identity string `json:"identity"` // the files, and who computes
	Adapter  string `json:"adapter"`  // of the adapters that were applied, "" none
	Layout   string `json:"layout"`   // the numbers' types, counts and order
}

type savedHeader struct {
	savedKey
	Model  string `json:"model"` // its name, for people
	Tokens int    `json:"tokens"`
}

// identity names a model's files and everything else that changes what its cache holds. Files on disk are named before they are read, as a
// check of the kernels names them: whoever replaces one later has another model. An embedded graph is hashed when its name is asked for.
func (m *Model) identity(files model.Files, o Options) func() (string, error) {
	print := fingerprint(m.env, files, o.HalfCache)
	return sync.OnceValues(func() (string, error) {
		if print == "" {
			var err error
			if print, err = graphPrint(files); err != nil {
				return "", err
			}
		}
		h := sha256.New()
		fmt.Fprintln(h, print, kernelsVersion, cpu.Rung(), m.env.Version(), o.HalfCache, o.Kernels == KernelsExact, m.packed != nil, m.Provider())
		return hex.EncodeToString(h.Sum(nil)[:16]), nil
	})
}

// graphPrint is the hash of a graph that holds its weights itself.
func graphPrint(files model.Files) (string, error) {
	if files.Dir != "" {
		return "", fmt.Errorf("engine: name the model's files: those in %s cannot be looked at", files.Dir)
	}
	f, err := files.FS.Open(files.Graph)
	if err != nil {
		return "", fmt.Errorf("engine: name the model's files: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("engine: name the model's files: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// savedKey is the key of what the model computes with these adapters.
func (m *Model) savedKey(rows []adapted) (savedKey, error) {
	identity, err := m.named()
	if err != nil {
		return savedKey{}, err
	}
	adapters, err := m.places.printed(rows)
	if err != nil {
		return savedKey{}, fmt.Errorf("engine: name what keys and values were computed with: %w", err)
	}
	p := m.cache.Plan()
	kind := "past and present apart"
	if p.Shared {
		kind = "past and present in one"
	}
	if p.Combined {
		kind += ", keys and values in one"
	}
	return savedKey{
		Identity: identity, Adapter: adapters,
		Layout: fmt.Sprintf("%s, %d layers, %d heads of %d, %s", kind, p.Layers, p.Heads, p.HeadDim, elementType(m.spec.KVType)),
	}, nil
}

// Save writes the tokens that the model holds of its last request, as far as prompt begins with them, with their keys and values: Restore
// takes them up, in another process too. Without a prompt all tokens count. It says how many there were; where there are none, or the graph
// has no cache, nothing is written.
func (m *Model) Save(ctx context.Context, w io.Writer, prompt []int32) (tokens int, err error) {
	_, release, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	held := m.runner.Held()
	if prompt != nil {
		n := 0
		for n < min(len(held), len(prompt)) && held[n] == prompt[n] {
			n++
		}
		held = held[:n]
	}
	if m.cache == nil || len(held) == 0 {
		return 0, nil
	}
	key, err := m.savedKey(m.runner.adapters)
	if err != nil {
		return 0, err
	}
	header, err := json.Marshal(savedHeader{key, m.spec.Name, len(held)})
	if err != nil {
		return 0, fmt.Errorf("engine: save the cache: %w", err)
	}
	head := binary.LittleEndian.AppendUint32([]byte(savedMagic), savedVersion)
	head = append(binary.LittleEndian.AppendUint32(head, uint32(len(header))), header...)
	if head, err = binary.Append(head, binary.LittleEndian, held); err != nil {
		return 0, fmt.Errorf("engine: save the cache: %w", err)
	}
	sum := sha256.New()
	all := io.MultiWriter(w, sum)
	_, err = all.Write(head)
	if err == nil {
		err = m.cache.WriteTokens(all, len(held))
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	if err != nil {
		return 0, fmt.Errorf("engine: save the cache: %w", err)
	}
	return len(held), nil
}

// Restore takes up what Save wrote, in place of what the model holds: a request that begins with these tokens, and names the same adapters,
// does not compute them again. What is damaged, or was saved by a model that computes anything else, is refused, and the model stays usable: it then computes all tokens.
func (m *Model) Restore(ctx context.Context, r io.Reader, adapters ...AdapterUse) (tokens int, err error) {
	set, drop, err := m.adapted(adapters)
	if err != nil {
		return 0, err
	}
	defer drop()
	_, release, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	if tokens, err = m.restore(r, set); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it is cut short")
	}
	if err != nil {
		return 0, fmt.Errorf("engine: restore a saved cache: %w", err)
	}
	return tokens, nil
}

func (m *Model) restore(r io.Reader, set adapted) (int, error) {
	sum := sha256.New()
	all := io.TeeReader(r, sum)
	h, err := readSavedHeader(all)
	if err != nil {
		return 0, err
	}
	if err := m.accepts(h, set); err != nil {
		return 0, err
	}
	ids := make([]int32, h.Tokens) // at most the context
	if err := binary.Read(all, binary.LittleEndian, ids); err != nil {
		return 0, err
	}
	if err := m.checkIDs(ids); err != nil {
		return 0, errors.New("it is damaged: it has tokens that the model does not know")
	}
	if err := errors.Join(m.runner.adapt(set), m.runner.Keep(0)); err != nil {
		return 0, err
	}
	if err = m.cache.ReadTokens(all, len(ids)); err == nil {
		want, got := sum.Sum(nil), make([]byte, sha256.Size)
		if _, err = io.ReadFull(r, got); err == nil && !bytes.Equal(got, want) {
			err = errors.New("it is damaged: its checksum is another one")
		}
	}
	if err != nil { // what was read of it may be no numbers
		return 0, errors.Join(err, m.cache.Keep(0), m.cache.Clear())
	}
	m.runner.adopt(ids)
	return len(ids), nil
}

func readSavedHeader(r io.Reader) (h savedHeader, err error) {
	start := make([]byte, len(savedMagic)+8)
	n, err := io.ReadFull(r, start)
	if n = min(n, len(savedMagic)); string(start[:n]) != savedMagic[:n] {
		return h, errors.New("it is none")
	}
	if err != nil {
		return h, err
	}
	version, size := binary.LittleEndian.Uint32(start[len(savedMagic):]), binary.LittleEndian.Uint32(start[len(savedMagic)+4:])
	switch {
	case version > savedVersion:
		return h, fmt.Errorf("it is of version %d, which a newer program wrote; expected %d", version, savedVersion)
	case version < savedVersion || size > savedHeaderMax:
		return h, errors.New("it is damaged: its header makes no sense")
	}
	header := make([]byte, size)
	if _, err := io.ReadFull(r, header); err != nil {
		return h, err
	}
	if err := json.Unmarshal(header, &h); err != nil {
		return h, fmt.Errorf("it is damaged: its header makes no sense: %w", err)
	}
	return h, nil
}

// accepts says why the model cannot use what a header announces.
func (m *Model) accepts(h savedHeader, set adapted) error {
	if m.cache == nil {
		return fmt.Errorf("%s has no cache", m.spec.Name)
	}
	key, err := m.savedKey([]adapted{set})
	switch {
	case err != nil:
		return err
	case h.savedKey == key && h.Tokens > 0 && h.Tokens <= m.context:
		return nil
	case h.Model != m.spec.Name:
		return fmt.Errorf("it was saved with %.100q, this is %s", h.Model, m.spec.Name)
	case h.Adapter != key.Adapter:
		return fmt.Errorf("it was saved with other adapters than it is restored with")
	case h.Layout != key.Layout:
		return fmt.Errorf("it was saved as %.200q, expected %q", h.Layout, key.Layout)
	case h.Identity != key.Identity:
		return fmt.Errorf("it was saved with other files of %s, or computed by other kernels", m.spec.Name)
	}
	return fmt.Errorf("it has %d tokens, the context has room for %d", h.Tokens, m.context)
}
