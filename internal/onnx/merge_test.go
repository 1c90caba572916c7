package onnx_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// A message that may stand once is merged where it stands twice: the runtime would read one tensor whose data lies where the second part says,
// and this package two, of which the second is none of another file's.
func TestMergedMessages(t *testing.T) {
	message := func(n protowire.Number, parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), p)
		}
		return b
	}
	good := onnxtest.EncodeTensor(onnxtest.Tensor{Type: onnx.Float32, Dims: []int64{4}, External: [][2]string{{"location", "w"}}})
	more := message(13, append(message(1, []byte("location")), message(2, []byte("../secret"))...))
	for name, attribute := range map[string][]byte{
		"tensor": message(5, good, more), "values of a sparse tensor": message(22, message(1, good, more)), "sparse tensor": message(22, message(1, good), message(1, more)),
	} {
		file := message(7, message(1, message(5, attribute)))
		if m, err := read(file); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: got %d tensors in other files, %v; want an error", name, len(m.External()), err)
		}
	}
}
