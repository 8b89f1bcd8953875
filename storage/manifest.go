package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Manifest returns a manifest, its digest verified, or fs.ErrNotExist. Its Bytes
// are shared: nobody may change them.
func (s *Store) Manifest(d digest.Digest) (oci.Manifest, error) {
	m, err := s.manifest(d)
	if err != nil {
		return oci.Manifest{}, fmt.Errorf("get manifest %s: %w", d, err)
	}
	return m, nil
}

func (s *Store) manifest(d digest.Digest) (oci.Manifest, error) {
	var buffer [index.KeyBytes]byte
	recent, err := volume.AppendID(append(buffer[:0], index.TableManifest), d)
	if err != nil {
		return oci.Manifest{}, err
	}
	known, place := s.index.Manifests.Look(recent)
	if m, ok := known.(*oci.Manifest); ok {
		return *m, nil
	}
	i := volume.ID(recent[1:])
	if err := s.enter(); err != nil {
		return oci.Manifest{}, err
	}
	defer s.leave()
	raw, err := s.index.Get(index.TableKey(index.TableManifest, i))
	if err != nil {
		return oci.Manifest{}, err
	}
	r, ok := index.DecodeManifest(raw)
	if !ok {
		return oci.Manifest{}, fs.ErrNotExist
	}
	if r.External {
		if r.Bytes, err = s.readBlob(i); err != nil {
			return oci.Manifest{}, err
		}
	}
	if !oci.Verify(d, r.Bytes) {
		s.log.Error("manifest does not match its digest and is dropped", "digest", d)
		if r.External {
			s.judge.Quarantine(i, nil, integrity.ErrDigest)
		}
		s.index.Post(func(b *index.Batch) error { return b.Delete(index.TableKey(index.TableManifest, i)) })
		return oci.Manifest{}, fs.ErrNotExist
	}
	m := oci.Manifest{MediaType: r.MediaType, Digest: d, Bytes: r.Bytes}
	if len(m.Bytes) <= recentManifestBytes {
		place.Keep(recent, &m)
	}
	return m, nil
}

func (s *Store) readBlob(i volume.ID) ([]byte, error) {
	f, size, err := s.openBlob(i)
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
func (s *Store) PutManifest(scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	return s.putManifest(scope, m, children, false)
}

// PutOpenManifest is PutManifest for what other upstreams may prove to have, too.
func (s *Store) PutOpenManifest(scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	return s.putManifest(scope, m, children, true)
}

func (s *Store) putManifest(scope oci.Scope, m oci.Manifest, children []oci.Descriptor, open bool) error {
	if err := s.recordManifest(scope, m, children, open); err != nil {
		return fmt.Errorf("put manifest %s of %s: %w", m.Digest, scope, err)
	}
	return nil
}

func (s *Store) recordManifest(scope oci.Scope, m oci.Manifest, children []oci.Descriptor, open bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := index.CheckScope(scope); err != nil {
		return err
	}
	i, err := volume.IDOf(m.Digest)
	if err != nil {
		return err
	}
	if !oci.Verify(m.Digest, m.Bytes) {
		return integrity.ErrDigest
	}
	links, err := s.linksTo(children, index.LinkTo{})
	if err != nil {
		return err
	}
	links = append(links, s.linkTo(i, int64(len(m.Bytes)), index.LinkTo{Open: open, LinkRecord: index.LinkRecord{Link: Link{Proven: true}}}))
	r := index.Manifest{MediaType: m.MediaType, Bytes: m.Bytes}
	if len(m.Bytes) > index.MaxValue {
		if err := s.writeBlob(scope, i, m.Bytes); err != nil {
			return err
		}
		r = index.Manifest{MediaType: m.MediaType, External: true}
	}
	record := r.Encode()
	return s.index.Offer(len(record)+len(links)*index.LinkBytes, func(b *index.Batch) error {
		if err := b.LinkAll(scope, links); err != nil {
			return err
		}
		// An hour ago, so that the use that follows is one of its blobs, too.
		if err := b.FirstUse(i, index.HourOf(s.now().Add(-time.Hour))); err != nil {
			return err
		}
		return b.Set(index.TableKey(index.TableManifest, i), record)
	})
}

// UseManifest tells that a client has got a manifest. Of an image, that is a use
// of its blobs, too: a node that has them all asks for nothing else. It waits for
// nothing.
func (s *Store) UseManifest(d digest.Digest) {
	if s.enter() != nil {
		return
	}
	defer s.leave()
	if i, err := volume.IDOf(d); err == nil && s.manifestUses.touch(i, index.HourOf(s.now())) >= maxUses {
		s.keepHouseNow()
	}
}

// writeBlob stores bytes that were verified as a blob.
func (s *Store) writeBlob(scope oci.Scope, i volume.ID, content []byte) error {
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
