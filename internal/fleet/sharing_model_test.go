package fleet_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
	"github.com/pullgate/pullgate/storage"
)

// sharing is a model of gateways that share a bucket: it knows which upstream has shown
// what to any of them, and thus what each may release. Somebody else writes to the bucket
// whatever he likes, except proofs: those are what access rests on.
type sharing struct {
	t        *testing.T
	rand     *rand.Rand
	began    time.Time
	ahead    atomic.Int64 // how much later it is
	bucket   *memory
	gateways []*gateway
	origins  []*origin
	names    []string // of repositories
	blobs    []digest.Digest
	images   []digest.Digest
	// delivered is what gateways have got right of an upstream, for whichever repository:
	// its word opens that to others.
	delivered map[string]map[digest.Digest]bool

	released, denied, fromBucket int
}

func newSharing(t *testing.T, seed uint64) *sharing {
	s := &sharing{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), began: time.Now(), bucket: newMemory(), names: []string{"team/a", "team/a/b", "team/c"},
		delivered: map[string]map[digest.Digest]bool{},
	}
	contents := map[digest.Digest]oci.Manifest{}
	for n, size := range []int{100, 70_000, 1 << 20, 1<<20 + 70_000} {
		raw := registrytest.Random(seed<<8+uint64(n), size)
		d := oci.Sum(raw)
		s.blobs, contents[d] = append(s.blobs, d), oci.Manifest{Bytes: raw}
	}
	for n := range 3 {
		raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":100},"layers":[],"annotations":{"n":"%d"}}`,
			imageType, s.blobs[0], n)
		d := oci.Sum(raw)
		s.images, contents[d] = append(s.images, d), oci.Manifest{MediaType: imageType, Digest: d, Bytes: raw}
	}
	for n, name := range []string{"public.example", "mirror.example", "corp.example", "team.example"} {
		o := &origin{name: name, isolated: n > 1, rand: rand.New(rand.NewPCG(seed, uint64(n)+1)), contents: contents}
		s.origins = append(s.origins, o)
		s.delivered[name] = map[digest.Digest]bool{}
		o.reset()
		for _, repository := range s.names {
			o.tags[repository] = s.images[s.rand.IntN(len(s.images))]
			for d := range contents {
				o.has[key(repository, d)] = s.rand.IntN(3) == 0
			}
		}
	}
	for range 3 {
		s.gateways = append(s.gateways, s.gateway())
	}
	return s
}

func (s *sharing) now() time.Time { return s.began.Add(time.Duration(s.ahead.Load())) }

func (s *sharing) gateway() *gateway {
	g := bareGateway(s.t, s.t.TempDir(), s.bucket, (*fleet.Fleet).Relax, s.now)
	var upstreams []mirror.Upstream
	for _, o := range s.origins {
		upstreams = append(upstreams, mirror.Upstream{
			Name: o.name, Remote: o, Isolate: o.isolated, Access: mirror.Access{Public: true}, Freshness: mirror.Freshness{TagTTL: time.Minute},
		})
	}
	g.serve(upstreams...)
	return g
}

// change changes an upstream, purges or imports, puts a new gateway in the place of one, or
// has somebody write to the bucket. What was remembered of failures is over then.
func (s *sharing) change() {
	s.ahead.Add(int64(3 * time.Minute))
	o, n := s.origins[s.rand.IntN(len(s.origins))], s.rand.IntN(len(s.gateways))
	scope, d := oci.Scope{Upstream: o.name, Repository: s.names[s.rand.IntN(len(s.names))]}, s.blobs[s.rand.IntN(len(s.blobs))]
	switch s.rand.IntN(14) {
	case 0:
		s.gateways[n].close()
		s.gateways[n] = s.gateway()
	case 12:
		selection := oci.Selection{Upstream: scope.Upstream, Repository: scope.Repository, Reference: oci.Reference{Digest: d}}
		_, err := s.gateways[n].store.Remove(s.t.Context(), storage.RemoveOptions{Selection: selection})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Error(err)
		}
	case 13:
		s.take(s.gateways[n], o, scope, d)
	case 1, 2, 3:
		all := slices.Concat(s.blobs, s.images)
		k := key(s.names[s.rand.IntN(len(s.names))], all[s.rand.IntN(len(all))])
		o.mu.Lock()
		o.has[k] = !o.has[k]
		o.mu.Unlock()
	case 4, 5, 6, 7:
		s.attack(o)
	default:
		o.mu.Lock()
		if o.mood = honest; s.rand.IntN(2) == 0 {
			o.mood = mood(s.rand.IntN(int(moods)))
		}
		o.mu.Unlock()
	}
}

