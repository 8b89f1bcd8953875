package mirror

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// referrersAnswer is what a look-up of referrers ended in.
type referrersAnswer struct {
	descriptors []oci.Descriptor
	// asked is false if the look-up found the answer in the store after all.
	asked, stored bool
}

// referring returns the referrers of d: believed as long as a tag, stale where
// the upstream fails, and none offline where none are known.
func (v view) referring(ctx context.Context, d digest.Digest) ([]oci.Descriptor, oci.CacheStatus, error) {
	old, err := v.store.Referrers(v.scope, d)
	v.readFailed("read referrers", v.scope, d.String(), err)
	known := err == nil
	if v.Offline || known && within(v.now().Sub(old.Checked), v.TagTTL) {
		return old.Descriptors, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	k := v.key(kindReferrers, d.String())
	if e := v.remembered(k, known); e != nil {
		if known {
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

func (v view) lookUpReferrers(ctx context.Context, k key, d digest.Digest, spare bool) (referrersAnswer, error) {
	if r, err := v.store.Referrers(v.scope, d); err == nil && within(v.now().Sub(r.Checked), v.TagTTL) {
		return referrersAnswer{descriptors: r.Descriptors}, nil
	}
	if e := v.remembered(k, spare); e != nil {
		return referrersAnswer{}, e
	}
	ds, err := v.Remote.Referrers(ctx, v.repository, d)
	if oci.IsNotFound(err) {
		ds, err = nil, nil // none is no error, and clients take a 404 for fatal
	}
	if err != nil {
		err = v.asked(ctx, err)
		v.remember(k, err, spare)
		return referrersAnswer{}, err
	}
	err = v.store.PutReferrers(v.scope, d, storage.Referrers{Descriptors: ds, Checked: v.now()})
	if err != nil {
		v.storeFailed("referrers not stored", err, "scope", v.scope.String(), "digest", d)
	}
	return referrersAnswer{descriptors: ds, asked: true, stored: err == nil}, nil
}

// tagList returns one page of the upstream's tags, or of those known here.
func (v view) tagList(ctx context.Context, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error) {
	if v.Offline {
		list, ok := v.knownTags(page)
		if !ok {
			status, err := v.unknown(oci.CodeNameUnknown)
			return oci.TagList{}, status, err
		}
		return list, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	k := v.key(kindTags, strconv.Itoa(page.N)+"?"+url.Values{"last": {page.Last}}.Encode()+"&"+page.Extra.Encode())
	e := v.remembered(k, false)
	if e == nil {
		list, led, err := v.tagLists.do(ctx, v, k, v.patience(false), func(ctx context.Context) (oci.TagList, error) {
			return v.lookUpTags(ctx, k, page)
		})
		switch {
		case err == nil:
			return list, asked(led, false), nil
		case ctx.Err() != nil || oci.IsNotFound(err):
			return oci.TagList{}, failed(led, err), fmt.Errorf("list tags of %s: %w", v.scope, err)
		}
		if list, ok := v.knownTags(page); ok {
			return list, staleListing(err), nil
		}
		return oci.TagList{}, failed(led, err), fmt.Errorf("list tags of %s: %w", v.scope, err)
	}
	if list, ok := v.knownTags(page); ok && e.Class != oci.ClassNotFound {
		return list, staleListing(e), nil
	}
	return oci.TagList{}, negative(), e
}

func (v view) lookUpTags(ctx context.Context, k key, page oci.TagsPage) (oci.TagList, error) {
	if e := v.remembered(k, false); e != nil {
		return oci.TagList{}, e
	}
	list, err := v.Remote.Tags(ctx, v.repository, page)
	if err != nil {
		err = v.asked(ctx, err)
		v.remember(k, err, false)
	}
	return list, err
}

// knownTags pages through the tags that were pulled through this gateway. It
// knows nothing of Extra, which only the upstream understands.
func (v view) knownTags(page oci.TagsPage) (oci.TagList, bool) {
	tags, err := v.store.Tags(v.scope, page.Last, -1)
	v.readFailed("list tags", v.scope, "", err)
	if len(tags) == 0 {
		return oci.TagList{}, err == nil && page.Last != ""
	}
	list := oci.TagList{Tags: tags}
	if page.N >= 0 && page.N < len(tags) {
		list.Tags = tags[:page.N]
		if page.N > 0 {
			list.Next = url.Values{"n": {strconv.Itoa(page.N)}, "last": {list.Tags[page.N-1]}}
		}
	}
	return list, true
}

func staleListing(cause error) oci.CacheStatus {
	e := oci.AsError(cause)
	return oci.CacheStatus{Result: oci.ResultStale, Detail: string(e.Class), ForwardStatus: e.UpstreamStatus}
}
