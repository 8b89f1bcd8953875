package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

var _ registry.Mirror = (*mirror.Mirror)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	upstreamName = "docker.io"
	repository   = "library/alpine"
	ttl          = time.Minute
)

// own is the scope of the requests that the fixture makes.
var own = oci.Scope{Upstream: upstreamName, Repository: repository}

// clock is the time of the mirror and the store: it stands still, or goes on.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	began time.Time // when it began to go on
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.began.IsZero() {
		return c.now.Add(time.Since(c.began))
	}
	return c.now
}

func (c *clock) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a mirror of one fake upstream on a real store, or on one in memory.
type fixture struct {
	t        testing.TB
	dir      string
	network  *registrytest.Network // in a bubble; nil = that of the machine
	upstream *registrytest.Server
	remote   *remote
	clock    *clock
	store    *storage.Store
	memory   *memory // in place of store; nil = none
	cache    *mirror.Cache
	mirror   *mirror.Mirror
	policy   mirror.Upstream // of docker.io; change it and call configure
	more     []mirror.Upstream
	mode     string       // of hashing; empty = the cache decides by how many downloads there are
	log      slog.Handler // nil = discard; it counts from the next open

	mu     sync.Mutex
	events []mirror.FillEvent
	ended  chan ended
}

// ended is a fill that has told of its end, and is found until left is closed.
type ended struct {
	mirror.FillEvent

	left <-chan struct{}
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureOn(t, false)
}

func newFixtureOn(t testing.TB, inMemory bool) *fixture {
	t.Helper()
	f := &fixture{
		t: t, dir: t.TempDir(), clock: &clock{now: time.Unix(1_800_000_000, 0)}, ended: make(chan ended, 1000),
	}
	if inBubble() {
		f.network = new(registrytest.Network)
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 10, DialContext: f.dial()}
	t.Cleanup(transport.CloseIdleConnections)
	f.upstream = registrytest.New(t, registrytest.Options{Network: f.network})
	f.remote = &remote{base: f.upstream.URL(), client: &http.Client{Transport: transport, Timeout: time.Minute}}
	f.policy = mirror.Upstream{
		Name: upstreamName, Remote: f.remote, Access: mirror.Access{Public: true},
		Freshness: mirror.Freshness{TagTTL: ttl, StaleIfDenied: time.Hour, ImmutableTags: regexp.MustCompile(`^v\d+\.\d+\.\d+$`)},
	}
	for _, mode := range hashModes {
		if strings.Contains(t.Name(), "/"+mode) {
			f.mode = mode
		}
	}
	if inMemory {
		f.memory = newMemory(f.clock.Now)
	}
	f.open()
	t.Cleanup(f.close)
	return f
}

// hashModes say who hashes: the hasher alone, or segments what they bring where they can.
var hashModes = []string{"hasher", "segments"}

// inBothModes runs a test once in each mode, which fixtures read off its name.
func inBothModes(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	for _, mode := range hashModes {
		t.Run(mode, test)
	}
}

// bubble returns a test, beside others, whose clock does not wait, in a network in
// memory: what takes seconds elsewhere takes none, and no machine is too slow for it.
func bubble(test func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		t.Parallel()
		synctest.Test(t, test)
	}
}

// inBubble reports whether this is called in a bubble, whose clock begins in 2000.
func inBubble() bool { return time.Now().Year() < 2020 }

// hashInSegments is for tests that care who hashes.
func (f *fixture) hashInSegments(yes bool) {
	f.mode = hashModes[0]
	if yes {
		f.mode = hashModes[1]
	}
	f.cache.HashInSegments(yes)
}

// dial is what clients connect with; nil = as usual.
func (f *fixture) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	if f.network == nil {
		return nil
	}
	return f.network.Dial
}

func (f *fixture) open() {
	f.t.Helper()
	o := mirror.CacheOptions{Records: f.memory, Blobs: f.memory, Now: f.clock.Now, Observe: f.observe}
	if f.memory == nil {
		store, err := storage.Open(f.t.Context(), storage.Options{Path: f.dir, Now: f.clock.Now})
		if err != nil {
			f.t.Fatal(err)
		}
		f.store, o.Records, o.Blobs = store, store, mirror.BlobsOf(store)
	}
	log := f.log
	if log == nil {
		log = slog.DiscardHandler
	}
	o.Logger = slog.New(log)
	f.cache = mirror.NewCache(o)
	if f.mode != "" {
		f.cache.HashInSegments(f.mode == hashModes[1])
	}
	f.configure()
}

