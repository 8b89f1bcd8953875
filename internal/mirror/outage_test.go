package mirror_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

func TestStale(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]registrytest.Hook{
		"status":      answer(http.StatusInternalServerError),
		"denied":      answer(http.StatusUnauthorized),
		"ratelimited": answer(http.StatusTooManyRequests),
		"connect":     func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) },
		"timeout":     func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { <-r.Context().Done() },
	} {
		t.Run(name, bubble(func(t *testing.T) {
			f := newFixture(t)
			if name == "timeout" {
				f.cache.SetDeadlines(10*time.Second, 300*time.Millisecond)
			}
			image := f.upstream.PutImage(repository, "3", 1, 1000)
			f.upstream.PutImage(repository, "other", 1, 1000)
			for _, tag := range []string{"3", "other"} {
				if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(tag)); err != nil {
					t.Fatal(err)
				}
			}
			f.clock.advance(ttl)
			f.upstream.Reset()
			f.upstream.Hook(hook)
			for range 5 {
				m, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
				if err != nil || m.Digest != image.Index.Digest {
					t.Fatalf("not served stale: %v", err)
				}
				if status.Result != oci.ResultStale || status.Detail != name || status.Fresh == nil || *status.Fresh > 0 {
					t.Errorf("status %+v", status)
				}
			}
			if n := len(f.upstream.Requests()); n == 0 || n > 2 { // net/http repeats a HEAD once on a cut connection
				t.Errorf("the upstream saw %d requests of 5", n)
			}
			f.upstream.Reset()
			if _, status, err := f.mirror.StatManifest(t.Context(), manifestRequest("other")); err != nil || status.Result != oci.ResultStale {
				t.Errorf("HEAD of another tag: %v, %v", status, err)
			}
			if asks := name == "status" || name == "denied"; (len(f.upstream.Requests()) > 0) != asks {
				t.Errorf("requests for another tag: %v", f.upstream.Requests())
			}
			f.upstream.Hook(nil)
			f.cache.SetDeadlines(10*time.Second, 10*time.Second)
			f.clock.advance(61 * time.Second)
			if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil || status.Result != oci.ResultMiss {
				t.Errorf("after the outage: %v, %v", status, err)
			}
		}))
	}
}

func TestMovedTagStaysUntilItsManifestIsHere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
		t.Fatal(err)
	}
	f.upstream.PutImage(repository, "3", 2, 1000)
	f.clock.advance(ttl)
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next(w, r)
	})
	d, status, err := f.mirror.StatManifest(t.Context(), manifestRequest("3"))
	if err != nil || d.Digest != image.Index.Digest || status.Result != oci.ResultStale {
		t.Errorf("got %s, %v, %v", d.Digest, status, err)
	}
}

func TestColdFailures(t *testing.T) {
	tests := map[string]struct {
		hook     registrytest.Hook
		status   int
		remember time.Duration
	}{
		"not found":    {answer(http.StatusNotFound), http.StatusNotFound, 10 * time.Second},
		"denied":       {answer(http.StatusForbidden), http.StatusForbidden, 10 * time.Second},
		"rate limited": {answer(http.StatusTooManyRequests), http.StatusTooManyRequests, 60 * time.Second},
		"server error": {answer(http.StatusBadGateway), http.StatusBadGateway, 2 * time.Second},
		"silence": {
			func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { <-r.Context().Done() },
			http.StatusGatewayTimeout, 2 * time.Second,
		},
	}
	d := oci.Sum([]byte("x"))
	for name, test := range tests {
		requests := map[string]func(f *fixture) error{
			"tag": func(f *fixture) error {
				_, _, err := f.mirror.Manifest(f.t.Context(), manifestRequest("3"))
				return err
			},
			"tag head": func(f *fixture) error {
				_, _, err := f.mirror.StatManifest(f.t.Context(), manifestRequest("3"))
				return err
			},
			"digest": func(f *fixture) error {
				_, _, err := f.mirror.Manifest(f.t.Context(), manifestRequest(d.String()))
				return err
			},
			"digest head": func(f *fixture) error {
				_, _, err := f.mirror.StatManifest(f.t.Context(), manifestRequest(d.String()))
				return err
			},
			"blob head": func(f *fixture) error { _, _, err := f.mirror.StatBlob(f.t.Context(), blobRequest(d)); return err },
		}
		if name != "silence" { // the deadline of a blob's answer is the Remote's
			requests["blob"] = func(f *fixture) error { _, _, err := f.mirror.Blob(f.t.Context(), blobRequest(d)); return err }
		}
		for what, request := range requests {
			t.Run(name+"/"+what, bubble(func(t *testing.T) {
				f := newFixture(t)
				if name == "silence" {
					f.cache.SetDeadlines(300*time.Millisecond, 0)
				}
				f.upstream.Hook(test.hook)
				for range 5 {
					wantStatus(t, request(f), test.status)
				}
				if n := len(f.upstream.Requests()); n != 1 {
					t.Errorf("5 requests cost the upstream %d: %v", n, f.upstream.Requests())
				}
				f.clock.advance(test.remember - time.Second)
				wantStatus(t, request(f), test.status)
				if n := len(f.upstream.Requests()); n != 1 {
					t.Errorf("forgotten too early: %v", f.upstream.Requests())
				}
				f.clock.advance(time.Second)
				wantStatus(t, request(f), test.status)
				if n := len(f.upstream.Requests()); n != 2 {
					t.Errorf("not asked again after %s: %v", test.remember, f.upstream.Requests())
				}
			}))
		}
	}
}

// What is the trouble of a registry behind the upstream comes as all kinds of statuses: as
// 400 of Quay's blobs, as 424 of ACR's cache, as 503 of GitLab's, as 502 and 504 of Pulp.
// An old answer serves then, and what is not here is no 404.
func TestTroubleBehindTheUpstream(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 408, 412, 424, 500, 502, 503, 504} {
		t.Run(fmt.Sprint(status), bubble(func(t *testing.T) {
			f := newFixture(t)
			f.clock.run()
			f.connect(upstream.Options{MaxFails: -1})
			image := f.upstream.PutImage(repository, "3", 1, 1000)
			if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
				t.Fatal(err)
			}
			f.clock.advance(ttl)
			f.upstream.Hook(registrytest.Answer(status, nil, `{"errors":[{"code":"UNSUPPORTED","message":"request to registry for cache rule"}]}`))
			if m, cache, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil || m.Digest != image.Index.Digest || cache.Result != oci.ResultStale {
				t.Errorf("cached: %v, %v", cache, err)
			}
			layer := blobRequest(image.Platforms[0].Layers[0].Digest)
			_, _, manifest := f.mirror.Manifest(t.Context(), manifestRequest("none"))
			_, _, blob := f.pull(t.Context(), layer)
			_, _, head := f.mirror.StatBlob(t.Context(), layer)
			for what, err := range map[string]error{"manifest": manifest, "blob": blob, "HEAD of a blob": head} {
				if e := oci.AsError(err); e == nil || e.Status < 500 || e.UpstreamStatus != status || e.Code != oci.CodeUnavailable {
					t.Errorf("%s: %+v", what, err)
				}
			}
			f.upstream.Hook(nil)
			time.Sleep(3 * time.Second)
			if _, _, err := f.pull(t.Context(), layer); err != nil {
				t.Errorf("it is remembered for long: %v", err)
			}
		}))
	}
}
