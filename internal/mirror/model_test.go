package mirror_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// model knows who has delivered what to whom, and thus what may be released.
type model struct {
	*fixture

	rand    *rand.Rand
	origins []*origin
	blobs   []digest.Digest
	manifs  []digest.Digest
	repos   []string
	proven  map[oci.Scope]map[digest.Digest]bool
	shown   map[string]map[digest.Digest]bool // by upstream: it has delivered it, or proven
	stored  map[digest.Digest]bool

	wrong, refused, released, denied int
}

// ask is one request and what became of it.
type ask struct {
	of      *origin
	request oci.Request
	head    bool
	tag     bool
	digest  digest.Digest
	raw     []byte
	status  oci.CacheStatus
	err     error
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		fixture: newFixture(t), rand: rand.New(rand.NewPCG(seed, 1)),
		origins: []*origin{
			{name: "public.example"},
			{name: "mirror.example"},
			{name: "other.example"},
			{name: "corp.example", isolated: true, users: []string{"adam"}},
			{name: "team.example", isolated: true},
		},
	}
	for n, o := range m.origins {
		o.rand = rand.New(rand.NewPCG(seed, uint64(n)+2))
		m.more = append(m.more, mirror.Upstream{
			Name: o.name, Remote: o, Freshness: mirror.Freshness{TagTTL: ttl}, Isolate: o.isolated, Access: mirror.Access{Public: o.users == nil, Users: o.users},
		})
	}
	m.configure()
	m.cache.SkipWaits()
	return m
}

// begin makes new content, and repositories that have some of it.
func (m *model) begin(round int) {
	m.blobs, m.manifs, m.repos = nil, nil, []string{fmt.Sprintf("r%d/a", round), fmt.Sprintf("r%d/b", round)}
	m.proven, m.shown, m.stored = map[oci.Scope]map[digest.Digest]bool{}, map[string]map[digest.Digest]bool{}, map[digest.Digest]bool{}
	contents := map[digest.Digest]oci.Manifest{}
	for n, size := range []int{100, 70_000, mib, mib + 1, mib + 200_000} {
		raw := registrytest.Random(uint64(round*10+n), size)
		d := digest.FromBytes(raw)
		m.blobs, contents[d] = append(m.blobs, d), oci.Manifest{Bytes: raw}
	}
	for n := range 3 {
		raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
			`"config":{"mediaType":"x/y","digest":%q,"size":100},"layers":[{"mediaType":"x/y","digest":%q,"size":%d}]}`,
			m.blobs[0], m.blobs[3], []int{mib + 1, 5, 0}[n])
		d := digest.FromBytes(raw)
		m.manifs, contents[d] = append(m.manifs, d), oci.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Bytes: raw}
	}
	for _, o := range m.origins {
		o.mu.Lock()
		o.contents, o.sampled, o.told = contents, map[digest.Digest]bool{}, map[string]bool{}
		o.has, o.tags, o.mood = map[oci.Scope]map[digest.Digest]bool{}, map[oci.Scope]digest.Digest{}, honest
		for _, name := range m.repos {
			s := o.scope(name)
			m.proven[s], o.has[s] = map[digest.Digest]bool{}, map[digest.Digest]bool{}
			o.tags[s] = m.manifs[m.rand.IntN(len(m.manifs))]
			for _, d := range slices.Concat(m.blobs, m.manifs) {
				o.has[s][d] = m.rand.IntN(3) == 0
			}
		}
		m.shown[o.name] = map[digest.Digest]bool{}
		o.mu.Unlock()
	}
}

// change changes the world. What was remembered of failures is over then.
func (m *model) change() {
	o := m.origins[m.rand.IntN(len(m.origins))]
	o.mu.Lock()
	defer o.mu.Unlock()
	m.clock.advance(3 * time.Minute)
	s := o.scope(m.repos[m.rand.IntN(len(m.repos))])
	switch m.rand.IntN(6) {
	case 0:
		d := m.blobs[m.rand.IntN(len(m.blobs))]
		m.idle() // or readers would have what is gone
		m.evict(d)
		delete(m.stored, d)
	case 1, 2:
		all := slices.Concat(m.blobs, m.manifs)
		d := all[m.rand.IntN(len(all))]
		o.has[s][d] = !o.has[s][d]
	default:
		o.mood = mood(m.rand.IntN(int(moods)))
		if m.rand.IntN(2) == 0 {
			o.mood = honest
		}
	}
}

