package upstream

import (
	"context"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// How long HEAD is not asked for at an endpoint after it has refused one for what it
// gave on GET: shortly where the refusal may have been chance, such as a 404 of a
// replica that lags behind, or a 5xx.
const (
	headlessByChance = 5 * time.Minute
	headless         = time.Hour
	// headlessInTrouble is for a 5xx, whatever a GET says: a registry in trouble is not
	// asked twice for everything.
	headlessInTrouble = 10 * time.Second
)

// Resolve finds out type, digest and size of a manifest. It asks for no bytes if a
// HEAD tells all three, and held, unless nil, reports that the manifest with this digest
// is here. Where HEAD refuses, tells too little, or what nobody has seen, a GET settles
// it, and the manifest is returned, too; else it is nil.
func (c *Client) Resolve(
	ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool,
) (oci.Descriptor, *oci.Manifest, error) {
	if err := checkReference(ref); err != nil {
		return oci.Descriptor{}, nil, err
	}
	op := manifestOperation(wire.OpHeadManifest, repository, ref)
	r, err := each(ctx, c, op, func(ctx context.Context, v *visit) (resolved, error) {
		r, err := v.resolve(ctx, ref)
		if err == nil && r.manifest == nil && !r.metered && !ref.IsDigest() && held != nil && !held(r.descriptor.Digest) {
			return v.confirm(ctx, ref, r)
		}
		return r, err
	})
	return r.descriptor, r.manifest, err
}

// resolved is what Resolve found out.
type resolved struct {
	descriptor oci.Descriptor
	manifest   *oci.Manifest
	// metered says that the registry counts GETs of manifests.
	metered bool
}

func (v *visit) resolve(ctx context.Context, ref oci.Reference) (resolved, error) {
	return headFirst(v, func() (resolved, bool, bool, error) {
		r, chance, err := v.headManifest(ctx, ref)
		return r, r.descriptor.Digest != "", chance, err
	}, func() (resolved, error) {
		m, err := v.manifest(ctx, ref)
		if err != nil {
			return resolved{}, err
		}
		return resolved{descriptor: m.Descriptor(), manifest: &m}, nil
	})
}

// confirm gets the manifest of a tag by that, since a client may pin the digest that a
// header tells, and some headers are wrong. Who asks for a manifest after its HEAD finds
// it here then, so that a pull costs no request more. Where no bytes come, what HEAD told
// has to do, as it does where the registry counts GETs: who only looks has no pull to
// spend.
func (v *visit) confirm(ctx context.Context, ref oci.Reference, told resolved) (resolved, error) {
	m, err := v.manifest(ctx, ref)
	if err != nil {
		switch f := wire.AsFailure(ctx, v.e.base.Host, err); f.Class {
		case oci.ClassNotRegistry, oci.ClassLength:
			return resolved{}, f // they came, and are no manifest
		}
		return told, nil
	}
	if oci.Verify(told.descriptor.Digest, m.Bytes) {
		m.Digest = told.descriptor.Digest // of whichever algorithm
	} else {
		v.e.skipHead(v.kind, v.c.o.Now(), headlessByChance) // or the tag has moved meanwhile
	}
	return resolved{descriptor: m.Descriptor(), manifest: &m}, nil
}

// headFirst asks with a HEAD, unless that is known to be refused, and with a GET if what
// it tells is nothing to rely on (ok is false). chance says that the next HEAD may tell
// more.
func headFirst[T any](v *visit, head func() (value T, ok, chance bool, err error), get func() (T, error)) (T, error) {
	refusal := time.Duration(0)
	if !v.headed && !v.e.isHeadless(v.kind, v.c.o.Now()) {
		value, ok, chance, err := head()
		if err != nil || ok {
			return value, err
		}
		v.headed = true // a further try need not begin with it
		if refusal = headless; chance {
			refusal = headlessByChance
		}
	}
	value, err := get()
	if err == nil && refusal > 0 {
		v.e.skipHead(v.kind, v.c.o.Now(), refusal)
	}
	return value, err
}

// headManifest returns what a HEAD tells, with the zero descriptor if that is no answer
// to rely on; chance says that the next one may be.
func (v *visit) headManifest(ctx context.Context, ref oci.Reference) (told resolved, chance bool, err error) {
	ctx, done := v.briefly(ctx)
	defer done()
	a, err := v.askManifest(ctx, wire.OpHeadManifest, http.MethodHead, ref)
	if err != nil {
		f := wire.AsFailure(ctx, v.e.base.Host, err)
		if isUnsettled(f) {
			return resolved{}, true, nil
		}
		return resolved{}, false, f
	}
	defer a.Drain()
	if a.StatusCode != http.StatusOK {
		v.headRefused(a)
		return resolved{}, byChance(a.StatusCode), nil
	}
	_, metered := wire.ReadRateLimit(a.Header, v.c.o.Now())
	return resolved{descriptor: headDescriptor(a, ref), metered: metered}, false, nil
}

// headShare is the part of an operation's time that a HEAD may take: the rest is for
// the GET, of what only that gives.
const headShare = 0.4

// briefly bounds a HEAD.
func (v *visit) briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := time.Duration(float64(v.c.o.Timeouts.Operation) * headShare)
	return context.WithTimeoutCause(ctx, limit, wire.ErrBudget)
}

// isUnsettled reports whether the failure of a HEAD is a refusal that a GET need not
// share.
func isUnsettled(f *wire.Failure) bool {
	switch f.Class {
	case oci.ClassDenied, oci.ClassNotFound, oci.ClassStatus, oci.ClassRedirect, oci.ClassNotRegistry, oci.ClassToken, oci.ClassForbidden:
		return !f.Unasked
	case oci.ClassConnect, oci.ClassTimeout:
		// The connection was cut, or a host that the registry leads to is not there.
		return !f.Unreached || f.Abroad
	}
	return false
}

// byChance reports whether a status of a HEAD says nothing of HEAD itself.
func byChance(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return false
	}
	return true
}

// headRefused notes that a HEAD was refused, before a GET is asked.
func (v *visit) headRefused(a *wire.Answer) {
	if now := v.c.o.Now(); wire.IsServerError(a.StatusCode) && !v.e.isHeadless(v.kind, now) {
		v.e.skipHead(v.kind, now, headlessInTrouble)
	}
}

func (e *endpoint) skipHead(of kind, now time.Time, last time.Duration) {
	e.headless[of].begin(now, last)
}

func (e *endpoint) isHeadless(of kind, now time.Time) bool { return e.headless[of].left(now) > 0 }

// isManifestType reports whether a type can be that of a manifest. Generic ones are
// sent by servers that do not know.
func isManifestType(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.") &&
		mediaType != oci.MediaTypeDockerSchema1 && mediaType != oci.MediaTypeDockerSchema1Signed
}

// headDescriptor reads the answer to a HEAD; the zero descriptor if it does not
// tell all there is to know, or tells of something else.
func headDescriptor(a *wire.Answer, ref oci.Reference) oci.Descriptor {
	d, err := oci.ParseDigest(a.Header.Get("Docker-Content-Digest"))
	if err != nil {
		d = ref.Digest
	}
	if ref.IsDigest() && d.Algorithm() == ref.Digest.Algorithm() && d != ref.Digest {
		return oci.Descriptor{}
	}
	// What is no media type comes out empty.
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if d == "" || a.ContentLength <= 0 || a.ContentLength > oci.MaxManifestSize || !isManifestType(mediaType) {
		return oci.Descriptor{}
	}
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: a.ContentLength}
}
