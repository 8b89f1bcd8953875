package carry

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

func importWith(t *testing.T, store *storage.Store, raw []byte, o ImportOptions) (ImportReport, error) {
	t.Helper()
	r, err := bundle.NewStream(bytes.NewReader(raw))
	must(t, err)
	defer r.Close()
	return Import(t.Context(), store, r, o)
}

// moving returns a store that has an image, and a bundle that moves its tag and has
// another image.
func moving(t *testing.T) (to *storage.Store, raw []byte, old, fresh, other *sample) {
	t.Helper()
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	old, fresh = newSample(t, "docker.io/library/alpine:3", 1, 100), newSample(t, "docker.io/library/alpine:3", 2, 100)
	other = newSample(t, "docker.io/library/busybox:1", 3, 100)
	old.cache(t, to, 0, 1)
	fresh.cache(t, from, 0, 1)
	other.cache(t, from, 0, 1)
	raw, _ = export(t, from, ExportOptions{}, fresh, other)
	return to, raw, old, fresh, other
}

func tagOf(t *testing.T, store *storage.Store, s *sample) oci.Manifest {
	t.Helper()
	tag, err := store.Tag(t.Context(), s.scope(), s.name.Reference.Tag)
	if err != nil {
		return oci.Manifest{}
	}
	return oci.Manifest{Digest: tag.Digest}
}

// What shows, and which tags move, is told before anything changes.
func TestPlanComesFirst(t *testing.T) {
	to, raw, old, fresh, other := moving(t)
	var plan []ImportedImage
	report, err := importWith(t, to, raw, ImportOptions{Plan: func(p []ImportedImage) {
		plan = slices.Clone(p)
		if tagOf(t, to, old).Digest != old.index.Digest || to.Usage().Blobs != 6 {
			t.Error("something has changed")
		}
	}})
	must(t, err)
	want := []ImportedImage{
		{Name: fresh.name.String(), Digest: fresh.index.Digest, Was: old.index.Digest},
		{Name: other.name.String(), Digest: other.index.Digest},
	}
	if !slices.Equal(plan, want) || !slices.Equal(report.Images, want) {
		t.Errorf("plan is %+v, report %+v, want %+v", plan, report.Images, want)
	}
}

func TestNoMove(t *testing.T) {
	to, raw, old, fresh, other := moving(t)
	_, err := importWith(t, to, raw, ImportOptions{NoMove: true})
	e, ok := errors.AsType[*MoveError](err)
	if !ok || len(e.Images) != 1 || !strings.Contains(err.Error(), "docker.io/library/alpine:3 from "+old.index.Digest.String()+" to "+fresh.index.Digest.String()) {
		t.Errorf("error is %v", err)
	}
	if tagOf(t, to, old).Digest != old.index.Digest || to.Usage().Blobs != 6 {
		t.Error("something has changed")
	}
	checkUnseen(t, to, other)
	// Neither does it if the tag comes up meanwhile.
	again := openStore(t, storage.Limits{})
	_, err = importWith(t, again, raw, ImportOptions{NoMove: true, Plan: func([]ImportedImage) { old.cache(t, again, 0, 1) }})
	if _, ok := errors.AsType[*MoveError](err); !ok || tagOf(t, again, old).Digest != old.index.Digest {
		t.Errorf("error is %v", err)
	}
	checkUnseen(t, again, other)
	// What does not move is no hindrance.
	if _, err := importWith(t, to, raw, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := importWith(t, to, raw, ImportOptions{NoMove: true}); err != nil {
		t.Error(err)
	}
}

func checkUnseen(t *testing.T, store *storage.Store, s *sample) {
	t.Helper()
	if tagOf(t, store, s).Digest != "" || proven(t, store, s.scope(), s.index.Digest) {
		t.Errorf("%s shows", s.name)
	}
}

// A dry run reads all of the bundle, and changes nothing.
func TestDryRun(t *testing.T) {
	to, raw, old, _, other := moving(t)
	blobs := to.Usage().Blobs
	dry, err := importWith(t, to, raw, ImportOptions{DryRun: true})
	must(t, err)
	if tagOf(t, to, old).Digest != old.index.Digest || to.Usage().Blobs != blobs || to.Usage().Fills != 0 {
		t.Error("something has changed")
	}
	checkUnseen(t, to, other)
	damaged := bytes.Clone(raw)
	damaged[len(damaged)-3000] ^= 1
	if _, err := importWith(t, to, damaged, ImportOptions{DryRun: true}); err == nil {
		t.Error("a damaged bundle is no error")
	}
	if _, err := importWith(t, to, namesOnly(t, old, "docker.io/library/mine:1"), ImportOptions{DryRun: true}); err == nil {
		t.Error("a bundle of names is no error")
	}
	report, err := importWith(t, to, raw, ImportOptions{})
	if err != nil || report.Blobs != dry.Blobs || report.Cached != dry.Cached || report.Manifests != dry.Manifests || !slices.Equal(report.Images, dry.Images) {
		t.Errorf("it is %+v, %v, and was said to be %+v", report, err, dry)
	}
}

// What need not be for everybody says so in the bundle, and does not come where
// everybody may pull, unless that is allowed.
func TestIsolated(t *testing.T) {
	from := openStore(t, storage.Limits{})
	a, b := newSample(t, "docker.io/library/alpine:3", 1, 100), newSample(t, "private.example/app:1", 2, 100)
	a.cache(t, from, 0)
	b.cache(t, from, 0)
	raw, exported := export(t, from, ExportOptions{Isolated: func(s oci.Scope) bool { return s == b.scope() }}, a, b)
	if exported.Images[0].Isolated || !exported.Images[1].Isolated || !exported.Isolated() {
		t.Errorf("export is %+v", exported)
	}
	for name, c := range map[string]struct {
		o  ImportOptions
		ok bool
	}{
		"public":          {ImportOptions{}, false},
		"public, dry run": {ImportOptions{DryRun: true}, false},
		"one scope of two": {ImportOptions{
			Scopes: func(n bundle.Name) []oci.Scope {
				return []oci.Scope{{Upstream: n.Upstream + "#1", Repository: n.Repository}, {Upstream: n.Upstream, Repository: n.Repository}}
			},
			Public: func(s oci.Scope) bool { return s.Upstream == b.scope().Upstream },
		}, false},
		"allowed":              {ImportOptions{AllowPublic: true}, true},
		"guarded":              {ImportOptions{Public: func(s oci.Scope) bool { return s != b.scope() }}, true},
		"others are as public": {ImportOptions{Public: func(oci.Scope) bool { return false }}, true},
	} {
		to := openStore(t, storage.Limits{})
		report, err := importWith(t, to, raw, c.o)
		if (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		if err != nil && (!strings.Contains(err.Error(), b.name.String()) || !strings.Contains(err.Error(), "--allow-public")) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			checkHidden(t, to, a, b)
			if n := to.Usage().Blobs; n != 0 {
				t.Errorf("%s: %d blobs", name, n)
			}
		}
	}
	if _, report := export(t, from, ExportOptions{}, a, b); report.Isolated() {
		t.Errorf("export is %+v", report)
	}
}
