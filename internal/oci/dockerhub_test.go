package oci_test

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

func TestDockerHubNames(t *testing.T) {
	for _, test := range []struct{ upstream, repository, wantUpstream, want string }{
		{"docker.io", "alpine", "docker.io", "library/alpine"},
		{"index.docker.io", "alpine", "docker.io", "library/alpine"},
		{"registry-1.docker.io", "grafana/loki", "docker.io", "grafana/loki"},
		{"docker.io", "", "docker.io", ""},
		{"ghcr.io", "alpine", "ghcr.io", "alpine"},
	} {
		upstream := oci.CanonicalUpstream(test.upstream)
		if got := oci.CanonicalRepository(upstream, test.repository); upstream != test.wantUpstream || got != test.want {
			t.Errorf("%s/%s is %s/%s, want %s/%s", test.upstream, test.repository, upstream, got, test.wantUpstream, test.want)
		}
	}
	for component, want := range map[string]bool{"localhost": true, "ghcr.io": true, "a:5000": true, "library": false, "": false} {
		if got := oci.IsRegistry(component); got != want {
			t.Errorf("%q is a registry: %v", component, got)
		}
	}
}

func TestMeansDockerHub(t *testing.T) {
	for _, name := range []string{"docker", "dockerhub", "hub.docker.com", "registry-1.docker.io", "index.docker.io", "registry.hub.docker.com", "hub.docker.com:443"} {
		if !oci.MeansDockerHub(name) {
			t.Errorf("%s is not Docker Hub", name)
		}
	}
	for _, name := range []string{"docker.io", "docker.elastic.co", "hub", "ghcr.io", "", "docker:5000"} {
		if oci.MeansDockerHub(name) {
			t.Errorf("%q is Docker Hub", name)
		}
	}
}

func TestWholeName(t *testing.T) {
	for name, want := range map[string]string{
		"nginx": "docker.io/library/nginx", "nginx:1.25": "docker.io/library/nginx:1.25", "bitnami/redis:7": "docker.io/bitnami/redis:7",
		"quay.io": "", "quay.io/a/b": "", "localhost/a": "", "gate:5000/a": "", "": "", "*/a": "", "gate.corp:5000": "",
	} {
		if got := oci.WholeName(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	_, pin := oci.ParsePin("nginx:1.25")
	_, selection := oci.ParseSelection("nginx:1.25")
	for _, err := range []error{pin, selection} {
		if err == nil || !strings.Contains(err.Error(), "did you mean docker.io/library/nginx:1.25?") {
			t.Errorf("nginx:1.25: %v", err)
		}
	}
}
