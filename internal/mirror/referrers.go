package mirror

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// noneTTL is the longest that an empty list of referrers is believed: who signs an
// image looks for the signature a moment later.
const noneTTL = 5 * time.Second

// referrersQuery is what a request asks of what refers to one digest.
type referrersQuery struct {
	view

	digest digest.Digest
}

// list returns the referrers: believed as long as a tag, stale where the upstream fails,
// and none offline where none are known.
func (q referrersQuery) list(ctx context.Context) ([]oci.Descriptor, oci.CacheStatus, error) {
	old, known := q.stored(ctx)
	if q.alone || known && (q.Offline || q.believed(old)) {
		return old.Descriptors, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	a, err := lookUp(ctx, q.view, &q.referrers, q.question(old, known))
	if err != nil && !known {
		old, known = q.stored(ctx) // as in tagQuery.recall
	}
	switch {
	case err == nil:
		return a.value, a.status(nil), nil
	case oci.IsNotFound(err): // which is remembered: none is no error
		return nil, oci.CacheStatus{Result: oci.ResultHit}, nil
	case known && ctx.Err() == nil:
		return old.Descriptors, staleListing(err), nil
	}
	return nil, a.status(err), fmt.Errorf("get referrers of %s@%s: %w", q.scope, q.digest, err)
}

// question is what refers to the digest. old is what did, if that is known.
func (q referrersQuery) question(old storage.Referrers, known bool) question[[]oci.Descriptor] {
	return question[[]oci.Descriptor]{
		key: q.key(kindReferrers, q.digest.String()), fallback: known,
		have: func(ctx context.Context) ([]oci.Descriptor, bool) {
			old, known = q.stored(ctx)
			return old.Descriptors, known && q.believed(old)
		},
		ask: func(ctx context.Context) (found []oci.Descriptor, stored bool, err error) {
			found, err = q.Remote.Referrers(ctx, q.repository, q.digest)
			if oci.IsNotFound(err) {
				found, err = nil, nil // none is no error, and clients take a 404 for fatal
			}
			if err != nil {
				return nil, false, err
			}
			if len(found) == 0 {
				none := oci.UpstreamError(oci.ClassNotFound, oci.CodeManifestUnknown, "there are no referrers", nil)
				q.failures.put(q.key(kindReferrers, q.digest.String()), none, q.now(), min(q.TagTTL, noneTTL))
			}
			// That there are none is worth it only of what is here: anybody can ask for any
			// digest, and verification of an image asks for all of its.
			if len(found) > 0 || known && len(old.Descriptors) > 0 || !known && q.linked(ctx, q.digest).Proven {
				stored = q.put(ctx, found)
			}
			return found, stored, nil
		},
	}
}

// stored returns the referrers as they were when they were last asked for.
func (q referrersQuery) stored(ctx context.Context) (storage.Referrers, bool) {
	r, err := q.store.Referrers(ctx, q.scope, q.digest)
	q.store.readFailed("read referrers", q.scope, q.digest.String(), err)
	return r, err == nil
}

// believed reports whether a list is fresh.
func (q referrersQuery) believed(r storage.Referrers) bool {
	ttl := q.TagTTL
	if len(r.Descriptors) == 0 {
		ttl = min(ttl, noneTTL)
	}
	return oci.Within(q.now().Sub(r.Checked), ttl)
}

// put records a list.
func (q referrersQuery) put(ctx context.Context, found []oci.Descriptor) bool {
	err := q.store.PutReferrers(ctx, q.scope, q.digest, storage.Referrers{Descriptors: found, Checked: q.now()})
	if err != nil {
		q.store.failed("referrers not stored", err, "scope", q.scope.String(), "digest", q.digest)
	}
	return err == nil
}

func staleListing(cause error) oci.CacheStatus {
	e := oci.AsError(cause)
	return oci.CacheStatus{Result: oci.ResultStale, Detail: string(e.Class), ForwardStatus: e.UpstreamStatus}
}
