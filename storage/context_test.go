package storage

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// A call whose context has ended does nothing.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	pin, err := oci.ParsePin("docker.io/library/alpine")
	if err != nil {
		t.Fatal(err)
	}
	calls := noIndexCalls(ctx, s, d)
	maps.Copy(calls, map[string]func() error{
		"PutManifest": func() error { return s.PutManifest(ctx, scope, oci.Manifest{Digest: d, Bytes: b}, nil) },
		"Claim":       func() error { return s.Claim(ctx, scope, oci.Descriptor{Digest: d}) },
		"LinkOpen":    func() error { return s.LinkOpen(ctx, scope, oci.Descriptor{Digest: d}) },
		"Resize":      func() error { return s.Resize(ctx, scope, oci.Descriptor{Digest: d}) },
		"Refute":      func() error { return s.Refute(ctx, scope, d) },
		"Origins":     func() error { _, err := s.Origins(ctx, scope, d); return err },
		"OpenBlob":    func() error { _, _, err := s.OpenBlob(ctx, d); return err },
		"ServeBlob":   func() error { _, _, err := s.ServeBlob(ctx, d); return err },
		"StatBlob":    func() error { _, err := s.StatBlob(ctx, d); return err },
		"BlobSize":    func() error { _, err := s.BlobSize(ctx, d); return err },
		"HasBlob":     func() error { _, err := s.HasBlob(ctx, d); return err },
		"VerifyBlob":  func() error { return s.VerifyBlob(ctx, d) },
		"Part":        func() error { _, err := s.Part(ctx, scope, digest.FromString("x"), 1); return err },
		"Pin":         func() error { _, err := s.Pin(ctx, pin); return err },
		"Unpin":       func() error { _, err := s.Unpin(ctx, pin); return err },
		"Pins":        func() error { _, err := s.Pins(ctx); return err },
		"Pinned":      func() error { _, err := s.Pinned(ctx, scope, "1"); return err },
		"Catalog":     func() error { _, err := s.Catalog(ctx); return err },
	})
	for name, call := range calls {
		wantErr(t, name, call(), context.Canceled)
	}
	wantQuarantined(t, s, 0)
}

// gatedFiles hold back what is read of blobs.
type gatedFiles struct {
	volume.Files

	reads *gatedReads
}

type gatedReads struct {
	once  sync.Once
	begun chan struct{} // closed with the first
	goOn  chan struct{} // closed to let them go on
}

func (h gatedFiles) Open(name string) (volume.File, error) {
	f, err := h.Files.Open(name)
	if err == nil && strings.HasPrefix(name, volume.BlobsDir) {
		f = gatedFile{f, h.reads}
	}
	return f, err
}

type gatedFile struct {
	volume.File

	reads *gatedReads
}

func (f gatedFile) ReadAt(b []byte, off int64) (int, error) {
	f.reads.once.Do(func() { close(f.reads.begun) })
	<-f.reads.goOn
	return f.File.ReadAt(b, off)
}

// Whoever waits for the writer, or for a blob to be verified, waits no longer than its
// context.
func TestContextEndsWaits(t *testing.T) {
	t.Parallel()
	reads := &gatedReads{begun: make(chan struct{}), goOn: make(chan struct{})}
	s := openTest(t, Options{seams: seams{over: func(f volume.Files) volume.Files { return gatedFiles{f, reads} }}})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	waits := func(what string, call func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- call(ctx) }()
		cancel()
		wantErr(t, what, <-ended, context.Canceled)
	}
	release := stall(t, s)
	waits("put tag", func(ctx context.Context) error { return s.PutTag(ctx, scope, "1", Tag{Digest: d}) })
	close(release)
	pass := make(chan error, 1)
	go func() { pass <- s.VerifyBlob(t.Context(), d) }()
	<-reads.begun
	waits("verify blob", func(ctx context.Context) error { return s.VerifyBlob(ctx, d) })
	close(reads.goOn)
	if err := <-pass; err != nil {
		t.Error(err)
	}
	if err := s.VerifyBlob(t.Context(), d); err != nil {
		t.Error(err)
	}
}
