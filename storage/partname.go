package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// partName is the name of the files of a part, without what they end in. The part of a
// digest has the plain name; where that is another upstream's, the name tells whose it
// is, too.
type partName string

func (i id) partName() partName { return partName(path.Base(i.ingestPath())) }

func (i id) partNameOf(origin string) partName {
	sum := sha256.Sum256([]byte(origin))
	return i.partName() + partName("."+hex.EncodeToString(sum[:scopeLength]))
}

// partNameIn returns the name of the part that a file in ingest/ belongs to.
func partNameIn(file string) partName {
	file = strings.TrimSuffix(file, temporary)
	return partName(strings.TrimSuffix(strings.TrimSuffix(file, ".json"), ".part"))
}

func (n partName) partPath() string    { return path.Join(ingestDir, string(n)+".part") }
func (n partName) sidecarPath() string { return path.Join(ingestDir, string(n)+".json") }

// choosePart finds what is suspended of a part that is about to begin, or where it can
// begin: then it returns why there is nothing. What another upstream has sent stays for
// that one.
func (s *Store) choosePart(p *Part) error {
	plain, own := p.id.partName(), p.id.partNameOf(p.origin)
	var err error
	if p.name == plain {
		var of string
		if p.covered, of, err = s.suspended(plain, p.size); of == p.origin {
			return err
		}
		if errors.Is(err, fs.ErrNotExist) || of == "" {
			if covered, _, err := s.suspended(own, p.size); err == nil {
				p.covered = covered
				s.parts.rename(p, own)
				return nil
			}
			p.covered = nil
			if err == nil {
				err = errNoPart // nobody knows whose it is
			}
			return err
		}
		s.parts.rename(p, own)
	}
	p.covered, _, err = s.suspended(own, p.size)
	return err
}

// Suspended reports whether a part of the digest is suspended that the upstream of the
// scope has begun to send, and of what size, -1 = unknown.
func (s *Store) Suspended(ctx context.Context, scope oci.Scope, d digest.Digest) (size int64, ok bool) {
	i, err := idOf(d)
	if err != nil || s.enter(ctx) != nil {
		return -1, false
	}
	defer s.leave()
	for _, name := range []partName{i.partName(), i.partNameOf(scope.Upstream)} {
		c, err := s.readSidecar(name)
		if err != nil || c.Origin != scope.Upstream {
			continue
		}
		if _, _, err := s.suspended(name, -1); err == nil {
			return c.Size, true
		}
	}
	return -1, false
}

// errNoPart means that there is a sidecar which speaks of no part that can be used.
var errNoPart = errors.New("no part that can be used")

// suspended returns what a suspended part of the size holds, and whose it is, where that
// is known. It is fs.ErrNotExist if there is not even a sidecar.
func (s *Store) suspended(name partName, size int64) (covered []Extent, of string, err error) {
	c, err := s.readSidecar(name)
	if err != nil {
		return nil, "", err
	}
	if size >= 0 && c.Size >= 0 && size != c.Size {
		return nil, c.Origin, errNoPart
	}
	info, err := s.root.Lstat(name.partPath())
	if err != nil || !info.Mode().IsRegular() || len(c.Covered) == 0 || !valid(c.Covered, max(size, c.Size), info.Size()) {
		return nil, "", errNoPart
	}
	return c.Covered, c.Origin, nil
}

func (s *Store) readSidecar(name partName) (c sidecar, err error) {
	raw, err := s.root.ReadFile(name.sidecarPath())
	if err != nil {
		return sidecar{}, err
	}
	i, err := idOfIngest(string(name))
	if err != nil {
		return sidecar{}, err
	}
	if json.Unmarshal(raw, &c) != nil || c.Digest != i.digest() || c.Boot != "" && c.Boot != s.root.bootID() {
		return sidecar{}, errNoPart
	}
	return c, nil
}

// removePart removes the files of a part. What is gone is no error.
func (s *Store) removePart(n partName) error {
	var errs []error
	// The sidecar goes first: it must not speak of the next part.
	for _, name := range []string{n.sidecarPath(), n.sidecarPath() + temporary, n.partPath()} {
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
