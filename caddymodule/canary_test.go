package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"
)

// aviary makes secrets, and knows them in every form in which they may come out.
type aviary map[string]string

// secret makes one, by what it is.
func (a aviary) secret(what string) string {
	raw := make([]byte, 12)
	_, _ = rand.Read(raw)
	a[what] = "cnry" + hex.EncodeToString(raw)
	return a[what]
}

// found returns which secrets stand in a text, plain or as a part of base64.
func (a aviary) found(text string) (all []string) {
	for what, secret := range a {
		forms := []string{secret, hex.EncodeToString([]byte(secret))}
		for skip := range 3 { // wherever in base64 it begins
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", skip) + secret))
			forms = append(forms, encoded[4:len(encoded)-4])
		}
		if slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(text, form) }) {
			all = append(all, what)
		}
	}
	slices.Sort(all)
	return all
}

// keyPair writes a certificate and its key, and returns the names of the files.
func (a aviary) keyPair(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeSecret(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public})))
	writeSecret(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	a["client key"] = base64.StdEncoding.EncodeToString(raw)[50:80]
	return certificate, key
}

// loose is an upstream that has secrets of its own, and tells them to everybody.
type loose struct {
	*httptest.Server
	secrets aviary
	mu      sync.Mutex
	saw     map[string]bool
}

