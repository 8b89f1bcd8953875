package image_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// What was preloaded is complete, by tag and by digest, and nothing is pulled twice.
func TestPreloadedIsComplete(t *testing.T) {
	f := newFixture(t)
	a := f.registry.PutImage("library/alpine", "3", 1, 2000, 3<<20)
	f.registry.PutImage("library/busybox", "1", 2, 1000)
	reports, _ := f.verify(0, image.VerifyOptions{}, "alpine:3")
	if got := reports[0].Parts; len(got) != 1 || got[0].Missing[0].Reason != "is not cached" {
		t.Errorf("before, parts are %s", show(got))
	}

	refs := []string{"alpine:3", "busybox:1", "alpine@" + a.Index.Digest.String(), "alpine@" + a.Platforms[1].Manifest.Digest.String()}
	var progress []image.PreloadProgress
	var pulled []image.Pulled
	reports = f.preload(4, image.PreloadOptions{
		Images:   1,
		Progress: func(p image.PreloadProgress) { progress = append(progress, p) },
		Pulled:   func(p image.Pulled) { pulled = append(pulled, p) },
	}, refs...)
	if r := reports[0]; r.Digest != a.Index.Digest || len(find(r, image.KindManifest)) != 2 || find(r, image.KindManifest)[1].Platform != "linux/arm64" {
		t.Errorf("report is %s", show(r))
	}
	if last := progress[len(progress)-1]; last.Images != 4 || last.Failed != 0 || last.Total != 4 || last.Bytes != pulled[0].Size+pulled[1].Size {
		t.Errorf("last progress is %+v of %+v", last, pulled)
	}
	if p := pulled[0]; p.Blobs != 6 || p.Bytes != p.Size || p.Size < 6<<20 || pulled[2].Bytes != 0 || pulled[2].Size != p.Size {
		t.Errorf("pulled %+v", pulled)
	}
	n := f.registry.Count("", "")
	f.preload(4, image.PreloadOptions{}, refs...)
	if got := f.registry.Count("", ""); got != n {
		t.Errorf("again, the upstream saw %d requests", got-n)
	}
	_, totals := f.verify(4, image.VerifyOptions{Deep: true}, refs...)
	if totals.Blobs != 10 || totals.Verified != totals.Blobs || totals.Bytes < 6<<20 {
		t.Errorf("totals are %+v", totals)
	}
}

