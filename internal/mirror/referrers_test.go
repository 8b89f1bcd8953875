package mirror_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream"
)

// sign puts a signature of a digest.
func (f *fixture) sign(d digest.Digest) digest.Digest {
	return f.upstream.PutManifest(repository, "", "application/vnd.oci.image.manifest.v1+json",
		[]byte(`{"schemaVersion":2,"artifactType":"application/x","subject":{"digest":"`+d.String()+`","size":1}}`))
}

// That there are no referrers is believed for seconds: who has just signed an image
// sees the signature. Clients that ask at once cost one request.
func TestNoReferrersAreBelievedForSeconds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	d := image.Index.Digest
	r := manifestRequest(d.String())
	want := func(n int, result oci.Result) {
		t.Helper()
		ds, status, err := f.mirror.Referrers(t.Context(), r)
		if err != nil || len(ds) != n || status.Result != result {
			t.Errorf("%d referrers, %v, %v", len(ds), status, err)
		}
	}
	want(0, oci.ResultMiss)
	want(0, oci.ResultHit)
	f.saw(0, 1)
	if _, err := f.store.Referrers(t.Context(), own, d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record of nothing about what is not here: %v", err)
	}
	f.sign(d)
	f.clock.advance(4 * time.Second)
	want(0, oci.ResultHit)
	f.clock.advance(time.Second)
	want(1, oci.ResultMiss)
	f.clock.advance(ttl - 1)
	want(1, oci.ResultHit)
	f.saw(0, 1)
}

// Of an image that is here it is recorded, once: its verification asks for it, and an
// outage must not make it unknown.
func TestNoReferrersOfACachedImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	d := image.Index.Digest
	r := manifestRequest(d.String())
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
		t.Fatal(err)
	}
	var first time.Time
	for i := range 3 {
		if ds, _, err := f.mirror.Referrers(t.Context(), r); err != nil || len(ds) != 0 {
			t.Errorf("%v, %v", ds, err)
		}
		record, err := f.store.Referrers(t.Context(), own, d)
		if err != nil || len(record.Descriptors) != 0 || i > 0 && !record.Checked.Equal(first) {
			t.Errorf("%v, %v", record, err)
		}
		first = record.Checked
		f.clock.advance(10 * time.Second)
	}
	f.saw(1, 4)
	f.reopen()
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	if ds, status, err := f.mirror.Referrers(t.Context(), r); err != nil || len(ds) != 0 || status.Result != oci.ResultStale {
		t.Errorf("%v, %v, %v", ds, status, err)
	}
	f.upstream.Hook(nil)
	f.clock.advance(10 * time.Second)
	signature := f.sign(d)
	if ds, _, err := f.mirror.Referrers(t.Context(), r); err != nil || len(ds) != 1 || ds[0].Digest != signature {
		t.Errorf("%v, %v", ds, err)
	}
}

// A list of referrers that is too long costs the upstream one visit.
func TestTooManyReferrers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	visits := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			http.NotFound(w, r)
			return
		}
		visits++
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[]%s}`, strings.Repeat(" ", 9<<20))
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := upstream.New(upstream.Options{Name: upstreamName, URLs: []*url.URL{base}, Now: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	f.policy.Remote = client
	f.configure()
	for range 3 {
		_, _, err := f.mirror.Referrers(t.Context(), manifestRequest(oci.Sum(nil).String()))
		wantStatus(t, err, http.StatusBadGateway)
		if err == nil || !strings.Contains(err.Error(), "8388608 bytes") {
			t.Error(err)
		}
		f.clock.advance(10 * time.Second)
	}
	if visits != 1 {
		t.Errorf("%d visits", visits)
	}
}
