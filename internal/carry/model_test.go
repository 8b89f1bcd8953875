package carry

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// model knows what was brought to which scope of which store, by a pull or by a bundle,
// and thus what may be opened there.
type model struct {
	t       *testing.T
	rand    *rand.Rand
	samples []*sample
	scopes  []oci.Scope
	stores  []*modelStore
	bundles []modelBundle

	imported, refused, exported, missing int
}

type modelStore struct {
	*storage.Store

	has map[oci.Scope]map[digest.Digest]bool
}

// modelBundle is a bundle of one image, whole or of names alone.
type modelBundle struct {
	raw      []byte
	sample   *sample
	hollow   bool
	isolated bool
}

// isolatedUpstreams are those of the model that do not answer everybody.
var isolatedUpstreams = []string{"corp.example", "team.example"}

func isIsolated(s oci.Scope) bool { return slices.Contains(isolatedUpstreams, s.Upstream) }

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rand: rand.New(rand.NewPCG(seed, 1))}
	for _, upstream := range []string{"public.example", "mirror.example", "corp.example", "team.example"} {
		for _, repository := range []string{"a", "b"} {
			m.scopes = append(m.scopes, oci.Scope{Upstream: upstream, Repository: repository})
		}
	}
	return m
}

// begin makes new images and empty stores.
func (m *model) begin(round int) {
	m.samples, m.bundles, m.stores = nil, nil, nil
	for n := range 3 {
		m.samples = append(m.samples, newSample(m.t, fmt.Sprintf("any.example/r%d/i%d:1", round, n), uint64(10*round+n), 100))
	}
	for range 2 {
		s := &modelStore{openStore(m.t, storage.Limits{}), map[oci.Scope]map[digest.Digest]bool{}}
		for _, scope := range m.scopes {
			s.has[scope] = map[digest.Digest]bool{}
		}
		m.stores = append(m.stores, s)
	}
}

// in returns an image as one of a scope.
func (s *sample) in(scope oci.Scope) *sample {
	moved := *s
	moved.name.Upstream, moved.name.Repository = scope.Upstream, scope.Repository
	return &moved
}

// contents returns the digests of an image.
func (s *sample) contents() (blobs, manifests []digest.Digest) {
	for p, m := range s.manifests {
		manifests = append(manifests, m.Digest)
		for d := range s.blobs[p] {
			blobs = append(blobs, d)
		}
	}
	return blobs, append(manifests, s.index.Digest)
}

func (s *modelStore) hasAll(scope oci.Scope, ds []digest.Digest) bool {
	return !slices.ContainsFunc(ds, func(d digest.Digest) bool { return !s.has[scope][d] })
}

func (s *modelStore) give(scope oci.Scope, ds ...[]digest.Digest) {
	for _, d := range slices.Concat(ds...) {
		s.has[scope][d] = true
	}
}

func pick[T any](m *model, from []T) T { return from[m.rand.IntN(len(from))] }

// pull brings an image to a scope, as clients do.
func (m *model) pull() {
	store, scope, image := pick(m, m.stores), pick(m, m.scopes), pick(m, m.samples)
	s := image.in(scope)
	for _, blobs := range s.blobs {
		for d, b := range blobs {
			if _, err := store.StatBlob(m.t.Context(), d); err == nil {
				must(m.t, store.Link(m.t.Context(), scope, oci.Descriptor{Digest: d, Size: int64(len(b))}))
			} else {
				s.cacheBlob(m.t, store.Store, d, b)
			}
		}
	}
	s.cache(m.t, store.Store) // the index
	for _, mf := range s.manifests {
		must(m.t, store.PutManifest(m.t.Context(), scope, mf, nil))
	}
	blobs, manifests := s.contents()
	store.give(scope, blobs, manifests)
}

