package oci

import "testing"

func TestParseSelection(t *testing.T) {
	sum := "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for text, want := range map[string]string{
		"docker.io":                              "docker.io",
		"harbor.corp:8443":                       "harbor.corp:8443",
		"docker.io/alpine":                       "docker.io/library/alpine",
		"docker.io/alpine:3.20":                  "docker.io/library/alpine:3.20",
		"harbor.corp:8443/a/b:v1":                "harbor.corp:8443/a/b:v1",
		"ghcr.io/a/b@" + sum:                     "ghcr.io/a/b@" + sum,
		"ghcr.io/a/b:v1@" + sum:                  "ghcr.io/a/b@" + sum,
		"":                                       "",
		"/a":                                     "",
		"docker.io#abc":                          "",
		"UPPER/case":                             "",
		"docker.io/":                             "",
		"docker.io/Upper":                        "",
		"docker.io/a:":                           "",
		"docker.io/a:b:c":                        "",
		"docker.io/a@sha256:12":                  "",
		"docker.io@" + sum:                       "",
		"docker.io/library/alpine:*":             "",
		"registry.k8s.io/kube-apiserver:v1.33.0": "registry.k8s.io/kube-apiserver:v1.33.0",
	} {
		sel, err := ParseSelection(text)
		if got := sel.String(); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
			continue
		}
		if err != nil {
			continue
		}
		if again, err := ParseSelection(sel.String()); err != nil || again != sel {
			t.Errorf("%q is %+v again, %v", text, again, err)
		}
		if !sel.Has(Scope{sel.Upstream + "#0123", sel.Repository}) || sel.Has(Scope{"quay.io", sel.Repository}) {
			t.Errorf("%q has other scopes than its own", text)
		}
	}
	if !(Selection{}).Has(Scope{"quay.io", "a/b"}) {
		t.Error("nothing is selected by nothing")
	}
}

// The pattern of a pin is the same for all ways to write it, and is read again.
func TestPinString(t *testing.T) {
	for text, want := range map[string]string{
		"docker.io/alpine":           "docker.io/library/alpine",
		"docker.io/library/alpine:*": "docker.io/library/alpine",
		"docker.io/alpine:3.*":       "docker.io/library/alpine:3.*",
		"ghcr.io/org/**":             "ghcr.io/org/**",
		"ghcr.io/a/b:v1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": "ghcr.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	} {
		p, err := ParsePin(text)
		if err != nil || p.String() != want {
			t.Errorf("%q is %q, %v, want %q", text, p, err, want)
		}
		if again, err := ParsePin(p.String()); err != nil || again.String() != want {
			t.Errorf("%q is %q again, %v", text, again, err)
		}
	}
}
