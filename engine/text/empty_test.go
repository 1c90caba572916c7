package text

import "testing"

// deepen uses some stack, a little more at each depth, so that some depth makes the stack grow at any place in f.
//
//go:noinline
func deepen(n int, f func()) byte {
	var room [64]byte
	if n > 0 {
		room[n%64] = deepen(n-1, f)
	} else {
		f()
	}
	return room[0] + 1
}

// An empty reply has no memory. Its pointer must be one that Go can hold while it moves a stack: Rust's own, the number 1, ended the process.
func TestEmptyRepliesWhileTheStackGrows(t *testing.T) {
	tok := load(t, smol)
	for depth := range 700 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			deepen(depth, func() {
				if s, err := tok.Decode(nil, DecodeOptions{}); s != "" || err != nil {
					t.Errorf("decode nothing: got %q, %v", s, err)
				}
			})
		}()
		<-done
		done = make(chan struct{})
		go func() {
			defer close(done)
			s := tok.NewStream(false)
			defer s.Close()
			deepen(depth, func() {
				if text, err := s.Push(0); text != "" || err != nil { // a control token, which has no text
					t.Errorf("push a control token: got %q, %v", text, err)
				}
			})
		}()
		<-done
		done = make(chan struct{})
		go func() {
			defer close(done)
			deepen(depth, func() {
				if ids, err := tok.Encode("", EncodeOptions{}); len(ids) != 0 || err != nil {
					t.Errorf("encode nothing: got %v, %v", ids, err)
				}
			})
		}()
		<-done
	}
}
