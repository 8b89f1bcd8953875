package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// other is the upstream of another operator.
const other = "other.example"

// beside adds it to the mirror.
func (f *fixture) beside() *registrytest.Server {
	f.t.Helper()
	server := registrytest.New(f.t, registrytest.Options{Network: f.network})
	f.more = append(f.more, mirror.Upstream{
		Name: other, Freshness: mirror.Freshness{TagTTL: ttl}, Access: mirror.Access{Public: true},
		Remote: &remote{base: server.URL(), client: f.remote.client},
	})
	f.configure()
	return server
}

func beside(r oci.Request) oci.Request {
	r.Upstream = other
	return r
}

func methods(s *registrytest.Server) (all []string) {
	for _, r := range s.Requests() {
		all = append(all, r.Method)
	}
	s.Reset()
	return all
}

// wantRefused asserts that an upstream opens nothing, whichever way it is asked.
func (f *fixture) wantRefused(d digest.Digest, requests ...oci.Request) {
	f.t.Helper()
	for range 3 {
		for _, r := range requests {
			if r.Kind == oci.KindManifest {
				if mf, _, err := f.mirror.Manifest(f.t.Context(), r); err == nil {
					f.t.Errorf("%s opens manifest %s", r.Reference, mf.Digest)
				}
				continue
			}
			raw, _, err := f.pull(f.t.Context(), r)
			if err == nil || len(raw) > 0 && digest.FromBytes(raw) == d {
				f.t.Errorf("%d bytes are opened, %v", len(raw), err)
			}
		}
		f.clock.advance(2 * ttl)
	}
}

// liars answer what they do not have.
func liars(m oci.Descriptor, sizes map[digest.Digest]int64) map[string]registrytest.Hook {
	lie := func(w http.ResponseWriter, r *http.Request) {
		ref := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		size := sizes[digest.Digest(ref)]
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", m.Digest.String())
			w.Header().Set("Content-Type", m.MediaType)
			size = m.Size
		}
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	return map[string]registrytest.Hook{
		"HEAD": func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Method != http.MethodHead {
				next(w, r)
				return
			}
			lie(w, r)
		},
		"garbage": func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
			lie(w, r)
			if r.Method == http.MethodGet {
				n, _ := strconv.Atoi(w.Header().Get("Content-Length"))
				_, _ = w.Write(make([]byte, n))
			}
		},
		"ranges of zeros": func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
			var from, to int64
			ref := digest.Digest(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
			lie(w, r)
			if from, to = span(r, sizes[ref]); r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to-1, 10)+"/"+strconv.FormatInt(sizes[ref], 10))
				w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
				w.WriteHeader(http.StatusPartialContent)
			}
			if r.Method == http.MethodGet {
				n, _ := strconv.Atoi(w.Header().Get("Content-Length"))
				_, _ = w.Write(make([]byte, n))
			}
		},
	}
}

// span returns what a range means.
func span(r *http.Request, size int64) (from, to int64) {
	first, last, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	from, _ = strconv.ParseInt(first, 10, 64)
	if to, _ = strconv.ParseInt(last, 10, 64); last == "" {
		return from, size
	}
	return from, to + 1
}

// What an upstream says opens nothing of what others have brought in.
func TestWordsOpenNothing(t *testing.T) {
	t.Parallel()
	for name := range liars(oci.Descriptor{}, nil) {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			liar := f.beside()
			image := f.upstream.PutImage(repository, "3", 1, 1000, 2*mib)
			f.pullImage(repository, image)
			p := image.Platforms[0]
			sizes := map[digest.Digest]int64{}
			requests := []oci.Request{
				beside(manifestRequest("3")), beside(manifestRequest(image.Index.Digest.String())), beside(manifestRequest(p.Manifest.Digest.String())),
			}
			for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
				sizes[d.Digest] = d.Size
				requests = append(requests, beside(blobRequest(d.Digest)))
			}
			liar.Hook(liars(oci.Descriptor{MediaType: image.Index.MediaType, Digest: image.Index.Digest, Size: int64(len(image.IndexBytes))}, sizes)[name])
			for range 3 { // to HEAD first does not help
				for _, r := range requests[3:] {
					_, _, _ = f.mirror.StatBlob(t.Context(), r)
				}
				for _, r := range requests[:3] {
					_, _, _ = f.mirror.StatManifest(t.Context(), r)
				}
				for _, r := range requests {
					f.wantRefused(r.Reference.Digest, r)
				}
			}
		})
	}
}

