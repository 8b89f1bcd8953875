package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// maxConfig is the largest config that is read for its platform.
const maxConfig = 4 << 20

// absence is why something is not there: an fs.ErrNotExist.
type absence string

const (
	errUncached absence = "is not cached"
	// The bytes are there, but offline the mirror would not serve them here.
	errUnproven absence = "is cached, but its upstream has not confirmed it for this repository"
	errDamaged  absence = "was damaged, and is in quarantine"
)

func (a absence) Error() string { return string(a) }

// Is makes it fs.ErrNotExist.
func (a absence) Is(target error) bool { return target == fs.ErrNotExist }

// Stored reads the parts of a repository from a store alone. It has what a mirror
// would answer without its upstream, and everything else is fs.ErrNotExist.
type Stored struct {
	Store *storage.Store
	Scope oci.Scope
}

// Manifest implements Source.
func (s Stored) Manifest(ctx context.Context, ref oci.Reference) (oci.Manifest, error) {
	d := ref.Digest
	if !ref.IsDigest() {
		t, err := s.Store.Tag(ctx, s.Scope, ref.Tag)
		if err != nil {
			return oci.Manifest{}, plain(err)
		}
		d = t.Digest
	}
	mf, err := s.Store.Manifest(ctx, d)
	if err == nil {
		err = s.proven(ctx, d)
	}
	return mf, plain(err)
}

// Config implements Source.
func (s Stored) Config(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	if err := s.proven(ctx, d.Digest); err != nil {
		return nil, plain(err)
	}
	f, size, err := s.Store.OpenBlob(ctx, d.Digest)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	if size > maxConfig {
		return nil, fmt.Errorf("config has %d bytes", size)
	}
	return io.ReadAll(f)
}

// Referrers implements Source.
func (s Stored) Referrers(ctx context.Context, d digest.Digest) ([]oci.Descriptor, error) {
	r, err := s.Store.Referrers(ctx, s.Scope, d)
	return r.Descriptors, plain(err)
}

// proven returns an error unless the upstream has confirmed that the repository has
// a digest.
func (s Stored) proven(ctx context.Context, d digest.Digest) error {
	link, err := s.Store.Linked(ctx, s.Scope, d)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !link.Proven {
		return errUnproven
	}
	return err
}

// plain leaves out of the error for what is absent what everybody sees.
func plain(err error) error {
	if _, known := errors.AsType[absence](err); !known && errors.Is(err, fs.ErrNotExist) {
		return errUncached
	}
	return err
}
