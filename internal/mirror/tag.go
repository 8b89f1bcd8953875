package mirror

import (
	"context"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// tagAnswer is what a tag means.
type tagAnswer struct {
	tag storage.Tag
	// manifest is set where the look-up had to get it.
	manifest *oci.Manifest
	// asked is false if the look-up found the answer in the store after all.
	asked  bool
	stored bool
}

// resolve answers what a tag means: from the store while that is fresh, else
// with one question to the upstream that all waiting requests share, else stale.
func (v view) resolve(ctx context.Context, name string) (tagAnswer, oci.CacheStatus, error) {
	old, known := v.tag(ctx, name)
	if known && v.fresh(ctx, old, name) {
		return tagAnswer{tag: old}, v.tagStatus(oci.ResultHit, old, name), nil
	}
	if v.Offline {
		status, err := v.unknown(oci.CodeManifestUnknown)
		return tagAnswer{}, status, err
	}
	// Stale is only of use with the manifest: a HEAD that says yes before a GET
	// that fails helps nobody.
	spare := false
	if known {
		_, spare = v.local(ctx, old.Digest)
	}
	k := v.key(kindTag, name)
	if e := v.remembered(k, spare); e != nil {
		if spare && v.forgives(ctx, name, e) {
			return tagAnswer{tag: old}, v.stale(old, name, e), nil
		}
		return tagAnswer{}, negative(), e
	}
	if e := v.suspected(k); e != nil && spare {
		v.suspect(k, e) // others who come meanwhile need not ask
		v.tags.begin(ctx, v, k, v.patience(false), func(ctx context.Context) (tagAnswer, error) {
			return v.askTag(ctx, k, name, spare)
		})
		return tagAnswer{tag: old}, v.stale(old, name, e), nil
	}
	a, led, err := v.tags.do(ctx, v, k, v.patience(spare), func(ctx context.Context) (tagAnswer, error) {
		return v.lookUpTag(ctx, name, spare)
	})
	switch {
	case err == nil:
		return a, v.tagAsked(a, led, name), nil
	case ctx.Err() != nil || !spare || !v.forgives(ctx, name, err):
		return tagAnswer{}, failed(led, err), err
	}
	return tagAnswer{tag: old}, v.stale(old, name, err), nil
}

func (v view) tagAsked(a tagAnswer, led bool, name string) oci.CacheStatus {
	status := v.tagStatus(asked(led && a.asked, a.stored).Result, a.tag, name)
	status.Stored = led && a.stored
	return status
}

func (v view) tag(ctx context.Context, name string) (storage.Tag, bool) {
	t, err := v.store.Tag(ctx, v.scope, name)
	v.readFailed("read tag", v.scope, name, err)
	return t, err == nil
}

// fresh reports whether a tag need not be asked for. One that never moves may still
// have moved as long as nobody has its manifest.
func (v view) fresh(ctx context.Context, t storage.Tag, name string) bool {
	return v.Offline || within(v.now().Sub(t.Checked), v.TagTTL) || v.immutable(name) && v.hasManifest(ctx, t.Digest)
}

func (v view) immutable(name string) bool {
	return v.ImmutableTags != nil && v.ImmutableTags.MatchString(name)
}

// within reports whether something of that age is fresh. A negative age is that
// of a clock that was set back: nothing is known then.
func within(age, ttl time.Duration) bool { return age >= 0 && age < ttl }

// tagStatus tells freshness and age, but of tags whose age does not matter.
func (v view) tagStatus(result oci.Result, t storage.Tag, name string) oci.CacheStatus {
	status := oci.CacheStatus{Result: result}
	if v.Offline || v.immutable(name) {
		return status
	}
	status.Age = max(0, v.now().Sub(t.Checked))
	fresh := v.TagTTL - status.Age
	status.Fresh = &fresh
	return status
}

func (v view) stale(t storage.Tag, name string, cause error) oci.CacheStatus {
	status := v.tagStatus(oci.ResultStale, t, name)
	e := oci.AsError(cause)
	status.Detail, status.ForwardStatus = string(e.Class), e.UpstreamStatus
	return status
}

// forgives reports whether what the tag meant may serve in place of the error.
func (v view) forgives(ctx context.Context, name string, err error) bool {
	if oci.IsNotFound(err) {
		return v.outlives(ctx, name)
	}
	return v.excuses(err)
}

// excuses reports whether an old answer may serve in place of the error.
func (v view) excuses(err error) bool {
	switch oci.ClassOf(err) {
	case oci.ClassNotFound:
		return false
	case oci.ClassDenied:
		now := v.now()
		began, _ := v.denials.put(v.scope, now)
		return within(now.Sub(began), v.StaleIfDenied)
	}
	return true
}

// lookUpTag answers from the store or from memory what others have asked
// meanwhile, else it asks.
func (v view) lookUpTag(ctx context.Context, name string, spare bool) (tagAnswer, error) {
	old, known := v.tag(ctx, name)
	if known && v.fresh(ctx, old, name) {
		return tagAnswer{tag: old}, nil
	}
	k := v.key(kindTag, name)
	if e := v.remembered(k, spare); e != nil {
		return tagAnswer{}, e
	}
	return v.askTag(ctx, k, name, spare)
}

// askTag asks the upstream what a tag means, and records the answer.
func (v view) askTag(ctx context.Context, k key, name string, spare bool) (tagAnswer, error) {
	old, _ := v.tag(ctx, name)
	ref := oci.Reference{Tag: name}
	desc, mf, err := v.Remote.Resolve(ctx, v.repository, ref)
	if err == nil && mf == nil && spare && desc.Digest != old.Digest && !v.hasManifest(ctx, desc.Digest) {
		// The tag moves only once its new manifest is here: until then the old
		// one is the stale answer.
		mf, err = v.get(ctx, oci.Reference{Digest: desc.Digest})
		switch {
		case err != nil && decidedByTag(err):
			mf, err = v.get(ctx, ref)
		case oci.IsNotFound(err): // it is the manifest that is missing, not the tag
			err = oci.UpstreamError(oci.ClassStatus, "", "the upstream's tag names a manifest that it does not have", err)
		}
	}
	if err != nil {
		return tagAnswer{}, v.tagFailed(ctx, k, name, err, spare)
	}
	return v.keepTag(ctx, k, name, desc, mf), nil
}

// keepTag records what a tag means, and its manifest, if that came along.
func (v view) keepTag(ctx context.Context, k key, name string, desc oci.Descriptor, mf *oci.Manifest) tagAnswer {
	old, known := v.tag(ctx, name)
	a := tagAnswer{manifest: mf, asked: true}
	if mf != nil {
		desc = mf.Descriptor()
		a.stored = v.keep(ctx, mf)
	} else {
		v.said(ctx, desc)
		v.promised.put(v.key(kindManifest, desc.Digest.String()), name)
	}
	now := v.now()
	a.tag = storage.Tag{Digest: desc.Digest, MediaType: desc.MediaType, Size: desc.Size, Checked: now, Changed: now}
	if known && old.Digest == desc.Digest {
		a.tag.Changed = old.Changed
	}
	if err := v.store.PutTag(ctx, v.scope, name, a.tag); err != nil {
		v.storeFailed("tag not stored", err, "scope", v.scope.String(), "tag", name)
	}
	v.trust(k)
	v.gone.forget(k)
	return a
}

// decidedByTag reports whether a manifest that cannot be had by its digest may be
// had by its tag: that has moved since and the old manifest was deleted, or the
// registry gives nothing by digest, whatever it answers, or a wrong one in its headers.
func decidedByTag(err error) bool {
	switch e := oci.AsError(err); e.Class {
	case oci.ClassNotFound, oci.ClassDenied, oci.ClassDigest:
		return true
	case oci.ClassStatus:
		return e.UpstreamStatus >= http.StatusBadRequest
	}
	return false
}

// byTag gets the manifest of a tag in one request by that, since the digest that it
// meant leads to none, and moves the tag.
func (v view) byTag(ctx context.Context, name string, not digest.Digest) (tagAnswer, oci.CacheStatus, error) {
	k := v.key(kindTag, name)
	if e := v.remembered(k, false); e != nil {
		return tagAnswer{}, negative(), e
	}
	a, led, err := v.tagged.do(ctx, v, k, v.patience(false), func(ctx context.Context) (tagAnswer, error) {
		if t, ok := v.tag(ctx, name); ok && t.Digest != not { // somebody else has asked meanwhile
			if mf, ok := v.local(ctx, t.Digest); ok && v.fresh(ctx, t, name) {
				return tagAnswer{tag: t, manifest: &mf}, nil
			}
		}
		return v.getByTag(ctx, name)
	})
	if err != nil {
		return tagAnswer{}, failed(led, err), err
	}
	return a, v.tagAsked(a, led, name), nil
}

func (v view) getByTag(ctx context.Context, name string) (tagAnswer, error) {
	k := v.key(kindTag, name)
	mf, err := v.get(ctx, oci.Reference{Tag: name})
	if err != nil {
		return tagAnswer{}, v.tagFailed(ctx, k, name, err, false)
	}
	return v.keepTag(ctx, k, name, mf.Descriptor(), mf), nil
}

func (v view) get(ctx context.Context, ref oci.Reference) (*oci.Manifest, error) {
	mf, err := v.Remote.Manifest(ctx, v.repository, ref)
	if err == nil {
		err = check(&mf, ref)
	}
	return &mf, err
}

func (v view) tagFailed(ctx context.Context, k key, name string, err error, spare bool) error {
	err = v.asked(ctx, err)
	if oci.IsNotFound(err) {
		v.missed(ctx, k, name)
	}
	v.remember(k, err, spare)
	return err
}
