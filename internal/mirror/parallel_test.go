package mirror_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// paced is an answer that goes out no faster than its line.
type paced struct {
	http.ResponseWriter
	line *line
}

// line is a way to the upstream of so many bytes per second.
type line struct {
	mu   sync.Mutex
	rate float64
	next time.Time
}

func (l *line) take(n int) {
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	l.next = l.next.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait := l.next.Sub(now)
	l.mu.Unlock()
	time.Sleep(wait)
}

func (p paced) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), 64<<10)]
		p.line.take(len(piece))
		var k int
		k, err = p.ResponseWriter.Write(piece)
		n, b = n+k, b[len(piece):]
		_ = http.NewResponseController(p.ResponseWriter).Flush()
	}
	return n, err
}

// A blob comes over several connections where each of them is what limits the
// speed, and over no more than that where they share a limit, where it is we who are
// slow, or where the upstream has no ranges or wants no more connections. It is whole
// in any case, and nothing to speak of is asked for twice.
func TestParallelDownload(t *testing.T) { inBothModes(t, testParallelDownload) }

func testParallelDownload(t *testing.T) {
	t.Parallel()
	const size, rate = 24 * mib, 16 * mib
	shared := &line{rate: rate}
	for _, test := range []struct {
		name        string
		parallel    int
		queued      int64
		hook        registrytest.Hook
		least, most int // GETs
		bytes       float64
	}{
		{"each connection is slow", 4, 0, func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(paced{w, &line{rate: rate}}, r)
		}, 2, 8, 1.25},
		{"what comes in has to wait", 4, mib, func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(paced{w, &line{rate: rate}}, r)
		}, 1, 1, 1},
		{"turned off", 1, 0, func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(paced{w, &line{rate: 2 * rate}}, r)
		}, 1, 1, 1},
		{"one line for all", 4, 0, func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(paced{w, shared}, r)
		}, 1, 4, 1.25},
		{"no ranges", 4, 0, func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			r.Header.Del("Range")
			next(paced{w, &line{rate: rate}}, r)
		}, 2, 3, 1.5},
		{"one connection alone", 4, 0, func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			next(paced{w, &line{rate: rate}}, r)
		}, 2, 2, 1},
	} {
		t.Run(test.name, bubble(func(t *testing.T) {
			f := newFixture(t)
			f.clock.run()
			f.policy.Parallel = test.parallel
			f.remote.queued = func() int64 { return test.queued }
			f.configure()
			want := registrytest.Random(7, size)
			r := blobRequest(f.upstream.PutBlob(repository, want))
			f.upstream.Hook(test.hook)
			b, _, err := f.mirror.Blob(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Content.Close()
			raw, err := readAll(b.Content, size)
			if err != nil || !bytes.Equal(raw, want) {
				t.Fatalf("%d bytes of %d, %v", len(raw), size, err)
			}
			if e := f.filled(); !e.Stored || e.Bytes != size {
				t.Errorf("%+v", e)
			}
			gets := 0
			for _, q := range f.upstream.Requests() {
				if strings.Contains(q.Path, "/blobs/") {
					gets++
				}
			}
			if gets < test.least || gets > test.most {
				t.Errorf("%d GETs, want %d to %d", gets, test.least, test.most)
			}
			if n := float64(f.upstream.BlobBytes()) / size; n > test.bytes {
				t.Errorf("the upstream sent the blob %.2f times", n)
			}
		}))
	}
}

// One blob of an image is asked for: all of them come, each once, and what is
// asked for later is there. Of an image that nobody asked the manifest of, nothing
// more than the blob does.
func TestLookAhead(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]int{"two at a time": 2, "turned off": 0} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.policy.LookAhead = ahead
			f.configure()
			image := f.upstream.PutImage(repository, "latest", 5, 2*mib, 3*mib, 1000, 2*mib, 70_000).Platforms[0]
			m, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			contents, err := oci.ParseManifest(m.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := f.pull(t.Context(), blobRequest(contents.Blobs[1].Digest)); err != nil {
				t.Fatal(err)
			}
			want, pulled := 1, contents.Blobs[1:2]
			if ahead > 0 {
				want, pulled = len(contents.Blobs), contents.Blobs
			}
			for range want {
				if e := f.filled(); !e.Stored {
					t.Errorf("%+v", e)
				}
			}
			for _, d := range pulled {
				if _, _, err := f.pull(t.Context(), blobRequest(d.Digest)); err != nil {
					t.Error(err)
				}
			}
			if n := f.upstream.Count(http.MethodGet, "blobs"); n != want || len(contents.Blobs) != 6 {
				t.Errorf("%d GETs of %d blobs, want %d", n, len(contents.Blobs), want)
			}
		})
	}
}

