//go:build integration

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// craneClient is what "crane pull --format oci" does, with a direct reference:
// the name leaves out library/, as people write it.
type craneClient struct {
	reference string
	options   []crane.Option
	transport *http.Transport
}

func newCrane(t *testing.T, g *gateway) client {
	t.Helper()
	c := &craneClient{reference: g.host + "/proxy-docker.io/" + filepath.Base(imageRepository) + ":" + imageTag}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	c.transport = transport
	if g.tls {
		raw, err := os.ReadFile(g.ca)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(raw)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	} else {
		c.options = append(c.options, crane.Insecure)
	}
	c.options = append(c.options, crane.WithTransport(transport))
	if g.auth {
		c.options = append(c.options, crane.WithAuth(&authn.Basic{Username: g.username, Password: g.secret}))
	}
	return c
}

func (c *craneClient) pull(t *testing.T) digest.Digest {
	t.Helper()
	defer c.transport.CloseIdleConnections()
	options := append([]crane.Option{crane.WithContext(t.Context())}, c.options...)
	descriptor, err := crane.Get(c.reference, options...)
	if err != nil {
		t.Fatal(err)
	}
	index, err := descriptor.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	target, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	return digestOfLayout(t, dir)
}

// forget has nothing to do: each pull has a folder of its own.
func (c *craneClient) forget(*testing.T) {}

// digestOfLayout returns the digest of the only image in an OCI layout.
func digestOfLayout(t *testing.T, dir string) digest.Digest {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("not an OCI layout of one image: %s (%v)", raw, err)
	}
	return index.Manifests[0].Digest
}
