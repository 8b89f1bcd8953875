package nearest

import (
	"slices"
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	names := []string{"docker.io", "ghcr.io", "harbor.corp:8443", "k8s.gcr.io", "quay.io", "registry.k8s.io", "ls", "rm", "pins", "status", "max_size"}
	for name, want := range map[string]string{
		"dokcer.io": "docker.io", "docker.com": "docker.io", "gcr.io": "ghcr.io", "gchr.io": "ghcr.io", "ghcr.oi": "ghcr.io",
		"DOCKER.IO": "docker.io", "docker.io:443": "docker.io", "ghcr.io.": "ghcr.io",
		"harbor.corp": "harbor.corp:8443", "harbor.corp:443": "harbor.corp:8443", "k8s.io": "registry.k8s.io",
		"registry.k8s.oi": "registry.k8s.io", "quay.i": "quay.io",
		"stauts": "status", "stat": "status", "mr": "rm", "list": "ls", "pin": "pins", "maxsize": "max_size", "max-size": "max_size",
		"nvcr.invalid": "", "": "", "x": "", "registry.example.com": "", strings.Repeat("docker.io", 100): "",
	} {
		backwards := slices.Clone(names)
		slices.Reverse(backwards)
		for _, order := range [][]string{names, backwards} {
			if got := Name(name, order); got != want {
				t.Errorf("%.20q: did you mean %q, want %q", name, got, want)
			}
		}
	}
}

func TestHint(t *testing.T) {
	if got := Hint("quay.oi", []string{"quay.io"}); got != " (did you mean quay.io?)" {
		t.Errorf("hint is %q", got)
	}
	if got := Hint("docker.io", []string{"quay.io"}); got != "" {
		t.Errorf("hint is %q", got)
	}
}
