package mirror_test

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestTag(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	get := func(want []byte, result oci.Result) oci.CacheStatus {
		t.Helper()
		m, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes, want) || m.Digest != oci.Sum(want) || m.MediaType != image.Index.MediaType {
			t.Fatalf("got another manifest: %s %s", m.MediaType, m.Bytes)
		}
		if status.Result != result {
			t.Errorf("result %q, want %q", status.Result, result)
		}
		return status
	}
	head := func(result oci.Result) {
		t.Helper()
		d, status, err := f.mirror.StatManifest(t.Context(), manifestRequest("3"))
		if err != nil {
			t.Fatal(err)
		}
		if d.Digest != image.Index.Digest || d.Size != image.Index.Size || d.MediaType != image.Index.MediaType {
			t.Fatalf("got %+v", d)
		}
		if status.Result != result {
			t.Errorf("result %q, want %q", status.Result, result)
		}
	}

	head(oci.ResultMiss)
	f.saw(1, 0)
	head(oci.ResultHit)
	if s := get(image.IndexBytes, oci.ResultMiss); !s.Stored {
		t.Error("a cold manifest is not said to be stored")
	}
	f.saw(0, 1)
	f.clock.advance(20 * time.Second)
	if s := get(image.IndexBytes, oci.ResultHit); s.Fresh == nil || *s.Fresh != 40*time.Second || s.Age != 20*time.Second {
		t.Errorf("fresh %v, age %v after 20 s", s.Fresh, s.Age)
	}
	f.saw(0, 0)

	f.clock.advance(ttl)
	get(image.IndexBytes, oci.ResultMiss)
	f.saw(1, 0)
	get(image.IndexBytes, oci.ResultHit)
	f.saw(0, 0)

	moved := f.upstream.PutImage(repository, "3", 2, 1000)
	get(image.IndexBytes, oci.ResultHit)
	f.clock.advance(ttl)
	get(moved.IndexBytes, oci.ResultMiss)
	f.saw(1, 1)
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Index.Digest.String())); err != nil {
		t.Errorf("the old digest is gone: %v", err)
	}
	f.saw(0, 0)

	f.upstream.DeleteTag(repository, "3")
	f.clock.advance(ttl)
	_, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
	wantStatus(t, err, http.StatusNotFound)
	if status.ForwardStatus != http.StatusNotFound {
		t.Errorf("status %v", status)
	}
	f.saw(1, 0)
	_, status, err = f.mirror.Manifest(t.Context(), manifestRequest("3"))
	wantStatus(t, err, http.StatusNotFound)
	if status.Detail != "negative" {
		t.Errorf("status %v", status)
	}
	f.saw(0, 0)
}

func TestImageIsLinkedThroughout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 3000)
	p := image.Platforms[0]
	for _, ref := range []string{"3", p.Manifest.Digest.String()} {
		if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(ref)); err != nil {
			t.Fatal(err)
		}
	}
	f.saw(1, 2)
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if _, _, err := f.pull(t.Context(), blobRequest(d.Digest)); err != nil {
			t.Fatal(err)
		}
		f.filled()
	}
	f.saw(0, 2)
	f.upstream.Pause()
	f.policy.Offline = true
	f.configure()
	f.clock.advance(100 * ttl)
	for _, ref := range []string{"3", p.Manifest.Digest.String()} {
		if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest(ref)); err != nil || status.Result != oci.ResultHit {
			t.Errorf("offline %s: %v, %v", ref, status, err)
		}
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if _, status, err := f.pull(t.Context(), blobRequest(d.Digest)); err != nil || status.Result != oci.ResultHit {
			t.Errorf("offline %s: %v, %v", d.Digest, status, err)
		}
		if _, status, err := f.mirror.StatBlob(t.Context(), blobRequest(d.Digest)); err != nil || status.Result != oci.ResultHit {
			t.Errorf("offline HEAD %s: %v, %v", d.Digest, status, err)
		}
	}
	for _, r := range []oci.Request{
		manifestRequest("4"), manifestRequest(oci.Sum([]byte("x")).String()), manifestRequest(image.Platforms[1].Manifest.Digest.String()),
	} {
		_, _, err := f.mirror.Manifest(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
		_, _, err = f.mirror.StatManifest(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
	}
	_, _, err := f.mirror.Blob(t.Context(), blobRequest(image.Platforms[1].Config.Digest))
	wantStatus(t, err, http.StatusNotFound)
	f.saw(0, 0)
}

func TestConcurrentLookUpsAreOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	arrived := make(chan struct{})
	release, open := registrytest.Hold(t)
	var once sync.Once
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		once.Do(func() { close(arrived) })
		<-release
		next(w, r)
	})
	leaving, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, _, err := f.mirror.StatManifest(leaving, manifestRequest("3"))
		gone <- err
	}()
	<-arrived
	leave() // the first one leaves, and takes nothing with it
	if err := <-gone; err == nil {
		t.Error("no error for the client that left")
	}
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			d, status, err := f.mirror.StatManifest(t.Context(), manifestRequest("3"))
			if err != nil || d.Digest != image.Index.Digest {
				t.Errorf("got %v, %v", d, err)
			}
			if status.Result != oci.ResultJoined && status.Result != oci.ResultHit {
				t.Errorf("result %q", status.Result)
			}
		})
	}
	open()
	wait.Wait()
	f.saw(1, 0)
	for range 100 {
		wait.Go(func() {
			if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	f.saw(0, 1)
}

func TestHeadTellsTooLittle(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]registrytest.Hook{
		"no digest": func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				return
			}
			next(w, r)
		},
		"no HEAD": func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			next(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			image := f.upstream.PutImage(repository, "3", 1, 1000)
			f.upstream.Hook(hook)
			d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest("3"))
			if err != nil || d.Digest != image.Index.Digest || d.Size != image.Index.Size {
				t.Errorf("got %+v, %v", d, err)
			}
			if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil || status.Result != oci.ResultHit {
				t.Errorf("got %v, %v", status, err)
			}
			f.saw(1, 1)
			p := image.Platforms[0].Manifest
			if d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest(p.Digest.String())); err != nil || d.Size != p.Size {
				t.Errorf("by digest: %+v, %v", d, err)
			}
			f.saw(1, 1)
		})
	}
}

