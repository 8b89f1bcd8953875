package mirror

import (
	"context"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// tagAnswer is what a tag means.
type tagAnswer struct {
	tag storage.Tag
	// manifest is set where the look-up had to get it.
	manifest *oci.Manifest
}

// tagQuery is what a request asks of one tag.
type tagQuery struct {
	view

	name string
}

func (q tagQuery) key() key { return q.view.key(kindTag, q.name) }

// resolve answers what the tag means: from the store while that is fresh, else
// with one question to the upstream that all waiting requests share, else stale.
func (q tagQuery) resolve(ctx context.Context) (tagAnswer, oci.CacheStatus, error) {
	old, known := q.stored(ctx)
	if known && q.fresh(ctx, old) {
		return tagAnswer{tag: old}, q.status(oci.ResultHit, old), nil
	}
	if q.alone {
		status, err := q.unknown(oci.CodeManifestUnknown)
		return tagAnswer{}, status, err
	}
	return q.lookUp(ctx, old, known)
}

func (q tagQuery) lookUp(ctx context.Context, old storage.Tag, known bool) (tagAnswer, oci.CacheStatus, error) {
	// Stale is only of use with the manifest: a HEAD that says yes before a GET
	// that fails helps nobody.
	fallback := false
	if known {
		_, fallback = q.local(ctx, old.Digest)
	}
	question := q.question(old, known, fallback)
	if e := q.refreshInBackground(ctx, question); e != nil {
		return tagAnswer{tag: old}, q.stale(old, e), nil
	}
	a, err := lookUp(ctx, q.view, &q.tags, question)
	if err != nil && !known {
		old, fallback = q.recall(ctx)
	}
	switch {
	case err == nil:
		return a.value, q.statusOf(a), nil
	case q.Offline && fallback:
		return tagAnswer{tag: old}, q.status(oci.ResultHit, old), nil
	case ctx.Err() != nil || !fallback || !q.forgives(ctx, err):
		return tagAnswer{}, a.status(err), err
	}
	return tagAnswer{tag: old}, q.stale(old, err), nil
}

// recall returns what an unknown tag once meant, with its manifest, if a Remote that could
// not ask the upstream has put that into the store.
func (q tagQuery) recall(ctx context.Context) (old storage.Tag, fallback bool) {
	if old, fallback = q.stored(ctx); fallback {
		_, _, err := manifestQuery{q.view, old.Digest}.get(ctx)
		fallback = err == nil
	}
	return old, fallback
}

// refreshInBackground has an upstream asked that others have waited for in vain, while an old
// answer serves. It returns why; nil = it is waited for.
func (q tagQuery) refreshInBackground(ctx context.Context, of question[tagAnswer]) error {
	if !of.fallback || q.remembered(of.key, true) != nil {
		return nil //nolint:nilerr // the look-up itself tells of what is remembered
	}
	e := q.silence(kindSuspect, of.key)
	if e == nil {
		return nil // as an error, a nil *oci.Error would not be nil
	}
	q.suspect(of.key, e) // others who come meanwhile need not ask
	q.tags.begin(ctx, q.view, of.key, q.patience(false), func(ctx context.Context) (answer[tagAnswer], error) {
		return of.put(ctx, q.view)
	})
	return e
}

// question is what the tag means. old is what it meant, if that is known, and fallback says
// that the manifest of that is here.
func (q tagQuery) question(old storage.Tag, known, fallback bool) question[tagAnswer] {
	return question[tagAnswer]{
		key: q.key(), fallback: fallback,
		have: func(ctx context.Context) (tagAnswer, bool) {
			old, known = q.stored(ctx)
			return tagAnswer{tag: old}, known && q.fresh(ctx, old)
		},
		ask: func(ctx context.Context) (tagAnswer, bool, error) {
			desc, mf, err := q.ask(ctx, old, fallback)
			return q.settle(ctx, old, known, desc, mf, err)
		},
	}
}

// statusOf tells of an answer how it was come by.
func (q tagQuery) statusOf(a answer[tagAnswer]) oci.CacheStatus {
	by := a.status(nil)
	status := q.status(by.Result, a.value.tag)
	status.Stored = by.Stored
	return status
}

// stored returns what the tag meant when it was last asked for.
func (q tagQuery) stored(ctx context.Context) (storage.Tag, bool) {
	t, err := q.store.Tag(ctx, q.scope, q.name)
	q.store.readFailed("read tag", q.scope, q.name, err)
	return t, err == nil
}

// fresh reports whether the tag need not be asked for. One that never moves may still
// have moved as long as nobody has its manifest.
func (q tagQuery) fresh(ctx context.Context, t storage.Tag) bool {
	return q.Offline || oci.Within(q.now().Sub(t.Checked), q.TagTTL) || q.immutable() && q.hasManifest(ctx, t.Digest)
}

func (q tagQuery) immutable() bool {
	return q.ImmutableTags != nil && q.ImmutableTags.MatchString(q.name)
}

// status tells freshness and age, but of tags whose age does not matter.
func (q tagQuery) status(result oci.Result, t storage.Tag) oci.CacheStatus {
	status := oci.CacheStatus{Result: result}
	if q.Offline || q.immutable() {
		return status
	}
	status.Age = max(0, q.now().Sub(t.Checked))
	fresh := q.TagTTL - status.Age
	status.Fresh = &fresh
	return status
}

func (q tagQuery) stale(t storage.Tag, cause error) oci.CacheStatus {
	status := q.status(oci.ResultStale, t)
	e := oci.AsError(cause)
	status.Detail, status.ForwardStatus = string(e.Class), e.UpstreamStatus
	return status
}

// forgives reports whether what the tag meant may serve in place of the error.
func (q tagQuery) forgives(ctx context.Context, err error) bool {
	if oci.IsNotFound(err) {
		return q.outlives(ctx)
	}
	return q.excuses(err)
}

// excuses reports whether an old answer may serve in place of the error.
func (v view) excuses(err error) bool {
	switch oci.ClassOf(err) {
	case oci.ClassNotFound:
		return false
	case oci.ClassDenied:
		now := v.now()
		began, _ := v.denials.put(v.scope, now)
		return oci.Within(now.Sub(began), v.StaleIfDenied)
	}
	return true
}

// ask asks the upstream what the tag means. The manifest comes along where the upstream
// tells it only with that, or an old one is to be replaced.
func (q tagQuery) ask(ctx context.Context, old storage.Tag, fallback bool) (oci.Descriptor, *oci.Manifest, error) {
	ref := oci.Reference{Tag: q.name}
	held := func(d digest.Digest) bool { return q.hasManifest(ctx, d) }
	desc, mf, err := q.Remote.Resolve(ctx, q.repository, ref, held)
	if err == nil && mf == nil && fallback && desc.Digest != old.Digest && !held(desc.Digest) {
		// The tag moves only once its new manifest is here: until then the old
		// one is the stale answer.
		mf, err = q.get(ctx, oci.Reference{Digest: desc.Digest})
		switch {
		case err != nil && decidedByTag(err):
			mf, err = q.get(ctx, ref)
		case oci.IsNotFound(err): // it is the manifest that is missing, not the tag
			err = oci.UpstreamError(oci.ClassStatus, "", "the upstream's tag names a manifest that it does not have", err)
		}
	}
	return desc, mf, err
}

// settle records what the tag means, and its manifest, if that came along, or that the
// upstream has no such tag.
func (q tagQuery) settle(ctx context.Context, old storage.Tag, known bool, desc oci.Descriptor, mf *oci.Manifest, err error) (a tagAnswer, stored bool, _ error) {
	if err != nil {
		if known && oci.IsNotFound(err) {
			q.missed(ctx)
		}
		return tagAnswer{}, false, err
	}
	a.manifest = mf
	now := q.now().Add(-oci.AgeOf(desc))
	if mf != nil {
		desc = mf.Descriptor()
		stored = q.keep(ctx, mf)
	} else {
		q.said(ctx, desc)
		q.namedBy.put(q.view.key(kindManifest, desc.Digest.String()), q.name, maxNamed)
	}
	a.tag = storage.Tag{Digest: desc.Digest, MediaType: desc.MediaType, Size: desc.Size, Checked: now, Changed: now}
	if known && old.Digest == desc.Digest {
		a.tag.Changed = old.Changed
	}
	if err := q.store.PutTag(ctx, q.scope, q.name, a.tag); err != nil {
		q.store.failed("tag not stored", err, "scope", q.scope.String(), "tag", q.name)
	}
	q.trust(q.key())
	q.gone.forget(q.key())
	return a, stored, nil
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

// manifest gets the manifest of the tag in one request by that, since the digest that
// it meant leads to none, and moves the tag.
func (q tagQuery) manifest(ctx context.Context, not digest.Digest) (tagAnswer, oci.CacheStatus, error) {
	question := q.manifestQuestion()
	question.have = func(ctx context.Context) (tagAnswer, bool) {
		t, ok := q.stored(ctx)
		if !ok || t.Digest == not {
			return tagAnswer{}, false
		}
		mf, ok := q.local(ctx, t.Digest)
		return tagAnswer{tag: t, manifest: &mf}, ok && q.fresh(ctx, t)
	}
	a, err := lookUp(ctx, q.view, &q.tagged, question)
	if err != nil {
		return tagAnswer{}, a.status(err), err
	}
	return a.value, q.statusOf(a), nil
}

// manifestQuestion is the manifest that the tag means.
func (q tagQuery) manifestQuestion() question[tagAnswer] {
	return question[tagAnswer]{key: q.key(), ask: func(ctx context.Context) (tagAnswer, bool, error) {
		old, known := q.stored(ctx)
		mf, err := q.get(ctx, oci.Reference{Tag: q.name})
		return q.settle(ctx, old, known, oci.Descriptor{}, mf, err)
	}}
}

// get gets a manifest from the upstream.
func (v view) get(ctx context.Context, ref oci.Reference) (*oci.Manifest, error) {
	mf, err := v.Remote.Manifest(ctx, v.repository, ref)
	if err == nil {
		err = check(&mf, ref)
	}
	return &mf, err
}
