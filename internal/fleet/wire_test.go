package fleet_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/buckettest"
	"github.com/pullgate/pullgate/internal/bucket/s3client"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// spoiling is an answer that is cut off after so many bytes of its body, or in which one of
// these is wrong.
type spoiling struct {
	http.ResponseWriter

	left int
	cut  bool
}

func (s *spoiling) Write(p []byte) (int, error) {
	if s.left < len(p) && s.left >= 0 {
		if s.cut {
			_, _ = s.ResponseWriter.Write(p[:s.left])
			_ = http.NewResponseController(s.ResponseWriter).Flush()
			panic(http.ErrAbortHandler)
		}
		p = slices.Clone(p)
		p[s.left] ^= 1
	}
	s.left -= len(p)
	return s.ResponseWriter.Write(p)
}

type wireFault struct {
	name string
	do   func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc)
}

// wireFaults are the ways in which an S3 server and the line to it fail.
func wireFaults() []wireFault {
	status := func(status int) func(http.ResponseWriter, *http.Request, http.HandlerFunc) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(status) }
	}
	hang := func(r *http.Request, d time.Duration) bool {
		content, _ := io.ReadAll(r.Body) // before that, nothing tells that the client has left
		r.Body = io.NopCloser(bytes.NewReader(content))
		select {
		case <-time.After(d):
			return true
		case <-r.Context().Done():
			return false
		}
	}
	return []wireFault{
		{"refuse", func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) }},
		{"black hole", func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { hang(r, time.Hour) }},
		{"5 s delay", func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if hang(r, 5*time.Second) {
				next(w, r)
			}
		}},
		{"cut in the first bytes", func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(&spoiling{ResponseWriter: w, left: 100, cut: true}, r)
		}},
		{"cut late", func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(&spoiling{ResponseWriter: w, left: 250 << 10, cut: true}, r)
		}},
		{"wrong bytes", func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(&spoiling{ResponseWriter: w, left: 3}, r)
		}},
		{"503", status(http.StatusServiceUnavailable)},
		{"412", status(http.StatusPreconditionFailed)},
		{"full", status(http.StatusInsufficientStorage)},
		{"wrong keys", status(http.StatusForbidden)},
		{"no S3", status(http.StatusNotFound)},
		{"list lag", func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.URL.Query().Has("list-type") {
				r.URL.RawQuery = "list-type=2&prefix=nothing"
			}
			next(w, r)
		}},
	}
}

// newS3 returns an S3 server in memory, and a client of it that has few bytes in a part.
func newS3(t *testing.T) (*buckettest.Server, *s3client.Client) {
	t.Helper()
	s := buckettest.New()
	at := httptest.NewServer(s)
	t.Cleanup(at.Close)
	b, err := s3client.Open(bucket.Options{URL: at.URL + "/cache", AccessKey: "key", SecretKey: "secret", PartSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return s, b
}

// shared waits until an image is in the bucket of a server, and nothing more is coming.
func shared(t *testing.T, s *buckettest.Server, g *gateway, image registrytest.Image) {
	t.Helper()
	await(t, "uploads", func() bool {
		return len(s.Keys("cache")) >= 1+len(image.Platforms[0].Layers)+2+3+len(image.Platforms[0].Layers)+1 && g.fleet.Status().Waiting == 0
	})
}

// Whatever goes wrong between a gateway and an S3 server, pulls end right.
func TestEveryFaultOnTheWireEndsInARightPull(t *testing.T) {
	t.Parallel()
	for _, f := range wireFaults() {
		for name, faulty := range map[string]func(*http.Request) bool{
			"read":  func(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead },
			"write": func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead },
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s, b := newS3(t)
				from := registrytest.New(t, registrytest.Options{})
				image := from.PutImage(repository, "3", 1, 10, 300<<10, 2<<20)
				hook := func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					if faulty(r) {
						f.do(w, r, next)
					} else {
						next(w, r)
					}
				}
				if name == "write" {
					s.Hook(hook)
				}
				first := newHastyGateway(t, from, b)
				first.pull(image, 0)
				if name == "read" {
					shared(t, s, first, image)
					s.Hook(hook)
				}
				// A large blob of wrong bytes is cut once, and right at the next try.
				second := newHastyGateway(t, from, b)
				second.pull(image, 1)
				second.pull(image, 0)
			})
		}
	}
}

// What a gateway has costs no request over the network; what the bucket has sent is not
// counted as the upstream's.
func TestHitsAskNoServer(t *testing.T) {
	t.Parallel()
	s, b := newS3(t)
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10, 3<<20)
	first := newGateway(t, from, b)
	first.pull(image, 0)
	first.settled(0)
	shared(t, s, first, image)
	second := newGateway(t, from, b)
	second.pull(image, 0)
	second.settled(0)
	if size := image.Platforms[0].Layers[1].Size; first.brought.Load() < size || second.brought.Load() != 0 || second.fleet.Status().Received < size {
		t.Errorf("%d bytes from the upstream at first, and then %d, beside %+v", first.brought.Load(), second.brought.Load(), second.fleet.Status())
	}
	await(t, "uploads", func() bool { return s.Count(http.MethodGet, "uploads") == 2 })
	asked := func() int { // beside what is asked each second: what others have removed and pinned
		return s.Count("", "") - s.Count("", "v1/news") - s.Count("", "v1%2Fx%2F") - s.Count("", "v1%2Fp%2F")
	}
	before := asked()
	from.Reset()
	for range 3 {
		first.pull(image, 0)
		second.pull(image, 0)
	}
	if after := asked(); after != before || len(from.Requests()) > 0 {
		t.Errorf("%d requests of the bucket, %d of the upstream", after-before, len(from.Requests()))
	}
	if n := s.Count(http.MethodPut, "partNumber="); n != 3 {
		t.Errorf("the large layer came in %d parts", n)
	}
}
