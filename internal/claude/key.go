package claude

import (
	"fmt"
	"io"
	"strings"
)

// Key is an API key that no print shows. The text is kept in a function and not in a field, because fmt prints the
// fields of a value that lies unexported in another one without asking its methods.
type Key struct{ reveal func() string }

// NewKey keeps a key. Blanks around it, as pasting leaves them, are taken off; an empty text is no key.
func NewKey(text string) (Key, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Key{}, nil
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
		return Key{}, fail(CodeKey, "the API key has a character at position %d that no key has; paste it once more", i+1)
	}
	return Key{func() string { return text }}, nil
}

// IsSet says whether there is a key.
func (k Key) IsSet() bool { return k.reveal != nil }

func (k Key) String() string {
	if !k.IsSet() {
		return "[no key]"
	}
	return "[key]"
}

// GoString is String: a key has no other form.
func (k Key) GoString() string { return k.String() }

// Format prints String, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText is String, for JSON, TOML and loggers.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// hide takes the key out of a text that a server wrote.
func (k Key) hide(text string) string {
	if !k.IsSet() {
		return text
	}
	return strings.ReplaceAll(text, k.reveal(), k.String())
}
