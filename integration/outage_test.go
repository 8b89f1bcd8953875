//go:build integration

package integration

import (
	"net/http"
	"strings"
	"testing"
)

// configured is an upstream with more lines in the Caddyfile.
type configured struct {
	upstream
	lines string
}

func (c configured) caddyfile() string { return c.upstream.caddyfile() + "\n\t\t\t" + c.lines }

// TestTagAskedOnEveryPull pulls a tag that is never believed: it costs one HEAD
// a pull, and when the upstream is gone the last answer stands, and says so.
func TestTagAskedOnEveryPull(t *testing.T) {
	for _, from := range upstreams {
		if from.private {
			continue
		}
		t.Run(from.name, func(t *testing.T) {
			u := configured{from.start(t), "tag_ttl 0"}
			g := startGateway(t, plain, u)
			c := newSkopeo(t, g)
			c.pull(t)

			u.reset()
			c.pull(t)
			assertCount(t, "second pull: HEAD of a manifest", u.count("HEAD", "manifests"), 1)
			assertCount(t, "second pull: GET of a manifest", u.count("GET", "manifests"), 0)
			assertCount(t, "second pull: GET of a blob", u.count("GET", "blobs"), 0)

			u.stop()
			if got, want := c.pull(t), testImage(t).index.Digest; got != want {
				t.Errorf("upstream stopped: the client has %s, the upstream had %s", got, want)
			}
			path := "/v2/proxy-docker.io/" + imageRepository + "/manifests/"
			if status := cacheStatus(t, g.url()+path+imageTag); !strings.Contains(status, "stale") {
				t.Errorf("Cache-Status of the tag = %q, want stale in it", status)
			}
			if status := cacheStatus(t, g.url()+path+testImage(t).index.Digest.String()); status != "pullgate; hit" {
				t.Errorf("Cache-Status of the digest = %q, want a plain hit", status)
			}
		})
	}
}

// TestKilled ends the gateway with SIGKILL right after a pull: what was pulled
// is still there.
func TestKilled(t *testing.T) {
	u := upstreams[1].start(t)
	g := startGateway(t, plain, u)
	c := newSkopeo(t, g)
	c.pull(t)
	u.stop()
	g.kill(t)
	g.run(t)
	if got, want := c.pull(t), testImage(t).index.Digest; got != want {
		t.Errorf("the client has %s, the upstream had %s", got, want)
	}
}

func cacheStatus(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HEAD %s: %s", url, response.Status)
	}
	return response.Header.Get("Cache-Status")
}