// A blob that is pulled ahead stands back until it may go on, or a client asks for
// it, or everything ends, while others come in; and all comes once.
func TestStandBack(t *testing.T) {
	t.Parallel()
	const size = 24 * mib
	for _, end := range []string{"it may go on", "a client asks", "the cache closes"} {
		t.Run(end, func(t *testing.T) {
			f := newFixture(t)
			standing := f.cache.WatchStanding()
			f.policy.LookAhead = 6
			f.configure()
			image := f.upstream.PutImage(repository, "latest", 5, size, size).Platforms[0]
			begun := make(chan struct{}, 2)
			gate, open := registrytest.Hold(t)
			f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				next(&twoPart{ResponseWriter: w, begun: begun, open: gate}, r)
			})
			m, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			contents, err := oci.ParseManifest(m.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			layers := contents.Blobs[len(contents.Blobs)-2:]
			b, _, err := f.mirror.Blob(t.Context(), blobRequest(layers[0].Digest))
			if err != nil {
				t.Fatal(err)
			}
			<-begun
			<-begun
			goOn := f.cache.StandBack(f.policy.Name)
			open()
			raw, err := readAll(b.Content, size)
			if err != nil || oci.Sum(raw) != layers[0].Digest {
				t.Fatalf("%d bytes, %v", len(raw), err)
			}
			_ = b.Content.Close()
			<-standing
			for range len(contents.Blobs) - 1 {
				if e := f.filled(); e.Digest == layers[1].Digest {
					t.Fatal("what is to stand back is there")
				}
			}
			switch end {
			case "the cache closes":
				f.cache.Close()
				return
			case "it may go on":
				goOn()
			case "a client asks":
				if raw, _, err := f.pull(t.Context(), blobRequest(layers[1].Digest)); err != nil || oci.Sum(raw) != layers[1].Digest {
					t.Errorf("%d bytes, %v", len(raw), err)
				}
			}
			if e := f.filled(); !e.Stored || e.Digest != layers[1].Digest {
				t.Errorf("%+v", e)
			}
			if n := f.upstream.Count(http.MethodGet, "blobs"); n != len(contents.Blobs) {
				t.Errorf("%d GETs of %d blobs", n, len(contents.Blobs))
			}
		})
	}
}

// twoPart is an answer of which what follows the first part waits for the gate.
type twoPart struct {
	http.ResponseWriter

	begun chan<- struct{}
	open  <-chan struct{}
	sent  int
}

func (t *twoPart) Write(b []byte) (int, error) {
	if before := t.sent; before < mib && before+len(b) >= mib {
		_ = http.NewResponseController(t.ResponseWriter).Flush()
		t.begun <- struct{}{}
		<-t.open
	}
	t.sent += len(b)
	return t.ResponseWriter.Write(b)
}

// An upstream that has not what its manifest names costs one request for each of
// those, and the pull nothing.
func TestLookAheadMisses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	image := f.upstream.PutImage(repository, "latest", 5, mib, mib, mib).Platforms[0]
	m, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	contents, err := oci.ParseManifest(m.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	layer := contents.Blobs[1]
	for _, b := range contents.Blobs {
		if b.Digest != layer.Digest {
			f.upstream.DeleteBlob(repository, b.Digest)
		}
	}
	for range 2 {
		if _, _, err := f.pull(t.Context(), blobRequest(layer.Digest)); err != nil {
			t.Fatal(err)
		}
	}
	for range contents.Blobs {
		f.filled()
	}
	if n := f.upstream.Count(http.MethodGet, "blobs"); n != len(contents.Blobs) {
		t.Errorf("%d GETs of %d blobs", n, len(contents.Blobs))
	}
}