// export makes a bundle of what a scope has; of what it has not, there is none.
func (m *model) export() {
	store, scope, sampled := pick(m, m.stores), pick(m, m.scopes), pick(m, m.samples)
	s := sampled.in(scope)
	e, err := NewExport(m.t.Context(), store.Store, []image.Want{s.want()}, ExportOptions{Isolated: isIsolated})
	must(m.t, err)
	blobs, manifests := s.contents()
	tag, err := store.Tag(m.t.Context(), scope, "1")
	whole := err == nil && tag.Digest == s.index.Digest && store.hasAll(scope, blobs) && store.hasAll(scope, manifests)
	if found := len(e.Report.Images) == 1 && e.Report.Images[0].Digest == s.index.Digest; found != whole {
		m.t.Errorf("export of %s from %s: %+v, want it %v", s.index.Digest, scope, e.Report, whole)
	}
	if !whole {
		m.missing++
		return
	}
	m.exported++
	if e.Report.Isolated() != isIsolated(scope) {
		m.t.Errorf("bundle of %s is isolated: %v", scope, e.Report.Isolated())
	}
	var raw bytes.Buffer
	must(m.t, e.Write(m.t.Context(), bundle.NewWriter(&raw), nil))
	m.bundles = append(m.bundles, modelBundle{raw: raw.Bytes(), sample: sampled, isolated: isIsolated(scope)})
}

// invent makes a bundle that names the blobs of an image and has none.
func (m *model) invent() {
	s := pick(m, m.samples)
	m.bundles = append(m.bundles, modelBundle{raw: namesOnly(m.t, s, "any.example/a:1"), sample: s, hollow: true})
}

// bring imports a bundle to some scopes.
func (m *model) bring() {
	if len(m.bundles) == 0 {
		return
	}
	b, store, to := pick(m, m.bundles), pick(m, m.stores), []oci.Scope{pick(m, m.scopes)}
	if other := pick(m, m.scopes); m.rand.IntN(4) == 0 && other != to[0] {
		to = append(to, other)
	}
	o := ImportOptions{
		Scopes: func(bundle.Name) []oci.Scope { return to },
		Public: func(s oci.Scope) bool { return !isIsolated(s) }, AllowPublic: m.rand.IntN(3) == 0, DryRun: m.rand.IntN(8) == 0,
	}
	r, err := bundle.OpenStream(bytes.NewReader(b.raw))
	must(m.t, err)
	defer r.Close()
	must(m.t, r.Index().Rename(bundle.Name{}))
	_, err = Import(m.t.Context(), store.Store, r, o)

	blobs, manifests := b.sample.contents()
	opens := b.isolated && !o.AllowPublic && slices.ContainsFunc(to, o.Public)
	lacks := b.hollow && slices.ContainsFunc(to, func(s oci.Scope) bool { return !store.hasAll(s, blobs) })
	switch {
	case (err != nil) != (opens || lacks):
		m.t.Errorf("import into %v, isolated %v, public %v, hollow %v: %v", to, b.isolated, o.AllowPublic, b.hollow, err)
	case err != nil && opens && !strings.Contains(err.Error(), "--allow-public"):
		m.t.Errorf("import into %v: %v", to, err)
	case err != nil:
		m.refused++
	case !o.DryRun:
		m.imported++
		for _, s := range to {
			store.give(s, blobs, manifests)
		}
	}
}

// check compares what the stores open with what the oracle says.
func (m *model) check(step string) {
	for n, store := range m.stores {
		for _, scope := range m.scopes {
			for _, s := range m.samples {
				blobs, manifests := s.contents()
				for _, d := range slices.Concat(blobs, manifests) {
					if got := proven(m.t, store.Store, scope, d); got != store.has[scope][d] {
						m.t.Fatalf("after %s: store %d opens %s to %s: %v, want %v", step, n, d, scope, got, store.has[scope][d])
					}
				}
			}
		}
	}
}

// Whatever is carried from where to where, a scope has what was brought to it, and nothing
// that others have.
func TestCarryModel(t *testing.T) {
	steps := 400
	if os.Getenv("PULLGATE_LONG") != "" {
		steps = 20_000
	}
	m := newModel(t, 1)
	for n := 0; n < steps && !t.Failed(); n++ {
		if n%100 == 0 {
			m.begin(n / 100)
		}
		switch m.rand.IntN(8) {
		case 0, 1:
			m.pull()
			m.check("pull")
		case 2, 3:
			m.export()
			m.check("export")
		case 4:
			m.invent()
		default:
			m.bring()
			m.check("import")
		}
	}
	t.Logf("%d imported, %d refused; %d exported, %d missing", m.imported, m.refused, m.exported, m.missing)
	if m.imported < steps/20 || m.refused < steps/20 || m.exported < steps/40 || m.missing < steps/40 {
		t.Error("too little happened")
	}
}