// A blob that is gone, or damaged, is named, and only the images that need it.
func TestVerifyNamesWhatIsMissing(t *testing.T) {
	f := newFixture(t)
	a := f.registry.PutImage("library/alpine", "3", 1, 2000)
	b := f.registry.PutImage("library/busybox", "1", 2, 1000)
	f.preload(2, image.PreloadOptions{}, "alpine:3", "busybox:1")
	name := func(d ocispec.Descriptor) string {
		return filepath.Join(f.dir, "blobs", "sha256", d.Digest.Encoded()[:3], d.Digest.Encoded())
	}
	gone, damaged := a.Platforms[1].Layers[0], b.Platforms[0].Config
	if err := os.Remove(name(gone)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(name(damaged))
	if err != nil {
		t.Fatal(err)
	}
	raw[10] ^= 1
	if err := errors.Join(os.Chmod(name(damaged), 0o600), os.WriteFile(name(damaged), raw, 0o600)); err != nil {
		t.Fatal(err)
	}
	reports, _ := f.verify(1, image.VerifyOptions{}, "busybox:1", "alpine:3")
	if got := missing(reports[1]); len(got) != 1 || got[0] != gone.Digest || !reports[0].Complete {
		t.Errorf("missing is %v", got)
	}
	amd64 := image.Choice{Platforms: platforms(t, "linux/amd64")}
	f.verify(2, image.VerifyOptions{Choice: amd64}, "busybox:1", "alpine:3")
	reports, _ = f.verify(1, image.VerifyOptions{Choice: amd64, Deep: true}, "busybox:1", "alpine:3")
	if m := reports[0].Parts[1].Missing; len(m) != 1 || m[0].Kind != "config" || m[0].Digest != damaged.Digest || !strings.Contains(m[0].Reason, "quarantine") {
		t.Errorf("report is %s", show(reports[0]))
	}
	f.preload(2, image.PreloadOptions{}, "alpine:3", "busybox:1")
	f.verify(2, image.VerifyOptions{Deep: true}, "alpine:3", "busybox:1")
}

// The bytes of another repository do not make an image complete: offline, the
// mirror would not serve them.
func TestOfAnotherRepositoryIsNotCached(t *testing.T) {
	f := newFixture(t)
	a := f.registry.PutImage("library/alpine", "3", 1, 2000)
	f.registry.CopyRepository("library/alpine", "other/alpine")
	f.preload(1, image.PreloadOptions{}, "alpine:3")
	reports, _ := f.verify(0, image.VerifyOptions{}, "other/alpine@"+a.Index.Digest.String())
	if m := reports[0].Parts[0].Missing[0]; !strings.Contains(m.Reason, "not confirmed it for this repository") {
		t.Errorf("reason is %s", m.Reason)
	}
	bytes := f.registry.BlobBytes()
	f.preload(1, image.PreloadOptions{}, "other/alpine:3")
	f.verify(1, image.VerifyOptions{}, "other/alpine:3")
	if n := f.registry.BlobBytes() - bytes; n != 0 {
		t.Errorf("%d bytes were pulled again", n)
	}
}

func TestPlatforms(t *testing.T) {
	f := newFixture(t)
	f.registry.PutImage("library/alpine", "3", 1, 2000)
	f.putManifest("library/single", "1", `{"os":"linux","architecture":"arm","variant":"v7"}`, nil)
	f.putManifest("library/chart", "1", `{}`, func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" })
	for _, c := range []struct {
		ref, platforms string
		complete       int
		parts          string
	}{
		{"alpine:3", "", 1, "index manifest+manifest"},
		{"alpine:3", "linux/arm64", 1, "index manifest"},
		{"alpine:3", "linux/aarch64/v8", 1, "index manifest"},
		{"alpine:3", "linux/arm64/v9", 0, "index platform"},
		{"alpine:3", "linux/amd64 windows/amd64", 1, "index manifest platform"},
		{"alpine:3", "linux/s390x", 0, "index platform"},
		{"single:1", "", 1, "manifest"},
		{"single:1", "linux/arm", 1, "manifest"},
		{"single:1", "linux/arm/v6", 0, "platform"},
		{"single:1", "linux/amd64 linux/arm/v7", 1, "manifest platform"},
		{"chart:1", "linux/amd64", 1, "manifest"},
		{"none:1", "linux/amd64", 0, "manifest"},
	} {
		o := image.Choice{Platforms: platforms(t, strings.Fields(c.platforms)...)}
		f.preload(c.complete, image.PreloadOptions{Choice: o}, c.ref)
		reports, _ := f.verify(c.complete, image.VerifyOptions{Choice: o}, c.ref)
		var kinds []string
		for _, p := range reports[0].Parts {
			kinds = append(kinds, string(p.Kind))
		}
		if got := strings.Join(kinds, " "); got != strings.ReplaceAll(c.parts, "+", " ") {
			t.Errorf("%s for %q has %s, want %s", c.ref, c.platforms, got, c.parts)
		}
	}
	for _, s := range []string{"linux", "linux/", "a/b/c/d", "linux/amd 64"} {
		if _, err := image.ParsePlatform(s); err == nil {
			t.Errorf("%q is a platform", s)
		}
	}
}

// Attestations are part of an index, and referrers only if they are asked for.
func TestReferrers(t *testing.T) {
	f := newFixture(t)
	subject := f.putManifest("app", "", `{"os":"linux","architecture":"amd64"}`, nil)
	subject.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	attestation := f.putManifest("app", "", `{"attestation":1}`, nil)
	attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	f.put("app", "1", ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{subject, attestation},
	})
	signature := f.putManifest("app", "", `{"signature":1}`, func(m *ocispec.Manifest) { m.Subject = &subject })
	cosign := f.putManifest("app", oci.ReferrersTag(subject.Digest)+".sig", `{"cosign":1}`, nil)
	f.registry.CopyRepository("app", "library/app")

	amd64 := platforms(t, "linux/amd64")
	r := f.preload(1, image.PreloadOptions{Choice: image.Choice{Platforms: amd64}}, "app:1")[0]
	if len(r.Parts) != 2 {
		t.Errorf("parts are %s", show(r.Parts))
	}
	r = f.preload(1, image.PreloadOptions{}, "app:1")[0]
	if got := find(r, image.KindAttestation); len(got) != 1 || got[0].Digest != attestation.Digest {
		t.Errorf("parts are %s", show(r.Parts))
	}
	f.verify(0, image.VerifyOptions{Choice: image.Choice{Referrers: true}}, "app:1")
	choice := image.Choice{Platforms: amd64, Referrers: true}
	f.preload(1, image.PreloadOptions{Choice: choice}, "app:1")
	reports, _ := f.verify(1, image.VerifyOptions{Choice: choice, Deep: true}, "app:1")
	var got []string
	for _, p := range find(reports[0], image.KindReferrer) {
		got = append(got, p.Digest.String())
	}
	if want := []string{signature.Digest.String(), cosign.Digest.String()}; !slices.Equal(got, want) {
		t.Errorf("referrers are %v, want %v", got, want)
	}

	// What cannot be found out is not taken for complete.
	f.registry.On(registrytest.Rule{Kind: "manifests", Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, ".att") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next(w, r)
	}})
	f.registry.PutImage("library/other", "1", 5, 10)
	if r := f.preload(0, image.PreloadOptions{Choice: choice}, "other:1")[0]; r.Error == "" {
		t.Errorf("report is %s", show(r))
	}
}

