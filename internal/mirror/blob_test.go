package mirror_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

const mib = 1 << 20

func TestBlob(t *testing.T) { inBothModes(t, testBlob) }

func testBlob(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 64 << 10, mib - 1, mib, mib + 1, 5*mib + 17} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			f := newFixture(t)
			want := registrytest.Random(1, size)
			r := blobRequest(f.upstream.PutBlob(repository, want))
			f.mustPull(r, want, oci.ResultMiss)
			e := f.filled()
			if !e.Stored || e.Bytes != int64(size) || e.Size != int64(size) || e.Class != oci.ClassNone {
				t.Errorf("event %+v", e)
			}
			f.saw(0, 1)
			for range 2 {
				b, status, err := f.mirror.Blob(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if b.File == nil || status.Result != oci.ResultHit || b.Size != int64(size) {
					t.Errorf("got %T of %d bytes, %v", b.Content, b.Size, status)
				}
				if raw, err := io.ReadAll(b.Content); err != nil || !bytes.Equal(raw, want) {
					t.Errorf("%d wrong bytes, %v", len(raw), err)
				}
				_ = b.Content.Close()
				if d, _, err := f.mirror.StatBlob(t.Context(), r); err != nil || d.Size != int64(size) {
					t.Errorf("HEAD: %d, %v", d.Size, err)
				}
				f.reopen()
			}
			f.saw(0, 0)
		})
	}
}

func TestStatBlobDownloadsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := blobRequest(f.upstream.PutBlob(repository, registrytest.Random(1, 3*mib)))
	d, status, err := f.mirror.StatBlob(t.Context(), r)
	if err != nil || d.Size != 3*mib || d.Digest != r.Reference.Digest || status.Result != oci.ResultMiss {
		t.Errorf("got %+v, %v, %v", d, status, err)
	}
	f.saw(1, 0)
}

// A lying registry: whatever byte is wrong, no reader sees the end.
func TestWrongDigest(t *testing.T) { inBothModes(t, testWrongDigest) }

func testWrongDigest(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 1000, mib, mib + 1, 3 * mib} {
		for _, at := range []int{0, size / 2, size - 1} {
			t.Run(strconv.Itoa(size)+" at "+strconv.Itoa(at), func(t *testing.T) {
				f := newFixture(t)
				b := registrytest.Random(1, size)
				d := digest.FromBytes(b)
				wrong := bytes.Clone(b)
				wrong[at] ^= 1
				f.upstream.PutBlobAs(repository, d, wrong)
				results := make(chan error, 10)
				for range cap(results) {
					go func() {
						raw, _, err := f.pull(t.Context(), blobRequest(d))
						if size <= mib && len(raw) > 0 || size > mib && len(raw) > size-64<<10 {
							t.Errorf("%d bytes were released", len(raw))
						}
						results <- err
					}()
				}
				for range cap(results) {
					if err := <-results; class(err) != oci.ClassDigest {
						t.Errorf("got %v", err)
					} else {
						wantStatus(t, err, http.StatusBadGateway)
					}
				}
				if e := f.filled(); e.Class != oci.ClassDigest || e.Stored {
					t.Errorf("event %+v", e)
				}
				if _, err := f.store.StatBlob(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("it is in the store: %v", err)
				}
				f.saw(0, 1)
				f.clock.advance(59 * time.Second)
				_, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
				wantStatus(t, err, http.StatusBadGateway)
				f.saw(0, 0)
				f.clock.advance(2 * time.Second)
				f.upstream.PutBlobAs(repository, d, b)
				f.mustPull(blobRequest(d), b, oci.ResultMiss)
				f.filled()
				f.saw(0, 1)
			})
		}
	}
}

// Who reads nothing but the end is not told that it is right either.
func TestWrongDigestAtTheEnd(t *testing.T) { inBothModes(t, testWrongDigestAtTheEnd) }

func testWrongDigestAtTheEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := registrytest.Random(1, 4*mib)
	d := digest.FromBytes(b)
	b[0] ^= 1
	f.upstream.PutBlobAs(repository, d, b)
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(2*mib, func() { close(reached) }, open))
	blob, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Content.Close()
	<-reached
	if _, err := blob.Content.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := blob.Content.Read(make([]byte, 1))
		result <- err
	}()
	select {
	case err = <-result:
		t.Errorf("the end was told before it was there: %v", err)
	case <-time.After(20 * time.Millisecond):
		close(open)
		err = <-result
	}
	if class(err) != oci.ClassDigest {
		t.Errorf("got %v", err)
	}
}

// The same in chunks: nobody knows the size, so nothing is released early.
func TestUnknownSize(t *testing.T) { inBothModes(t, testUnknownSize) }

func testUnknownSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * mib} {
		f := newFixture(t)
		want := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, want)
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) { next(chunked{w}, r) })
		f.mustPull(blobRequest(d), want, oci.ResultMiss)
		f.filled()
		f.saw(0, 1)
		wrong := bytes.Clone(want)
		wrong[size/2] ^= 1
		other := digest.FromString("other")
		f.upstream.PutBlobAs(repository, other, wrong)
		_, _, err := f.mirror.Blob(t.Context(), blobRequest(other))
		if class(err) != oci.ClassDigest {
			t.Errorf("got %v", err)
		}
		f.filled()
	}
}

func TestWrongLength(t *testing.T) { inBothModes(t, testWrongLength) }

