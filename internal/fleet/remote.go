package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/caution"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// sharedBy is what answers of the bucket say of themselves.
	sharedBy = "bucket"
	// sparePatience is how long an upstream is waited for until the bucket is asked what a
	// tag meant, and confirmPatience how long until it counts as one that gives no answer.
	sparePatience   = 3 * time.Second
	confirmPatience = 3 * time.Second
	// lackingFor is how long manifests of a repository are the upstream's own that lacks a
	// blob there: some have blobs only once they were asked for the manifest.
	lackingFor = 10 * time.Second
	// servedFor is how long it is remembered that the bucket has sent some of a blob.
	servedFor = 24 * time.Hour
)

// Upstream says of an upstream what a Remote has to know.
type Upstream struct {
	// Identity is that of its scopes.
	Identity string
	// TagTTL is how long its tags are fresh, and ProofTTL how long it is believed that it
	// has what it had; 0 = for ever.
	TagTTL, ProofTTL time.Duration
	// ImmutableTags matches tags that never move; nil = none.
	ImmutableTags *regexp.Regexp
}

func (u Upstream) scope(repository string) oci.Scope {
	return oci.Scope{Upstream: u.Identity, Repository: repository}
}

// Remote returns a Remote that answers from the bucket what that has, then from other
// gateways, and else from another Remote. Without either it is that one. nil = the upstream
// is not asked, by no gateway: the bucket answers alone.
func (f *Fleet) Remote(u Upstream, inner mirror.Remote) mirror.Remote {
	if inner == nil {
		inner, u.ProofTTL = offline{}, 0 // which nobody could renew
	} else {
		inner = &follower{Remote: inner, Upstream: u, fleet: f}
	}
	return &remote{Remote: inner, Upstream: u, fleet: f}
}

type remote struct {
	mirror.Remote
	Upstream

	fleet   *Fleet
	lacking caution.Recent // repositories
}

// Blob implements mirror.Remote.
func (r *remote) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	depot := r.fleet.depot.Load()
	if depot == nil {
		return r.Remote.Blob(ctx, repository, d, offset, length)
	}
	body, missing := r.sharedBlob(ctx, reader{depot: depot}, repository, d, offset, length)
	if missing == nil {
		return body, nil
	}
	body, err := r.Remote.Blob(ctx, repository, d, offset, length)
	if unanswered(err) && !errors.Is(missing, fs.ErrNotExist) {
		if late, stillMissing := r.sharedBlob(ctx, reader{depot, true}, repository, d, offset, length); stillMissing == nil {
			return late, nil
		}
	}
	return body, r.noted(repository, err)
}

// sharedBlob begins to read a blob from the bucket.
func (r *remote) sharedBlob(ctx context.Context, depot reader, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	key := blobKey(d)
	proof := r.prove(ctx, depot, repository, d, func(ctx context.Context) error {
		_, err := r.Remote.HeadBlob(ctx, repository, d)
		return err
	})
	defer proof.end()
	o, err := depot.get(ctx, key, offset, length)
	if err != nil {
		return oci.BlobBody{}, err
	}
	if size, ok := proof.await(); !ok || size >= 0 && size != o.Size {
		_ = o.Close()
		return oci.BlobBody{}, errUnproven
	}
	depot.present.Add(key, presentFor)
	depot.served.Add(key, servedFor)
	return oci.BlobBody{ReadCloser: o, Offset: o.Offset, Size: o.Size, Shared: sharedBy}, nil
}

// HeadBlob implements mirror.Remote.
func (r *remote) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	depot := r.fleet.depot.Load()
	if depot == nil {
		return r.Remote.HeadBlob(ctx, repository, d)
	}
	if r.ProofTTL == 0 {
		if size, ok := proven(ctx, reader{depot: depot}, r.scope(repository), d); ok {
			return size, nil
		}
	}
	size, err := r.Remote.HeadBlob(ctx, repository, d)
	if r.spares(ctx, repository, d, err) {
		if size, ok := proven(context.WithoutCancel(ctx), reader{depot, true}, r.scope(repository), d); ok {
			return size, nil
		}
	}
	return size, r.noted(repository, err)
}

// spares reports whether the bucket answers in place of an upstream that has not confirmed
// what expires. A proof that is known here is not renewed by that: it is believed on, by
// the rules of package mirror.
func (r *remote) spares(ctx context.Context, repository string, d digest.Digest, err error) bool {
	if r.ProofTTL == 0 || !unanswered(err) {
		return unanswered(err)
	}
	link, unknown := r.fleet.local.Records.Linked(context.WithoutCancel(ctx), r.scope(repository), d)
	return unknown != nil || !link.Proven
}

// noted notes that an upstream lacks what was asked for.
func (r *remote) noted(repository string, err error) error {
	if oci.IsNotFound(err) && !errors.Is(err, errOffline) {
		r.lacking.Add(repository, lackingFor)
	}
	return err
}

// Manifest implements mirror.Remote.
func (r *remote) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	depot := r.fleet.depot.Load()
	if depot == nil || !ref.IsDigest() || r.lacking.Has(repository) {
		return r.Remote.Manifest(ctx, repository, ref)
	}
	mf, missing := r.sharedManifest(ctx, reader{depot: depot}, repository, ref.Digest)
	if missing == nil {
		return mf, nil
	}
	mf, err := r.Remote.Manifest(ctx, repository, ref)
	if unanswered(err) && !errors.Is(missing, fs.ErrNotExist) {
		if late, stillMissing := r.sharedManifest(context.WithoutCancel(ctx), reader{depot, true}, repository, ref.Digest); stillMissing == nil {
			return late, nil
		}
	}
	return mf, err
}

