package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestBlobRanges(t *testing.T) {
	t.Parallel()
	for _, cdn := range []bool{false, true} {
		s := registrytest.New(t, registrytest.Options{CDN: cdn})
		content := registrytest.Random(7, 100_000)
		d := s.PutBlob(repo, content)
		c := newClient(t, s.URL())
		for _, r := range []struct{ offset, length, end int64 }{
			{0, -1, 100_000},
			{1, -1, 100_000},
			{99_999, -1, 100_000},
			{0, 1, 1},
			{0, 100_000, 100_000},
			{50_000, 10, 50_010},
			{50_000, 1_000_000, 100_000},
			{99_999, 1, 100_000},
		} {
			b, err := c.Blob(t.Context(), repo, d, r.offset, r.length)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(raw, content[r.offset:r.end]) || b.Offset != r.offset || b.Size != 100_000 {
				t.Errorf("%+v: %d bytes from %d of %d, %v", r, len(raw), b.Offset, b.Size, err)
			}
			_ = b.Close()
		}
		_, err := c.Blob(t.Context(), repo, d, 100_000, -1)
		if e := wantClass(t, err, oci.ClassStatus); e.UpstreamStatus != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("past the end: %+v", e)
		}
		_, err = c.Blob(t.Context(), repo, oci.Sum(nil), 0, -1)
		if e := wantClass(t, err, oci.ClassNotFound); e.Code != oci.CodeBlobUnknown {
			t.Errorf("code %s", e.Code)
		}
		for _, r := range s.Requests() {
			if r.Header.Get("If-Range") != "" {
				t.Errorf("%v has If-Range", r)
			}
		}
	}
}

// What a registry can answer to a request for bytes 10-19, or for all.
func TestHostileBlobs(t *testing.T) {
	t.Parallel()
	const hundred = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	for name, test := range map[string]struct {
		whole    bool // ask for all of it, else for 10 bytes from 10
		status   int
		header   string
		body     string
		offset   int64
		size     int64
		class    oci.Class // of the error of Blob
		readFail string    // of the error of the body
	}{
		"part":               {false, 206, "Content-Range: bytes 10-19/100", "0123456789", 10, 100, "", ""},
		"size unknown":       {false, 206, "Content-Range: bytes 10-19/*", "0123456789", 10, -1, "", ""},
		"ranges ignored":     {false, 200, "", hundred, 0, 100, "", ""},
		"shorter part":       {false, 206, "Content-Range: bytes 10-14/100", "01234", 10, 100, "", ""},
		"no Content-Range":   {false, 206, "", "0123456789", 0, 0, oci.ClassLength, ""},
		"multipart":          {false, 206, "Content-Type: multipart/byteranges; boundary=x", "0123456789", 0, 0, oci.ClassLength, ""},
		"another start":      {false, 206, "Content-Range: bytes 11-20/100", "0123456789", 0, 0, oci.ClassLength, ""},
		"start at zero":      {false, 206, "Content-Range: bytes 0-9/100", "0123456789", 0, 0, oci.ClassLength, ""},
		"longer part":        {false, 206, "Content-Range: bytes 10-20/100", "01234567890", 0, 0, oci.ClassLength, ""},
		"lengths disagree":   {false, 206, "Content-Range: bytes 10-19/100", "012345678", 0, 0, oci.ClassLength, ""},
		"end past size":      {false, 206, "Content-Range: bytes 10-19/15", "0123456789", 0, 0, oci.ClassLength, ""},
		"416":                {false, 416, "Content-Range: bytes */5", "", 0, 0, oci.ClassStatus, ""},
		"web page":           {true, 200, "Content-Type: text/html", hundred, 0, 100, "", ""},
		"web page as part":   {false, 206, "Content-Type: text/html\nContent-Range: bytes 10-19/100", "0123456789", 10, 100, "", ""},
		"gzip":               {true, 200, "Content-Encoding: gzip", hundred, 0, 100, "", ""},
		"part without asked": {true, 206, "Content-Range: bytes 0-99/100", hundred, 0, 0, oci.ClassStatus, ""},
		"204":                {true, 204, "", "", 0, 0, oci.ClassStatus, ""},
		"chunked":            {true, 200, "Trailer: X", hundred, 0, -1, "", ""},
		"chunked part":       {false, 206, "Trailer: X\nContent-Range: bytes 10-19/100", "0123456789", 10, 100, "", ""},
		"chunked, short":     {false, 206, "Trailer: X\nContent-Range: bytes 10-19/100", "012345678", 10, 100, "", "cut"},
		"chunked, long":      {false, 206, "Trailer: X\nContent-Range: bytes 10-19/100", "01234567890", 10, 100, "", "length"},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/octet-stream")
				for line := range strings.Lines(test.header) {
					key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
					w.Header().Set(key, value)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			offset, length := int64(10), int64(10)
			if test.whole {
				offset, length = 0, -1
			}
			b, err := newClient(t, s.URL).Blob(t.Context(), repo, oci.Sum([]byte(hundred)), offset, length)
			if oci.ClassOf(err) != test.class {
				t.Fatalf("class %q, want %q: %v", oci.ClassOf(err), test.class, err)
			}
			if err != nil {
				return
			}
			defer b.Close()
			raw, err := io.ReadAll(b)
			switch test.readFail {
			case "":
				if err != nil || string(raw) != test.body {
					t.Errorf("read %d bytes, %v", len(raw), err)
				}
			case "cut":
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("read: %v", err)
				}
			default:
				if string(oci.ClassOf(err)) != test.readFail {
					t.Errorf("read: %v", err)
				}
			}
			if b.Offset != test.offset || b.Size != test.size {
				t.Errorf("offset %d, size %d, want %d, %d", b.Offset, b.Size, test.offset, test.size)
			}
		})
	}
}