// A fill that fails leaves no proof, whoever brings the bytes in later.
func TestFailedFillProvesNothing(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * mib} {
		f := newFixture(t)
		liar := f.beside()
		want := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, want)
		liar.Hook(liars(oci.Descriptor{}, map[digest.Digest]int64{d: int64(size)})["garbage"])
		f.wantRefused(d, beside(blobRequest(d)))
		if link, err := f.store.Linked(t.Context(), oci.Scope{Upstream: other, Repository: repository}, d); link.Proven {
			t.Errorf("link %+v, %v", link, err)
		}
		f.mustPull(blobRequest(d), want, oci.ResultMiss)
		f.wantRefused(d, beside(blobRequest(d)))
		f.mustPull(blobRequest(d), want, oci.ResultHit)
	}
}

// Another upstream shows that it has the bytes, once.
func TestPossessionIsShownOnce(t *testing.T) {
	t.Parallel()
	for size, want := range map[int][]string{
		1000: {"GET"}, mib: {"GET"}, mib + 1: {"GET", "GET", "GET", "GET"}, 9 * mib: {"GET", "GET", "GET", "GET"},
	} {
		f := newFixture(t)
		s := f.beside()
		raw := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, raw)
		s.PutBlob(repository, raw)
		s.PutBlob("team/copy", raw)
		f.mustPull(blobRequest(d), raw, oci.ResultMiss)
		f.filled()
		f.mustPull(beside(blobRequest(d)), raw, oci.ResultMiss)
		inEnd := slices.ContainsFunc(s.Requests(), func(r registrytest.Request) bool {
			return strings.HasSuffix(r.Header.Get("Range"), "-"+strconv.Itoa(size-1))
		})
		if got := methods(s); !slices.Equal(got, want) || size > mib && !inEnd {
			t.Errorf("%d bytes: %v, want %v; end %v", size, got, want, inEnd)
		}
		f.mustPull(beside(blobRequest(d)), raw, oci.ResultHit)
		if got := methods(s); len(got) != 0 {
			t.Errorf("%d bytes, again: %v", size, got)
		}
		// It has shown it for the upstream: its own word does for another repository.
		f.mustPull(of("team/copy", beside(blobRequest(d))), raw, oci.ResultMiss)
		if got := methods(s); !slices.Equal(got, []string{"HEAD"}) {
			t.Errorf("%d bytes, elsewhere: %v", size, got)
		}
	}
}

// The ranges by which an upstream shows a blob cannot be known before: each is 64 KiB
// long, and where the first three lie is at random.
func TestSamplesAreAtRandom(t *testing.T) {
	t.Parallel()
	const size, length = 9 * mib, 64 << 10
	offs := map[int64]bool{}
	for range 3 {
		f := newFixture(t)
		s := f.beside()
		raw := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, raw)
		s.PutBlob(repository, raw)
		f.mustPull(blobRequest(d), raw, oci.ResultMiss)
		f.filled()
		f.mustPull(beside(blobRequest(d)), raw, oci.ResultMiss)
		for _, r := range s.Requests() {
			from, to := span(&http.Request{Header: r.Header}, size)
			if to-from != length {
				t.Errorf("%d bytes are asked for", to-from)
			}
			offs[from] = true
		}
	}
	if len(offs) < 3*3 { // and the end, each time
		t.Errorf("asked for are %v", offs)
	}
}

