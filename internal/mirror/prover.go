package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

const (
	// sampleSize is how long each range is by which an upstream shows that it possesses a
	// blob, and samples is how many there are.
	sampleSize = 64 << 10
	samples    = 4
	// rememberProof is how long a proof that could not be renewed is believed on, until
	// the upstream is asked again.
	rememberProof = time.Minute
)

// prover has an upstream show that a scope has a digest.
type prover struct {
	view

	digest digest.Digest
}

// renew has the upstream confirm a proof that is too old. While it gives no answer, the
// proof is believed on; what it refuses is not the scope's any more.
func (p prover) renew(ctx context.Context, link *storage.Link, ask func(prover, context.Context) (int64, error)) error {
	if p.ProofTTL <= 0 || !link.Proven || p.Offline || oci.Within(p.now().Sub(link.Proved), p.ProofTTL) {
		return nil
	}
	desc, err := p.confirm(ctx, ask)
	switch class := oci.ClassOf(err); {
	case err == nil && desc.Size >= 0 && link.Size < 0:
		link.Size = desc.Size
	case class == oci.ClassNotFound, class == oci.ClassDenied:
		link.Proven = false
		return fmt.Errorf("renew the proof of %s for %s: %w", p.digest, p.scope, err)
	}
	return nil // it is believed while another failure is remembered
}

func (p prover) confirm(ctx context.Context, ask func(prover, context.Context) (int64, error)) (oci.Descriptor, error) {
	k := p.key(kindProof, p.digest.String())
	a, err := lookUp(ctx, p.view, &p.heads, question[oci.Descriptor]{
		key: k, fallback: true,
		ask: func(ctx context.Context) (oci.Descriptor, bool, error) {
			size, err := ask(p, ctx)
			desc := oci.Descriptor{Digest: p.digest, Size: max(size, -1)}
			if err == nil {
				p.proven(ctx, desc)
			}
			return desc, false, err
		},
		failed: func(ctx context.Context, err error) error {
			err = p.classed(ctx, err)
			if class := oci.ClassOf(err); class == oci.ClassNotFound || class == oci.ClassDenied {
				p.refuted(ctx, p.digest)
				p.remember(p.key(kindBlob, p.digest.String()), err, false)
				p.remember(p.key(kindManifest, p.digest.String()), err, false)
			} else {
				p.failures.put(k, oci.AsError(err), p.now(), rememberProof)
			}
			return err
		},
	})
	return a.value, err
}

// head asks for the size of a blob, which is -1 if the upstream does not tell it. known
// is the size that a manifest tells; -1 = none does.
func (p prover) head(ctx context.Context, known int64) (answer[oci.Descriptor], error) {
	return lookUp(ctx, p.view, &p.heads, question[oci.Descriptor]{
		key: p.key(kindBlob, p.digest.String()),
		ask: func(ctx context.Context) (oci.Descriptor, bool, error) {
			size, err := p.askBlob(ctx)
			if err != nil {
				return oci.Descriptor{}, false, err
			}
			// No byte vouches for either: the size of a manifest is what its clients compare
			// with, and a header is the best hint only where no manifest tells.
			if known > 0 {
				size = known
			}
			desc := oci.Descriptor{Digest: p.digest, Size: max(size, -1)}
			p.said(ctx, desc)
			return desc, false, nil
		},
	})
}

// askBlob asks for the size of a blob, which is -1 if the upstream does not tell it.
func (p prover) askBlob(ctx context.Context) (size int64, err error) {
	err = p.summoning(ctx, func() (err error) {
		size, err = p.Remote.HeadBlob(ctx, p.repository, p.digest)
		return err
	})
	return size, err
}

// summoning asks for a blob, and once more if the upstream has it only then.
func (p prover) summoning(ctx context.Context, ask func() error) error {
	mark := p.images.Mark()
	err := ask()
	if oci.IsNotFound(err) && summons(p).send(ctx, mark) {
		err = ask()
	}
	return err
}

// askManifest asks for the size of a manifest.
func (p prover) askManifest(ctx context.Context) (int64, error) {
	desc, _, err := manifestQuery(p).prove(ctx)
	return desc.Size, err
}

// possess has the upstream show that it possesses a blob which another one has brought
// in. It reports false where it has to deliver the whole: of a small one that is as
// cheap, and of others it is what is left.
func (p prover) possess(ctx context.Context) (answer[bool], error) {
	size, err := p.store.StatBlob(ctx, p.digest)
	if err != nil || size <= fill.WholeSize {
		return answer[bool]{}, nil // what is gone is about to go here, too
	}
	leave, err := p.downloads.Enter(ctx, p.Identity, p.MaxFills) // it is the GETs that the upstream counts
	if err != nil {
		return answer[bool]{course: joined}, err
	}
	defer leave()
	return lookUp(ctx, p.view, &p.possessed, question[bool]{
		key: p.key(kindBlob, p.digest.String()),
		have: func(ctx context.Context) (bool, bool) {
			proven := p.linked(ctx, p.digest).Proven
			return proven, proven
		},
		ask: func(ctx context.Context) (proven, stored bool, err error) {
			err = p.summoning(ctx, func() error { return p.sample(ctx, size) })
			switch class := oci.ClassOf(err); {
			case err == nil:
				p.proven(ctx, oci.Descriptor{Digest: p.digest, Size: size})
				return true, false, nil
			case class == oci.ClassNotFound, class == oci.ClassDenied:
				return false, false, fmt.Errorf("get blob %s@%s: %w", p.scope, p.digest, err)
			}
			return false, false, nil
		},
	})
}

var errSample = errors.New("the upstream does not show that it has the blob")

// sample compares what the upstream sends of a blob, at places that it cannot know
// before, with what is stored.
func (p prover) sample(ctx context.Context, size int64) error {
	served, stored, err := p.store.ServeBlob(ctx, p.digest)
	if err != nil {
		return err
	}
	defer served.Close()
	if stored != size {
		return errSample
	}
	for _, off := range sampled(size) {
		if err := p.compare(ctx, served, off, size); err != nil {
			return err
		}
	}
	return nil
}

// sampled returns where the samples of a blob begin: one in its end, which is held back
// from everybody else, and the others anywhere.
func sampled(size int64) (offs [samples]int64) {
	for n := range offs {
		offs[n] = rand.Int64N(size - sampleSize + 1)
	}
	offs[samples-1] = size - sampleSize
	return offs
}

func (p prover) compare(ctx context.Context, stored io.ReadSeeker, off, size int64) error {
	body, err := p.Remote.Blob(ctx, p.repository, p.digest, off, sampleSize)
	if err != nil {
		return err
	}
	defer body.Close()
	if body.Offset != off || body.Size >= 0 && body.Size != size {
		return errSample
	}
	var got, want [sampleSize]byte
	if _, err := io.ReadFull(body, got[:]); err != nil {
		return err
	}
	if _, err := stored.Seek(off, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(stored, want[:]); err != nil {
		return err
	}
	if !bytes.Equal(got[:], want[:]) {
		return errSample
	}
	return nil
}
