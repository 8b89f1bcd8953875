package bucket

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Place{
		"https://s3.eu-central-1.amazonaws.com/cache":          {"https://s3.eu-central-1.amazonaws.com", "cache", "", "eu-central-1"},
		"https://s3.dualstack.us-west-2.amazonaws.com/cache/":  {"https://s3.dualstack.us-west-2.amazonaws.com", "cache", "", "us-west-2"},
		"http://127.0.0.1:9000/cache/some/prefix":              {"http://127.0.0.1:9000", "cache", "some/prefix/", defaultRegion},
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

func TestParseRange(t *testing.T) {
	if offset, size, err := parseRange("bytes 2-5/700"); offset != 2 || size != 700 || err != nil {
		t.Errorf("%d of %d, %v", offset, size, err)
	}
	for _, text := range []string{"bytes 2-5/*", "2", "bytes */7"} {
		if _, _, err := parseRange(text); err == nil {
			t.Errorf("%q has no error", text)
		}
	}
}

// A bucket is opened without asking anybody, also where no key is given.
func TestOpenAsksNobody(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	for _, o := range []Options{{URL: "http://192.0.2.1/cache"}, {URL: "http://192.0.2.1/cache", AccessKey: "key", SecretKey: "secret", Region: "garage"}} {
		b, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if o.Region != "" && b.place.Region != o.Region {
			t.Errorf("region is %q", b.place.Region)
		}
		b.Close()
	}
	if _, err := Open(Options{URL: "https://s3.example.com"}); err == nil {
		t.Error("a URL without bucket has no error")
	}
}
