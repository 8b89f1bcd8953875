package storage

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// A call whose context has ended does nothing.
func TestEndedContext(t *testing.T) {
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
	for name, call := range map[string]func() error{
		"PutManifest": func() error { return s.PutManifest(ctx, scope, oci.Manifest{Digest: d, Bytes: b}, nil) },
		"Claim":       func() error { return s.Claim(ctx, scope, oci.Descriptor{Digest: d}) },
		"LinkOpen":    func() error { return s.LinkOpen(ctx, scope, oci.Descriptor{Digest: d}) },
		"Resize":      func() error { return s.Resize(ctx, scope, oci.Descriptor{Digest: d}) },
		"Refute":      func() error { return s.Refute(ctx, scope, d) },
		"ProvenAt":    func() error { _, err := s.ProvenAt(ctx, scope, d); return err },
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
	} {
		calls[name] = call
	}
	for name, call := range calls {
		wantErr(t, name, call(), context.Canceled)
	}
	wantQuarantined(t, s, 0)
}

// Whoever waits for the writer, or for a blob to be verified, waits no longer than its
// context.
func TestContextEndsWaits(t *testing.T) {
	s := openTest(t, Options{})
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
	i, err := idOf(d)
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan struct{})
	pass := s.verifying.DoChan(string(i), func() (any, error) {
		<-held
		return nil, nil
	})
	waits("verify blob", func(ctx context.Context) error { return s.VerifyBlob(ctx, d) })
	close(held)
	<-pass
	if err := s.VerifyBlob(t.Context(), d); err != nil {
		t.Error(err)
	}
}
