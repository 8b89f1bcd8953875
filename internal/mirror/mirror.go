package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// Options make a Mirror.
type Options struct {
	// Upstreams are the registries to mirror; their names are unique.
	Upstreams []Upstream
	// Logger gets what one site wants to know, such as stale answers; nil = discard.
	Logger *slog.Logger
}

// Upstream is one registry, and the policy for it.
type Upstream struct {
	// Name is the configured name, as in oci.Request.Upstream.
	Name string
	// Identity is the Upstream of the storage scopes; default Name. Two configurations that
	// can see different content under one name, by other URLs or credentials, must differ in it.
	Identity string
	// RemoteID tells Remotes of one Identity apart, such as those with an old and a new
	// password: questions are shared, and failures remembered, for each by itself.
	RemoteID string
	// Remote asks the registry; required, unless Offline.
	Remote Remote

	Freshness
	Bounds

	// VerifyRanges has ranges of blobs end only once the whole blob was verified.
	VerifyRanges bool
	// Access says who may use the upstream.
	Access Access
	// Allow, unless empty, and Deny are patterns of the repositories that may
	// be asked for: * within a path component, ** across them. Deny wins.
	Allow, Deny []string
	// Isolate keeps the bytes of the upstream from other ones: these cannot prove to have
	// them, but deliver them themselves, and nothing tells that they are here.
	Isolate bool
	// ProofTTL is how long it is believed that a repository has what it had once; 0 = for
	// ever. Then the upstream is asked again. What it has refused is not served any more.
	ProofTTL time.Duration
	// Offline answers from the cache only, however old. Backed has the Remote asked for what
	// is not there: it is not the registry, but what others have cached.
	Offline, Backed bool
}

// Freshness says how long what an upstream said of its tags is believed.
type Freshness struct {
	// TagTTL is how long a tag, or a list of referrers, is believed without
	// asking the upstream again; 0 = ask on every pull.
	TagTTL time.Duration
	// ImmutableTags matches tags that never move: once known, the upstream is
	// not asked again. nil = none.
	ImmutableTags *regexp.Regexp
	// StaleIfDenied is how long stale tags are served once the upstream denies the
	// repository (401, 403), counted from the first denial; 0 = not at all. What
	// is asked for by digest does not depend on it.
	StaleIfDenied time.Duration
	// StaleIfGone is how long a tag that the upstream has deleted is still served, as
	// stale, counted from its first 404; 0 = not at all, unless the image is pinned;
	// negative = not even then.
	StaleIfGone time.Duration
}

// Bounds are what one upstream may cost.
type Bounds struct {
	// Timeout bounds a look-up as a whole, not its single tries; default 10 s.
	// StaleTimeout does that where an old answer is at hand; default 3 s.
	Timeout, StaleTimeout time.Duration
	// MaxFills bounds the fills that run at a time; more of them wait. 0 = no
	// limit.
	MaxFills int
	// Parallel is how many connections may pull one blob, where each of them is
	// what limits the speed; 0 and 1 = one.
	Parallel int
	// LookAhead is how many blobs of images are pulled at a time before a client
	// asks for them, once it has asked for a layer of the image; 0 = none.
	// LookAheadSize is how many bytes of one image at the most; 0 =
	// DefaultLookAheadSize, negative = any number.
	LookAhead     int
	LookAheadSize int64
	// MissesPerClient is how many look-ups, and how many fills, one client may
	// have started at this upstream at a time; more of them wait. A client is a
	// user at an address. 0 = DefaultMissesPerClient, negative = any number.
	MissesPerClient int
}

// Mirror answers the requests of one site. It is safe for concurrent use, holds
// no resources and needs no Close.
type Mirror struct {
	cache     *Cache
	log       *slog.Logger
	upstreams map[string]*upstream
}

type upstream struct {
	Upstream

	allow, deny globs
	alone       bool // nobody is asked for what is not in the cache
}

// New returns a Mirror on a cache. It fails on missing or repeated names, a
// missing Remote, and patterns that are none.
func New(c *Cache, o Options) (*Mirror, error) {
	m := &Mirror{cache: c, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), upstreams: make(map[string]*upstream, len(o.Upstreams))}
	for _, configured := range o.Upstreams {
		u := &upstream{Upstream: configured}
		if err := u.provision(); err != nil {
			return nil, fmt.Errorf("upstream %q: %w", u.Name, err)
		}
		u.Remote = watched{u.Remote, c, u.Identity}
		if m.upstreams[u.Name] != nil {
			return nil, fmt.Errorf("upstream %q: configured twice", u.Name)
		}
		m.upstreams[u.Name] = u
	}
	return m, nil
}