func (f *fixture) observe(e mirror.FillEvent) {
	f.mu.Lock()
	f.events = append(f.events, e)
	f.mu.Unlock()
	if e.Finished {
		f.ended <- ended{e, f.cache.LeftOf(e)}
	}
}

// configure makes the mirror anew, as a reload does: docker.io with the current
// policy, and ghcr.io, which is the same server.
func (f *fixture) configure() {
	f.t.Helper()
	m, err := mirror.New(f.cache, mirror.Options{Upstreams: append([]mirror.Upstream{
		f.policy, {Name: "ghcr.io", Remote: f.remote, Freshness: mirror.Freshness{TagTTL: ttl}, Access: mirror.Access{Public: true}},
	}, f.more...)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.mirror = m
}

func (f *fixture) close() {
	f.cache.Close()
	if f.memory != nil {
		return
	}
	if err := f.store.Close(); err != nil {
		f.t.Error(err)
	}
}

// reopen is a restart of the server.
func (f *fixture) reopen() {
	f.t.Helper()
	f.close()
	f.open()
}

func manifestRequest(ref string) oci.Request {
	r, err := oci.ParseReference(ref)
	if err != nil {
		panic(err)
	}
	return oci.Request{Kind: oci.KindManifest, Upstream: upstreamName, Repository: repository, Name: repository, Reference: r}
}

func blobRequest(d digest.Digest) oci.Request {
	return oci.Request{
		Kind: oci.KindBlob, Upstream: upstreamName, Repository: repository, Name: repository,
		Reference: oci.Reference{Digest: d},
	}
}

// pull reads a whole blob as the wire does.
func (f *fixture) pull(ctx context.Context, r oci.Request) ([]byte, oci.CacheStatus, error) {
	b, status, err := f.mirror.Blob(ctx, r)
	if err != nil {
		return nil, status, err
	}
	defer b.Content.Close()
	raw, err := readAll(b.Content, b.Size)
	if n := int64(len(raw)); err == nil && n != b.Size {
		f.t.Errorf("blob of %d bytes ended cleanly after %d", b.Size, n)
	}
	return raw, status, err
}

// readAll is io.ReadAll of what has about so many bytes: that would take several times as
// much memory.
func readAll(r io.Reader, size int64) ([]byte, error) {
	raw := bytes.NewBuffer(make([]byte, 0, max(size, 0)+bytes.MinRead))
	_, err := raw.ReadFrom(r)
	return raw.Bytes(), err
}

// mustPull pulls and compares.
func (f *fixture) mustPull(r oci.Request, want []byte, result oci.Result) {
	f.t.Helper()
	raw, status, err := f.pull(f.t.Context(), r)
	if err != nil {
		f.t.Fatalf("pull: %v", err)
	}
	if !bytes.Equal(raw, want) {
		f.t.Fatalf("pulled %d bytes that are not the %d of the blob", len(raw), len(want))
	}
	if status.Result != result {
		f.t.Errorf("result %q, want %q", status.Result, result)
	}
}

// filled waits for the end of a fill, which nobody finds any more.
func (f *fixture) filled() mirror.FillEvent {
	f.t.Helper()
	select {
	case e := <-f.ended:
		<-e.left
		return e.FillEvent
	case <-time.After(30 * time.Second):
		f.t.Fatal("no fill ended within 30 s")
		return mirror.FillEvent{}
	}
}

// idle waits until there is no fill.
func (f *fixture) idle() {
	for f.cache.Stats().Fills > 0 {
		time.Sleep(time.Millisecond)
	}
}

// saw asserts the upstream's requests since the last call.
func (f *fixture) saw(heads, gets int) {
	f.t.Helper()
	requests := f.upstream.Requests()
	h, g := 0, 0
	for _, r := range requests {
		switch r.Method {
		case http.MethodHead:
			h++
		case http.MethodGet:
			g++
		}
	}
	if h != heads || g != gets {
		f.t.Errorf("the upstream saw %d HEADs and %d GETs, want %d and %d: %v", h, g, heads, gets, requests)
	}
	f.upstream.Reset()
}

func class(err error) oci.Class { return oci.ClassOf(err) }

// answer makes the upstream answer every request with a status.
func answer(status int) registrytest.Hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(status)
	}
}

func wantStatus(t testing.TB, err error, status int) {
	t.Helper()
	var e *oci.Error
	if !errors.As(err, &e) || e.Status != status {
		t.Errorf("error %v, want one of status %d", err, status)
	}
}

// records are those that the mirror uses.
func (f *fixture) records() mirror.Records {
	if f.memory != nil {
		return f.memory
	}
	return f.store
}