// An image that fails keeps no other from being pulled, and the reason is told.
func TestOneFailsAlone(t *testing.T) {
	f := newFixture(t)
	f.registry.PutImage("library/alpine", "3", 1, 2000)
	b := f.registry.PutImage("library/busybox", "1", 2, 1000)
	f.registry.DeleteBlob("library/busybox", b.Platforms[0].Layers[0].Digest)
	unknown := image.PreloadWant{Image: imagelist.Image{Upstream: "quay.io", Repository: "x", Tag: "1"}, Error: "no such upstream"}
	var failed []string
	reports, totals, err := image.Preload(t.Context(), f.store, []image.PreloadWant{f.want("busybox:1"), f.want("none:1"), unknown, f.want("alpine:3")},
		image.PreloadOptions{Images: 1, Pulled: func(p image.Pulled) {
			if p.Error != "" {
				failed = append(failed, p.Image.Repository)
			}
		}})
	if err != nil || totals.Complete != 1 || !reports[3].Complete {
		t.Fatalf("%+v, %v: %s", totals, err, show(reports))
	}
	if want := []string{"library/busybox", "library/none", "x"}; !slices.Equal(failed, want) {
		t.Errorf("failed are %v, want %v", failed, want)
	}
	m := find(reports[0], image.KindManifest)[0].Missing
	if len(m) != 1 || m[0].Kind != "blob" || !strings.Contains(m[0].Reason, "answered 404") {
		t.Errorf("missing is %s", show(m))
	}
	if m := reports[1].Parts[0].Missing; !strings.Contains(m[0].Reason, "answered 404") {
		t.Errorf("missing is %s", show(m))
	}
	if reports[2].Error != "no such upstream" {
		t.Errorf("report is %s", show(reports[2]))
	}
}

