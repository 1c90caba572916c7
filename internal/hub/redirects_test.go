package hub

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

// redirect orders that the weights are at another address.
func (w *world) redirect(to string) {
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/onnx/model_q4.onnx_data") {
			answer(http.StatusFound, "Location", to)(out)
			return true
		}
		return false
	})
}

func TestRedirects_D18(t *testing.T) {
	w := newWorld(t)
	blob := "/blobs/" + hubtest.SHA256(w.files["onnx/model_q4.onnx_data"])
	// Relative ones, five of them.
	hops := 0
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		n := 0
		switch {
		case strings.HasSuffix(r.URL.Path, "/onnx/model_q4.onnx_data"):
			answer(307, "Location", "/hop/4")(out)
		case strings.HasPrefix(r.URL.Path, "/hop/"):
			_, _ = fmt.Sscanf(r.URL.Path, "/hop/%d", &n)
			to := fmt.Sprintf("../hop/%d", n-1)
			if n == 1 {
				to = w.hub.CDN + blob
			}
			answer(308, "Location", to)(out)
		default:
			return false
		}
		hops++
		return true
	})
	if _, err := w.pull(PlanOptions{}); err != nil || hops != 5 {
		t.Fatalf("%d relative redirects: %v", hops, err)
	}
	w.whole(q4Files...)
	tests := map[string]string{
		"/" + testRepo + "/resolve/" + w.commit + "/onnx/model_q4.onnx_data": "more than 5 redirects",
		"file:///etc/passwd":       `of the kind "file"`,
		"ftp://example.com/x":      `of the kind "ftp"`,
		"javascript:alert(1)":      `of the kind "javascript"`,
		"":                         "to no address",
		"http://":                  "to no address",
		"http://[::1":              "to no address",
		"http:///blobs/x":          "to no address",
		"data:text/plain,whatever": `of the kind "data"`,
	}
	for to, words := range tests {
		w := newWorld(t)
		w.redirect(to)
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeRedirect, words)
	}
}

func TestRedirectWithoutEncryption_D18(t *testing.T) {
	w := newWorld(t)
	secure := secureServer(t, w.hub.Handler())
	w.client = w.newClient(Access{Endpoint: secure.URL, Token: canary})
	w.client.transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeRedirect, "without encryption")
	for _, r := range w.hub.Requests() {
		if r.CDN {
			t.Error("the redirect was followed")
		}
	}
}

// publicly makes the client's hub one that seems to be at a public address.
func (w *world) publicly() *Client {
	c := w.newClient(Access{Endpoint: "http://hub.example", Token: canary})
	t := c.transport.(*http.Transport)
	own := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "hub.example:80" {
			return net.Dial("tcp", strings.TrimPrefix(w.hub.URL, "http://"))
		}
		return own(ctx, network, address)
	}
	return c
}

func TestRedirectIntoPrivateNetwork_D18(t *testing.T) {
	w := newWorld(t)
	blob := "/blobs/" + hubtest.SHA256(w.files["onnx/model_q4.onnx_data"])
	cdn, _ := url.Parse(w.hub.CDN)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "[fe80::1%25lo]", "[::ffff:127.0.0.1]", "0x7f000001", "127.1"} {
		w.client = w.publicly()
		w.redirect("http://" + host + ":" + cdn.Port() + blob)
		_, err := w.pull(PlanOptions{})
		if err == nil {
			t.Fatalf("%s was followed", host)
		}
		if !strings.Contains(host, "7f") && host != "127.1" {
			w.wantError(err, CodeRedirect, "private network", "--private-redirects")
		}
	}
	if n := len(w.weightRequests()); n > 0 {
		t.Errorf("%d requests came through", n)
	}
	w.client = w.publicly()
	w.client.options.PrivateRedirects = true
	w.redirect(w.hub.CDN + blob)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool { return false })
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

