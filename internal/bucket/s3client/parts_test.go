package s3client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/buckettest"
)

// newServer returns a server, and a client of its bucket that writes parts of ten bytes.
func newServer(t *testing.T) (*buckettest.Server, *Client) {
	t.Helper()
	s := buckettest.New()
	at := httptest.NewServer(s)
	t.Cleanup(at.Close)
	b, err := Open(bucket.Options{URL: at.URL + "/cache/prefix", AccessKey: "key", SecretKey: "secret", PartSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return s, b
}

const text = "more than two parts of it"

func hashOf(text string) string { return digest.FromString(text).Encoded() }

func putText(b *Client, key string, o bucket.PutOptions) error {
	return b.Put(context.Background(), key, strings.NewReader(text), int64(len(text)), o)
}

// A large object is written in parts, and is whole or absent.
func TestParts(t *testing.T) {
	t.Parallel()
	s, b := newServer(t)
	o := bucket.PutOptions{SHA256: hashOf(text), IfAbsent: true, ContentType: "text/plain", Meta: map[string]string{"size": "7"}}
	if err := putText(b, "a", o); err != nil {
		t.Fatal(err)
	}
	got, err := b.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if raw, err := io.ReadAll(got); string(raw) != text || err != nil || got.ContentType != "text/plain" || got.Meta["size"] != "7" {
		t.Errorf("%q, %+v, %v", raw, got.Info, err)
	}
	if n := s.Count("PUT", "partNumber="); n != 3 || s.Uploads() > 0 {
		t.Errorf("%d parts, %d uploads go on", n, s.Uploads())
	}
	if err := putText(b, "a", o); !errors.Is(err, bucket.ErrChanged) || s.Uploads() > 0 {
		t.Errorf("it is there: %v, %d uploads go on", err, s.Uploads())
	}
	o.SHA256 = hashOf("other")
	if err := putText(b, "other", o); !errors.Is(err, bucket.ErrRefused) || s.Uploads() > 0 {
		t.Errorf("it is not what it is said to be: %v, %d uploads go on", err, s.Uploads())
	}
	if err := b.Put(t.Context(), "short", strings.NewReader(text), 100, bucket.PutOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("it is shorter than it is said to be: %v", err)
	}
	if keys := s.Keys("cache"); !slices.Equal(keys, []string{"prefix/a"}) {
		t.Errorf("there are %q", keys)
	}
}

// A part that fails is sent again; after some times, or once nobody waits any more, the
// upload is given up.
func TestPartsAreGivenUp(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int64]int{2: 3 + 2, 100: 1 + partTries} {
		s, b := newServer(t)
		var failed atomic.Int64
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.URL.Query().Get("partNumber") == "2" && failed.Add(1) <= failures {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			next(w, r)
		})
		err := putText(b, "a", bucket.PutOptions{SHA256: hashOf(text)})
		if n := s.Count("PUT", "partNumber="); n != want || (err == nil) != (want == 5) || s.Uploads() > 0 {
			t.Errorf("%d failures: %d parts sent, %v, %d uploads go on", failures, n, err, s.Uploads())
		}
	}
	s, b := newServer(t)
	ctx, leave := context.WithCancel(t.Context())
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Query().Get("partNumber") == "2" {
			leave()
		}
		next(w, r)
	})
	err := b.Put(ctx, "a", strings.NewReader(text), int64(len(text)), bucket.PutOptions{})
	if !errors.Is(err, context.Canceled) || s.Uploads() > 0 || len(s.Keys("cache")) > 0 {
		t.Errorf("who has asked has left: %v, %d uploads go on", err, s.Uploads())
	}
}

// What nobody goes on with is given up, once it is old.
func TestTidy(t *testing.T) {
	t.Parallel()
	s, b := newServer(t)
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Query().Has("partNumber") || r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next(w, r)
	})
	for _, key := range []string{"ours/a", "theirs/a"} {
		if err := putText(b, key, bucket.PutOptions{}); err == nil {
			t.Fatal("it is not interrupted")
		}
	}
	s.Hook(nil)
	for range 2 {
		if err := b.Tidy(t.Context(), "ours/"); err != nil || s.Uploads() != 2 {
			t.Errorf("%v, %d uploads go on", err, s.Uploads())
		}
		s.Age(leftAfter - time.Minute)
	}
	s.Age(2 * time.Minute)
	if err := b.Tidy(t.Context(), "ours/"); err != nil || s.Uploads() != 1 {
		t.Errorf("%v, %d uploads go on, want that of others", err, s.Uploads())
	}
}

// Objects are written in one request as far as S3 takes that, and in no more parts than it
// allows.
func TestPartOf(t *testing.T) {
	t.Parallel()
	b := new(Client)
	for size, want := range map[int64]int64{0: 0, 5 << 30: 0, 5<<30 + 1: 64 << 20, 600 << 30: 64 << 20, 1 << 40: 109_951_163} {
		if part := b.partOf(size); part != want || part > 0 && (size+part-1)/part > maxParts {
			t.Errorf("%d bytes in parts of %d", size, part)
		}
	}
}
