package mirror_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

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