// The GETs by which an upstream shows that it has the bytes count among its downloads.
func TestPossessionWaitsForAPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.beside()
	f.more[0].MaxFills = 1
	f.configure()
	raw, mine := registrytest.Random(1, 2*mib), registrytest.Random(2, 1000)
	d, first := f.upstream.PutBlob(repository, raw), s.PutBlob(repository, mine)
	s.PutBlob(repository, raw)
	f.mustPull(blobRequest(d), raw, oci.ResultMiss)
	f.filled()
	gate, open := registrytest.Hold(t)
	s.On(registrytest.Rule{Kind: "blobs", Reference: first.String(), Hook: registrytest.Hang(gate)})
	var pulls sync.WaitGroup
	pulls.Go(func() { f.mustPull(beside(blobRequest(first)), mine, oci.ResultMiss) })
	for s.Count("", "blobs") == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		pulls.Go(func() {
			if got, _, err := f.pull(t.Context(), beside(blobRequest(d))); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	ctx, leave := context.WithCancel(t.Context())
	pulls.Go(func() {
		if _, _, err := f.pull(ctx, beside(blobRequest(d))); !errors.Is(err, context.Canceled) {
			t.Errorf("who has left: %v", err)
		}
	})
	for f.cache.Stats().Queued < 4 && s.Count("", "blobs") == 1 {
		time.Sleep(time.Millisecond)
	}
	leave()
	if n := s.Count("", "blobs"); n != 1 {
		t.Errorf("%d requests at a time, where one is allowed", n)
	}
	open()
	pulls.Wait()
	if n := s.Count("", "blobs"); n != 1+4 {
		t.Errorf("%d requests: %v", n, s.Requests())
	}
}

// Where there are no ranges, the whole shows it.
func TestPossessionWithoutRanges(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented} {
		f := newFixture(t)
		s := f.beside()
		raw := registrytest.Random(1, 2*mib)
		d := f.upstream.PutBlob(repository, raw)
		s.PutBlob(repository, raw)
		f.mustPull(blobRequest(d), raw, oci.ResultMiss)
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Header.Get("Range") != "" && status != 0 {
				w.WriteHeader(status)
				return
			}
			r.Header.Del("Range")
			next(w, r)
		})
		f.mustPull(beside(blobRequest(d)), raw, oci.ResultMiss)
		f.mustPull(beside(blobRequest(d)), raw, oci.ResultHit)
		if got := methods(s); len(got) != 2 {
			t.Errorf("%d: %v", status, got)
		}
	}
}

// An upstream does not go on from what another one has sent.
func TestPartIsOfItsUpstream(t *testing.T) {
	t.Parallel()
	const size = 4 * mib
	f := newFixture(t)
	s := f.beside()
	raw := registrytest.Random(1, size)
	d := s.PutBlob(repository, raw)
	f.suspend(d, make([]byte, size), 2*mib) // zeros of docker.io
	f.mustPull(beside(blobRequest(d)), raw, oci.ResultMiss)
	if r := s.Requests(); len(r) != 1 || r[0].Header.Get("Range") != "" {
		t.Errorf("requests %v", r)
	}
	if _, ok := f.store.Suspended(t.Context(), own, d); !ok {
		t.Error("what the other upstream has sent is gone")
	}
}

// Who asks another upstream does not wait for a slow one.
func TestSlowUpstreamHoldsNobodyElse(t *testing.T) { bubble(testSlowUpstreamHoldsNobodyElse)(t) }

func testSlowUpstreamHoldsNobodyElse(t *testing.T) {
	f := newFixture(t)
	s := f.beside()
	raw := registrytest.Random(1, 3*mib)
	d := f.upstream.PutBlob(repository, raw)
	s.PutBlob(repository, raw)
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(43<<10, func() { close(reached) }, open))
	slow, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	began := time.Now()
	f.mustPull(beside(blobRequest(d)), raw, oci.ResultMiss)
	if took := time.Since(began); took > 0 {
		t.Errorf("after %s", took)
	}
	close(open)
	if got, err := io.ReadAll(slow.Content); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("%d wrong bytes, %v", len(got), err)
	}
	_ = slow.Content.Close()
	for range 2 {
		if e := f.filled(); !e.Stored {
			t.Errorf("event %+v", e)
		}
	}
	f.mustPull(blobRequest(d), raw, oci.ResultHit)
	if u := f.store.Usage(); u.Blobs != 1 || u.BlobBytes != int64(len(raw)) {
		t.Errorf("usage %+v", u)
	}
}