// batch sends some requests at a time. Who asks a slow upstream waits for it; nobody else
// does.
func (m *model) batch() []*ask {
	asks := make([]*ask, 1+m.rand.IntN(4))
	done := map[bool]chan *ask{true: make(chan *ask, len(asks)), false: make(chan *ask, len(asks))}
	slows, open := 0, make(chan struct{})
	for _, o := range m.origins {
		o.open = open
		clear(o.sampled)
	}
	for n := range asks {
		o := m.origins[m.rand.IntN(len(m.origins))]
		a := &ask{of: o, head: m.rand.IntN(4) == 0, tag: m.rand.IntN(3) == 0}
		kind := oci.KindBlob
		a.digest = m.blobs[m.rand.IntN(len(m.blobs))]
		if m.rand.IntN(3) == 0 {
			kind, a.digest = oci.KindManifest, m.manifs[m.rand.IntN(len(m.manifs))]
		}
		name := m.repos[m.rand.IntN(len(m.repos))]
		a.request = oci.Request{
			Kind: kind, Upstream: o.name, Repository: name, Name: name, Reference: oci.Reference{Digest: a.digest},
			User: []string{"adam", "eve"}[m.rand.IntN(2)],
		}
		if a.tag = a.tag && kind == oci.KindManifest; a.tag {
			a.request.Reference = oci.Reference{Tag: "t"}
		}
		asks[n] = a
		waits := o.mood == stalling
		if waits {
			slows++
		}
		go func() {
			m.send(a)
			done[waits] <- a
		}()
	}
	for range len(asks) - slows {
		m.await(done[false])
	}
	close(open)
	for range slows {
		m.await(done[true])
	}
	return asks
}

func (m *model) await(done <-chan *ask) {
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		m.t.Fatal("a request waits for ever")
	}
}

func (m *model) send(a *ask) {
	ctx := context.Background()
	switch {
	case a.head && a.request.Kind == oci.KindManifest:
		var desc oci.Descriptor
		if desc, a.status, a.err = m.mirror.StatManifest(ctx, a.request); a.err == nil {
			a.digest = desc.Digest
		}
	case a.head:
		_, a.status, a.err = m.mirror.StatBlob(ctx, a.request)
	case a.request.Kind == oci.KindManifest:
		var mf oci.Manifest
		mf, a.status, a.err = m.mirror.Manifest(ctx, a.request)
		a.raw, a.digest = mf.Bytes, mf.Digest
	default:
		m.pullBlob(ctx, a)
		// What the upstream has sent before it became honest may have been gone on from:
		// a client that was cut off tries again.
		if a.status.Result != "" && oci.ClassOf(a.err) == oci.ClassDigest {
			m.pullBlob(ctx, a)
		}
	}
}

func (m *model) pullBlob(ctx context.Context, a *ask) {
	var b oci.Blob
	if b, a.status, a.err = m.mirror.Blob(ctx, a.request); a.err == nil {
		a.raw, a.err = readAll(b.Content, b.Size)
		_ = b.Content.Close()
	}
}

// admits reports whether the user of a request may ask at all.
func (a *ask) admitted() bool {
	return a.of.users == nil || slices.Contains(a.of.users, a.request.User)
}

func (a *ask) scope() oci.Scope { return a.of.scope(a.request.Repository) }