func (u *upstream) provision() (err error) {
	switch {
	case u.Name == "":
		return errors.New("no name")
	case u.Remote == nil && !u.Offline:
		return errors.New("no remote")
	case u.StaleIfDenied < 0:
		return fmt.Errorf("stale-if-denied %s is negative", u.StaleIfDenied)
	case u.ProofTTL < 0:
		return fmt.Errorf("proof TTL %s is negative", u.ProofTTL)
	case u.TagTTL < 0:
		return fmt.Errorf("tag TTL %s is negative", u.TagTTL)
	}
	u.MissesPerClient = cmp.Or(u.MissesPerClient, DefaultMissesPerClient)
	u.Identity, u.alone = cmp.Or(u.Identity, u.Name), u.Offline && !u.Backed
	if u.allow, err = newGlobs(u.Allow); err != nil {
		return err
	}
	u.deny, err = newGlobs(u.Deny)
	return err
}

// view is the cache as one admitted request sees it.
type view struct {
	*Cache
	*upstream
	links

	repository string
	client     string // who asks; empty = nobody in particular
	ranged     bool   // only for a range of a blob
}

// patience is how long a look-up may take. fallback says that an old answer is at
// hand.
func (v view) patience(fallback bool) time.Duration {
	timeout, limit := v.Timeout, v.deadlines.cold
	if fallback {
		timeout, limit = v.StaleTimeout, v.deadlines.stale
	}
	if timeout <= 0 {
		return limit
	}
	return timeout
}

func (v view) key(of kind, ref string) key { return key{of, v.scope, v.RemoteID, ref} }

// unknown is the answer for what is not cached and cannot be asked for.
func (v view) unknown(code oci.Code) (oci.CacheStatus, error) {
	return oci.CacheStatus{Result: oci.ResultMiss, Detail: "offline"},
		oci.NewError(code, "not in the cache, and "+v.Name+" is configured offline")
}

// StatManifest returns type, digest and exact size of a manifest.
func (m *Mirror) StatManifest(ctx context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.Descriptor{}, oci.CacheStatus{}, err
	}
	ctx, span := startSpan(ctx, "mirror.manifest", v, r.Reference.String())
	d, status, err := v.statManifest(ctx, r.Reference)
	err = m.answered(ctx, span, v, r, status, err)
	return d, status, err
}

// Manifest returns a manifest, its bytes verified.
func (m *Mirror) Manifest(ctx context.Context, r oci.Request) (oci.Manifest, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.Manifest{}, oci.CacheStatus{}, err
	}
	ctx, span := startSpan(ctx, "mirror.manifest", v, r.Reference.String())
	mf, status, err := v.manifest(ctx, r.Reference)
	if err == nil {
		v.store.UseManifest(mf.Digest)
		v.images.Served(v.scope, mf)
	}
	err = m.answered(ctx, span, v, r, status, err)
	return mf, status, err
}

// StatBlob returns digest and size of a blob without downloading it.
func (m *Mirror) StatBlob(ctx context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.Descriptor{}, oci.CacheStatus{}, err
	}
	ctx, span := startSpan(ctx, "mirror.blob", v, r.Reference.String())
	q := v.blobQuery(ctx, r.Reference.Digest)
	d, status, err := q.stat(ctx)
	err = m.answered(ctx, span, v, r, status, err)
	return d, status, err
}

// Blob opens a blob; see oci.Blob. ctx bounds the reads of its Content too. It
// returns once the size is known, and for blobs of up to 1 MiB once they are
// verified.
func (m *Mirror) Blob(ctx context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.Blob{}, oci.CacheStatus{}, err
	}
	spanned, span := startSpan(ctx, "mirror.blob", v, r.Reference.String())
	b, status, err := v.blob(spanned, r.Reference.Digest)
	err = m.answered(spanned, span, v, r, status, err)
	return b, status, err
}

// Tags returns one page of the repository's tags: of the upstream's list, of the last
// whole one that is remembered while the upstream fails, or, where it is configured
// offline, of those that are stored.
func (m *Mirror) Tags(ctx context.Context, r oci.Request, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.TagList{}, oci.CacheStatus{}, err
	}
	ctx, span := startSpan(ctx, "mirror.tags", v, "")
	list, status, err := v.tagList(ctx, page)
	err = m.answered(ctx, span, v, r, status, err)
	return list, status, err
}

// Referrers returns the descriptors of all manifests that refer to a digest.
func (m *Mirror) Referrers(ctx context.Context, r oci.Request) ([]oci.Descriptor, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return nil, oci.CacheStatus{}, err
	}
	ctx, span := startSpan(ctx, "mirror.referrers", v, r.Reference.String())
	ds, status, err := referrersQuery{v, r.Reference.Digest}.list(ctx)
	err = m.answered(ctx, span, v, r, status, err)
	return ds, status, err
}
