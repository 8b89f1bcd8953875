// Package janitor keeps the bucket of a fleet clean: it finds out which gateway has used
// what, and removes what is too much, what nobody used for too long, and what belongs to
// nothing.
package janitor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"

	objects "github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
)

// Options say which bucket it is.
type Options struct {
	Objects objects.Objects
	In      Folders
	// Limits returns how much is kept, and Pinned what is pinned.
	Limits func() Limits
	Pinned func(context.Context) (map[digest.Digest]bool, error)
	// Contents reads a manifest that the gateway has.
	Contents func(context.Context, digest.Digest) (oci.Contents, error)
	// Well reports whether the bucket is read and written at present.
	Well func() bool
	// Mine reports whether this gateway is the one that cleans: others do so only where it has
	// not for twice as long as it should. nil = each of them is.
	Mine func() bool
	// Gone is told of objects that are about to go.
	Gone func(key string)
	// Expire is told of purges that are about to go, and removes what would outlive them. nil =
	// there is nothing like that.
	Expire func(ctx context.Context, purges []string) error
	// Survive keeps a panic from taking the server down. It is deferred.
	Survive func(task string)
	Log     *slog.Logger
}

// Folders are what the keys of objects begin with, and Base and Report are keys.
type Folders struct{ Blobs, Manifests, Proofs, Purges, Uses, Base, Report string }

// New returns the janitor of a bucket, and the uses that a gateway notes.
func New(o Options) (*Janitor, *Uses) {
	if o.Mine == nil {
		o.Mine = func() bool { return true }
	}
	if o.Expire == nil {
		o.Expire = func(context.Context, []string) error { return nil }
	}
	b := bucket{o}
	return &Janitor{bucket: b}, &Uses{bucket: b, contents: o.Contents}
}

// bucket is what is cleaned.
type bucket struct{ Options }

const (
	// putBudget bounds a write, beside what its bytes take at slowestPut per second.
	putBudget  = 30 * time.Second
	slowestPut = 1 << 20
	untyped    = "binary/octet-stream"
)

func (b bucket) put(ctx context.Context, key string, raw []byte) error {
	ctx, cancel := context.WithTimeout(ctx, putBudget+time.Duration(len(raw)/slowestPut)*time.Second)
	defer cancel()
	return b.Objects.Put(ctx, key, bytes.NewReader(raw), int64(len(raw)), objects.PutOptions{ContentType: untyped})
}

// open opens an object; nil = there is none.
func (b bucket) open(ctx context.Context, key string) (io.ReadCloser, error) {
	o, err := b.Objects.Get(ctx, key, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return o.ReadCloser, err
}