var errUnproven = errors.New("the upstream has not shown that it has it there")

// sharedManifest reads a manifest from the bucket.
func (r *remote) sharedManifest(ctx context.Context, depot reader, repository string, d digest.Digest) (oci.Manifest, error) {
	key := manifestKey(d)
	proof := r.prove(ctx, depot, repository, d, func(ctx context.Context) error {
		_, _, err := r.Remote.Resolve(ctx, repository, oci.Reference{Digest: d}, nil)
		return err
	})
	defer proof.end()
	o, err := depot.get(ctx, key, 0, -1)
	if err != nil {
		return oci.Manifest{}, err
	}
	defer o.Close()
	if _, ok := proof.await(); !ok {
		return oci.Manifest{}, errUnproven
	}
	raw, err := io.ReadAll(io.LimitReader(o, oci.MaxManifestSize+1))
	if err != nil {
		return oci.Manifest{}, err
	}
	if !oci.Verify(d, raw) {
		depot.distrust(job{kind: wrong, digest: d, name: key})
		return oci.Manifest{}, fmt.Errorf("manifest %s does not match its digest", d)
	}
	depot.present.Add(key, presentFor)
	mediaType, contents, err := oci.DecodeManifest(strings.TrimPrefix(o.ContentType, untyped), raw)
	if err != nil {
		return oci.Manifest{}, err
	}
	return oci.Manifest{MediaType: mediaType, Digest: d, Bytes: raw, Contents: &contents, Shared: sharedBy}, nil
}

// untyped is the type of objects that were written without any.
const untyped = "binary/octet-stream"

// Resolve implements mirror.Remote.
func (r *remote) Resolve(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	depot := r.fleet.depot.Load()
	switch {
	case depot == nil:
		return r.Remote.Resolve(ctx, repository, ref, held)
	case ref.IsDigest():
		return r.resolveDigest(ctx, depot, repository, ref)
	}
	return r.resolveTag(ctx, depot, repository, ref, held)
}

func (r *remote) resolveDigest(ctx context.Context, depot *depot, repository string, ref oci.Reference) (oci.Descriptor, *oci.Manifest, error) {
	shared := func(ctx context.Context, patient bool) (oci.Descriptor, *oci.Manifest, bool) {
		mf, err := r.sharedManifest(ctx, reader{depot, patient}, repository, ref.Digest)
		return mf.Descriptor(), &mf, err == nil
	}
	if r.ProofTTL == 0 && !r.lacking.Has(repository) {
		if d, mf, ok := shared(ctx, false); ok {
			return d, mf, nil
		}
	}
	d, mf, err := r.Remote.Resolve(ctx, repository, ref, nil)
	if r.spares(ctx, repository, ref.Digest, err) {
		if d, mf, ok := shared(context.WithoutCancel(ctx), true); ok {
			return d, mf, nil
		}
	}
	return d, mf, err
}

// unanswered reports whether an upstream has said neither yes nor no.
func unanswered(err error) bool {
	switch class := oci.ClassOf(err); {
	case errors.Is(err, errOffline):
		return true
	case err == nil, class == oci.ClassNotFound, class == oci.ClassDenied:
		return false
	}
	return true
}

// proof is what shows that a scope may have what the bucket has. It is looked for while
// that is asked for.
type proof struct {
	size  int64
	ok    bool
	found chan struct{} // closed once both are known
	end   context.CancelFunc
}

func (p *proof) await() (size int64, ok bool) {
	<-p.found
	return p.size, p.ok
}

// prove looks for the proof of a digest: in the gateway's own store, or else in the
// bucket. Where proofs expire, confirm asks the upstream, which must not refuse then.
func (r *remote) prove(ctx context.Context, depot reader, repository string, d digest.Digest, confirm func(context.Context) error) *proof {
	p := &proof{found: make(chan struct{})}
	ctx, p.end = context.WithCancel(ctx)
	scope := r.scope(repository)
	depot.begun.Note(scoped{scope, d})
	if link, err := r.fleet.Records().Linked(ctx, scope, d); err == nil && link.Proven {
		p.size, p.ok = link.Size, true
		close(p.found)
		return p
	}
	go func() {
		defer close(p.found)
		defer r.fleet.survive("prove")
		size, ok := proven(ctx, depot, scope, d)
		if ok && r.ProofTTL > 0 {
			ctx, cancel := context.WithTimeout(ctx, confirmPatience)
			defer cancel()
			err := confirm(ctx)
			ok = err == nil || unanswered(err)
		}
		p.size, p.ok = size, ok
	}()
	return p
}

// proven looks for a proof in the bucket, and returns the size that it tells; -1 = none.
// One from before a purge is none, whoever has written it late.
func proven(ctx context.Context, depot reader, scope oci.Scope, d digest.Digest) (size int64, ok bool) {
	key := proofKey(scope, d)
	depot.begun.Note(scoped{scope, d})
	info, err := depot.head(ctx, key)
	if err != nil || info.Meta[metaPurge] < depot.covering(scope, oci.Reference{Digest: d}) {
		return -1, false
	}
	depot.present.Add(presentProof(key, info.Meta[metaSize], info.Meta[metaPurge]), presentFor)
	if size, err = strconv.ParseInt(info.Meta[metaSize], 10, 64); err != nil {
		size = -1
	}
	return size, true
}
