package upstream

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func registryNamed(t *testing.T, s string) name.Registry {
	t.Helper()
	r, err := name.NewRegistry(s, name.WeakValidation)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDockerConfigCredentials(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "p"})
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", home)
	write := func(password string) {
		t.Helper()
		config := fmt.Sprintf(`{"auths":{%q:{"auth":%q},"https://index.docker.io/v1/":{"auth":%q}}}`, s.Addr(),
			base64.StdEncoding.EncodeToString([]byte("u:"+password)), base64.StdEncoding.EncodeToString([]byte("hub:x")))
		if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Credentials, o.Now = DockerConfigCredentials(), now.Now })
	_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
	wantClass(t, err, oci.ClassDenied)
	// A refusal makes the keychain be asked again at once.
	write("p")
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	hub := newClient(t, "https://registry-1.docker.io")
	config, err := DockerConfigCredentials().resolve(t.Context(), hub.endpoints[0])
	if err != nil || config.Username != "hub" {
		t.Errorf("Docker Hub: user %q, %v", config.Username, err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	now.add(2 * credentialsGood)
	_, err = c.Manifest(t.Context(), repo, tag(image.Tag))
	wantClass(t, err, oci.ClassToken)
}

func TestGoogleCredentialsAreForGoogle(t *testing.T) {
	config, err := GoogleCredentials().resolve(t.Context(), newClient(t, "https://quay.io").endpoints[0])
	if err != nil || config != (authn.AuthConfig{}) {
		t.Errorf("%v, %v", config.Username, err)
	}
}

func TestECRHosts(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":          "eu-west-1 false",
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1 true",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":      "cn-north-1 false",
		"123456789012.dkr-ecr.eu-west-1.on.aws":                 "eu-west-1 false",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil":     "",
		"x.dkr.ecr.eu-west-1.amazonaws.com":                     "",
		"public.ecr.aws":                                        "",
	} {
		region, fips, ok := ecrHost(host)
		if ok != (want != "") || ok && fmt.Sprint(region, " ", fips) != want {
			t.Errorf("%s: %q %v %v", host, region, fips, ok)
		}
	}
}

func TestECRCredentials(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte("AWS:secret"))
	var calls []string
	fail := false
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Header.Get("X-Amz-Target"))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch {
		case fail:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"InvalidParameterException","message":"x"}`)
		case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "SpencerFrontendService."):
			_, _ = io.WriteString(w, `{"authorizationData":{"authorizationToken":"`+token+`"}}`)
		default:
			_, _ = io.WriteString(w, `{"authorizationData":[{"authorizationToken":"`+token+`"}]}`)
		}
	})
	for key, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": s.URL, "HOME": t.TempDir(),
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(key, value)
	}
	for _, host := range []string{"123456789012.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"} {
		c := newClient(t, "https://"+host, func(o *Options) { o.Credentials = ECRCredentials() })
		g, err := c.visit(c.endpoints[0], operation{}, nil).basic(t.Context())
		if err != nil || g.header != "Basic "+token {
			t.Errorf("%s: %q, %v", host, g.header, err)
		}
	}
	if config, err := ECRCredentials().resolve(t.Context(), newClient(t, "https://quay.io").endpoints[0]); err != nil || config.Auth != "" {
		t.Errorf("another host: %v", err)
	}
	if len(calls) != 2 {
		t.Errorf("calls %q", calls)
	}
	fail = true
	c := newClient(t, "https://public.ecr.aws", func(o *Options) { o.Credentials = ECRCredentials() })
	_, err := c.visit(c.endpoints[0], operation{}, nil).basic(t.Context())
	if asFailure(t.Context(), "", err).class != oci.ClassToken {
		t.Errorf("%v", err)
	}
}

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

func TestACRCredentials(t *testing.T) {
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
			k := acrKeychain{
				client: &http.Client{Transport: azure{handler}}, getenv: func(key string) string { return test.env[key] },
				metadata: "http://169.254.169.254/metadata/identity/oauth2/token", scheme: "https",
			}
			a, err := k.Resolve(registryNamed(t, "x.azurecr.io"))
			if err != nil {
				t.Fatal(err)
			}
			config, err := a.Authorization()
			if err != nil || config.IdentityToken != "refresh" || from != test.from {
				t.Errorf("%q from %q, %v", config.IdentityToken, from, err)
			}
			if a, err := k.Resolve(registryNamed(t, "x.azurecr.io.evil")); err != nil || a != authn.Anonymous {
				t.Errorf("another host: %v, %v", a, err)
			}
		})
	}
}

func TestACRTrouble(t *testing.T) {
	for _, answer := range []string{"500", "HTML", "{}", "redirect"} {
		for _, at := range []string{"identity", "exchange"} {
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
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
			client := newACRClient()
			client.Transport = azure{s.Config.Handler}
			k := acrKeychain{client: client, getenv: func(string) string { return "" }, metadata: s.URL + "/identity", scheme: "http"}
			if _, err := k.Resolve(registryNamed(t, "x.azurecr.io")); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s at %s: %v", answer, at, err)
			}
		}
	}
	if _, err := (acrKeychain{client: newACRClient(), getenv: func(string) string { return "" }, metadata: "http://127.0.0.1:1/x?canary"}).
		Resolve(registryNamed(t, "x.azurecr.io")); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("no metadata service: %v", err)
	}
}
