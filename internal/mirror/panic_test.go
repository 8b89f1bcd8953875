package mirror_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
)

// panicking panics while it is armed, once fire is closed.
type panicking struct {
	mirror.Remote

	armed atomic.Bool
	fire  chan struct{}
}

func (p *panicking) blow() {
	if p.armed.Load() {
		<-p.fire
		panic("a fault of the program")
	}
}

func (p *panicking) Resolve(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	p.blow()
	return p.Remote.Resolve(ctx, repository, ref, held)
}

func (p *panicking) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	body, err := p.Remote.Blob(ctx, repository, d, offset, length)
	if err == nil {
		body.ReadCloser = &panickingBody{body.ReadCloser, p}
	}
	return body, err
}

type panickingBody struct {
	io.ReadCloser

	p *panicking
}

func (b *panickingBody) Read(p []byte) (int, error) {
	b.p.blow()
	return b.ReadCloser.Read(p)
}

// A panic below costs those who waited for it an answer, and nobody else: it is an
// error for each of them, at once, and what it held is free again.
func TestPanic(t *testing.T) { inBothModes(t, testPanic) }

func testPanic(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 3*mib)
	remote := &panicking{Remote: f.remote}
	f.policy.Remote = remote
	f.configure()
	for name, ask := range map[string]func() error{
		"tag": func() error {
			_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
			return err
		},
		"blob": func() error {
			_, _, err := f.pull(t.Context(), blobRequest(image.Platforms[0].Layers[0].Digest))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			remote.fire = make(chan struct{})
			remote.armed.Store(true)
			errs := make(chan error, 5)
			for range cap(errs) {
				go func() { errs <- ask() }()
			}
			close(remote.fire)
			for range cap(errs) {
				select {
				case err := <-errs:
					if err == nil {
						t.Error("an answer in spite of a panic")
					}
				case <-time.After(10 * time.Second):
					t.Fatal("somebody still waits")
				}
			}
			remote.armed.Store(false)
			f.idle() // until one has left, it remembers its failure
			f.clock.advance(time.Minute)
			if err := ask(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if s := f.cache.Stats(); s.LookUps != 0 || s.Readers > 1 {
				t.Errorf("left behind: %+v", s)
			}
		})
	}
}

// A panic while it is looked ahead leaves no place, no turn and no slot taken.
func TestPanicLooksAhead(t *testing.T) {
	f := newFixture(t)
	f.policy.LookAhead = 1
	f.configure()
	a, b, c, d := f.putBlob(2, 3*mib), f.putBlob(3, 1000), f.putBlob(4, 3*mib), f.putBlob(5, 1000)
	f.putManifest(b, a, b)
	panicked, looks := make(chan struct{}), 0
	f.cache.WatchLooks(func(of digest.Digest) {
		if of != b.Digest {
			return
		}
		if looks++; looks == 2 { // with its place reserved
			close(panicked)
			panic("a fault of the store")
		}
	})
	get := func(of digest.Digest) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if raw, _, err := f.pull(ctx, from("anna", blobRequest(of))); err != nil || oci.Sum(raw) != of {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
	}
	get(a.Digest)
	<-panicked
	get(b.Digest)
	f.idle()
	if n := f.cache.Turns(); n != 0 {
		t.Errorf("%d turns are still taken", n)
	}
	f.putManifest(d, c, d)
	get(c.Digest)
	f.quiet(2)
}