// judge compares the answers to what were asked at a time with what the oracle says.
func (m *model) judge(asks []*ask) {
	// What the others of the batch show may count already.
	shown, proven, stored := map[string]map[digest.Digest]bool{}, map[oci.Scope]map[digest.Digest]bool{}, maps.Clone(m.stored)
	for name, of := range m.shown {
		shown[name] = maps.Clone(of)
	}
	for s, of := range m.proven {
		proven[s] = maps.Clone(of)
	}
	for _, a := range asks {
		if a.err == nil && !a.head {
			shown[a.of.name][a.digest], proven[a.scope()][a.digest], stored[a.digest] = true, true, true
		}
	}
	for _, a := range asks {
		m.judgeOne(a, shown)
		m.judgeTraces(a, asks)
	}
	for _, a := range asks {
		if a.err == nil && a.head && m.shown[a.of.name][a.digest] && !a.tag && a.status.Result == oci.ResultMiss {
			proven[a.scope()][a.digest] = true // its own word does
		}
	}
	m.shown, m.proven, m.stored = shown, proven, stored
}

func (m *model) judgeOne(a *ask, shown map[string]map[digest.Digest]bool) {
	s, has := a.scope(), a.of.has[a.scope()][a.digest]
	told := fmt.Sprintf("%s %s, head %v, mood %d, has %v, proven %v: %v, %v", a.request.Kind, a.request.Reference, a.head, a.of.mood, has,
		m.proven[s][a.digest], a.status, a.err)
	switch {
	case a.err != nil && len(a.raw) > 0 && digest.FromBytes(a.raw) == a.digest:
		m.t.Errorf("%s: all of it came", told)
	case a.err == nil && !a.admitted():
		m.wrong++
		m.t.Errorf("%s: %s is let in", told, a.request.User)
	case a.err == nil && !a.head:
		m.released++
		// Of what it has delivered, its own word opens it to another repository.
		may := has || m.proven[s][a.digest] || a.of.gave(s, a.digest, shown[a.of.name][a.digest]) || a.of.mood == lying && shown[a.of.name][a.digest]
		if !may || digest.FromBytes(a.raw) != a.digest {
			m.wrong++
			m.t.Errorf("released wrongly: %s", told)
		}
	case a.err != nil && a.admitted():
		m.denied++
		if a.tag {
			break
		}
		if has && (a.of.mood == honest || a.of.mood == stalling) || m.proven[s][a.digest] && m.stored[a.digest] && !a.head {
			m.refused++
			m.t.Errorf("refused wrongly: %s", told)
		}
	}
}

// judgeTraces looks for what tells that bytes are here which only isolated upstreams have
// brought in.
func (m *model) judgeTraces(a *ask, asks []*ask) {
	if a.tag || a.head || a.request.Kind != oci.KindBlob || m.shown[a.of.name][a.digest] {
		return
	}
	for _, o := range m.origins {
		if m.shown[o.name][a.digest] && !o.isolated {
			return
		}
	}
	for _, b := range asks { // which may bring it in before
		if b != a && b.digest == a.digest {
			return
		}
	}
	if a.of.sampled[a.digest] || a.err == nil && a.status.Result != oci.ResultMiss {
		m.t.Errorf("%s, %v tells what is isolated", a.request.Reference, a.status)
	}
}

// Whatever upstreams do, a scope gets what its upstream has shown to have for it, and
// nothing else.
func TestSharingModel(t *testing.T) { inBothModes(t, testSharingModel) }

func testSharingModel(t *testing.T) {
	t.Parallel()
	steps := testenv.Rounds(500, 100_000)
	m := newModel(t, 1)
	for n := 0; n < steps && !t.Failed(); n++ {
		if n%200 == 0 {
			m.begin(n / 200)
		}
		if m.rand.IntN(500) == 0 {
			m.reopen()
			m.cache.SkipWaits()
		}
		if m.rand.IntN(3) == 0 {
			m.change()
		}
		m.judge(m.batch())
		for len(m.ended) > 0 {
			<-m.ended
		}
	}
	t.Logf("%d released, %d refused; %d and %d of them wrongly", m.released, m.denied, m.wrong, m.refused)
	if m.released < steps/4 || m.denied < steps/10 {
		t.Error("too little happened")
	}
}
