package text

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// marshal is the variables of a template as JSON that every parser reads: raw messages may hold bytes
// that are not UTF-8 and escapes of half a surrogate pair, which become U+FFFD.
func marshal(vars map[string]any) ([]byte, error) {
	if vars == nil {
		vars = map[string]any{}
	}
	data, err := json.Marshal(vars)
	if err != nil {
		return nil, fmt.Errorf("text: render template: variables: %w", err)
	}
	return mendSurrogates(bytes.ToValidUTF8(data, []byte("\ufffd"))), nil
}

// mendSurrogates changes escapes of halves without their other half, in place.
func mendSurrogates(data []byte) []byte {
	for i := bytes.IndexByte(data, '\\'); i >= 0 && i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		first := surrogate(data[i:])
		switch {
		case first == 0:
			i++ // the escaped character
		case first < 0xDC00 && surrogate(data[i+6:]) >= 0xDC00:
			i += 11
		default:
			copy(data[i:], `\ufffd`)
			i += 5
		}
	}
	return data
}

// surrogate is the code of an escape such as \ud83e at the start of data, 0 if there is none.
func surrogate(data []byte) uint16 {
	if len(data) < 6 || !strings.EqualFold(string(data[:3]), `\ud`) || data[1] != 'u' {
		return 0
	}
	code, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil || code < 0xD800 {
		return 0
	}
	return uint16(code)
}
