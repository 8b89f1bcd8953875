package oci

import "testing"

func TestPin(t *testing.T) {
	for _, c := range []struct {
		pin, upstream, repository, tag string
		want                           bool
	}{
		{"docker.io/library/alpine:3.*", "docker.io", "library/alpine", "3.20", true},
		{"docker.io/library/alpine:3.*", "docker.io#0123", "library/alpine", "3.", true},
		{"docker.io/library/alpine:3.*", "docker.io", "library/alpine", "3", false},
		{"docker.io/library/alpine:3.*", "docker.io", "library/alpine", "13.1", false},
		{"docker.io/library/alpine:3.*", "docker.io", "library/alpine/x", "3.1", false},
		{"docker.io/library/alpine:3.*", "docker.iox", "library/alpine", "3.1", false},
		{"docker.io/alpine", "docker.io", "library/alpine", "any", true},
		{"docker.io/*", "docker.io", "library/alpine", "any", true},
		{"docker.io/*", "docker.io", "grafana/loki", "any", false},
		{"docker.io/**", "docker.io", "grafana/loki", "any", true},
		{"ghcr.io/alpine", "ghcr.io", "library/alpine", "any", false},
		{"ghcr.io/org/**", "ghcr.io", "org/team/app", "V1", true},
		{"ghcr.io/org/**", "ghcr.io", "org", "V1", false},
		{"ghcr.io/org/*:v?", "", "", "", false},
		{"harbor.corp:8443/base/*:V*", "harbor.corp:8443", "base/os", "V1", true},
		{"ghcr.io/a@" + Sum(nil).String(), "ghcr.io", "a", "b", false},
	} {
		p, err := ParsePin(c.pin)
		if c.upstream == "" {
			if err == nil {
				t.Errorf("%s: no error", c.pin)
			}
			continue
		}
		if got := p.Match(Scope{Upstream: c.upstream, Repository: c.repository}, c.tag); err != nil || got != c.want {
			t.Errorf("%s matches %s/%s:%s: %v, %v", c.pin, c.upstream, c.repository, c.tag, got, err)
		}
	}
	if p, err := ParsePin("ghcr.io/a/b:c@" + Sum(nil).String()); err != nil || p.Digest != Sum(nil) {
		t.Errorf("pin of a digest is %+v, %v", p, err)
	}
	for _, s := range []string{
		"", "alpine", "/a", "*/a", "docker.io", "docker.io/", "docker.io/:x", "docker.io/a:", "docker.io/A", "docker.io/a***",
		"docker.io/a:b/c", "docker.io/a:b:c", "docker.io/a@sha256:1", "docker.io/a@",
	} {
		if p, err := ParsePin(s); err == nil {
			t.Errorf("%q became %+v", s, p)
		}
	}
}
