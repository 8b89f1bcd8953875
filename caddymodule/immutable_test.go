package caddymodule

import (
	"net/http"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestImmutableTags: a pattern is one for whole tags, however it is written. What is
// not meant by it goes on being asked for.
func TestImmutableTags(t *testing.T) {
	for _, test := range []struct {
		pattern        string
		matches, other []string
	}{
		{`v1`, []string{"v1"}, []string{"v1.2", "v10", "rc-v1", "xv1x"}},
		{`^v1`, []string{"v1"}, []string{"v1.2", "v10"}},
		{`v1$`, []string{"v1"}, []string{"rc-v1"}},
		{`^v1$`, []string{"v1"}, []string{"v10", "rc-v1"}},
		{`v1|v2`, []string{"v1", "v2"}, []string{"v1.2", "rc-v2", "v1-rc"}},
		{`^v1$|^v2$`, []string{"v1", "v2"}, []string{"v1.2", "rc-v2"}},
		{`\d+\.\d+\.\d+`, []string{"1.2.3"}, []string{"1.2.3-rc1", "v1.2.3", "1.2"}},
		{`^v?\d+\.\d+\.\d+$`, []string{"1.2.3", "v1.2.3"}, []string{"1.2.3.4", "latest"}},
		{`v1.*`, []string{"v1", "v1.2"}, []string{"rc-v1"}},
		{`(?i)v1`, []string{"V1", "v1"}, []string{"V12"}},
		{`(?m)v1`, []string{"v1"}, []string{"v12"}},
		{`[0-9a-f]{40}`, []string{"0123456789012345678901234567890123456789"}, []string{"01234567890123456789012345678901234567890"}},
	} {
		u := &Upstream{Name: "docker.io", ImmutableTags: test.pattern}
		if err := u.provision(); err != nil {
			t.Fatalf("%s: %v", test.pattern, err)
		}
		for _, tag := range test.matches {
			if !u.resolved.immutableTags.MatchString(tag) {
				t.Errorf("%s does not match %s", test.pattern, tag)
			}
		}
		for _, tag := range test.other {
			if u.resolved.immutableTags.MatchString(tag) {
				t.Errorf("%s matches %s", test.pattern, tag)
			}
		}
	}
	if err := (&Upstream{Name: "docker.io", ImmutableTags: "v1)|(v2"}).provision(); err == nil {
		t.Error("a pattern that is none by itself is taken")
	}
}

// TestImmutableTagsAsksForTheOthers pulls through a site: v1.2 is no v1, so that
// whoever moves it is heard.
func TestImmutableTagsAsksForTheOthers(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	for seed, tag := range []string{"v1", "v1.2"} {
		upstream.PutImage("library/alpine", tag, uint64(seed), 10)
	}
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\ntag_ttl 0\nimmutable_tags v1\n}\n}")
	c := s.client()
	for tag, want := range map[string]int{"v1": 0, "v1.2": 1} {
		path := "/v2/proxy-docker.io/library/alpine/manifests/" + tag
		c.rest(c.do(http.MethodGet, path))
		upstream.Reset()
		c.rest(c.do(http.MethodGet, path))
		if n := upstream.Count("", ""); n != want {
			t.Errorf("%s: the upstream is asked %d times once it is known, want %d", tag, n, want)
		}
	}
}