// interrupted writes n bytes of an answer, then does what stop does.
type interrupted struct {
	http.ResponseWriter
	left int
	stop func()
}

func (w *interrupted) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	n, _ := w.ResponseWriter.Write(p[:w.left])
	w.left -= n
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	w.stop()
	return n, errors.New("stopped")
}

func TestCutBodies(t *testing.T) {
	t.Parallel()
	for _, cdn := range []bool{false, true} {
		s := registrytest.New(t, registrytest.Options{CDN: cdn})
		content := registrytest.Random(9, 300_000)
		d := s.PutBlob(repo, content)
		c := newClient(t, s.URL())
		for _, at := range []int{0, 1, 1000, 150_000, 299_999} {
			s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if !cdn || r.URL.RawQuery != "" {
					w = &interrupted{w, at, func() { panic(http.ErrAbortHandler) }}
				}
				next(w, r)
			})
			b, err := c.Blob(t.Context(), repo, d, 0, -1)
			if err != nil {
				t.Fatalf("cut at %d: %v", at, err)
			}
			raw, err := io.ReadAll(b)
			_ = b.Close()
			if !errors.Is(err, io.ErrUnexpectedEOF) || len(raw) > at || !bytes.HasPrefix(content, raw) {
				t.Errorf("cut at %d: read %d, %v", at, len(raw), err)
			}
			s.Hook(nil)
			rest, err := c.Blob(t.Context(), repo, d, int64(len(raw)), -1)
			if err != nil {
				t.Fatal(err)
			}
			more, err := io.ReadAll(rest)
			_ = rest.Close()
			if err != nil || !bytes.Equal(append(raw, more...), content) {
				t.Errorf("resumed at %d: %v", len(raw), err)
			}
		}
	}
}

func TestIdleBody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s := registrytest.New(t, registrytest.Options{Network: n})
		d := s.PutBlob(repo, registrytest.Random(9, 300_000))
		block, _ := registrytest.Hold(t)
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			next(&interrupted{w, 1000, func() { <-block }}, r)
		})
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Timeouts.Idle = 100 * time.Millisecond })
		b, err := c.Blob(t.Context(), repo, d, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		raw, err := io.ReadAll(b)
		if e := wantClass(t, err, oci.ClassTimeout); e.Status != http.StatusGatewayTimeout || len(raw) != 1000 {
			t.Errorf("%d bytes, %+v", len(raw), e)
		}
		if _, again := b.Read(make([]byte, 1)); !errors.Is(again, err) {
			t.Errorf("the error changed to %v", again)
		}
	})
}

func TestSlowReaderIsNotIdle(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s := registrytest.New(t, registrytest.Options{Network: n})
		content := registrytest.Random(9, 100_000)
		d := s.PutBlob(repo, content)
		// The time of the whole operation does not bound the body either.
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Timeouts.Idle, o.Timeouts.Operation = 300*time.Millisecond, 300*time.Millisecond })
		b, err := c.Blob(t.Context(), repo, d, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		first := make([]byte, 10)
		if _, err := io.ReadFull(b, first); err != nil {
			t.Fatal(err)
		}
		<-time.After(400 * time.Millisecond)
		rest, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(append(first, rest...), content) {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
	})
}

func TestBodyFollowsItsContext(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{})
	d := s.PutBlob(repo, registrytest.Random(9, 300_000))
	block, _ := registrytest.Hold(t)
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&interrupted{w, 1000, func() { <-block }}, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	b, err := newClient(t, s.URL()).Blob(ctx, repo, d, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = b.Read(make([]byte, 1))
	wantClass(t, err, oci.ClassCanceled)
}

