package s3client

import (
	"testing"

	"github.com/pullgate/pullgate/internal/bucket"
)

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
	for _, o := range []bucket.Options{{URL: "http://192.0.2.1/cache"}, {URL: "http://192.0.2.1/cache", AccessKey: "key", SecretKey: "secret", Region: "garage"}} {
		b, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if o.Region != "" && b.place.Region != o.Region {
			t.Errorf("region is %q", b.place.Region)
		}
		b.Close()
	}
	if _, err := Open(bucket.Options{URL: "https://s3.example.com"}); err == nil {
		t.Error("a URL without bucket has no error")
	}
}
