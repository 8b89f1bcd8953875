package mirror_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
	"github.com/pullgate/pullgate/storage"
)

// rangesWorld is a gateway for ranges that need not be verified, and one for those
// that do, on one cache.
type rangesWorld struct {
	*fixture

	upstream *liar
	servers  map[bool]*httptest.Server // by strictness
	running  int                       // fills that have begun and not ended, as far as was looked
	noise    []byte

	mu    sync.Mutex
	tally map[string]int
}

func newRangesWorld(t *testing.T) *rangesWorld {
	t.Helper()
	w := &rangesWorld{
		fixture: newFixture(t), upstream: &liar{}, servers: map[bool]*httptest.Server{},
		noise: registrytest.Random(7, 3*mib), tally: map[string]int{},
	}
	for _, strict := range []bool{false, true} {
		m, err := mirror.New(w.cache, mirror.Options{Upstreams: []mirror.Upstream{{
			Name: upstreamName, Remote: w.upstream, Access: mirror.Access{Public: true}, VerifyRanges: strict,
			Freshness: mirror.Freshness{TagTTL: ttl}, Bounds: mirror.Bounds{Parallel: 4, MissesPerClient: -1},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(registry.New(registry.Options{Mirror: m, Router: registry.NewRouter(map[string]registry.Upstream{upstreamName: {Name: upstreamName}}, "")}))
		t.Cleanup(server.Close)
		server.Client().Timeout = time.Minute
		server.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 30
		w.servers[strict] = server
	}
	w.cache.SkipWaits()
	return w
}

// TestGeneratedRanges asks for ranges of blobs whose upstream lies in generated ways,
// on a store that takes their bytes or does not. No whole body ends cleanly that is
// wrong; no range does that was not called unverified, and none where ranges have to
// be verified.
func TestGeneratedRanges(t *testing.T) {
	t.Parallel()
	const each = 20
	n, seed := testenv.Rounds(500, 100_000), testenv.Seed(t)
	w := newRangesWorld(t)
	lacks := func() string {
		for _, kind := range []string{"whole", "range", "range unverified", "wrong unverified", "parts", "range became whole", "cut", "strict range", "strict parts"} {
			if w.tally[kind] == 0 {
				return kind
			}
		}
		return ""
	}
	// The rarest kinds may need some more rounds.
	rounds := 0
	for ; (rounds < n/each || lacks() != "" && rounds < 10*n/each) && !t.Failed(); rounds++ {
		w.round(rand.New(rand.NewPCG(seed, uint64(rounds))), fmt.Sprintf("PULLGATE_SEED=%d, round %d", seed, rounds), each)
	}
	t.Logf("%d answers: %v", rounds*each, w.tally)
	if kind := lacks(); kind != "" {
		t.Errorf("the test proves too little: no %s", kind)
	}
}

// round has clients ask for one blob at the same time.
func (w *rangesWorld) round(random *rand.Rand, name string, clients int) {
	l := newLies(random, w.noise)
	w.upstream.follow(l)
	full := w.fillDisk(random, len(l.right))
	tell := time.Minute
	if random.IntN(6) == 0 {
		tell = time.Millisecond
	}
	w.cache.TellAfter(tell)
	w.hashInSegments(random.IntN(2) == 0)
	strict := random.IntN(3) == 0
	server := w.servers[strict]
	url := server.URL + "/v2/proxy-" + upstreamName + "/" + repository + "/blobs/" + l.digest.String()
	if random.IntN(2) == 0 && l.headed >= 0 { // so that a size is known
		fetch(w.t, server.Client(), http.MethodHead, url, "")
	}
	answered := make(chan struct{}, clients)
	var asking sync.WaitGroup
	for range clients {
		header := l.header()
		asking.Go(func() {
			defer func() { answered <- struct{}{} }()
			got := fetch(w.t, server.Client(), http.MethodGet, url, header)
			problem := w.judge(l, got, strict)
			if problem == "" && l.honest && !full && l.want(got) {
				problem = "an honest upstream's blob did not come"
			}
			if problem != "" {
				w.t.Errorf("%s: %s\nstrict %v, full %v, honest %v, range %q of %d: %d, %v, %d bytes, %v",
					name, problem, strict, full, l.honest, header, len(l.right), got.status, got.header, len(got.body), got.err)
			}
		})
	}
	if random.IntN(3) == 0 {
		w.clock.advance(3 * time.Second) // what is far, is asked for
	}
	// Some ranges end before the blob does; how many can, is the upstream's doing.
	over := time.After(20 * time.Millisecond)
	for left := random.IntN(clients); left > 0; left-- {
		select {
		case <-answered:
		case <-over:
			left = 0
		}
	}
	close(l.open)
	asking.Wait()
	w.settle()
}

// fillDisk decides what the store takes.
func (w *rangesWorld) fillDisk(random *rand.Rand, size int) (full bool) {
	room := int64(1) << 40
	switch random.IntN(6) {
	case 0:
		room = -1
	case 1, 2:
		room = int64(random.IntN(size + 1))
	case 3:
		w.cache.FailCommits()
		return true
	}
	w.cache.FailParts(room, storage.ErrNoSpace)
	return room < 1<<40
}

// settle waits until no fill is running.
func (w *rangesWorld) settle() {
	for {
		w.fixture.mu.Lock()
		for _, e := range w.events {
			if !e.Finished && !e.Asking {
				w.running++
			}
		}
		w.events = nil
		w.fixture.mu.Unlock()
		if w.running == 0 {
			return
		}
		w.filled()
		w.running--
	}
}

// header makes up a Range; "" = none.
func (l *lies) header() string {
	size := len(l.right)
	one := func() string {
		from := l.IntN(size)
		switch l.IntN(7) {
		case 0:
			return fmt.Sprintf("-%d", 1+l.IntN(size+10))
		case 1:
			return fmt.Sprintf("%d-", from)
		case 2:
			return fmt.Sprintf("%d-%d", from, size-1)
		case 3:
			return fmt.Sprintf("%d-%d", from, max(from, size-1-l.IntN(70_000)))
		case 4:
			return fmt.Sprintf("0-%d", l.IntN(size))
		}
		return fmt.Sprintf("%d-%d", from, from+l.IntN(100_000))
	}
	switch l.IntN(8) {
	case 0:
		return ""
	case 1:
		return "bytes=0-"
	case 2, 3:
		specs := []string{one(), one()}
		for range l.IntN(3) {
			specs = append(specs, one())
		}
		return "bytes=" + strings.Join(specs, ",")
	}
	return "bytes=" + one()
}

// gotten is what a client got.
type gotten struct {
	asked  string
	status int
	header http.Header
	body   []byte
	err    error // it did not end cleanly
}

func fetch(t testing.TB, client *http.Client, method, url, header string) (g gotten) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Error(err)
		return gotten{err: err}
	}
	if g.asked = header; header != "" {
		r.Header.Set("Range", header)
	}
	answer, err := client.Do(r)
	if err != nil {
		g.err = err
		return g
	}
	defer func() { _ = answer.Body.Close() }()
	g.status, g.header = answer.StatusCode, answer.Header
	g.body, g.err = readAll(answer.Body, answer.ContentLength)
	return g
}

// want reports that something is missing of what an honest upstream and a good store
// should have brought.
func (l *lies) want(g gotten) bool { return g.err != nil || g.status/100 != 2 && g.status != 416 }

// piece is a part of the blob that came whole, and where it is said to lie.
type piece struct {
	body              []byte
	first, last, size int
}

func (l *lies) matches(p piece) bool {
	return p.last < len(l.right) && p.last-p.first+1 == len(p.body) && bytes.Equal(l.right[p.first:p.last+1], p.body)
}

// pieces returns those that came whole.
func (g gotten) pieces() (ps []piece, err error) {
	kind, parameters, _ := mime.ParseMediaType(g.header.Get("Content-Type"))
	if kind != "multipart/byteranges" {
		if g.err != nil {
			return nil, nil //nolint:nilerr // a body that is cut has no whole piece
		}
		return add(nil, g.header.Get("Content-Range"), g.body)
	}
	reader := multipart.NewReader(bytes.NewReader(g.body), parameters["boundary"])
	for {
		part, err := reader.NextRawPart()
		if err != nil {
			break
		}
		body, err := io.ReadAll(part)
		if err != nil {
			break
		}
		if ps, err = add(ps, part.Header.Get("Content-Range"), body); err != nil {
			return nil, err
		}
	}
	return ps, nil //nolint:nilerr // what comes after a cut is no whole piece
}

func add(ps []piece, contentRange string, body []byte) ([]piece, error) {
	p := piece{body: body}
	_, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &p.first, &p.last, &p.size)
	return append(ps, p), err
}

// judge returns what is wrong with an answer.
func (w *rangesWorld) judge(l *lies, g gotten, strict bool) (problem string) {
	unverified := strings.Contains(g.header.Get("Cache-Status"), "detail=unverified")
	prefix := ""
	if strict {
		prefix = "strict "
	}
	count := func(kind string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tally[kind]++
	}
	if g.err != nil {
		count("cut")
	}
	switch {
	case strict && unverified:
		return "a range that has to be verified is called unverified"
	case g.status == http.StatusOK && g.err == nil:
		count(prefix + "whole")
		if g.asked != "" && g.asked != "bytes=0-" {
			count("range became whole")
		}
		if unverified || !bytes.Equal(g.body, l.right) {
			return "a whole body ends cleanly that is wrong, or is called unverified"
		}
		return ""
	case g.status != http.StatusPartialContent:
		return ""
	}
	ps, err := g.pieces()
	if err != nil {
		return "no Content-Range: " + err.Error()
	}
	last, wrong := false, 0
	for _, p := range ps {
		last = last || p.last == p.size-1
		if !l.matches(p) {
			wrong++
		}
	}
	kind := "range"
	if len(ps) > 1 {
		kind = "parts"
	}
	if unverified {
		kind += " unverified"
	}
	if g.err == nil {
		count(prefix + kind)
	}
	switch {
	case wrong == 0:
	case !unverified:
		return "a wrong range ends cleanly"
	case last && g.err == nil:
		return "a range ends cleanly that is wrong, and has the last byte"
	default:
		count("wrong unverified")
	}
	return ""
}
