package acr

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

// azure stands for a registry's exchange, the login authority and the metadata
// service of a machine.
type azure struct{ acr http.Handler }

func (a azure) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &recorder{header: http.Header{}, status: 200}
	a.acr.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(strings.NewReader(w.body.String())), Request: r}, nil
}

type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func TestLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("assertion\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	principal := map[string]string{"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client"}
	with := func(key, value string) map[string]string {
		m := map[string]string{key: value}
		maps.Copy(m, principal)
		return m
	}
	for name, test := range map[string]struct {
		env  map[string]string
		from string // where the identity comes from
	}{
		"workload identity": {with("AZURE_FEDERATED_TOKEN_FILE", file), "login.microsoftonline.com assertion"},
		"service principal": {with("AZURE_CLIENT_SECRET", "hush"), "login.microsoftonline.com hush"},
		"managed identity":  {map[string]string{}, "169.254.169.254 "},
		"user-assigned":     {principal, "169.254.169.254 client"},
	} {
		t.Run(name, func(t *testing.T) {
			var from string
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				switch {
				case r.URL.Path == "/oauth2/exchange":
					if r.Host != "x.azurecr.io" || r.PostForm.Get("service") != "x.azurecr.io" || r.PostForm.Get("access_token") != "identity" {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					_, _ = io.WriteString(w, `{"refresh_token":"refresh"}`)
				case r.URL.Path == "/tenant/oauth2/v2.0/token":
					from = r.Host + " " + r.PostForm.Get("client_assertion") + r.PostForm.Get("client_secret")
					_, _ = io.WriteString(w, `{"access_token":"identity"}`)
				case r.URL.Path == "/metadata/identity/oauth2/token" && r.Header.Get("Metadata") == "true":
					from = r.Host + " " + r.Form.Get("client_id")
					_, _ = io.WriteString(w, `{"access_token":"identity"}`)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			})
			k := &Source{
				client: &http.Client{Transport: azure{handler}}, getenv: func(key string) string { return test.env[key] },
				metadata: "http://169.254.169.254/metadata/identity/oauth2/token", scheme: "https",
			}
			login, err := k.Login(t.Context(), "x.azurecr.io")
			if err != nil || login != (credentials.Login{Username: tokenUser, IdentityToken: "refresh"}) || from != test.from {
				t.Errorf("%q from %q, %v", login.IdentityToken, from, err)
			}
			if login, err := k.Login(t.Context(), "x.azurecr.io.evil"); err != nil || login != (credentials.Login{}) {
				t.Errorf("another host: %v, %v", login, err)
			}
		})
	}
}

func TestTrouble(t *testing.T) {
	for _, answer := range []string{"500", "HTML", "{}", "redirect"} {
		for _, at := range []string{"identity", "exchange"} {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, at) {
					_, _ = io.WriteString(w, `{"access_token":"canary"}`)
					return
				}
				switch answer {
				case "500":
					w.WriteHeader(http.StatusInternalServerError)
				case "redirect":
					http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				default:
					_, _ = io.WriteString(w, answer)
				}
			})
			client := newClient()
			client.Transport = azure{handler}
			k := &Source{client: client, getenv: func(string) string { return "" }, metadata: "http://metadata.example/identity", scheme: "http"}
			if _, err := k.Login(t.Context(), "x.azurecr.io"); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s at %s: %v", answer, at, err)
			}
		}
	}
	if _, err := (&Source{client: newClient(), getenv: func(string) string { return "" }, metadata: "http://127.0.0.1:1/x?canary"}).
		Login(t.Context(), "x.azurecr.io"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("no metadata service: %v", err)
	}
}
