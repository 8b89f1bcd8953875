package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// spool is a blob that is under way, of which each Next releases some more.
type spool struct {
	fill
	file  *os.File
	steps []int64
	nexts int
	err   error
}

func (s *spool) Next() (*os.File, int64, error) {
	if s.nexts == len(s.steps) {
		return nil, 0, s.err
	}
	at, _ := s.Seek(0, io.SeekCurrent)
	_, err := s.file.Seek(at, io.SeekStart)
	s.nexts++
	return s.file, s.steps[s.nexts-1], err
}

// chunking is a writer as a server's guard is: it takes limit bytes at a time.
type chunking struct {
	http.ResponseWriter
	limit int64
	calls int
	// astray is that the guard of the request stands elsewhere.
	astray bool
}

func (c *chunking) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *chunking) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		c.calls++
		n, err := c.ResponseWriter.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: r, N: c.limit})
		if total += n; err != nil || n < c.limit {
			return total, err
		}
	}
}

func (c *chunking) Lift() (time.Duration, func()) { return time.Minute, func() {} }

func (c *chunking) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(c.ResponseWriter).SetWriteDeadline(at)
}

func (c *chunking) Limit(_ http.ResponseWriter, n int64) bool {
	c.limit = n
	return !c.astray
}

// TestPieces sends parts of files over real connections, with and without a guard,
// where more lies in the file than may be sent.
func TestPieces(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	content := testBytes(size)
	d := digest.FromBytes(content)
	name := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(name, append(bytes.Clone(content), make([]byte, 1<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("the upstream is gone")
	for _, test := range []struct {
		name      string
		steps     []int64
		err       error
		requested string
		bare      bool // no guard
		astray    bool
		want      []byte
		cut       bool
		nexts     int
	}{
		{name: "at once", steps: []int64{size}, want: content, nexts: 1},
		{name: "no guard", steps: []int64{1, 100, 1 << 20, size}, bare: true, want: content, nexts: 4},
		{name: "in steps", steps: []int64{1, 100, 1 << 20, size}, want: content, nexts: 4},
		{name: "part of it is read", steps: []int64{1 << 20, 5}, want: content, nexts: 2},
		{name: "a guard elsewhere", steps: []int64{size}, astray: true, want: content, nexts: 1},
		{name: "a range", steps: []int64{1000, 1 << 20}, requested: "bytes=700-1499999", want: content[700:1_500_000], nexts: 2},
		{name: "failure", steps: []int64{1000, 1 << 20}, err: failed, want: content[:bufferSize+1000+1<<20], cut: true, nexts: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			s := &spool{fill: fill{Reader: bytes.NewReader(content), piece: 1 << 20, closed: func() {}}, file: file, steps: test.steps, err: test.err}
			o := options(&fakeMirror{blob: func(context.Context) oci.Blob { return oci.Blob{Digest: d, Size: size, Content: s} }})
			var guard *chunking
			if !test.bare {
				o.Guard = func(*http.Request) Guard { return guard }
			}
			h := New(o)
			server, client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if guard = (&chunking{ResponseWriter: w, limit: 64 << 10, astray: test.astray}); !test.bare {
					w = guard
				}
				h.ServeHTTP(w, r)
			}), false)
			got, err := download(t, client, server.URL+testPrefix+"/blobs/"+d.String(), test.requested)
			if !bytes.Equal(got, test.want) || (err != nil) != test.cut {
				t.Errorf("%d bytes, want %d, equal: %v; error %v", len(got), len(test.want), bytes.Equal(got, test.want), err)
			}
			if s.nexts != test.nexts {
				t.Errorf("%d pieces were sent, want %d", s.nexts, test.nexts)
			}
			if !test.bare && !test.astray && guard.calls != test.nexts {
				t.Errorf("the writer was called %d times for %d pieces", guard.calls, test.nexts)
			}
		})
	}
}

func download(t *testing.T, client *http.Client, url, requested string) ([]byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if requested != "" {
		r.Header.Set("Range", requested)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}