func TestTrickle(t *testing.T) {
	t.Parallel()
	canceled := false
	b := &body{
		c: newClient(t, "http://x"), inner: io.NopCloser(strings.NewReader("abc")), ctx: t.Context(), left: 1 << 20,
		cancel: func(error) { canceled = true }, waited: trickleAfter + time.Second, received: 1000, host: "x",
	}
	_, err := b.Read(make([]byte, 1))
	if wantClass(t, err, oci.ClassTimeout); !canceled {
		t.Error("the request goes on")
	}
}

// TestTrickleAfterAFastStart has a body bring much, and then a byte now and then. Each
// read has waited for the time that the test adds.
func TestTrickleAfterAFastStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		start, each int64 // bytes
		ends        bool
	}{
		"nothing more":       {1 << 30, 1, true},
		"too little":         {1 << 30, trickleRate * 28, true},
		"enough":             {1 << 30, trickleRate * 30, false},
		"enough, slow start": {0, trickleRate * 30, false},
	} {
		b := &body{
			c: newClient(t, "http://x"), inner: io.NopCloser(strings.NewReader(strings.Repeat("a", 10_000))), ctx: t.Context(), left: 1 << 20,
			cancel: func(error) {}, received: test.start, host: "x",
		}
		var waited time.Duration
		var err error
		for ; err == nil && waited < time.Hour; waited += 29 * time.Second {
			b.waited += 29 * time.Second
			b.received += test.each - 1
			_, err = b.Read(make([]byte, 1))
		}
		if ended := err != nil; ended != test.ends || ended && waited > 2*trickleAfter+time.Minute {
			t.Errorf("%s: ended %v after %v: %v", name, ended, waited, err)
		}
	}
}

// A signed URL that has expired, or was made for another method, is replaced
// once by asking the registry again.
func TestExpiredSignedURL(t *testing.T) {
	t.Parallel()
	for _, failures := range []int32{1, 99} {
		s := registrytest.New(t, registrytest.Options{CDN: true, Auth: registrytest.AuthBearer})
		content := registrytest.Random(3, 1000)
		d := s.PutBlob(repo, content)
		var n atomic.Int32
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.URL.Query().Get("signature") != "" && n.Add(1) <= failures {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			next(w, r)
		})
		b, err := newClient(t, s.URL()).Blob(t.Context(), repo, d, 100, -1)
		if failures == 1 {
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := io.ReadAll(b); err != nil || !bytes.Equal(raw, content[100:]) {
				t.Errorf("%d bytes, %v", len(raw), err)
			}
			_ = b.Close()
		} else if e := wantClass(t, err, oci.ClassStatus); e.Status != http.StatusBadGateway {
			t.Errorf("status %d", e.Status)
		}
		if cdn, registry := s.CountHost(registrytest.HostCDN, "", ""), s.Accepted("GET", "blobs"); cdn != 2 || registry != 2 {
			t.Errorf("%d requests to the CDN, %d to the registry", cdn, registry)
		}
	}
}

func TestTokenExpiresBetweenSegments(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	c := newClient(t, s.URL())
	first := readBlob(t, c, image.Platforms[0], 0, 0, 1000)
	s.ExpireTokens()
	rest := readBlob(t, c, image.Platforms[0], 0, 1000, -1)
	if !oci.Verify(image.Platforms[0].Layers[0].Digest, append(first, rest...)) {
		t.Error("wrong bytes")
	}
	if n := s.Count("", "token"); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 0-9/10", "bytes 0-9/*", "bytes */10", "bytes 9223372036854775807-9223372036854775807/*", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err == nil && (r.start < 0 || r.end < r.start || r.size < -1 || r.size >= 0 && r.end >= r.size || r.end-r.start+1 <= 0) {
			t.Errorf("%q: %+v", s, r)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"bytes 0-9/10": "{0 9 10}", " bytes 5-5/6 ": "{5 5 6}", "bytes 0-9/*": "{0 9 -1}",
	} {
		if r, err := parseContentRange(s); err != nil || fmt.Sprint(r) != want {
			t.Errorf("%q: %v, %v", s, r, err)
		}
	}
	for _, s := range []string{
		"", "bytes", "bytes 0-9", "bytes */10", "bytes 9-0/10", "bytes 0-10/10", "bytes -1-5/10", "bytes +1-5/10",
		"lines 0-9/10", "bytes 0-9/x", "bytes a-b/10", "bytes 0-9223372036854775808/*", "bytes 0-9/9223372036854775808",
	} {
		if r, err := parseContentRange(s); err == nil {
			t.Errorf("%q: %v", s, r)
		}
	}
}
