package mirror

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// pullEvery is how often the progress of a Pull is told.
const pullEvery = 100 * time.Millisecond

// Pull brings a blob into the store, and returns its descriptor once it lies there.
// None of its bytes pass through the caller. It joins a running fill, and a fill
// goes on when ctx ends. An error is also that the store does not take the blob.
// progress, unless nil, is told how many bytes are there, and how many there will
// be, -1 = unknown; Pull waits for it.
func (m *Mirror) Pull(ctx context.Context, r oci.Request, progress func(covered, size int64)) (oci.Descriptor, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.Descriptor{}, oci.CacheStatus{}, err
	}
	spanned, span := startSpan(ctx, "mirror.blob", v, r.Reference.String())
	d, status, err := v.pull(spanned, r.Reference.Digest, progress)
	err = m.answered(spanned, span, v, r, status, err)
	return d, status, err
}

func (v view) pull(ctx context.Context, d digest.Digest, progress func(covered, size int64)) (oci.Descriptor, oci.CacheStatus, error) {
	b, status, err := v.blob(ctx, d)
	if err != nil {
		return oci.Descriptor{}, status, err
	}
	defer b.Content.Close()
	desc := oci.Descriptor{Digest: d, Size: b.Size}
	r, filling := b.Content.(*reader)
	if !filling {
		return desc, status, nil
	}
	if err := r.fill.awaitStored(ctx, progress); err != nil {
		return oci.Descriptor{}, failed(status.Result == oci.ResultMiss, err), fmt.Errorf("pull blob %s@%s: %w", v.scope, d, err)
	}
	_, desc.Size = r.fill.state()
	return desc, status, nil
}

// awaitStored waits until the fill has ended, with its blob in the store.
func (f *fill) awaitStored(ctx context.Context, progress func(covered, size int64)) error {
	for ended := false; !ended; {
		select {
		case <-f.done:
			ended = true
		case <-f.c.after(pullEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		if progress != nil {
			progress(f.state())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return f.err
	case f.cause != nil:
		return fmt.Errorf("the storage does not take it: %w", f.cause)
	}
	return nil
}

// state returns how many bytes are there, and how many there will be.
func (f *fill) state() (covered, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.covered {
		covered += x.End - x.Start
	}
	return covered, f.size
}
