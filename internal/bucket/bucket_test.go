package bucket

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Place{
		"https://s3.eu-central-1.amazonaws.com/cache":          {"https://s3.eu-central-1.amazonaws.com", "cache", "", "eu-central-1"},
		"https://s3.dualstack.us-west-2.amazonaws.com/cache/":  {"https://s3.dualstack.us-west-2.amazonaws.com", "cache", "", "us-west-2"},
		"http://127.0.0.1:9000/cache/some/prefix":              {"http://127.0.0.1:9000", "cache", "some/prefix/", DefaultRegion},
		"https://s3.cn-north-1.amazonaws.com.cn/cache/prefix/": {"https://s3.cn-north-1.amazonaws.com.cn", "cache", "prefix/", "cn-north-1"},
	} {
		if got, err := ParseURL(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "s3://cache", "https://s3.example.com", "https://s3.example.com/", "https://key:secret@s3.example.com/cache", "https://s3.example.com/cache?a=b", "https:// s3/secret",
	} {
		if got, err := ParseURL(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
