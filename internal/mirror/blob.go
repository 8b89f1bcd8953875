package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// blob opens a blob: the finished file, or the running fill, or a new one. A
// digest whose link is not proven is proven first: by the GET of the new fill or, where
// others have brought the bytes in, as proof says.
func (v view) blob(ctx context.Context, d digest.Digest) (oci.Blob, oci.CacheStatus, error) {
	w := wanted{digest: d, link: v.linked(ctx, v.scope, d), status: oci.CacheStatus{Result: oci.ResultHit}}
	defer func() { w.turn.end() }()
	if err := v.renew(ctx, &w.link, d, v.askBlob); err != nil {
		return oci.Blob{}, failed(true, err), err
	}
	for again := true; ; {
		if err := ctx.Err(); err != nil {
			return oci.Blob{}, failed(false, err), err
		}
		if w.link.Proven {
			b, err := v.openBlob(ctx, d, &w.link)
			switch {
			case err == nil:
				return b, w.status, nil
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
		j, err := v.join(ctx, k, &w)
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
			v.readFailed("verify blob", v.scope, d.String(), v.store.VerifyBlob(ctx, d))
			w.verified = true
			continue
		case j.full:
			if w.turn, err = v.awaitTurn(ctx, true, fill.Patience); err != nil {
				return oci.Blob{}, failed(false, err), err
			}
			continue
		case j.prove:
			if err := v.proveBlob(ctx, &w, j.proof); err != nil {
				return oci.Blob{}, w.status, fmt.Errorf("prove blob %s@%s: %w", v.scope, d, err)
			}
			continue
		case j.stored:
			continue
		}
		if j.fill.source.scope != v.scope {
			j.fill.sharers.add(sharer{v, w.link.Proven})
		}
		b, err := v.follow(ctx, j, w.link)
		if err == nil {
			v.lookAhead(j.fill)
			return b, merge(w.status, v.filling(j)), nil
		}
		if again && ctx.Err() == nil && j.othersFault(err, v.scope) {
			again = false
			select {
			case <-j.fill.Done():
				continue
			case <-ctx.Done():
			}
		}
		return oci.Blob{}, failed(j.led, err), err
	}
}

// wanted is what a request knows of the blob that it wants.
type wanted struct {
	digest digest.Digest
	link   storage.Link
	// status tells how the link was proven.
	status oci.CacheStatus
	// confirmed says that the upstream has it for the scope, by its own word: who asks it
	// may follow what it sends.
	confirmed bool
	whole     bool  // only the whole can prove it
	verified  bool  // what is stored was
	turn      *turn // to start a fill with
}

// joined is what a request found: one of a fill, a finished file, a file that has
// to be verified first, the need to prove the digest first, or a fill that has
// failed and is about to leave.
type joined struct {
	over   <-chan struct{}
	fill   *sharedFill
	led    bool // the request started the fill
	stored bool
	doubt  bool
	prove  bool
	proof  proof // to prove it
	full   bool  // the client has started all the fills that it may
}

// join finds the running fill or the finished blob, or starts a fill, in one
// step: a fill leaves the cache only after its blob came into the store. A file
// that is in doubt even after it was verified is none, nor is one that the upstream has
// to deliver once more. The fill takes the turn that was kept, or one that is free.
func (v view) join(ctx context.Context, k key, w *wanted) (joined, error) {
	d := w.digest
	c := v.Cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fills[v.fillKey(d)]; f != nil {
		if !w.link.Proven && !w.confirmed && !f.serves(v.scope) {
			return joined{prove: true, proof: proofHead}, nil
		}
		if !f.Retain() {
			return joined{over: f.Done()}, nil
		}
		f.span.AddLink(trace.LinkFromContext(ctx))
		return joined{fill: f}, nil
	}
	if j, ok := v.find(ctx, w); ok {
		return j, nil
	}
	if e := v.remembered(k, false); e != nil { // of a fill that has just failed
		return joined{}, e
	}
	if c.closed {
		return joined{}, errClosed()
	}
	if w.turn == nil {
		var ok bool
		if w.turn, ok = v.tryTurn(true); !ok {
			return joined{full: true}, nil
		}
	}
	f := newFill(ctx, v, d, w.link, nil)
	f.turn, w.turn = w.turn, nil
	c.fills[v.fillKey(d)] = f
	c.running.Go(f.run)
	return joined{fill: f, led: true}, nil
}

// find looks for the finished blob. To read a whole file here would keep everybody
// waiting.
func (v view) find(ctx context.Context, w *wanted) (joined, bool) {
	trusted, err := v.store.HasBlob(ctx, w.digest)
	if err != nil || !trusted && w.verified {
		return joined{}, false
	}
	how := proofWhole
	if !w.link.Proven {
		if how = v.proof(ctx, w.digest); how == proofWhole || how == proofSamples && w.whole {
			return joined{}, false
		}
	}
	return joined{stored: trusted && w.link.Proven, prove: trusted && !w.link.Proven, proof: how, doubt: !trusted}, true
}

// follow waits until a fill can be read, and returns a reader of it. The
// reference that joined holds goes to the reader, or back.
func (v view) follow(ctx context.Context, j joined, link storage.Link) (oci.Blob, error) {
	f := j.fill
	size, err := f.Ready(ctx, toldSize(f.Digest, link.Size))
	if err != nil {
		f.Leave()
		if oci.IsNotFound(err) {
			return oci.Blob{}, err
		}
		return oci.Blob{}, fmt.Errorf("get blob %s@%s: %w", v.scope, f.Digest, err)
	}
	return oci.Blob{Digest: f.Digest, Size: size, Content: f.Reader(ctx, size, v.VerifyRanges)}, nil
}

// othersFault reports whether another try may get what this one did not: the
// fill asked another scope's upstream, or went on from bytes of an earlier one.
func (j joined) othersFault(err error, scope oci.Scope) bool {
	return !j.led && j.fill.source.scope != scope ||
		oci.ClassOf(err) == oci.ClassDigest && j.fill.Outcome().Resumed
}

// filling is the status of an answer that follows a fill. It is told before the
// last byte came, so stored means that the blob goes into the store as far as
// can be known, and is never said of a fill that passes through.
func (v view) filling(j joined) oci.CacheStatus {
	if !j.led {
		return oci.CacheStatus{Result: oci.ResultJoined}
	}
	status := oci.CacheStatus{Result: oci.ResultMiss, Stored: true}
	if cause := j.fill.Outcome().Cause; cause != nil {
		status.Stored = false
		status.Detail = "io_error"
		if errors.Is(cause, storage.ErrNoSpace) {
			status.Detail = "no_space"
		}
	}
	return status
}

// proveBlob has the upstream show that a blob, whose bytes are here for other scopes,
// belongs to this one too.
func (v view) proveBlob(ctx context.Context, w *wanted, by proof) error {
	// It may have been this scope's own fill that has just ended.
	if w.link = v.linked(ctx, v.scope, w.digest); w.link.Proven {
		return nil
	}
	if by == proofSamples {
		proven, led, err := v.possess(ctx, w.digest)
		switch {
		case err != nil:
			w.status = failed(led, err)
			return err
		case proven:
			w.status, w.link.Proven = asked(led, false), true
		}
		w.whole = !proven
		return nil
	}
	if w.confirmed { // and its fill has ended since
		w.link.Proven = v.said(ctx, oci.Descriptor{Digest: w.digest, Size: w.link.Size})
		return nil
	}
	desc, led, err := v.headBlob(ctx, w.digest, -1)
	if err != nil {
		w.status = failed(led, err)
		return err
	}
	w.status, w.confirmed = asked(led, false), true
	w.link.Proven = v.origins(ctx, w.digest).Own
	if desc.Size >= 0 {
		w.link.Size = desc.Size
	}
	return nil
}

// headBlob asks for the size, which is -1 if the upstream does not tell it.
func (v view) headBlob(ctx context.Context, d digest.Digest, known int64) (oci.Descriptor, bool, error) {
	k := v.key(kindBlob, d.String())
	return v.heads.do(ctx, v, k, v.patience(false), func(ctx context.Context) (oci.Descriptor, error) {
		if e := v.remembered(k, false); e != nil {
			return oci.Descriptor{}, e
		}
		size, err := v.askBlob(ctx, d)
		if err != nil {
			err = v.asked(ctx, err)
			v.remember(k, err, false)
			return oci.Descriptor{}, err
		}
		// No byte vouches for either: the size of a manifest is what its clients compare
		// with, and a header is the best hint only where no manifest tells.
		if known > 0 {
			size = known
		}
		desc := oci.Descriptor{Digest: d, Size: max(size, -1)}
		v.said(ctx, desc)
		return desc, nil
	})
}

func (v view) statBlob(ctx context.Context, d digest.Digest) (oci.Descriptor, oci.CacheStatus, error) {
	link := v.linked(ctx, v.scope, d)
	if err := v.renew(ctx, &link, d, v.askBlob); err != nil {
		return oci.Descriptor{}, failed(true, err), err
	}
	if link.Proven {
		size, err := v.store.BlobSize(ctx, d)
		if err == nil {
			err = v.agree(ctx, d, &link, size)
		}
		switch {
		case err == nil:
			return oci.Descriptor{Digest: d, Size: size, MediaType: v.typeOf(ctx, d)}, oci.CacheStatus{Result: oci.ResultHit}, nil
		case oci.ClassOf(err) != oci.ClassNone:
			return oci.Descriptor{}, failed(true, err), err
		}
	}
	if size := v.fillSize(d, link.Proven); size >= 0 {
		return oci.Descriptor{Digest: d, Size: size}, oci.CacheStatus{Result: oci.ResultJoined}, nil
	}
	if v.Offline {
		status, err := v.unknown(oci.CodeBlobUnknown)
		return oci.Descriptor{}, status, err
	}
	if e := v.remembered(v.key(kindBlob, d.String()), false); e != nil {
		return oci.Descriptor{}, negative(), e
	}
	desc, led, err := v.headBlob(ctx, d, link.Size)
	switch {
	case err != nil:
		return desc, failed(led, err), fmt.Errorf("head blob %s@%s: %w", v.scope, d, err)
	case desc.Size >= 0:
		desc.MediaType = v.typeOf(ctx, d)
		return desc, asked(led, false), nil
	}
	b, status, err := v.blob(ctx, d) // only a GET tells
	if err == nil {
		err = b.Content.Close()
	}
	return oci.Descriptor{Digest: d, Size: b.Size, MediaType: v.typeOf(ctx, d)}, status, err
}

// typeOf returns the type of a blob that is known to be a manifest; empty = it is not.
func (v view) typeOf(ctx context.Context, d digest.Digest) string {
	mf, _ := v.local(ctx, d)
	return mf.MediaType
}

// fillSize returns the size of the blob that is being filled; -1 = not certain, or not to
// be told to the scope.
func (v view) fillSize(d digest.Digest, proven bool) int64 {
	v.mu.Lock()
	f := v.fills[v.fillKey(d)]
	v.mu.Unlock()
	if f == nil || !proven && !f.serves(v.scope) {
		return -1
	}
	return f.CertainSize()
}
