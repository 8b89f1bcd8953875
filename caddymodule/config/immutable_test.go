package config

import "testing"

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
		u := &Upstream{Name: "docker.io", Tags: Tags{ImmutableTags: test.pattern}}
		if err := u.Provision(); err != nil {
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
	if err := (&Upstream{Name: "docker.io", Tags: Tags{ImmutableTags: "v1)|(v2"}}).Provision(); err == nil {
		t.Error("a pattern that is none by itself is taken")
	}
}
