package carry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

func TestRoundTrip(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	a, b := newSample(t, "docker.io/library/alpine:3.20", 1, 5000), newSample(t, "ghcr.io/org/app:1", 2, 3000)
	a.cache(t, from, 0, 1)
	b.cache(t, from, 0, 1)
	raw, exported := export(t, from, ExportOptions{}, b, a)
	if len(exported.Images) != 2 || len(exported.Missing) > 0 || exported.Manifests != 6 || exported.Blobs != 12 ||
		!slices.Equal(exported.Images[0].Platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("export is %+v", exported)
	}
	report, err := importRaw(t, to, raw)
	must(t, err)
	if len(report.Images) != 2 || report.Manifests != 6 || report.Blobs != 12 || report.Cached != 0 {
		t.Errorf("import is %+v", report)
	}
	for _, s := range []*sample{a, b} {
		if !s.complete(t, to) {
			t.Errorf("%s is not complete", s.name)
		}
	}
	// What was carried over can be carried on, and is the same.
	if again, _ := export(t, to, ExportOptions{}, a, b); !bytes.Equal(raw, again) {
		t.Error("the copy makes other bytes")
	}
	// Once more changes nothing.
	if report, err = importRaw(t, to, raw); err != nil || report.Blobs != 0 || report.Cached != 12 || report.Images[0].Was != "" {
		t.Errorf("second import is %+v, %v", report, err)
	}
	if u := to.Usage(); u.Upstreams["ghcr.io"] == 0 || u.Upstreams[""] != 0 {
		t.Errorf("blobs count to %v", u.Upstreams)
	}
}

func TestImportMovesTag(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	old, fresh := newSample(t, "docker.io/library/alpine:3", 1, 100), newSample(t, "docker.io/library/alpine:3", 2, 100)
	old.cache(t, to, 0)
	fresh.cache(t, from, 0)
	raw, _ := export(t, from, ExportOptions{}, fresh)
	report, err := importRaw(t, to, raw)
	must(t, err)
	if report.Images[0].Was != old.index.Digest {
		t.Errorf("report is %+v", report)
	}
}

// Of an image, the platforms are taken that are cached, or have to be.
func TestExportOfPlatforms(t *testing.T) {
	from := openStore(t, storage.Limits{})
	s := newSample(t, "docker.io/library/alpine:3", 1, 100)
	s.cache(t, from, 0)
	amd, err := image.ParsePlatform("linux/amd64")
	must(t, err)
	arm, err := image.ParsePlatform("linux/arm64")
	must(t, err)
	raw, report := export(t, from, ExportOptions{}, s)
	if len(report.Images) != 1 || !slices.Equal(report.Images[0].Platforms, []string{"linux/amd64"}) ||
		!slices.Equal(report.Images[0].Uncached, []string{"linux/arm64"}) {
		t.Errorf("report is %+v", report)
	}
	to := openStore(t, storage.Limits{})
	if _, err := importRaw(t, to, raw); err != nil {
		t.Fatal(err)
	}
	if !s.complete(t, to, amd) || s.complete(t, to, arm) {
		t.Error("the wrong platforms are complete")
	}
	_, report = export(t, from, ExportOptions{Platforms: []image.Platform{arm}}, s)
	if len(report.Images) != 0 || len(report.Missing) != 1 || report.Missing[0].Digest != s.manifests[1].Digest {
		t.Errorf("report is %+v", report)
	}
	s.cache(t, from, 1)
	_, report = export(t, from, ExportOptions{Platforms: []image.Platform{arm}}, s, newSample(t, "ghcr.io/no/such:1", 9, 1))
	if len(report.Images) != 1 || report.Blobs != 3 || len(report.Missing) != 1 || report.Missing[0].Name != "ghcr.io/no/such:1" {
		t.Errorf("report is %+v", report)
	}
}

// A bundle that continues another one needs that one.
func TestSince(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	a, b := newSample(t, "docker.io/library/alpine:3.20", 1, 5000), newSample(t, "ghcr.io/org/app:1", 2, 3000)
	a.cache(t, from, 0, 1)
	first, _ := export(t, from, ExportOptions{}, a)
	b.cache(t, from, 0)
	has := map[string]map[digest.Digest]bool{a.name.Place(): {}}
	for _, platform := range a.blobs {
		for d := range platform {
			has[a.name.Place()][d] = true
		}
	}
	second, report := export(t, from, ExportOptions{Since: []digest.Digest{oci.Sum(first)}, Has: has}, a, b)
	if report.LeftOut != 6 || report.Blobs != 3 || len(second) > len(first) {
		t.Errorf("report is %+v", report)
	}
	_, err := importRaw(t, to, second)
	if err == nil || !strings.Contains(err.Error(), "import the earlier bundle first") || !strings.Contains(err.Error(), a.name.String()) {
		t.Errorf("without the first: %v", err)
	}
	checkHidden(t, to, a, b)
	for _, raw := range [][]byte{first, second} {
		if _, err := importRaw(t, to, raw); err != nil {
			t.Fatal(err)
		}
	}
	if !a.complete(t, to) {
		t.Error("it is not complete")
	}
}