// take has a gateway import a blob: the word of its operator is enough.
func (s *sharing) take(g *gateway, o *origin, scope oci.Scope, d digest.Digest) {
	raw := o.contents[d].Bytes
	o.take(scope.Repository, d)
	s.delivered[o.name][d] = true
	if _, err := g.store.StatBlob(s.t.Context(), d); err != nil {
		part, err := mirror.BlobsOf(g.store).Begin(s.t.Context(), scope, d, int64(len(raw)))
		if err == nil {
			_, err = part.WriteAt(raw, 0)
		}
		if err == nil {
			err = part.Commit(int64(len(raw)))
		}
		if err != nil {
			s.t.Error(err)
		}
	}
	err := g.store.Link(s.t.Context(), scope, oci.Descriptor{Digest: d, Size: int64(len(raw))})
	if _, notSynced := g.fleet.Sync(s.t.Context(), nil); err != nil || notSynced != nil {
		s.t.Error(errors.Join(err, notSynced))
	}
}

// attack writes to the bucket.
func (s *sharing) attack(o *origin) {
	all := slices.DeleteFunc(s.bucket.keys("v1/"), func(key string) bool { return strings.HasPrefix(key, "v1/l/") })
	if len(all) == 0 {
		return
	}
	at, d := all[s.rand.IntN(len(all))], s.images[s.rand.IntN(len(s.images))]
	repository := s.names[s.rand.IntN(len(s.names))]
	switch s.rand.IntN(5) {
	case 0:
		s.bucket.spoil(at)
	case 1:
		s.write(at, []byte("{}"))
	case 2:
		if err := s.bucket.Delete(s.t.Context(), at); err != nil {
			s.t.Error(err)
		}
	case 3: // the right bytes, which open nothing
		for d, content := range o.contents {
			s.write("v1/b/sha256/"+d.Encoded(), content.Bytes)
			s.write("v1/m/sha256/"+d.Encoded(), content.Bytes)
		}
	default:
		raw, err := json.Marshal(map[string]any{"digest": d, "type": imageType, "size": 1, "checked": s.now().Add(time.Hour), "changed": s.now()})
		if err != nil {
			s.t.Fatal(err)
		}
		s.write("v1/t/"+o.name+"/"+repository+"/_/t", raw)
	}
}

func (s *sharing) write(key string, raw []byte) {
	if err := s.bucket.Put(s.t.Context(), key, bytes.NewReader(raw), int64(len(raw)), bucket.PutOptions{ContentType: imageType}); err != nil {
		s.t.Error(err)
	}
}

// ask asks one gateway for something, and compares what comes with what may.
func (s *sharing) ask() {
	g, o, repository := s.gateways[s.rand.IntN(len(s.gateways))], s.origins[s.rand.IntN(len(s.origins))], s.names[s.rand.IntN(len(s.names))]
	r := oci.Request{Upstream: o.name, Repository: repository, Name: repository, Kind: oci.KindBlob}
	tagged := false
	switch s.rand.IntN(4) {
	case 0:
		r.Kind, r.Reference.Digest = oci.KindManifest, s.images[s.rand.IntN(len(s.images))]
	case 1:
		r.Kind, r.Reference.Tag, tagged = oci.KindManifest, "t", true
	default:
		r.Reference.Digest = s.blobs[s.rand.IntN(len(s.blobs))]
	}
	d, raw, status, err := send(g, r)
	for again := 0; err != nil && oci.ClassOf(err) == oci.ClassDigest && again < 2; again++ {
		// What the bucket, or a liar, had sent before may have been gone on from.
		s.ahead.Add(int64(2 * time.Minute))
		d, raw, status, err = send(g, r)
	}
	s.judge(o, repository, d, raw, status, err, tagged)
}

func (s *sharing) judge(o *origin, repository string, d digest.Digest, raw []byte, status oci.CacheStatus, err error, tagged bool) {
	what := fmt.Sprintf("%s/%s@%s, mood %d: %v, %v", o.name, repository, d, o.mood, status, err)
	if err != nil {
		s.denied++
		if !tagged && o.mood == honest && o.has[key(repository, d)] {
			s.t.Errorf("refused wrongly: %s", what)
		}
		return
	}
	s.released++
	word, truth := o.said(repository, d)
	if !truth && (!word || !s.delivered[o.name][d]) {
		s.t.Errorf("released, though never confirmed: %s", what)
	}
	if !oci.Verify(d, raw) {
		s.t.Errorf("released, though wrong: %s", what)
	}
	if status.Detail == "bucket" {
		s.fromBucket++
	}
	s.delivered[o.name][d] = true
}

// Whatever upstreams do, and whoever writes to the bucket, three gateways release in each
// scope what its own upstream has confirmed, and nothing else; what an honest one has comes.
func TestSharingModel(t *testing.T) {
	t.Parallel()
	steps := testenv.Rounds(300, 40_000)
	s := newSharing(t, testenv.Seed(t))
	for n := 0; n < steps && !t.Failed(); n++ {
		if s.rand.IntN(4) == 0 {
			s.change()
		}
		s.ask()
	}
	t.Logf("%d released, %d of them from the bucket, and %d refused", s.released, s.fromBucket, s.denied)
	if s.released < steps/8 || s.denied < steps/20 || s.fromBucket == 0 {
		t.Error("too little happened")
	}
}