func newLoose(t *testing.T, a aviary) *loose {
	l := &loose{secrets: a, saw: map[string]bool{}}
	token, refresh := a.secret("token"), a.secret("refresh token")
	signature, cookie, body := a.secret("signature of a URL"), a.secret("cookie of the upstream"), a.secret("body of an error")
	realm, header := a.secret("query of a realm"), a.secret("header of the upstream")
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		for _, what := range a.found(fmt.Sprint(r.URL, r.Header)) {
			l.saw[what] = true
		}
		l.mu.Unlock()
		w.Header().Set("Set-Cookie", "session="+cookie)
		w.Header().Set("X-Debug", header)
		path := r.URL.Path
		switch {
		case strings.HasPrefix(path, "/token"):
			fmt.Fprintf(w, `{"token":%q,"refresh_token":%q}`, token, refresh)
		case strings.HasPrefix(path, "/cdn"):
			switch {
			case strings.Contains(path, "reset"):
				panic(http.ErrAbortHandler)
			case strings.Contains(path, "missing"):
				http.Error(w, r.URL.String()+body, http.StatusForbidden)
			default:
				_, _ = io.WriteString(w, "blob")
			}
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token?key=%s",service="s"`, r.Host, realm))
			http.Error(w, body, http.StatusUnauthorized)
		case strings.Contains(path, "/blobs/"):
			w.Header().Set("Location", fmt.Sprintf("http://%s/cdn%s?X-Amz-Signature=%s", r.Host, path, signature))
			w.WriteHeader(http.StatusTemporaryRedirect)
		case strings.Contains(path, "/inside/"):
			w.Header().Set("Location", "http://10.1.2.3/?X-Amz-Signature="+signature)
			w.WriteHeader(http.StatusTemporaryRedirect)
		case strings.Contains(path, "/userinfo/"):
			w.Header().Set("Location", "http://u:"+signature+"@"+r.Host+"/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		case strings.Contains(path, "/realm/"):
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="gopher://%s/%s"`, r.Host, realm))
			http.Error(w, body, http.StatusUnauthorized)
		case strings.Contains(path, "/html/"):
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>"+body+r.Header.Get("Authorization"))
		case strings.Contains(path, "/reset/"):
			panic(http.ErrAbortHandler)
		case strings.Contains(path, "/5xx/"):
			http.Error(w, body+r.Header.Get("Authorization"), http.StatusInternalServerError)
		case strings.Contains(path, "/denied/"):
			http.Error(w, `{"errors":[{"code":"DENIED","message":"`+body+`"}]}`, http.StatusForbidden)
		case strings.Contains(path, "/limit/"):
			w.Header().Set("Retry-After", body)
			http.Error(w, body, http.StatusTooManyRequests)
		default:
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = io.WriteString(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

// TestCanaries runs a gateway that logs at the level DEBUG, with secrets of every
// kind, lets everything go wrong, and then looks for them wherever it writes.
func TestCanaries(t *testing.T) {
	home(t)
	secrets := aviary{}
	receiver := newReceiver(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	up := newLoose(t, secrets)
	dir := t.TempDir()
	passwordFile := filepath.Join(dir, "password")
	writeSecret(t, passwordFile, secrets.secret("password from a file"))
	t.Setenv("CANARY_PASSWORD", secrets.secret("password from the environment"))
	t.Setenv("CANARY_PROXY", "http://u:"+secrets.secret("password of a proxy")+"@"+strings.TrimPrefix(up.URL, "http://"))
	login := secrets.secret("password of a user")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secrets.secret("key of a cloud"))
	t.Setenv("DOCKER_CONFIG", dir)
	dockerAuth, err := json.Marshal(map[string]any{"auths": map[string]any{
		strings.TrimPrefix(up.URL, "http://"): map[string]string{"username": "u", "password": secrets.secret("password of Docker")},
		"registry.example":                    map[string]string{"identitytoken": secrets.secret("identity token of Docker")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	writeSecret(t, filepath.Join(dir, "config.json"), string(dockerAuth))
	certificate, key := secrets.keyPair(t)
	hash, err := bcrypt.GenerateFromPassword([]byte(login), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	addr, admin, logFile, store := freeAddr(t), filepath.Join(dir, "admin.sock"), filepath.Join(t.TempDir(), "log"), t.TempDir()
	closed := "http://" + freeAddr(t)
	config := fmt.Sprintf(`{
	admin unix/%s
	metrics
	log {
		level DEBUG
		output file %s
	}
	registry_mirror {
		storage %s
	}
}
http://%s {
	log
	tracing {
		span pull
	}
	metrics /metrics
	@named header Authorization *
	basic_auth @named {
		talos %s
	}
	registry_mirror {
		upstream file.example {
			url %[6]s
			credentials u {file.%[7]s}
			access public
		}
		upstream env.example {
			url %[6]s
			credentials u {env.CANARY_PASSWORD}
			access talos
		}
		upstream docker.example {
			url %[6]s
			credentials docker_config
			access public
		}
		upstream proxy.example {
			url http://registry.invalid
			proxy {env.CANARY_PROXY}
		}
		upstream cert.example {
			url %[6]s
			tls_client %[8]s %[9]s
			access public
		}
		upstream down.example {
			url %[10]s
			credentials u {env.CANARY_PASSWORD}
			access public
		}
	}
}
`, admin, logFile, store, addr, hash, up.URL, passwordFile, certificate, key, closed)
	text, ok := adapted(t, string(caddyfile.Format([]byte(config))))
	if !ok {
		t.Fatal(text)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	if err := caddy.Load([]byte(text), true); err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	headers := http.Header{
		"Cookie": {"a=" + secrets.secret("cookie of a client")}, "Proxy-Authorization": {"Basic " + secrets.secret("Proxy-Authorization of a client")},
	}
	foreign := http.Header{"Authorization": {"Bearer " + secrets.secret("token of a client for another registry")}}
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+secrets.secret("password of a client for another registry")))}}
	right := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("talos:"+login))}}
	wrong := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("talos:"+secrets.secret("wrong password of a user")))}}
	blob := digest.FromString("blob").String()
	for _, upstream := range []string{"file", "env", "docker", "proxy", "cert", "down"} {
		for _, path := range []string{
			"a/manifests/1", "a/manifests/" + blob, "a/blobs/" + blob, "reset/blobs/" + blob, "missing/blobs/" + digest.FromString("x").String(),
			"reset/x/manifests/1", "inside/x/manifests/1", "userinfo/x/manifests/1", "realm/x/manifests/1", "html/x/manifests/1",
			"5xx/x/manifests/1", "denied/x/manifests/1", "a/tags/list", "a/referrers/" + blob, "limit/x/manifests/1",
		} {
			logins := []http.Header{right}
			if upstream == "env" {
				logins = append(logins, nil, foreign)
			}
			if upstream == "env" && path == "a/manifests/1" {
				logins = append(logins, basic, wrong) // they cost a second of bcrypt each
			}
			for _, more := range logins {
				all.Go(func() {
					answer := fetch(t, "http://"+addr+"/v2/proxy-"+upstream+".example/x/"+path, headers, more)
					mu.Lock()
					defer mu.Unlock()
					shown["answers"] += answer
				})
			}
		}
	}
	all.Wait()
	if !up.sees("password of a proxy", "password from a file", "password from the environment", "password of Docker", "token", "signature of a URL") {
		t.Error("the upstream saw too few secrets: the test proves too little")
	}
	client := &http.Client{Transport: unixTransport(t, admin)}
	for _, path := range []string{
		"/config/", "/registry_mirror/", "/debug/vars", "/metrics", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
		"/debug/pprof/cmdline", "/debug/pprof/allocs?debug=1", "/pki/ca/local", "/reverse_proxy/upstreams",
	} {
		response, err := client.Get("http://admin" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(path, err)
		}
		_ = response.Body.Close()
		shown["admin "+path] = string(body)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, span := range receiver.received() {
		shown["traces"] += span.String()
	}
	for _, root := range []string{store, os.Getenv("XDG_DATA_HOME"), os.Getenv("XDG_CONFIG_HOME"), logFile} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			raw, err := os.ReadFile(path)
			shown[path] = string(raw)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for where, text := range shown {
		decoded, err := url.PathUnescape(text)
		if err != nil {
			decoded = ""
		}
		for _, what := range secrets.found(text + decoded) {
			t.Errorf("%s: %s", where, what)
		}
	}
	t.Logf("%d secrets, %d places, a log of %d KiB", len(secrets), len(shown), len(shown[logFile])>>10)
	if len(secrets) < 20 || len(shown[logFile]) < 50_000 || shown["traces"] == "" || shown["answers"] == "" {
		t.Error("the test proves too little")
	}
}

// fetch returns all of an answer, nothing if it was cut.
func fetch(t *testing.T, url string, headers ...http.Header) string {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	for _, more := range headers {
		maps.Copy(request.Header, more)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return fmt.Sprint(response.Header, string(body), "\n")
}

func (l *loose) sees(all ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !slices.ContainsFunc(all, func(what string) bool { return !l.saw[what] })
}

func writeSecret(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
