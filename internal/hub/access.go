package hub

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/shammah/shammah-engine/internal/filesystem"
)

// Endpoint is where models come from unless HF_ENDPOINT names another place.
const Endpoint = "https://huggingface.co"

// Access says how the Hub is reached.
type Access struct {
	Endpoint string // scheme://host[:port][/path], without a slash at the end
	Token    Token  // "" is nobody in particular
	Offline  bool   // no connection may be made
}

// Token is a secret: no format prints it.
type Token string

// Format writes stars for a token.
func (t Token) Format(s fmt.State, _ rune) {
	if t != "" {
		fmt.Fprint(s, "***")
	}
}

// AccessFrom reads what Hugging Face's own programs read: HF_ENDPOINT; HF_TOKEN, or the file HF_TOKEN_PATH, or the file
// token in HF_HOME, where `hf auth login` puts it; HF_HUB_OFFLINE.
func AccessFrom(getenv func(string) string) (Access, error) {
	a := Access{Endpoint: Endpoint, Offline: isTrue(getenv("HF_HUB_OFFLINE")) || isTrue(getenv("TRANSFORMERS_OFFLINE"))}
	if e := strings.TrimRight(strings.TrimSpace(getenv("HF_ENDPOINT")), "/"); e != "" {
		a.Endpoint = e
	}
	u, err := url.Parse(a.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return Access{}, fmt.Errorf("hub: read HF_ENDPOINT: it is no address; expected https://host or http://host:port")
	}
	if u.User != nil {
		return Access{}, fmt.Errorf("hub: read HF_ENDPOINT: it holds a user or a password; the hub takes a token, in HF_TOKEN")
	}
	token, from := getenv("HF_TOKEN"), "HF_TOKEN"
	if token == "" {
		token, from = getenv("HUGGING_FACE_HUB_TOKEN"), "HUGGING_FACE_HUB_TOKEN"
	}
	if token == "" {
		token, from = tokenFile(getenv)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Access{}, fmt.Errorf("hub: read the token in %s: it holds characters that no token has", from)
	}
	a.Token = Token(token)
	return a, nil
}

// MarshalText keeps a token out of files as well.
func (t Token) MarshalText() ([]byte, error) { return fmt.Append(nil, t), nil }

func isTrue(s string) bool {
	switch strings.ToUpper(s) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// tokenFile reads the token that a login has left, "" when there is none.
func tokenFile(getenv func(string) string) (token, path string) {
	if path = filesystem.Expand(getenv("HF_TOKEN_PATH"), userHome(getenv)); path == "" {
		path = filepath.Join(hubHome(getenv), "token")
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) > 4096 {
		return "", path
	}
	return string(b), path
}