func testWrongLength(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * mib} {
		f := newFixture(t)
		image := f.upstream.PutImage(repository, "3", 1, size)
		d := image.Platforms[0].Layers[0].Digest
		for _, ref := range []string{"3", image.Platforms[0].Manifest.Digest.String()} {
			if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(ref)); err != nil {
				t.Fatal(err)
			}
		}
		f.upstream.PutBlobAs(repository, d, registrytest.Random(1, size+1))
		_, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
		wantStatus(t, err, http.StatusBadGateway)
		if class(err) != oci.ClassDigest {
			t.Errorf("class %q", class(err))
		}
		if e := f.filled(); e.Stored || e.Class != oci.ClassDigest {
			t.Errorf("event %+v", e)
		}
	}
}

func TestScopesAreIsolated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 2*mib)
	d := f.upstream.PutBlob(repository, want)
	f.upstream.PutBlob("team/copy", want)
	f.upstream.PutBlob("team/empty", nil)
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	f.filled()
	f.upstream.Reset()

	other := blobRequest(d)
	other.Upstream, other.Repository = "ghcr.io", "team/copy"
	f.mustPull(other, want, oci.ResultMiss)
	f.saw(0, 4) // that it has the bytes is to be shown
	f.mustPull(other, want, oci.ResultHit)
	f.saw(0, 0)

	other.Repository = "team/empty"
	for range 3 {
		_, _, err := f.mirror.Blob(t.Context(), other)
		wantStatus(t, err, http.StatusNotFound)
		_, _, err = f.mirror.StatBlob(t.Context(), other)
		wantStatus(t, err, http.StatusNotFound)
	}
	f.saw(1, 0)

	f.policy.Offline = true
	f.configure()
	offline := blobRequest(d)
	offline.Repository = "library/other"
	_, _, err := f.mirror.Blob(t.Context(), offline)
	wantStatus(t, err, http.StatusNotFound)
	f.saw(0, 0)
}

// Another scope's fill is followed only by who may have the blob.
func TestJoiningIsProvenFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 8*mib)
	d := f.upstream.PutBlob(repository, want)
	f.upstream.PutBlob("team/copy", want)
	f.upstream.PutBlob("team/empty", nil)
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
	first, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	other := blobRequest(d)
	other.Repository = "team/empty"
	_, _, err = f.mirror.Blob(t.Context(), other)
	wantStatus(t, err, http.StatusNotFound)
	f.saw(1, 1)
	other.Repository = "team/copy"
	second, status, err := f.mirror.Blob(t.Context(), other)
	if err != nil || status.Result != oci.ResultMiss && status.Result != oci.ResultJoined {
		t.Fatalf("got %v, %v", status, err)
	}
	f.saw(1, 0)
	if got, status, err := f.mirror.StatBlob(t.Context(), other); err != nil || got.Size != int64(len(want)) || status.Result != oci.ResultJoined {
		t.Errorf("HEAD: %+v, %v, %v", got, status, err)
	}
	close(open)
	for _, b := range []oci.Blob{first, second} {
		if raw, err := io.ReadAll(b.Content); err != nil || !bytes.Equal(raw, want) {
			t.Errorf("%d wrong bytes, %v", len(raw), err)
		}
		_ = b.Content.Close()
	}
	f.filled()
	f.saw(0, 0)
}

func TestAccess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 1000)
	d := f.upstream.PutBlob(repository, want)
	f.upstream.PutImage(repository, "3", 1, 10)
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	f.filled()
	f.upstream.Reset()
	for name, test := range map[string]struct {
		change func()
		user   string
		want   int
	}{
		"nobody":           {func() { f.policy.Access.Public = false }, "", http.StatusForbidden},
		"anybody":          {func() {}, "eve", 0},
		"listed":           {func() { f.policy.Access.Users = []string{"adam", "eve"} }, "eve", 0},
		"not listed":       {func() { f.policy.Access.Users = []string{"adam"} }, "eve", http.StatusForbidden},
		"allowed":          {func() { f.policy.Allow = []string{"team/**", "*/alpine"} }, "eve", 0},
		"below a wildcard": {func() { f.policy.Allow = []string{"library*", "lib*y", "*"} }, "eve", http.StatusForbidden},
		"denied":           {func() { f.policy.Allow, f.policy.Deny = []string{"**"}, []string{"library/*"} }, "eve", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			f.policy.Access.Public, f.policy.Access.Users = false, nil
			f.policy.Allow, f.policy.Deny = nil, nil
			test.change()
			f.configure()
			for _, known := range []digest.Digest{d, digest.FromString("not cached")} {
				r := blobRequest(known)
				r.User = test.user
				if test.want == 0 {
					r.Reference.Digest = d
				}
				b, status, err := f.mirror.Blob(t.Context(), r)
				if test.want == 0 {
					if err != nil {
						t.Fatal(err)
					}
					_ = b.Content.Close()
					continue
				}
				wantStatus(t, err, test.want)
				_, _, err = f.mirror.StatBlob(t.Context(), r)
				wantStatus(t, err, test.want)
				_, _, err = f.mirror.Manifest(t.Context(), r)
				wantStatus(t, err, test.want)
				_, _, err = f.mirror.StatManifest(t.Context(), r)
				wantStatus(t, err, test.want)
				_, _, err = f.mirror.Tags(t.Context(), r, oci.TagsPage{N: -1})
				wantStatus(t, err, test.want)
				_, _, err = f.mirror.Referrers(t.Context(), r)
				wantStatus(t, err, test.want)
				if status != (oci.CacheStatus{}) {
					t.Errorf("status %v tells something", status)
				}
			}
		})
	}
	f.saw(0, 0)
}
