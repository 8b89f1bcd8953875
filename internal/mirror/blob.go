package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/known"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// blobQuery is what a request asks of one blob, and knows of it.
type blobQuery struct {
	view

	digest digest.Digest
	link   storage.Link
	// status tells how the link was proven.
	status oci.CacheStatus
	// confirmed says that the upstream has it for the scope, by its own word: who asks it
	// may follow what it sends.
	confirmed bool
	whole     bool  // only the whole can prove it
	turn      *turn // to start a fill with
}

func (v view) blobQuery(ctx context.Context, d digest.Digest) blobQuery {
	return blobQuery{view: v, digest: d, link: v.linked(ctx, d), status: oci.CacheStatus{Result: oci.ResultHit}}
}

// blob opens a blob: the finished file, or the running fill, or a new one. A
// digest whose link is not proven is proven first: by the GET of the new fill or, where
// others have brought the bytes in, as proof says.
func (v view) blob(ctx context.Context, d digest.Digest) (oci.Blob, oci.CacheStatus, error) {
	q := v.blobQuery(ctx, d)
	defer func() { q.turn.end() }()
	if err := (prover{v, d}).renew(ctx, &q.link, prover.askBlob); err != nil {
		return oci.Blob{}, failed(true, err), err
	}
	for again := true; ; {
		j, status, err := q.join(ctx)
		switch {
		case err != nil:
			return oci.Blob{}, status, err
		case j.open.Content != nil:
			return j.open, q.status, nil
		case j.wait != nil:
			select {
			case <-j.wait:
				continue
			case <-ctx.Done():
				return oci.Blob{}, failed(false, ctx.Err()), ctx.Err()
			}
		case j.full:
			if q.turn, err = v.awaitTurn(ctx, true, fill.Patience); err != nil {
				return oci.Blob{}, failed(false, err), err
			}
			continue
		case j.fill == nil:
			if err := q.prove(ctx, j.proof); err != nil {
				return oci.Blob{}, q.status, fmt.Errorf("prove blob %s@%s: %w", v.scope, d, err)
			}
			continue
		}
		b, err := q.follow(ctx, j.fill)
		if err == nil {
			v.lookAhead(j.fill)
			return b, merge(q.status, j.status()), nil
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

// joining is what a request finds: one of the open blob, a fill, something to wait for
// before it looks again, or, if all are nil, the need to prove the digest first.
type joining struct {
	open  oci.Blob
	fill  *sharedFill // with a reference
	led   bool        // the request started the fill
	wait  <-chan struct{}
	full  bool  // it has to wait for a turn: the client has started all the fills that it may
	proof proof // to prove it
}

// join finds the finished blob or the running fill, or starts a fill. What keeps the
// blob from being found or filled is an error, with its status.
func (q *blobQuery) join(ctx context.Context) (joining, oci.CacheStatus, error) {
	if err := ctx.Err(); err != nil {
		return joining{}, failed(false, err), err
	}
	if b, status, err := q.open(ctx); b.Content != nil || err != nil {
		return joining{open: b}, status, err
	}
	if q.alone {
		status, err := q.unknown(oci.CodeBlobUnknown)
		return joining{}, status, err
	}
	if e := q.remembered(q.key(kindBlob, q.digest.String()), false); e != nil {
		return joining{}, negative(), e
	}
	mine, f, again := q.fills.reserve(q.fillKey(q.digest), q.mayFollow)
	switch {
	case mine != nil:
		return q.begin(ctx, mine)
	case f != nil:
		f.span.AddLink(trace.LinkFromContext(ctx))
		if q.MaxFills == 0 { // as for another gateway, which what has places here may be waiting for
			f.Hurry()
		}
		if f.source.scope != q.scope {
			f.sharers.add(sharer{q.view, q.link.Proven})
		}
		return joining{fill: f}, oci.CacheStatus{}, nil
	case again != nil:
		return joining{wait: again}, oci.CacheStatus{}, nil
	}
	return joining{proof: proofHead}, oci.CacheStatus{}, nil
}

// mayFollow reports whether the scope may have what a fill brings.
func (q *blobQuery) mayFollow(f *sharedFill) bool {
	return q.link.Proven || q.confirmed || f.serves(q.scope)
}

// begin starts a fill in a place that was reserved, unless the blob has come into the
// store since: a fill leaves its place only after that. A file that is in doubt even
// after it was verified is none, nor is one that the upstream has to deliver once more.
func (q *blobQuery) begin(ctx context.Context, mine *place) (j joining, status oci.CacheStatus, err error) {
	k := q.fillKey(q.digest)
	defer func() {
		if !j.led {
			q.fills.release(k)
		}
	}()
	if b, status, err := q.open(ctx); b.Content != nil || err != nil {
		return joining{open: b}, status, err
	}
	if proof, ok := q.provable(ctx); ok {
		return joining{proof: proof}, oci.CacheStatus{}, nil
	}
	if e := q.remembered(q.key(kindBlob, q.digest.String()), false); e != nil { // of a fill that has just failed
		return joining{}, negative(), e
	}
	if q.turn == nil {
		var ok bool
		if q.turn, ok = q.tryTurn(true, 0); !ok {
			return joining{full: true}, oci.CacheStatus{}, nil
		}
	}
	f := newFill(ctx, q.view, q.digest, q.link, nil)
	if !q.launch(k, mine, f, q.turn, func() {}) {
		err := fill.ErrClosed()
		return joining{}, failed(true, err), err
	}
	q.turn = nil
	return joining{fill: f, led: true}, oci.CacheStatus{}, nil
}

// launch starts a fill in a place that was reserved, and gives it a turn. It reports
// false, and starts nothing, once the Cache is closed.
func (c *Cache) launch(k fillKey, mine *place, f *sharedFill, turn *turn, ended func()) bool {
	f.turn = turn
	if !c.start(func() {
		<-mine.free
		f.run()
		ended()
	}) {
		f.span.End()
		return false
	}
	c.fills.put(k, f)
	return true
}

// provable looks for bytes that others have brought in, and returns how the scope comes
// to them. What is in doubt is verified first.
func (q *blobQuery) provable(ctx context.Context) (proof, bool) {
	if q.link.Proven {
		return 0, false
	}
	trusted, err := q.store.HasBlob(ctx, q.digest)
	if err != nil {
		return 0, false
	}
	how := q.proof(ctx, q.digest)
	if how == proofWhole || how == proofSamples && q.whole {
		return 0, false
	}
	if !trusted {
		q.store.readFailed("verify blob", q.scope, q.digest.String(), q.store.VerifyBlob(ctx, q.digest))
		trusted, _ = q.store.HasBlob(ctx, q.digest)
	}
	return how, trusted
}

// follow waits until a fill can be read, and returns a reader of it. The
// reference goes to the reader, or back.
func (q *blobQuery) follow(ctx context.Context, f *sharedFill) (oci.Blob, error) {
	size, err := f.Ready(ctx, known.SizeTold(f.Digest, q.link.Size))
	if err != nil {
		f.Leave()
		if oci.IsNotFound(err) {
			return oci.Blob{}, err
		}
		return oci.Blob{}, fmt.Errorf("get blob %s@%s: %w", q.scope, f.Digest, err)
	}
	return oci.Blob{Digest: f.Digest, Size: size, Content: f.Reader(ctx, size, q.VerifyRanges)}, nil
}

// othersFault reports whether another try may get what this one did not: the
// fill asked another scope's upstream, or went on from bytes of an earlier one.
func (j joining) othersFault(err error, scope oci.Scope) bool {
	return !j.led && j.fill.source.scope != scope ||
		oci.ClassOf(err) == oci.ClassDigest && j.fill.Outcome().Resumed
}

// status is that of an answer that follows a fill. It is told before the
// last byte came, so stored means that the blob goes into the store as far as
// can be known, and is never said of a fill that passes through.
func (j joining) status() oci.CacheStatus {
	if !j.led {
		return oci.CacheStatus{Result: oci.ResultJoined}
	}
	o := j.fill.Outcome()
	switch {
	case errors.Is(o.Cause, storage.ErrNoSpace):
		return oci.CacheStatus{Result: oci.ResultMiss, Detail: "no_space"}
	case o.Cause != nil:
		return oci.CacheStatus{Result: oci.ResultMiss, Detail: "io_error"}
	}
	return oci.CacheStatus{Result: oci.ResultMiss, Stored: true, Detail: o.Shared}
}

// prove has the upstream show that the blob, whose bytes are here for other scopes,
// belongs to this one too.
func (q *blobQuery) prove(ctx context.Context, by proof) error {
	// It may have been this scope's own fill that has just ended.
	if q.link = q.linked(ctx, q.digest); q.link.Proven {
		return nil
	}
	if by == proofSamples {
		a, err := prover{q.view, q.digest}.possess(ctx)
		if err != nil || a.value {
			q.status, q.link.Proven = a.status(err), a.value
		}
		q.whole = !a.value
		return err
	}
	if q.confirmed { // and its fill has ended since
		q.link.Proven = q.said(ctx, oci.Descriptor{Digest: q.digest, Size: q.link.Size})
		return nil
	}
	a, err := prover{q.view, q.digest}.head(ctx, -1)
	q.status = a.status(err)
	if err != nil {
		return err
	}
	q.confirmed, q.link.Proven = true, q.origins(ctx, q.digest).Own
	if a.value.Size >= 0 {
		q.link.Size = a.value.Size
	}
	return nil
}
