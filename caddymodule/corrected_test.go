package caddymodule

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// What an upstream refused, or how it failed, while the configuration was wrong is
// forgotten with the reload that corrects it: the next pull asks at once.
func TestCorrectedUpstreamBeginsAnew(t *testing.T) {
	login := registrytest.Options{Auth: registrytest.AuthBasic, Username: "hub", Password: "right"}
	file := filepath.Join(t.TempDir(), "config.json")
	write := func(t *testing.T, content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// configured returns the options of the upstream, before and after.
	for name, configured := range map[string]func(t *testing.T, r *registrytest.Server, corrected bool) string{
		"password of the environment": func(t *testing.T, _ *registrytest.Server, corrected bool) string {
			t.Helper()
			t.Setenv("CORRECTED", map[bool]string{false: "wrong", true: "right"}[corrected])
			return "credentials hub {env.CORRECTED}"
		},
		"password in a file": func(t *testing.T, _ *registrytest.Server, corrected bool) string {
			t.Helper()
			write(t, []byte(map[bool]string{false: "wrong", true: "right"}[corrected]))
			return "credentials hub {file." + file + "}"
		},
		"source": func(t *testing.T, r *registrytest.Server, corrected bool) string {
			t.Helper()
			t.Setenv("DOCKER_CONFIG", filepath.Dir(file))
			login := base64.StdEncoding.EncodeToString([]byte("hub:" + map[bool]string{false: "wrong", true: "right"}[corrected]))
			write(t, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, r.Addr(), login))
			return "credentials docker_config"
		},
		"user": func(t *testing.T, _ *registrytest.Server, corrected bool) string {
			t.Helper()
			t.Setenv("CORRECTED", "right")
			return "credentials " + map[bool]string{false: "nobody", true: "hub"}[corrected] + " {env.CORRECTED}"
		},
		"authority": func(t *testing.T, r *registrytest.Server, corrected bool) string {
			t.Helper()
			write(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
			return map[bool]string{true: "tls_ca " + file}[corrected]
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := login
			if name == "authority" {
				o = registrytest.Options{TLS: true}
			}
			r := registrytest.New(t, o)
			image := r.PutImage("library/alpine", "3", 5, 10)
			s := newSite(t)
			load := func(corrected bool) {
				t.Helper()
				s.load("registry_mirror {\nupstream docker.io {\nurl " + r.URL() + "\n" + configured(t, r, corrected) + "\naccess public\n}\n}")
			}
			pull := func(corrected bool) {
				t.Helper()
				for _, reference := range []string{"3", image.Index.Digest.String()} {
					response, body := s.client().get("/v2/proxy-docker.io/library/alpine/manifests/" + reference)
					if had := response.StatusCode == http.StatusOK; had != corrected {
						t.Errorf("%s, corrected = %t: %s: %s", reference, corrected, response.Status, body)
					}
				}
			}
			load(false)
			pull(false)
			r.Reset()
			load(true)
			pull(true)
			if n := r.Count("", "manifests"); n == 0 || n > 4 { // each of the two is challenged at most once
				t.Errorf("%d requests for manifests", n)
			}
		})
	}
}

// A new password in a file needs no reload: it is read again once the old one is refused.
func TestPasswordFileIsReadAgain(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "hub", Password: "new"})
	file := filepath.Join(t.TempDir(), "secret")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + r.URL() + "\ncredentials hub {file." + file + "}\naccess public\n}\n}")
	for i, want := range []int{http.StatusForbidden, http.StatusOK} {
		tag := strconv.Itoa(i)
		r.PutImage("library/alpine", tag, uint64(i), 10)
		if response, body := s.client().get("/v2/proxy-docker.io/library/alpine/manifests/" + tag); response.StatusCode != want {
			t.Errorf("%d: %s: %s", i, response.Status, body)
		}
		write("new")
	}
}
