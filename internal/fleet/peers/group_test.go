package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	identity   = "docker.io#0123456789ab"
	repository = "library/alpine"
)

var content = bytes.Repeat([]byte("content"), 100)

// fake is what the other gateway has.
type fake struct {
	registry.Mirror

	stuck chan struct{} // closed once a blob's end may come; nil = at once

	mu     sync.Mutex
	status oci.CacheStatus
	err    error
}

func (f *fake) set(status oci.CacheStatus, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.err = status, err
}

func (f *fake) get() (oci.CacheStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.err
}

func (f *fake) StatManifest(_ context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	if r.Upstream != "docker.io" || r.Repository != repository {
		return oci.Descriptor{}, oci.CacheStatus{}, errors.New("another request")
	}
	status, err := f.get()
	return oci.Descriptor{MediaType: "application/vnd.oci.image.index.v1+json", Digest: oci.Sum(content), Size: int64(len(content))}, status, err
}

func (f *fake) StatBlob(context.Context, oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	status, err := f.get()
	return oci.Descriptor{Digest: oci.Sum(content), Size: int64(len(content))}, status, err
}

func (f *fake) Blob(ctx context.Context, _ oci.Request) (oci.Blob, oci.CacheStatus, error) {
	status, err := f.get()
	b := &stuck{bytes.NewReader(content), ctx, f.stuck}
	return oci.Blob{Digest: oci.Sum(content), Size: int64(len(content)), Content: b}, status, err
}

// stuck is content of which only the half comes until more may.
type stuck struct {
	*bytes.Reader

	ctx context.Context
	end chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if half := s.Reader.Len() - len(content)/2; s.end != nil && half <= 0 {
		select {
		case <-s.end:
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		}
	} else if s.end != nil {
		p = p[:min(len(p), half)]
	}
	return s.Reader.Read(p)
}

func (s *stuck) Close() error { return nil }

