package storage

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// recentManifestBytes is the longest manifest that is kept in memory.
const recentManifestBytes = 32 << 10

// Manifest returns a manifest, its digest verified, or fs.ErrNotExist. Its Bytes
// are shared: nobody may change them.
func (r *Records) Manifest(ctx context.Context, d digest.Digest) (oci.Manifest, error) {
	var buffer [index.KeyBytes]byte
	key, err := volume.AppendID(append(buffer[:0], index.TableManifest), d)
	if err == nil {
		known, place := r.index.Manifests.Look(key)
		if m, ok := known.(*oci.Manifest); ok {
			return *m, nil
		}
		var m oci.Manifest
		i := volume.ID(key[1:])
		err = r.life.Within(ctx, func() error {
			m, err = r.manifest(ctx, d, i)
			return err
		})
		if err == nil {
			if len(m.Bytes) <= recentManifestBytes {
				place.Keep(key, &m)
			}
			return m, nil
		}
	}
	return oci.Manifest{}, fmt.Errorf("get manifest %s: %w", d, err)
}

func (r *Records) manifest(ctx context.Context, d digest.Digest, i volume.ID) (oci.Manifest, error) {
	key := index.TableKey(index.TableManifest, i)
	raw, err := r.index.Get(key)
	if err != nil {
		return oci.Manifest{}, err
	}
	m, ok := index.DecodeManifest(raw)
	if !ok {
		return oci.Manifest{}, fs.ErrNotExist
	}
	if m.External {
		if m.Bytes, err = r.large.readBlob(ctx, i); err != nil {
			return oci.Manifest{}, err
		}
	}
	if !oci.Verify(d, m.Bytes) {
		r.log.Error("manifest does not match its digest and is dropped", "digest", d)
		if m.External {
			r.large.quarantine(i, nil, integrity.ErrDigest)
		}
		r.index.Post(func(b *index.Batch) error { return b.Delete(key) })
		return oci.Manifest{}, fs.ErrNotExist
	}
	return oci.Manifest{MediaType: m.MediaType, Digest: d, Bytes: m.Bytes}, nil
}

// PutManifest stores a manifest that the scope's upstream has sent, and links it
// and, unproven, its children to the scope, in one transaction. Bytes that do not
// match the digest are refused.
func (r *Records) PutManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	return r.putManifest(ctx, scope, m, children, false)
}

// PutOpenManifest is PutManifest for what other upstreams may prove to have, too.
func (r *Records) PutOpenManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	return r.putManifest(ctx, scope, m, children, true)
}

func (r *Records) putManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor, open bool) error {
	defer m.Room.Leave()
	i, links, err := manifestLinks(scope, m, children, open, r.now())
	if err == nil {
		err = r.life.Within(ctx, func() error {
			entry := index.Manifest{MediaType: m.MediaType, Bytes: m.Bytes}
			if len(m.Bytes) > index.MaxValue {
				if err := r.large.writeBlob(scope, i, m.Bytes); err != nil {
					return err
				}
				entry.External, entry.Bytes = true, nil
			}
			record := entry.Encode()
			return r.index.Offer(ctx, len(record)+len(links)*index.LinkBytes, func(b *index.Batch) error {
				if err := b.LinkAll(scope, links); err != nil {
					return err
				}
				// An hour ago, so that the use that follows is one of its blobs, too.
				if err := b.FirstUse(i, index.HourOf(r.now().Add(-time.Hour))); err != nil {
					return err
				}
				return b.Set(index.TableKey(index.TableManifest, i), record)
			})
		})
	}
	if err != nil {
		return fmt.Errorf("put manifest %s of %s: %w", m.Digest, scope, err)
	}
	return nil
}

// manifestLinks returns the links that come with a manifest, if that has its digest.
func manifestLinks(scope oci.Scope, m oci.Manifest, children []oci.Descriptor, open bool, now time.Time) (volume.ID, []index.LinkTo, error) {
	if err := index.CheckScope(scope); err != nil {
		return "", nil, err
	}
	i, err := volume.IDOf(m.Digest)
	if err != nil {
		return "", nil, err
	}
	if !oci.Verify(m.Digest, m.Bytes) {
		return "", nil, integrity.ErrDigest
	}
	links, err := index.LinksTo(children, index.LinkTo{}, now)
	own := index.LinkTo{Open: open, LinkRecord: index.LinkRecord{Link: Link{Proven: true}}}
	return i, append(links, own.At(now, i, int64(len(m.Bytes)))), err
}

// UseManifest tells that a client has got a manifest. Of an image, that is a use
// of its blobs, too: a node that has them all asks for nothing else. It waits for
// nothing.
func (r *Records) UseManifest(d digest.Digest) {
	i, err := volume.IDOf(d)
	if err != nil {
		return
	}
	_ = r.life.Within(context.Background(), func() error {
		now := r.now()
		r.uses.Latest.Note(i, now)
		if r.uses.Manifests.Touch(i, index.HourOf(now)) >= eviction.MaxUses {
			r.full()
		}
		return nil
	})
}
