package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// blob opens a blob: the finished file, or the running fill, or a new one. A
// digest whose link is not proven is proven first, by the GET of the new fill or,
// where other scopes have brought the bytes in, by one HEAD.
func (v view) blob(ctx context.Context, d digest.Digest) (oci.Blob, oci.CacheStatus, error) {
	link := v.linked(v.scope, d)
	proven := oci.CacheStatus{Result: oci.ResultHit}
	var kept *turn // to start a fill with
	defer func() { kept.end() }()
	verified := false
	for again := true; ; {
		if err := ctx.Err(); err != nil {
			return oci.Blob{}, failed(false, err), err
		}
		if link.Proven {
			b, err := v.openBlob(ctx, d, &link)
			switch {
			case err == nil:
				return b, proven, nil
			case oci.ClassOf(err) != oci.ClassNone:
				return oci.Blob{}, failed(true, err), err
			}
			v.readFailed("open blob", v.scope, d.String(), err)
		}
		if v.Offline {
			status, err := v.unknown(oci.CodeBlobUnknown)
			return oci.Blob{}, status, err
		}
		k := v.key(kindBlob, d.String())
		if e := v.remembered(k, false); e != nil {
			return oci.Blob{}, negative(), e
		}
		j, err := v.join(ctx, k, link, verified, &kept)
		switch {
		case oci.ClassOf(err) == oci.ClassCanceled:
			return oci.Blob{}, failed(true, err), err
		case err != nil:
			return oci.Blob{}, negative(), err
		case j.over != nil:
			select {
			case <-j.over:
				continue
			case <-ctx.Done():
				return oci.Blob{}, failed(false, ctx.Err()), ctx.Err()
			}
		case j.doubt:
			// What it finds out shows in the next look.
			v.readFailed("verify blob", v.scope, d.String(), v.store.VerifyBlob(d))
			verified = true
			continue
		case j.full:
			if kept, err = v.awaitTurn(ctx, true, fillPatience); err != nil {
				return oci.Blob{}, failed(false, err), err
			}
			continue
		case j.prove:
			// It may have been this scope's own fill that has just ended.
			if link = v.linked(v.scope, d); link.Proven {
				continue
			}
			if proven, err = v.proveBlob(ctx, d, &link); err != nil {
				return oci.Blob{}, proven, fmt.Errorf("head blob %s@%s: %w", v.scope, d, err)
			}
			continue
		case j.stored:
			continue
		}
		b, err := v.follow(ctx, j, link)
		if err == nil {
			v.lookAhead(j.fill)
			return b, merge(proven, v.filling(j)), nil
		}
		if again && ctx.Err() == nil && j.othersFault(err, v.scope) {
			again = false
			select {
			case <-j.fill.done:
				continue
			case <-ctx.Done():
			}
		}
		return oci.Blob{}, failed(j.led, err), err
	}
}

// joined is what a request found: one of a fill, a finished file, a file that has
// to be verified first, the need to prove the digest first, or a fill that has
// failed and is about to leave.
type joined struct {
	over   <-chan struct{}
	fill   *fill
	led    bool // the request started the fill
	stored bool
	doubt  bool
	prove  bool
	full   bool // the client has started all the fills that it may
}

// join finds the running fill or the finished blob, or starts a fill, in one
// step: a fill leaves the cache only after its blob came into the store. A file
// that is in doubt even after it was verified is none. The fill takes the turn
// that was kept, or one that is free.
func (v view) join(ctx context.Context, k key, link storage.Link, verified bool, kept **turn) (joined, error) {
	d := digest.Digest(k.ref)
	c := v.Cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fills[d]; f != nil {
		if !link.Proven && f.source.scope != v.scope {
			return joined{prove: true}, nil
		}
		if !f.retain() {
			return joined{over: f.done}, nil
		}
		f.span.AddLink(trace.LinkFromContext(ctx))
		return joined{fill: f}, nil
	}
	// To read a whole file here would keep everybody waiting.
	if trusted, err := c.store.HasBlob(d); err == nil && (trusted || !verified) {
		return joined{stored: trusted && link.Proven, prove: trusted && !link.Proven, doubt: !trusted}, nil
	}
	if e := v.remembered(k, false); e != nil { // of a fill that has just failed
		return joined{}, e
	}
	if c.closed {
		return joined{}, errClosed()
	}
	if *kept == nil {
		var ok bool
		if *kept, ok = v.tryTurn(true); !ok {
			return joined{full: true}, nil
		}
	}
	f := newFill(ctx, v, d, link, false)
	f.turn, *kept = *kept, nil
	c.fills[d] = f
	c.running.Go(f.run)
	return joined{fill: f, led: true}, nil
}