// The canary is looked for in all that any server gets: only the hub's own origin may see it.
func TestTokenStaysAtTheHub_D19_D20(t *testing.T) {
	type seen struct{ host, header string }
	var mutex sync.Mutex
	var leaks []seen
	w := newWorld(t)
	body := w.files["onnx/model_q4.onnx_data"]
	record := func(out http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), canary) || name == "Authorization" || name == "Cookie" {
				leaks = append(leaks, seen{r.Host, name})
			}
		}
		if strings.Contains(r.URL.String(), canary) {
			leaks = append(leaks, seen{r.Host, "URL"})
		}
		_, _ = out.Write(body)
	}
	thief := httptest.NewServer(http.HandlerFunc(record))
	defer thief.Close()
	secureThief := secureServer(t, http.HandlerFunc(record))
	hub, _ := url.Parse(w.hub.URL)
	other, _ := url.Parse(thief.URL)
	tests := map[string]string{
		"same host, other port":     thief.URL + "/x",
		"other host":                "http://localhost:" + other.Port() + "/x",
		"the hub's port, by name":   "http://localhost:" + hub.Port() + "/elsewhere",
		"other scheme":              secureThief.URL + "/x",
		"hub in the user's place":   "http://" + hub.Host + "@" + other.Host + "/x",
		"user and password":         "http://user:" + "password@" + other.Host + "/x",
		"hub in the path":           thief.URL + "/" + hub.Host + "/x",
		"hub as a name's beginning": "http://" + hub.Hostname() + ".localhost:" + other.Port() + "/x",
		"capital letters":           strings.ToUpper(thief.URL[:4]) + thief.URL[4:] + "/x",
	}
	for name, to := range tests {
		w.client = w.newClient(Access{Endpoint: w.hub.URL, Token: canary})
		w.client.transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.Host, "localhost") {
				record(out, r)
				return true
			}
			if !strings.HasSuffix(r.URL.Path, "/onnx/model_q4.onnx_data") {
				return false
			}
			answer(302, "Location", to, "Set-Cookie", "session=1")(out)
			return true
		})
		_, _ = w.pull(PlanOptions{})
		if len(leaks) > 0 {
			t.Errorf("%s: %v", name, leaks)
			leaks = nil
		}
	}
	// The hub itself gets it, on every request, also when a redirect stays there; its content network never does.
	w = newWorld(t)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if rest, old := strings.CutPrefix(r.URL.Path, "/"+testRepo+"/"); old && !strings.HasPrefix(r.URL.RawQuery, "moved") && strings.HasSuffix(rest, "config.json") {
			answer(307, "Location", r.URL.Path+"?moved")(out)
			return true
		}
		return false
	})
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.hub.Requests() {
		if got := r.Header.Get("Authorization"); r.CDN && got != "" || !r.CDN && got != "Bearer "+canary {
			t.Errorf("%s%s got %q", r.Host, r.Path, got)
		}
	}
}

// Other pages of a list may not be at another server.
func TestNextPageElsewhere_D20(t *testing.T) {
	w := newWorld(t)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/tree/") {
			answer(200, "Link", `<`+w.hub.CDN+`/api>; rel="next"`)(out)
			_, _ = out.Write([]byte("[]"))
			return true
		}
		return false
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeTree, "another server")
}

func TestAccess(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/token", "from-file\n")
	write(t, dir+"/other", " from-path ")
	tests := []struct {
		vars map[string]string
		want Access
		bad  string
	}{
		{nil, Access{Endpoint: Endpoint}, ""},
		{map[string]string{"HF_ENDPOINT": "http://mirror:8080/hf/"}, Access{Endpoint: "http://mirror:8080/hf"}, ""},
		{map[string]string{"HF_TOKEN": " t \n"}, Access{Endpoint: Endpoint, Token: "t"}, ""},
		{map[string]string{"HUGGING_FACE_HUB_TOKEN": "old"}, Access{Endpoint: Endpoint, Token: "old"}, ""},
		{map[string]string{"HF_HOME": dir}, Access{Endpoint: Endpoint, Token: "from-file"}, ""},
		{map[string]string{"HF_HOME": dir, "HF_TOKEN_PATH": dir + "/other"}, Access{Endpoint: Endpoint, Token: "from-path"}, ""},
		{map[string]string{"HF_HOME": dir, "HF_TOKEN": "first"}, Access{Endpoint: Endpoint, Token: "first"}, ""},
		{map[string]string{"HF_HUB_OFFLINE": "1"}, Access{Endpoint: Endpoint, Offline: true}, ""},
		{map[string]string{"HF_HUB_OFFLINE": "0"}, Access{Endpoint: Endpoint}, ""},
		{map[string]string{"HF_ENDPOINT": "ftp://x"}, Access{}, "no address"},
		{map[string]string{"HF_ENDPOINT": "huggingface.co"}, Access{}, "no address"},
		{map[string]string{"HF_ENDPOINT": "https://me:" + canary + "@x"}, Access{}, "a user or a password"},
		{map[string]string{"HF_ENDPOINT": "https://x?token=" + canary}, Access{}, "no address"},
		{map[string]string{"HF_TOKEN": canary + "\r\nX-Evil: 1"}, Access{}, "no token has"},
	}
	for _, test := range tests {
		got, err := AccessFrom(func(k string) string {
			if k == "HOME" && test.vars[k] == "" {
				return dir + "/home"
			}
			return test.vars[k]
		})
		if test.bad == "" && (err != nil || got != test.want) || test.bad != "" && (err == nil || !strings.Contains(err.Error(), test.bad)) {
			t.Errorf("%v: got %v with %q, %v; want %v %s", test.vars, got.Endpoint, string(got.Token), err, test.want, test.bad)
		}
		if err != nil && strings.Contains(err.Error(), canary) || strings.Contains(fmt.Sprintf("%v %+v %#v %s %q %x", got, got, got, got.Token, got.Token, got.Token), canary) {
			t.Errorf("%v: the token is shown", test.vars)
		}
	}
}
