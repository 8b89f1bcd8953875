package mirror

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, repository string
		want                bool
	}{
		{"team-a/**", "team-a/x/y", true},
		{"team-a/**", "team-a", false},
		{"team-a/**", "team-ab/x", false},
		{"base/*", "base/x", true},
		{"base/*", "base/x/y", false},
		{"**", "a/b/c", true},
		{"*", "a/b", false},
		{"a.b", "a.b", true},
		{"a.b", "axb", false},
		{"**/x", "a/b/x", true},
		{"a/*/c", "a/b/c", true},
	} {
		g, err := newGlobs([]string{test.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.match(test.repository); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.repository, got)
		}
	}
	for _, pattern := range []string{"", "***", "UPPER", "a?", "a[b]", "a b"} {
		if _, err := newGlobs([]string{pattern}); err == nil {
			t.Errorf("%q is accepted", pattern)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, upstreams := range map[string][]Upstream{
		"no name":      {{Offline: true}},
		"no remote":    {{Name: "a"}},
		"twice":        {{Name: "a", Offline: true}, {Name: "a", Offline: true}},
		"negative TTL": {{Name: "a", Offline: true, Freshness: Freshness{TagTTL: -1}}},
		"pattern":      {{Name: "a", Offline: true, Deny: []string{"?"}}},
	} {
		if _, err := New(&Cache{}, Options{Upstreams: upstreams}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	var m failures
	now := time.Unix(1_800_000_000, 0)
	e := oci.NewError(oci.CodeManifestUnknown, "")
	for i := range 2 * maxFailures {
		m.put(key{ref: strconv.Itoa(i)}, e, now, time.Second)
	}
	if n := m.len(); n != maxFailures || len(m.byKey) != n {
		t.Errorf("%d and %d are kept", n, len(m.byKey))
	}
	last := key{ref: strconv.Itoa(2*maxFailures - 1)}
	if m.get(last, now) == nil || m.get(key{ref: "0"}, now) != nil {
		t.Error("the oldest do not leave first")
	}
	if m.get(last, now.Add(time.Second)) != nil || m.len() != maxFailures-1 {
		t.Error("it is kept for too long")
	}
	m.put(last, e, now, time.Second)
	if m.get(last, now.AddDate(-1, 0, 0)) != nil {
		t.Error("it is kept over a clock that was set back a year")
	}
}

func TestRetryAfterCountsDown(t *testing.T) {
	t.Parallel()
	var m failures
	now := time.Unix(1_800_000_000, 0)
	m.put(key{}, &oci.Error{Class: oci.ClassRateLimited, RetryAfter: time.Minute}, now, time.Minute)
	if e := m.get(key{}, now.Add(20*time.Second)); e == nil || e.RetryAfter != 40*time.Second {
		t.Errorf("got %+v", e)
	}
}

// A store without an index is not told of with every request.
func TestNoIndexIsToldOnceASecond(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	s := &lenientStore{log: slog.New(slog.NewTextHandler(&lines, nil)), now: func() time.Time { return now }}
	want := func(n int, err error) {
		t.Helper()
		for range 10 {
			s.readFailed("read link", oci.Scope{}, "x", fmt.Errorf("get link: %w", err))
		}
		if got := bytes.Count(lines.Bytes(), []byte("\n")); got != n {
			t.Errorf("%d warnings of 10 reads that failed, want %d: %v", got, n, err)
		}
		lines.Reset()
	}
	want(1, storage.ErrNoIndex)
	want(0, storage.ErrNoIndex)
	now = now.Add(time.Second)
	want(1, storage.ErrNoIndex)
	now = now.Add(-time.Hour) // set back
	want(1, storage.ErrNoIndex)
	want(10, io.ErrUnexpectedEOF)
	want(0, fs.ErrNotExist)
}
