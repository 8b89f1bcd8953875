package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

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
)

// proof is how a scope comes to bytes that others have brought in.
type proof int

const (
	// proofWhole is to deliver them once more: nobody has shown anything that this upstream
	// may build upon. It behaves as on an empty cache.
	proofWhole proof = iota
	// proofHead is that the upstream says so: it has delivered them itself, for another
	// repository.
	proofHead
	// proofSamples is that the upstream shows that it possesses them.
	proofSamples
)

// proof returns how the scope, which has no proof, comes to what is stored.
func (v view) proof(ctx context.Context, d digest.Digest) proof {
	switch o := v.origins(ctx, d); {
	case o.Own:
		return proofHead
	case o.Open:
		return proofSamples
	}
	return proofWhole
}

// origins returns who has shown to have a digest. A store that cannot tell counts as
// nobody.
func (v view) origins(ctx context.Context, d digest.Digest) storage.Origins {
	o, err := v.store.Origins(ctx, v.scope, d)
	v.readFailed("read origins", v.scope, d.String(), err)
	return o
}

// proven records that the upstream has shown to have content: its bytes were verified,
// or compared with those that were.
func (v view) proven(ctx context.Context, ds ...oci.Descriptor) {
	link := v.store.LinkOpen
	if v.Isolate {
		link = v.store.Link
	}
	if err := link(ctx, v.scope, ds...); err != nil {
		v.storeFailed("link not stored", err, "scope", v.scope.String())
	}
}

// resize corrects the size that a link tells.
func (v view) resize(ctx context.Context, d oci.Descriptor) {
	if err := v.store.Resize(ctx, v.scope, d); err != nil {
		v.storeFailed("link not stored", err, "scope", v.scope.String())
	}
}

// said records what the upstream says that it has. That shows something only where it
// has delivered the bytes itself, for whichever repository.
func (v view) said(ctx context.Context, d oci.Descriptor) (proven bool) {
	if proven = v.origins(ctx, d.Digest).Own; proven {
		v.proven(ctx, d)
	} else if err := v.store.Claim(ctx, v.scope, d); err != nil {
		v.storeFailed("link not stored", err, "scope", v.scope.String())
	}
	return proven
}

// possess has the upstream show that it possesses a blob which another one has brought
// in. It reports false where it has to deliver the whole: of a small one that is as
// cheap, and of others it is what is left.
func (v view) possess(ctx context.Context, d digest.Digest) (proven, led bool, err error) {
	size, err := v.store.StatBlob(ctx, d)
	if err != nil || size <= fill.WholeSize {
		return false, false, nil //nolint:nilerr // it is about to go
	}
	k := v.key(kindBlob, d.String())
	return v.possessed.do(ctx, v, k, v.patience(false), func(ctx context.Context) (bool, error) {
		if v.linked(ctx, v.scope, d).Proven {
			return true, nil
		}
		if e := v.remembered(k, false); e != nil {
			return false, e
		}
		mark := v.images.mark()
		err := v.sample(ctx, d, size)
		if oci.IsNotFound(err) && v.askForImage(ctx, d, mark) {
			err = v.sample(ctx, d, size)
		}
		switch class := oci.ClassOf(err); {
		case err == nil:
			v.proven(ctx, oci.Descriptor{Digest: d, Size: size})
			return true, nil
		case class == oci.ClassNotFound, class == oci.ClassDenied:
			err = v.asked(ctx, err)
			v.remember(k, err, false)
			return false, fmt.Errorf("get blob %s@%s: %w", v.scope, d, err)
		}
		return false, nil
	})
}

var errSample = errors.New("the upstream does not show that it has the blob")

// sample compares what the upstream sends of a blob, at places that it cannot know
// before, with what is stored.
func (v view) sample(ctx context.Context, d digest.Digest, size int64) error {
	file, stored, err := v.store.OpenBlob(ctx, d)
	if err != nil {
		return err
	}
	defer file.Close()
	if stored != size {
		return errSample
	}
	for _, off := range sampled(size) {
		if err := v.compare(ctx, d, file, off, size); err != nil {
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

func (v view) compare(ctx context.Context, d digest.Digest, file io.ReaderAt, off, size int64) error {
	body, err := v.Remote.Blob(ctx, v.repository, d, off, sampleSize)
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
	if _, err := file.ReadAt(want[:], off); err != nil {
		return err
	}
	if !bytes.Equal(got[:], want[:]) {
		return errSample
	}
	return nil
}