func TestManifestOfAnotherScope(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	f.upstream.CopyRepository(repository, "library/copy")
	f.upstream.PutBlob("library/empty", nil)
	d := image.Index.Digest
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(d.String())); err != nil {
		t.Fatal(err)
	}
	f.upstream.Reset()
	r := manifestRequest(d.String())
	r.Repository = "library/copy"
	for range 2 {
		if m, _, err := f.mirror.Manifest(t.Context(), r); err != nil || m.Digest != d {
			t.Error(err)
		}
	}
	f.saw(1, 0)
	r.Repository = "library/empty"
	for range 2 {
		_, _, err := f.mirror.Manifest(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
	}
	f.saw(1, 0)
}

func TestImmutableTag(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "v1.2.3", 1, 1000)
	for range 3 {
		m, _, err := f.mirror.Manifest(t.Context(), manifestRequest("v1.2.3"))
		if err != nil || m.Digest != image.Index.Digest {
			t.Fatal(err)
		}
		f.clock.advance(1000 * ttl)
		f.upstream.PutImage(repository, "v1.2.3", 2, 1000)
	}
	f.saw(1, 1)
}

func TestTagWithoutTTL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.TagTTL = 0
	f.configure()
	f.upstream.PutImage(repository, "3", 1, 1000)
	for range 3 {
		if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
			t.Fatal(err)
		}
	}
	f.saw(3, 1)
}

func TestClockSetBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.upstream.PutImage(repository, "3", 1, 1000)
	for _, jump := range []time.Duration{0, -time.Hour, -24 * 365 * time.Hour} {
		f.clock.advance(jump)
		_, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if err != nil || status.Age < 0 {
			t.Errorf("after %s: %+v, %v", jump, status, err)
		}
	}
	f.saw(3, 1)
}

func TestWrongManifest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	raw := []byte(`{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}`)
	d := f.upstream.PutManifest(repository, "ambiguous", "application/vnd.oci.image.index.v1+json", raw)
	for _, ref := range []string{"ambiguous", d.String()} {
		_, _, err := f.mirror.Manifest(t.Context(), manifestRequest(ref))
		wantStatus(t, err, http.StatusBadGateway)
	}
	if _, err := f.store.Manifest(t.Context(), d); err == nil {
		t.Error("it is stored")
	}
	lie := digest.FromString("another")
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w.Header().Set("Docker-Content-Digest", lie.String())
		_, _ = w.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
	})
	_, _, err := f.mirror.Manifest(t.Context(), manifestRequest(lie.String()))
	wantStatus(t, err, http.StatusBadGateway)
	if class(err) != oci.ClassDigest {
		t.Errorf("class %q", class(err))
	}
}