// Who leaves in the middle loses nothing: the next time goes on.
func TestPreloadGoesOn(t *testing.T) {
	f := newFixture(t)
	a := f.registry.PutImage("library/alpine", "3", 1, 4<<20, 4<<20)
	f.registry.On(registrytest.Rule{Method: http.MethodGet, Kind: "blobs", Skip: 3, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		<-r.Context().Done()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, _, err := image.Preload(ctx, f.store, []image.PreloadWant{f.want("alpine:3")}, image.PreloadOptions{
		Progress: func(p image.PreloadProgress) {
			if len(p.Running) > 0 && p.Running[0].Bytes > 4<<20 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	f.close()
	f.registry.Off()
	f.registry.Reset()
	f.open()
	f.preload(1, image.PreloadOptions{}, "alpine:3")
	var size int64
	for _, p := range a.Platforms {
		for _, d := range append(p.Layers, p.Config) {
			size += d.Size
		}
	}
	if n := f.registry.BlobBytes(); n > size-4<<20 {
		t.Errorf("%d bytes of an image of %d were sent the second time", n, size)
	}
}

// What does not fit is told of, though each image by itself could be pulled.
func TestPreloadOfTooMuch(t *testing.T) {
	f := newFixture(t)
	f.close()
	f.limits = storage.Limits{MaxSize: 3 << 20}
	f.open()
	f.registry.PutImage("library/a", "1", 1, 1<<20)
	f.registry.PutImage("library/b", "1", 2, 1<<20)
	wants := []image.PreloadWant{f.want("a:1"), f.want("b:1")}
	reports, totals, err := image.Preload(t.Context(), f.store, wants, image.PreloadOptions{Images: 1})
	if err != nil || totals.Complete > 1 {
		t.Fatalf("%+v, %v", totals, err)
	}
	for _, r := range reports {
		for _, p := range r.Parts {
			for _, m := range p.Missing {
				if !strings.Contains(m.Reason, "is not kept") && !strings.Contains(m.Reason, "storage does not take it") {
					t.Errorf("reason is %s", m.Reason)
				}
			}
		}
	}
}

// What is verified byte by byte is told with how much there is of it.
func TestVerifyTellsHowFar(t *testing.T) {
	f := newFixture(t)
	f.registry.PutImage("library/alpine", "3", 1, 3<<20, 1<<20)
	f.preload(1, image.PreloadOptions{}, "alpine:3")
	w := f.want("alpine:3")
	var told []image.VerifyProgress
	_, totals, err := image.Verify(t.Context(), f.store, []image.Want{{Image: w.Image, Scopes: []oci.Scope{w.Scope}}}, image.VerifyOptions{
		Deep: true, Rate: 1 << 30, Progress: func(p image.VerifyProgress) { told = append(told, p) },
	})
	if err != nil || totals.Complete != 1 || totals.Verified != totals.Blobs {
		t.Fatalf("%+v, %v", totals, err)
	}
	for k, p := range told {
		if p.TotalBytes != totals.Bytes || p.Total != 1 || k > 0 && p.Bytes < told[k-1].Bytes {
			t.Errorf("told %+v", p)
		}
	}
	if last := told[len(told)-1]; last.Bytes != totals.Bytes || last.Images != 1 || int64(len(told)) <= totals.Blobs+1 {
		t.Errorf("told %d times, the last %+v, want %d bytes", len(told), last, totals.Bytes)
	}
}

func TestVerifyEndsWithItsClient(t *testing.T) {
	f := newFixture(t)
	f.registry.PutImage("library/alpine", "3", 1, 2000)
	f.preload(1, image.PreloadOptions{}, "alpine:3")
	ctx, cancel := context.WithCancel(t.Context())
	w := f.want("alpine:3")
	wants := slices.Repeat([]image.Want{{Image: w.Image, Scopes: []oci.Scope{w.Scope}}}, 100_000)
	_, _, err := image.Verify(ctx, f.store, wants, image.VerifyOptions{Progress: func(image.VerifyProgress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	f.close()
	if _, _, err = image.Verify(t.Context(), f.store, wants, image.VerifyOptions{}); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("error of a closed store is %v", err)
	}
	f.open()
}
