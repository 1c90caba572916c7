package model

import (
	"bytes"
	"strings"
)

// looksJSON is what sniff says of a JSON object.
const looksJSON = "looks like JSON"

// sniff says what a file that is not what was expected looks like, from its first bytes: a sentence's end whose subject
// is the file, "" when nothing is known.
func sniff(head []byte) string {
	text := strings.ToLower(string(bytes.TrimLeft(head[:min(len(head), 512)], "\xef\xbb\xbf \t\r\n")))
	switch {
	case len(head) == 0:
		return "is empty"
	case strings.HasPrefix(text, "version https://git-lfs"):
		return "is a Git LFS pointer and not the file itself (fetch it with: git lfs pull)"
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"), strings.HasPrefix(text, "<head"):
		return "is an HTML page, as a download that failed leaves it"
	case strings.HasPrefix(text, "<?xml"):
		return "is an XML document, as a download that failed leaves it"
	case bytes.HasPrefix(head, []byte("GGUF")):
		return "is a GGUF model (llama.cpp), which ONNX Runtime does not read"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "is a zip archive"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "is a gzip archive"
	case bytes.HasPrefix(head, []byte("ORTM")), len(head) > 8 && string(head[4:8]) == "ORTM":
		return "is a model in ONNX Runtime's own format, not an ONNX file"
	case len(head) > 9 && string(head[8:10]) == `{"`:
		return "looks like a safetensors file"
	case strings.HasPrefix(text, "{"):
		return looksJSON
	case allZero(head):
		return "begins with zeros only, as a download that was cut off leaves it"
	}
	return ""
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return len(b) >= 4
}