// Wherever reading fails, a bit is wrong or the end is missing, nothing shows; and the
// next import is none the worse for it.
func TestNothingDamagedShows(t *testing.T) {
	seed := uint64(7)
	random := rand.New(rand.NewPCG(seed, 0))
	from := openStore(t, storage.Limits{})
	a, b := newSample(t, "docker.io/library/alpine:3.20", 1, 70_000), newSample(t, "ghcr.io/org/app:1", 2, 300)
	a.cache(t, from, 0, 1)
	b.cache(t, from, 0, 1)
	raw, _ := export(t, from, ExportOptions{}, a, b)
	// Of folders and headers, not every byte counts; these do.
	content := len(raw) - 2048
	for n := range 24 {
		at := random.IntN(content)
		to := openStore(t, storage.Limits{})
		damaged := bytes.Clone(raw)
		var err error
		switch n % 3 {
		case 0:
			_, err = importRaw(t, to, damaged[:at])
		case 1:
			_, err = importRaw(t, to, slices.Concat(damaged[:at], damaged[min(at+1+random.IntN(2000), content):]))
		case 2:
			err = importFailing(t, to, damaged[:at])
		}
		if err == nil {
			t.Errorf("seed %d, try %d at %d: no error", seed, n, at)
		}
		checkHidden(t, to, a, b)
		if _, err := importRaw(t, to, raw); err != nil {
			t.Fatalf("seed %d, try %d at %d: next import: %v", seed, n, at, err)
		}
		if !a.complete(t, to) || !b.complete(t, to) {
			t.Errorf("seed %d, try %d at %d: not complete afterwards", seed, n, at)
		}
	}
}

var errFailing = errors.New("disk on fire")

func importFailing(t *testing.T, store *storage.Store, head []byte) error {
	t.Helper()
	r, err := bundle.NewStream(io.MultiReader(bytes.NewReader(head), failing{}))
	if err == nil {
		_, err = Import(t.Context(), store, r, ImportOptions{})
	}
	if !errors.Is(err, errFailing) {
		t.Errorf("error is %v", err)
	}
	return err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFailing }

// An export that cannot be written is no bundle, and one of damaged blobs neither.
func TestExportFails(t *testing.T) {
	from := openStore(t, storage.Limits{})
	a := newSample(t, "docker.io/library/alpine:3.20", 1, 70_000)
	a.cache(t, from, 0, 1)
	e, err := NewExport(t.Context(), from, []image.Want{a.want()}, ExportOptions{})
	must(t, err)
	for _, room := range []int{0, 100, 3000, 50_000, 150_000} {
		if err := e.Write(t.Context(), bundle.NewWriter(&limited{room: room}), nil); !errors.Is(err, errFailing) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := e.Write(ctx, bundle.NewWriter(io.Discard), func(int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

type limited struct{ room int }

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.room {
		return 0, errFailing
	}
	l.room -= len(b)
	return len(b), nil
}

// A store that is too small says so, and shows nothing.
func TestImportIntoSmallStore(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{MaxSize: 100_000})
	a := newSample(t, "docker.io/library/alpine:3.20", 1, 70_000)
	a.cache(t, from, 0, 1)
	raw, _ := export(t, from, ExportOptions{}, a)
	if _, err := importRaw(t, to, raw); err == nil || !strings.Contains(err.Error(), "max_size") {
		t.Errorf("error is %v", err)
	}
	checkHidden(t, to, a)
}

// A fill that is under way is waited for.
func TestImportWaitsForFill(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	a := newSample(t, "docker.io/library/alpine:3.20", 1, 5000)
	a.cache(t, from, 0)
	raw, _ := export(t, from, ExportOptions{}, a)
	var first digest.Digest
	for first = range a.blobs[0] {
		break
	}
	part, err := to.Part(t.Context(), a.scope(), first, int64(len(a.blobs[0][first])))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := bundle.NewStream(bytes.NewReader(raw))
	must(t, err)
	waiting := make(chan error)
	go func() {
		_, err := Import(ctx, to, r, ImportOptions{Progress: func(ImportProgress) {}})
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	checkParts := to.Usage().Fills
	must(t, part.Close())
	if checkParts != 1 {
		t.Errorf("%d parts", checkParts)
	}
	if _, err := importRaw(t, to, raw); err != nil {
		t.Error(err)
	}
}

// Several configurations of one upstream all get the image.
func TestImportIntoScopes(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	a := newSample(t, "docker.io/library/alpine:3.20", 1, 5000)
	a.cache(t, from, 0, 1)
	raw, _ := export(t, from, ExportOptions{}, a)
	r, err := bundle.NewStream(bytes.NewReader(raw))
	must(t, err)
	scopes := []oci.Scope{
		{Upstream: "docker.io#1", Repository: "library/alpine"}, {Upstream: "docker.io#2", Repository: "library/alpine"},
	}
	_, err = Import(t.Context(), to, r, ImportOptions{Scopes: func(bundle.Name) []oci.Scope { return scopes }})
	must(t, err)
	for _, scope := range scopes {
		want := a.want()
		want.Scopes = []oci.Scope{scope}
		reports, _, err := image.Verify(t.Context(), to, []image.Want{want}, image.VerifyOptions{})
		if err != nil || !reports[0].Complete {
			t.Errorf("%s: %+v, %v", scope, reports, err)
		}
	}
	// All the same, it is one image, whichever has it.
	want := a.want()
	want.Scopes = append([]oci.Scope{a.scope()}, scopes...)
	e, err := NewExport(t.Context(), to, []image.Want{want}, ExportOptions{})
	if err != nil || len(e.Report.Images) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}
