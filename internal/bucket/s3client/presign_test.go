package s3client

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/buckettest"
)

// A URL is good for a GET without keys, at whatever name clients have for the server.
func TestPresign(t *testing.T) {
	server := httptest.NewServer(buckettest.New())
	defer server.Close()
	b, err := Open(bucket.Options{URL: server.URL + "/cache/prefix", AccessKey: "key", SecretKey: "hush"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Put(t.Context(), "v1/b/one", strings.NewReader("content"), 7, bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{"", strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/"} {
		signed, err := b.Presign(t.Context(), "v1/b/one", endpoint, 90*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		if q := u.Query(); u.Path != "/cache/prefix/v1/b/one" || q.Get("X-Amz-Expires") != "90" || q.Get("X-Amz-SignedHeaders") != "host" || strings.Contains(signed, "hush") {
			t.Errorf("the URL is %s", signed)
		}
		if want := strings.TrimSuffix(endpoint, "/"); want != "" && !strings.HasPrefix(signed, want+"/cache") {
			t.Errorf("the URL is %s, want one of %s", signed, want)
		}
		response, err := http.Get(signed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if string(got) != "content" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}
