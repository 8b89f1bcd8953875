package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Manifest returns a manifest, its digest verified, or fs.ErrNotExist. Its Bytes
// are shared: nobody may change them.
func (s *Store) Manifest(ctx context.Context, d digest.Digest) (oci.Manifest, error) {
	m, err := s.manifest(ctx, d)
	if err != nil {
		return oci.Manifest{}, fmt.Errorf("get manifest %s: %w", d, err)
	}
	return m, nil
}

func (s *Store) manifest(ctx context.Context, d digest.Digest) (oci.Manifest, error) {
	var buffer [keyBytes]byte
	recent, err := appendID(append(buffer[:0], tableManifest), d)
	if err != nil {
		return oci.Manifest{}, err
	}
	known, place := s.recentManifests.look(recent)
	if m, ok := known.(*oci.Manifest); ok {
		return *m, nil
	}
	i := id(recent[1:])
	if err := s.enter(ctx); err != nil {
		return oci.Manifest{}, err
	}
	defer s.leave()
	raw, err := s.get(i.key(tableManifest))
	if err != nil {
		return oci.Manifest{}, err
	}
	r, ok := decodeManifest(raw)
	if !ok {
		return oci.Manifest{}, fs.ErrNotExist
	}
	if r.external {
		if r.bytes, err = s.readBlob(ctx, i); err != nil {
			return oci.Manifest{}, err
		}
	}
	if !oci.Verify(d, r.bytes) {
		s.log.Error("manifest does not match its digest and is dropped", "digest", d)
		if r.external {
			s.quarantine(i, nil, errDigest)
		}
		s.index.post(func(b *batch) error { return b.delete(i.key(tableManifest)) })
		return oci.Manifest{}, fs.ErrNotExist
	}
	m := oci.Manifest{MediaType: r.mediaType, Digest: d, Bytes: r.bytes}
	if len(m.Bytes) <= recentManifestBytes {
		place.keep(recent, &m)
	}
	return m, nil
}

func (s *Store) readBlob(ctx context.Context, i id) ([]byte, error) {
	f, size, err := s.openBlob(ctx, i)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, size)
	_, err = io.ReadFull(f, b)
	return b, err
}

// PutManifest stores a manifest that the scope's upstream has sent, and links it
// and, unproven, its children to the scope, in one transaction. Bytes that do not
// match the digest are refused.
func (s *Store) PutManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	return s.putManifest(ctx, scope, m, children, false)
}

// PutOpenManifest is PutManifest for what other upstreams may prove to have, too.
func (s *Store) PutOpenManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	return s.putManifest(ctx, scope, m, children, true)
}

func (s *Store) putManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor, open bool) error {
	if err := s.recordManifest(ctx, scope, m, children, open); err != nil {
		return fmt.Errorf("put manifest %s of %s: %w", m.Digest, scope, err)
	}
	return nil
}

func (s *Store) recordManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor, open bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := checkScope(scope); err != nil {
		return err
	}
	i, err := idOf(m.Digest)
	if err != nil {
		return err
	}
	if !oci.Verify(m.Digest, m.Bytes) {
		return errDigest
	}
	links, err := s.linksTo(children, linkTo{})
	if err != nil {
		return err
	}
	links = append(links, s.linkTo(i, int64(len(m.Bytes)), linkTo{open: open, linkRecord: linkRecord{Link: Link{Proven: true}}}))
	r := manifestRecord{mediaType: m.MediaType, bytes: m.Bytes}
	if len(m.Bytes) > maxValue {
		if err := s.writeBlob(scope, i, m.Bytes); err != nil {
			return err
		}
		r = manifestRecord{mediaType: m.MediaType, external: true}
	}
	record := r.encode()
	return s.index.offer(ctx, len(record)+len(links)*linkBytes, func(b *batch) error {
		if err := b.linkAll(scope, links); err != nil {
			return err
		}
		// An hour ago, so that the use that follows is one of its blobs, too.
		if err := b.firstUse(i, hourOf(s.now().Add(-time.Hour))); err != nil {
			return err
		}
		return b.set(i.key(tableManifest), record)
	})
}

// UseManifest tells that a client has got a manifest. Of an image, that is a use
// of its blobs, too: a node that has them all asks for nothing else. It waits for
// nothing.
func (s *Store) UseManifest(d digest.Digest) {
	if s.enter(context.Background()) != nil {
		return
	}
	defer s.leave()
	if i, err := idOf(d); err == nil && s.manifestUses.touch(i, hourOf(s.now())) >= maxUses {
		s.keepHouseNow()
	}
}

// writeBlob stores bytes that were verified as a blob.
func (s *Store) writeBlob(scope oci.Scope, i id, content []byte) error {
	size := int64(len(content))
	p, err := s.openPart(scope, i, size)
	if err != nil {
		return err
	}
	defer p.file.Close()
	if _, err := p.WriteAt(content, 0); err != nil {
		return errors.Join(err, p.end(p.remove))
	}
	return p.end(func() error { return p.commit(size) })
}