// newGroup starts one that knows others, and has what f has.
func newGroup(t *testing.T, l net.Listener, f *fake, change func(*Options)) *Group {
	t.Helper()
	handler := registry.New(Wire(registry.Options{
		Mirror: f, Router: registry.NewRouter(map[string]registry.Upstream{"docker.io": {Name: "docker.io"}}, ""),
	}))
	o := Options{Secret: secret, Every: 10 * time.Second, Enter: func(asked string) (Served, bool) {
		return Served{Name: "docker.io", Handler: handler, Leave: func() {}}, asked == identity
	}}
	if change != nil {
		change(&o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	g.Start(l)
	t.Cleanup(g.Close)
	return g
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for late := time.After(30 * time.Second); !so(); {
		select {
		case <-late:
			t.Fatalf("%s: not in time", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// pair returns two groups, and the second as the first one asks it.
func pair(t *testing.T, f *fake) (one, two *Group, peer Peer) {
	t.Helper()
	at := listen(t)
	two = newGroup(t, at, f, nil)
	one = newGroup(t, listen(t), new(fake), func(o *Options) { o.Peers = []string{at.Addr().String()} })
	await(t, "they find each other", func() bool { return one.Status().Alive() == 1 })
	for _, m := range one.members.known() {
		peer = one.At(m, identity)
	}
	return one, two, peer
}

// A tag comes with its age, which is a duration, and no younger than it is.
func TestAges(t *testing.T) {
	t.Parallel()
	f := new(fake)
	_, _, p := pair(t, f)
	fresh := time.Hour
	for _, status := range []oci.CacheStatus{
		{Result: oci.ResultHit, Age: 90 * time.Second, Fresh: &fresh},
		{Result: oci.ResultStale, Age: 25 * time.Hour, Fresh: &fresh, Detail: "timeout"},
		{Result: oci.ResultHit},
		{Result: oci.ResultMiss, Fresh: &fresh},
	} {
		f.set(status, nil)
		told, err := p.Resolve(t.Context(), repository, oci.Reference{Tag: "3"})
		if err != nil || told.Digest != oci.Sum(content) || told.Size != int64(len(content)) || told.MediaType == "" {
			t.Fatalf("%+v, %v", told, err)
		}
		stale := status.Result == oci.ResultStale
		if told.Dated != (status.Fresh != nil) || told.Stale != stale || told.Dated && told.Age < status.Age || told.Age > status.Age+30*time.Second {
			t.Errorf("%+v, want %v", told, status)
		}
		if within := told.Within(26 * time.Hour); within != (told.Dated && !stale) {
			t.Errorf("%+v is within: %v", told, within)
		}
		if since := told.Within(0); since != (status.Result == oci.ResultMiss) {
			t.Errorf("%+v is of now: %v", told, since)
		}
	}
}

// What is the upstream's own word is an answer, and nothing else.
func TestAnswers(t *testing.T) {
	t.Parallel()
	f := new(fake)
	one, two, p := pair(t, f)
	for class, want := range map[oci.Class]bool{
		oci.ClassNotFound: true, oci.ClassDenied: true, oci.ClassRateLimited: true, oci.ClassTimeout: false, oci.ClassConnect: false, oci.ClassDigest: false,
	} {
		e := oci.UpstreamError(class, oci.CodeManifestUnknown, "because", nil)
		e.RetryAfter = 7 * time.Second
		f.set(oci.CacheStatus{}, fmt.Errorf("wrapped: %w", e))
		_, err := p.Resolve(t.Context(), repository, oci.Reference{Tag: "3"})
		if err == nil || IsAnswer(err) != want || want && oci.ClassOf(err) != class {
			t.Errorf("%s: %v", class, err)
		}
		_, err = p.Blob(t.Context(), repository, oci.Sum(content), 0, -1)
		if err == nil || IsAnswer(err) != want || want && oci.AsError(err).Message != "because" {
			t.Errorf("%s: %v", class, err)
		}
		if class == oci.ClassRateLimited && oci.AsError(err).RetryAfter != 7*time.Second {
			t.Errorf("%s: %v", class, err)
		}
	}
	f.set(oci.CacheStatus{}, oci.NewError(oci.CodeManifestUnknown, "it is offline")) // no upstream said so
	if _, err := p.HeadBlob(t.Context(), repository, oci.Sum(content)); err == nil || IsAnswer(err) {
		t.Errorf("offline: %v", err)
	}
	f.set(oci.CacheStatus{}, nil)
	other := one.At(p.Member, "docker.io")
	if _, err := other.HeadBlob(t.Context(), repository, oci.Sum(content)); err == nil || IsAnswer(err) {
		t.Errorf("another identity: %v", err)
	}
	old := *p.Member
	old.id = "predecessor"
	if _, err := one.At(&old, identity).HeadBlob(t.Context(), repository, oci.Sum(content)); err == nil || IsAnswer(err) {
		t.Errorf("another instance: %v", err)
	}
	if size, err := p.HeadBlob(t.Context(), repository, oci.Sum(content)); err != nil || size != int64(len(content)) {
		t.Errorf("%d, %v", size, err)
	}
	if s := one.Status(); s.Asked == 0 || s.Failed == 0 || two.Status().Answered == 0 {
		t.Errorf("%+v, %+v", s, two.Status())
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	_, _, p := pair(t, new(fake))
	size := int64(len(content))
	for _, part := range [][2]int64{{0, -1}, {0, 10}, {5, -1}, {5, 10}} {
		b, err := p.Blob(t.Context(), repository, oci.Sum(content), part[0], part[1])
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(b)
		_ = b.Close()
		want := content[part[0]:]
		if part[1] > 0 {
			want = want[:part[1]]
		}
		if err != nil || !bytes.Equal(raw, want) || b.Offset != part[0] || b.Size != size || b.Shared != "peer" {
			t.Errorf("%v: %d bytes at %d of %d, %v", part, len(raw), b.Offset, b.Size, err)
		}
	}
}

// What a member that is lost was sending is cut, and so is what it was asked.
func TestLostMembersAreCut(t *testing.T) {
	t.Parallel()
	f := &fake{stuck: make(chan struct{})}
	one, _, p := pair(t, f)
	b, err := p.Blob(t.Context(), repository, oci.Sum(content), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	one.members.close()
	if _, err := io.ReadAll(b); !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, errLost) {
		t.Errorf("body: %v", err)
	}
	if _, err := p.HeadBlob(t.Context(), repository, oci.Sum(content)); !errors.Is(err, errLost) {
		t.Errorf("question: %v", err)
	}
}

// Nobody without the secret gets anything, and who asks is told why.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	at := listen(t)
	newGroup(t, at, new(fake), nil)
	one := newGroup(t, listen(t), new(fake), func(o *Options) { o.Peers, o.Secret = []string{at.Addr().String()}, secret+"0" })
	await(t, "the other secret is noticed", func() bool {
		s := one.Status()
		return len(s.Members) == 1 && strings.Contains(s.Members[0].Error, errSecret.Error())
	})
	if n := one.Status().Alive(); n != 0 {
		t.Errorf("%d are alive", n)
	}
	if r, err := http.Get("http://" + at.Addr().String() + alive); err == nil {
		_ = r.Body.Close()
		if r.StatusCode == http.StatusOK {
			t.Error("plain HTTP is answered")
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A gateway that is about to end says so, and still answers.
func TestDrainingGateway(t *testing.T) {
	t.Parallel()
	at := listen(t)
	newGroup(t, at, new(fake), func(o *Options) { o.Draining = func() bool { return true } })
	one := newGroup(t, listen(t), new(fake), func(o *Options) { o.Peers = []string{at.Addr().String()} })
	await(t, "it says so", func() bool { s := one.Status(); return len(s.Members) == 1 && s.Members[0].Draining })
	if s := one.Status(); s.Alive() != 0 || len(one.Before("key")) != 0 {
		t.Errorf("%+v", s)
	}
}
