package text

import "sync/atomic"

// piecesMax bounds the pieces that a tokenizer remembers: the frequent tokens of a byte-level vocabulary have low ids.
const piecesMax = 1 << 14

// pieceBytesMax bounds one piece: longer ones are rare, and are not remembered.
const pieceBytesMax = 64

// pieces remembers the text that each token gave last, so that a stream which meets the token again allocates nothing.
// What a token gives depends on what was held back before it; the bytes decide, never the id alone. It is safe for concurrent use.
type pieces struct {
	slots []atomic.Pointer[string]
}

func newPieces(size int) *pieces {
	return &pieces{slots: make([]atomic.Pointer[string], max(1, min(size, piecesMax)))}
}

// text is b as a string, the remembered one where it is equal.
func (p *pieces) text(id int32, b []byte) string {
	if len(b) < 2 || len(b) > pieceBytesMax { // the runtime has the strings of single bytes
		return string(b)
	}
	slot := &p.slots[int(id)%len(p.slots)]
	if known := slot.Load(); known != nil && *known == string(b) {
		return *known
	}
	s := string(b)
	slot.Store(&s)
	return s
}
