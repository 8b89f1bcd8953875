package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// pinned is what must not be evicted: manifests, and the blobs that they need. It
// holds eight bytes of each digest. That two share them is no matter: one more is
// kept. nil holds nothing.
type pinned map[uint64]struct{}

func pinOf(i volume.ID) uint64 { return binary.BigEndian.Uint64([]byte(i[1:9])) }

func (p pinned) has(i volume.ID) bool {
	if len(p) == 0 {
		return false
	}
	_, ok := p[pinOf(i)]
	return ok
}

// resolvePins returns what the pins of limits and store mean at present: the
// manifests that their tags and digests name, and all below them. An error means
// that it is not known, and nothing may go.
func (s *Store) resolvePins(ctx context.Context, txn *index.Txn) (pinned, error) {
	pins, _, err := s.allPins(txn)
	if err != nil {
		return nil, err
	}
	return s.resolve(ctx, txn, pins)
}

func (s *Store) resolve(ctx context.Context, txn *index.Txn, pins []oci.Pin) (pinned, error) {
	if len(pins) == 0 {
		return nil, nil
	}
	roots, err := pinnedRoots(ctx, txn, pins)
	if err != nil {
		return nil, fmt.Errorf("resolve pins: %w", err)
	}
	found := pinned{}
	for len(roots) > 0 {
		i := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if found.has(i) {
			continue
		}
		found[pinOf(i)] = struct{}{}
		contents, err := s.contents(txn, i)
		if err != nil {
			return nil, fmt.Errorf("resolve pins: manifest %s: %w", i.Digest(), err)
		}
		for _, d := range contents.Manifests {
			if child, err := volume.IDOf(d.Digest); err == nil {
				roots = append(roots, child)
			}
		}
		for _, d := range contents.Blobs {
			if blob, err := volume.IDOf(d.Digest); err == nil {
				found[pinOf(blob)] = struct{}{}
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// pinnedRoots returns the manifests that the pins name.
func pinnedRoots(ctx context.Context, txn *index.Txn, pins []oci.Pin) ([]volume.ID, error) {
	var roots []volume.ID
	upstreams := make(map[string][]oci.Pin)
	for _, p := range pins {
		if p.Digest == "" {
			upstreams[p.Upstream] = append(upstreams[p.Upstream], p)
		} else if i, err := volume.IDOf(p.Digest); err == nil {
			roots = append(roots, i)
		}
	}
	for name, pins := range upstreams {
		err := txn.Tags(ctx, name, func(scope oci.Scope, tag string, value []byte) error {
			for _, p := range pins {
				if !p.Match(scope, tag) {
					continue
				}
				if t, ok := index.DecodeTag(value); ok {
					if i, err := volume.IDOf(t.Digest); err == nil {
						roots = append(roots, i)
					}
				}
				break
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return roots, nil
}

// contents returns what a manifest points to: nothing if it is not stored, or
// cannot be parsed.
func (s *Store) contents(txn *index.Txn, i volume.ID) (oci.Contents, error) {
	raw, err := txn.Get(index.TableKey(index.TableManifest, i))
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Contents{}, nil
	}
	if err != nil {
		return oci.Contents{}, err
	}
	r, ok := index.DecodeManifest(raw)
	if ok && r.External {
		if r.Bytes, err = s.unused(i); err != nil {
			return oci.Contents{}, err
		}
	}
	if !ok {
		return oci.Contents{}, nil
	}
	contents, _ := oci.ParseManifest(r.Bytes)
	return contents, nil
}

// unused reads a manifest from its file, without that being a use. What is not
// there is empty.
func (s *Store) unused(i volume.ID) ([]byte, error) {
	f, err := s.root.Open(i.BlobPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, oci.MaxManifestSize+1))
}
