package command

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"docker.io", "ghcr.io", "harbor.corp:8443", "k8s.gcr.io", "quay.io", "registry.k8s.io"}
	for name, want := range map[string]string{
		"dokcer.io": "docker.io", "docker.com": "docker.io", "gcr.io": "ghcr.io", "gchr.io": "ghcr.io", "ghcr.oi": "ghcr.io",
		"harbor.corp": "harbor.corp:8443", "harbor.corp:443": "harbor.corp:8443", "k8s.io": "registry.k8s.io",
		"registry.k8s.oi": "registry.k8s.io", "quay.i": "quay.io",
		"nvcr.invalid": "", "": "", "registry.example.com": "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("%q: did you mean %q, want %q", name, got, want)
		}
	}
}
