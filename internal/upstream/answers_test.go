package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/testenv"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

type requestReader struct{ *bufio.Reader }

func newRequestReader(r io.Reader) requestReader { return requestReader{bufio.NewReader(r)} }

func (r requestReader) next() (*http.Request, string, error) {
	request, err := http.ReadRequest(r.Reader)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(request.Body)
	return request, string(body), err
}

// TestGeneratedAnswers asks an upstream that answers nonsense, with a clock that
// does not wait: whatever comes, an operation ends in time, in a result that is
// what it says, or in an error that has a class and quotes nobody.
func TestGeneratedAnswers(t *testing.T) {
	const batch = 200
	n, seed := testenv.Rounds(600, 100_000), testenv.Seed(t)
	// net/http tells the standard logger of bytes that come after an answer.
	defer log.SetOutput(log.Writer())
	log.SetOutput(io.Discard)
	// What package net makes once must not be made within a bubble.
	_, _ = net.DefaultResolver.LookupHost(t.Context(), "localhost")
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // of what is measured
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, answers, good := uint64(0), 0, 0
	classes := map[oci.Class]int{}
	for i := 0; answers < n && !t.Failed(); i++ {
		synctest.Test(t, func(t *testing.T) {
			n := &nonsense{t: t, f: foul{rand.New(rand.NewPCG(seed, uint64(i))), nil}}
			for range batch {
				err := n.ask()
				if err == nil {
					good++
				}
				classes[oci.ClassOf(err)]++
			}
			n.servers.Wait() // and what is left of the clients would fail the test
			answers += n.requests
		})
		runtime.ReadMemStats(&after)
		peak = max(peak, after.HeapAlloc)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d answers, %d operations went well, others %v; heap %d MiB at most, %d MiB more than before",
		answers, good, classes, peak>>20, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>20)
	if peak > 256<<20 || int64(after.HeapAlloc)-int64(before.HeapAlloc) > 16<<20 {
		t.Error("memory is not bounded")
	}
	if good < answers/100 {
		t.Error("next to nothing went well: the test proves too little")
	}
}

// nonsense is a registry, and all other hosts there are.
type nonsense struct {
	t *testing.T
	f foul

	servers  sync.WaitGroup
	mu       sync.Mutex
	requests int
	dead     bool
}

// client returns one that gets to nowhere else.
func (n *nonsense) client(change ...func(*Options)) *Client {
	o := Options{
		Name: "hub.test", URLs: []*url.URL{{Scheme: "http", Host: "hub.test"}},
		Credentials: BasicCredentials("canary-user", "canary-password"), seams: egress.Seams{Resolver: noNames()},
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	// What is random is drawn under a lock, so that a seed gives the same answers
	// to the same requests.
	seeds := n.f.Uint64()
	for _, way := range []*http.Transport{c.network.Transports.Home, c.network.Transports.Abroad} {
		way.Proxy = nil
		way.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			n.mu.Lock()
			if n.dead {
				n.mu.Unlock()
				return nil, errors.New("there is nobody any more")
			}
			f := foul{rand.New(rand.NewPCG(seeds, uint64(n.requests))), n.f.world}
			n.mu.Unlock()
			n.servers.Go(func() { f.serve(theirs, func(r *http.Request, body string) { n.saw(address, r, body) }) })
			return ours, nil
		}
	}
	return c
}

// ask makes one client do one operation, and checks what comes of it.
func (n *nonsense) ask() error {
	t, c := n.t, n.client()
	defer c.Close()
	began := time.Now()
	err := n.operate(c)
	if took := time.Since(began); took > 6*time.Minute {
		t.Errorf("took %s", took)
	}
	if err == nil {
		return nil
	}
	e := oci.AsError(err)
	// Causes, which go to the log, may tell of a media type in a few words. A message
	// names hosts, among them those that a token server was said to be at.
	message := strings.ReplaceAll(strings.ToLower(e.Message), "hub.test"+canary, "")
	if text := err.Error(); len(text) > 600 || strings.ContainsAny(text, "\r\n\x00") || strings.Contains(text, "canary-password") ||
		strings.Contains(message, canary) {
		t.Errorf("error %.300q", text)
	}
	if e.Status < 400 || e.Status > 599 || e.Code == "" || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
		t.Errorf("error %+v", e)
	}
	return err
}

func (n *nonsense) saw(address string, r *http.Request, body string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requests++
	if strings.EqualFold(address, "hub.test:80") {
		return
	}
	for name, values := range r.Header {
		if name == "Authorization" && values[0] != "" && r.Header.Get("Authorization") == "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk" {
			n.t.Errorf("%s got the password", address)
		}
	}
	if strings.Contains(body, "canary-password") {
		n.t.Errorf("%s got the password", address)
	}
}

// operate does one operation, and checks its result.
func (n *nonsense) operate(c *Client) error {
	t, ctx := n.t, context.Background()
	want := oci.Sum([]byte("blob"))
	switch n.f.IntN(7) {
	case 0:
		m, err := c.Manifest(ctx, repo, tag("1"))
		if err == nil && (!oci.Verify(m.Digest, m.Bytes) || len(m.Bytes) > oci.MaxManifestSize || m.MediaType == "") {
			t.Errorf("manifest %s of %d bytes, type %q", m.Digest, len(m.Bytes), m.MediaType)
		}
		return err
	case 1:
		m, err := c.Manifest(ctx, repo, oci.Reference{Digest: want})
		if err == nil && (m.Digest != want || !oci.Verify(want, m.Bytes)) {
			t.Errorf("manifest %s, want %s", m.Digest, want)
		}
		return err
	case 2:
		d, err := headManifest(ctx, c, repo, tag("1"))
		if err == nil && (d.Digest != "" && !isDigest(d.Digest) || d.Size < -1 || d.Size > oci.MaxManifestSize) {
			t.Errorf("head %+v", d)
		}
		return err
	case 3:
		size, err := c.HeadBlob(ctx, repo, want)
		if err == nil && size < -1 {
			t.Errorf("size %d", size)
		}
		return err
	case 4:
		list, err := c.Tags(ctx, repo, oci.TagsCursor{})
		for _, s := range list.Tags {
			if r, err := oci.ParseReference(s); err != nil || r.Tag != s {
				t.Errorf("tag %q", s)
			}
		}
		return err
	case 5:
		ds, err := c.Referrers(ctx, repo, want)
		for _, d := range ds {
			if !isDigest(d.Digest) || d.Size < 0 {
				t.Errorf("referrer %+v", d)
			}
		}
		return err
	}
	offset, length := int64(n.f.IntN(3)), int64(n.f.IntN(5))-1
	if length == 0 {
		length = -1
	}
	b, err := c.Blob(ctx, repo, want, offset, length)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := io.Copy(io.Discard, io.LimitReader(b, 80<<20))
	switch {
	case b.Size < -1 || b.Offset < 0 || b.Offset > offset || got > 64<<20+1<<20:
		t.Errorf("blob: size %d, from %d, asked from %d, %d bytes", b.Size, b.Offset, offset, got)
	case err == nil && b.Size >= 0 && length < 0 && b.Offset+got != b.Size:
		t.Errorf("blob of %d bytes ended well after %d from %d", b.Size, got, b.Offset)
	}
	return err
}

func isDigest(d digest.Digest) bool {
	parsed, err := oci.ParseDigest(d.String())
	return err == nil && parsed == d
}
