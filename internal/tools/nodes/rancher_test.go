package nodes

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rancher/wharfie/pkg/registries"
)

// TestRancherTakesRegistries: the code by which k3s and RKE2 read registries.yaml pulls with
// what client-config writes for them, over TLS, as a user, by the path of the gateway.
func TestRancherTakesRegistries(t *testing.T) {
	for client, directory := range map[string]string{"k3s": "/etc/rancher/k3s", "rke2": "/etc/rancher/rke2"} {
		t.Run(client, func(t *testing.T) {
			store := registry.New()
			gate := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "node" || password != `pull "secret"` {
					w.Header().Set("WWW-Authenticate", `Basic realm="gate"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				store.ServeHTTP(w, r)
			}))
			defer gate.Close()
			filled := httptest.NewServer(store)
			defer filled.Close()
			image, err := random.Image(1000, 2)
			if err != nil {
				t.Fatal(err)
			}
			host, err := url.Parse(filled.URL)
			if err != nil {
				t.Fatal(err)
			}
			tag, err := name.ParseReference(host.Host+"/proxy-docker.io/library/alpine:3", name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(tag, image); err != nil {
				t.Fatal(err)
			}
			authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gate.Certificate().Raw})
			out := clientConfig(t, client, "--endpoint", gate.URL, "--user", "node", "--password-file", write(t, "pull \"secret\"\n"), "--ca", write(t, string(authority)), "docker.io")
			// The folder of a node is this one here.
			file := filepath.Join(out, "registries.yaml")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(read(t, file)), directory, out)), 0o600); err != nil {
				t.Fatal(err)
			}
			read, err := registries.GetPrivateRegistries(file)
			if err != nil {
				t.Fatal(err)
			}
			alpine, err := name.ParseReference("docker.io/library/alpine:3")
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := read.Image(alpine)
			if err != nil {
				t.Fatal(err)
			}
			want, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := pulled.Digest(); err != nil || got != want {
				t.Errorf("it pulls %v (%v), want %v", got, err, want)
			}
		})
	}
}