// follow waits until a fill can be read, and returns a reader of it. The
// reference that joined holds goes to the reader, or back.
func (v view) follow(ctx context.Context, j joined, link storage.Link) (oci.Blob, error) {
	f := j.fill
	size, err := f.ready(ctx, toldSize(f.digest, link.Size))
	if err != nil {
		f.leave()
		if oci.IsNotFound(err) {
			return oci.Blob{}, err
		}
		return oci.Blob{}, fmt.Errorf("get blob %s@%s: %w", v.scope, f.digest, err)
	}
	if f.source.scope != v.scope && link.Size != size {
		v.link(v.scope, oci.Descriptor{Digest: f.digest, Size: size})
	}
	return oci.Blob{Digest: f.digest, Size: size, Content: &reader{ctx: ctx, fill: f, size: size, strict: v.VerifyRanges}}, nil
}

// othersFault reports whether another try may get what this one did not: the
// fill asked another scope's upstream, or went on from bytes of an earlier one.
func (j joined) othersFault(err error, scope oci.Scope) bool {
	return !j.led && j.fill.source.scope != scope ||
		j.fill.tainted() && oci.ClassOf(err) == oci.ClassDigest
}

func (f *fill) tainted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resumed
}

// filling is the status of an answer that follows a fill. It is told before the
// last byte came, so stored means that the blob goes into the store as far as
// can be known, and is never said of a fill that passes through.
func (v view) filling(j joined) oci.CacheStatus {
	if !j.led {
		return oci.CacheStatus{Result: oci.ResultJoined}
	}
	status := oci.CacheStatus{Result: oci.ResultMiss, Stored: true}
	j.fill.mu.Lock()
	defer j.fill.mu.Unlock()
	if cause := j.fill.cause; cause != nil {
		status.Stored = false
		status.Detail = "io_error"
		if errors.Is(cause, storage.ErrNoSpace) {
			status.Detail = "no_space"
		}
	}
	return status
}

// proveBlob has the upstream confirm that a blob, whose bytes are here for other
// scopes, belongs to this one too.
func (v view) proveBlob(ctx context.Context, d digest.Digest, link *storage.Link) (oci.CacheStatus, error) {
	desc, led, err := v.headBlob(ctx, d)
	if err != nil {
		return failed(led, err), err
	}
	link.Proven = true
	if desc.Size >= 0 {
		link.Size = desc.Size
	}
	return asked(led, false), nil
}

// headBlob asks for the size, which is -1 if the upstream does not tell it.
func (v view) headBlob(ctx context.Context, d digest.Digest) (oci.Descriptor, bool, error) {
	k := v.key(kindBlob, d.String())
	return v.heads.do(ctx, v, k, v.patience(false), func(ctx context.Context) (oci.Descriptor, error) {
		if e := v.remembered(k, false); e != nil {
			return oci.Descriptor{}, e
		}
		mark := v.images.mark()
		size, err := v.Remote.HeadBlob(ctx, v.repository, d)
		if oci.IsNotFound(err) && v.askForImage(ctx, d, mark) {
			size, err = v.Remote.HeadBlob(ctx, v.repository, d)
		}
		if err != nil {
			err = v.asked(ctx, err)
			v.remember(k, err, false)
			return oci.Descriptor{}, err
		}
		desc := oci.Descriptor{Digest: d, Size: max(size, -1)}
		v.link(v.scope, desc)
		return desc, nil
	})
}

func (v view) statBlob(ctx context.Context, d digest.Digest) (oci.Descriptor, oci.CacheStatus, error) {
	if link := v.linked(v.scope, d); link.Proven {
		size, err := v.store.BlobSize(d)
		if err == nil {
			err = v.agree(d, &link, size)
		}
		switch {
		case err == nil:
			return oci.Descriptor{Digest: d, Size: size}, oci.CacheStatus{Result: oci.ResultHit}, nil
		case oci.ClassOf(err) != oci.ClassNone:
			return oci.Descriptor{}, failed(true, err), err
		}
		if size := v.fillSize(d); size >= 0 {
			return oci.Descriptor{Digest: d, Size: size}, oci.CacheStatus{Result: oci.ResultJoined}, nil
		}
	}
	if v.Offline {
		status, err := v.unknown(oci.CodeBlobUnknown)
		return oci.Descriptor{}, status, err
	}
	if e := v.remembered(v.key(kindBlob, d.String()), false); e != nil {
		return oci.Descriptor{}, negative(), e
	}
	desc, led, err := v.headBlob(ctx, d)
	switch {
	case err != nil:
		return desc, failed(led, err), fmt.Errorf("head blob %s@%s: %w", v.scope, d, err)
	case desc.Size >= 0:
		return desc, asked(led, false), nil
	}
	b, status, err := v.blob(ctx, d) // only a GET tells
	if err == nil {
		err = b.Content.Close()
	}
	return oci.Descriptor{Digest: d, Size: b.Size}, status, err
}

// fillSize returns the size of the blob that is being filled; -1 = not certain.
func (c *Cache) fillSize(d digest.Digest) int64 {
	c.mu.Lock()
	f := c.fills[d]
	c.mu.Unlock()
	if f == nil {
		return -1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.disputed && !f.verified {
		return -1
	}
	return f.size
}
