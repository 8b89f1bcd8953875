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

// referrersAnswer is what a look-up of referrers ended in.
type referrersAnswer struct {
	descriptors []oci.Descriptor
	// asked is false if the look-up found the answer in the store after all.
	asked, stored bool
}

// referring returns the referrers of d: believed as long as a tag, stale where
// the upstream fails, and none offline where none are known.
func (v view) referring(ctx context.Context, d digest.Digest) ([]oci.Descriptor, oci.CacheStatus, error) {
	old, known := v.knownReferrers(ctx, d)
	if v.Offline || known && v.believed(old) {
		return old.Descriptors, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	k := v.key(kindReferrers, d.String())
	if e := v.remembered(k, known); e != nil {
		switch {
		case e.Class == oci.ClassNotFound:
			return nil, oci.CacheStatus{Result: oci.ResultHit}, nil
		case known:
			return old.Descriptors, staleListing(e), nil
		}
		return nil, negative(), e
	}
	a, led, err := v.referrers.do(ctx, v, k, v.patience(known), func(ctx context.Context) (referrersAnswer, error) {
		return v.lookUpReferrers(ctx, k, d, known)
	})
	switch {
	case err == nil:
		return a.descriptors, asked(led && a.asked, a.stored), nil
	case known && ctx.Err() == nil:
		return old.Descriptors, staleListing(err), nil
	}
	return nil, failed(led, err), fmt.Errorf("get referrers of %s@%s: %w", v.scope, d, err)
}

func (v view) knownReferrers(ctx context.Context, d digest.Digest) (storage.Referrers, bool) {
	r, err := v.store.Referrers(ctx, v.scope, d)
	v.readFailed("read referrers", v.scope, d.String(), err)
	return r, err == nil
}

// believed reports whether a list is fresh.
func (v view) believed(r storage.Referrers) bool {
	ttl := v.TagTTL
	if len(r.Descriptors) == 0 {
		ttl = min(ttl, noneTTL)
	}
	return within(v.now().Sub(r.Checked), ttl)
}

func (v view) lookUpReferrers(ctx context.Context, k key, d digest.Digest, spare bool) (referrersAnswer, error) {
	old, known := v.knownReferrers(ctx, d)
	if known && v.believed(old) {
		return referrersAnswer{descriptors: old.Descriptors}, nil
	}
	switch e := v.remembered(k, spare); {
	case e == nil:
	case e.Class == oci.ClassNotFound:
		return referrersAnswer{}, nil
	default:
		return referrersAnswer{}, e
	}
	found, err := v.Remote.Referrers(ctx, v.repository, d)
	if oci.IsNotFound(err) {
		found, err = nil, nil // none is no error, and clients take a 404 for fatal
	}
	if err != nil {
		return referrersAnswer{}, v.listFailed(ctx, k, err, spare)
	}
	a := referrersAnswer{descriptors: found, asked: true}
	if len(found) == 0 {
		none := oci.UpstreamError(oci.ClassNotFound, oci.CodeManifestUnknown, "there are no referrers", nil)
		v.failures.put(k, none, v.now(), min(v.TagTTL, noneTTL))
	}
	if len(found) > 0 || known && len(old.Descriptors) > 0 || !known && v.linked(ctx, v.scope, d).Proven {
		a.stored = v.putReferrers(ctx, d, found)
	}
	return a, nil
}

// putReferrers records a list. That there are none is worth it only of what is here:
// anybody can ask for any digest, and verification of an image asks for all of its.
func (v view) putReferrers(ctx context.Context, d digest.Digest, found []oci.Descriptor) bool {
	err := v.store.PutReferrers(ctx, v.scope, d, storage.Referrers{Descriptors: found, Checked: v.now()})
	if err != nil {
		v.storeFailed("referrers not stored", err, "scope", v.scope.String(), "digest", d)
	}
	return err == nil
}

// listFailed remembers why there is no list, one that is too long for longer: all of
// it had to come for that.
func (v view) listFailed(ctx context.Context, k key, err error, spare bool) error {
	err = v.asked(ctx, err)
	if oci.ClassOf(err) == oci.ClassLength {
		v.failures.put(k, oci.AsError(err), v.now(), rememberLong)
		return err
	}
	v.remember(k, err, spare)
	return err
}

func staleListing(cause error) oci.CacheStatus {
	e := oci.AsError(cause)
	return oci.CacheStatus{Result: oci.ResultStale, Detail: string(e.Class), ForwardStatus: e.UpstreamStatus}
}
