package index

import (
	"errors"
	"io/fs"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// LinkBytes is about what a link adds to a transaction.
const LinkBytes = 256

// LinkTo is a link that is to be made.
type LinkTo struct {
	ID   volume.ID
	Open bool // other upstreams may prove to have it, too
	LinkRecord
}

// At returns the link of some content, as it is made at a time.
func (l LinkTo) At(now time.Time, i volume.ID, size int64) LinkTo {
	l.ID, l.Size, l.Made = i, size, HourOf(now)
	if l.Proven {
		l.Proved = now
	}
	return l
}

// LinksTo returns the links of descriptors, each like one, as they are made at a time.
func LinksTo(ds []oci.Descriptor, like LinkTo, now time.Time) ([]LinkTo, error) {
	links := make([]LinkTo, 0, len(ds))
	for _, d := range ds {
		i, err := volume.IDOf(d.Digest)
		if err != nil {
			return nil, err
		}
		links = append(links, like.At(now, i, d.Size))
	}
	return links, nil
}

// LinkAll links content to a scope, and records that.
func (b *Batch) LinkAll(scope oci.Scope, links []LinkTo) error {
	if len(links) > 0 {
		if err := b.Name(scope, links[0].Made); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := b.Link(scope, l); err != nil {
			return err
		}
	}
	return nil
}

// shown records that an upstream has shown to have some content.
func (b *Batch) shown(upstream string, l LinkTo) error {
	key := OriginKey(l.ID, upstream)
	r := OriginRecord{Made: l.Made, Open: l.Open}
	if raw, err := b.Get(key); err == nil {
		if old, ok := DecodeOrigin(raw); ok && (old.Open || !r.Open) {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.Set(key, r.Encode())
}

// Link links content to a scope. What was proven is not forgotten, nor does a
// claim change it; a known size is not forgotten either.
func (b *Batch) Link(scope oci.Scope, l LinkTo) error {
	key, err := ScopedKey(TableLink, scope, l.ID)
	if err != nil {
		return err
	}
	b.linked(l.ID)
	proves := l.Proven
	raw, _ := b.Get(key)
	if old, ok := DecodeLink(raw); ok {
		if l.Size < 0 || old.Proven && !l.Proven && old.Size >= 0 {
			l.Size = old.Size
		}
		l.Proven = l.Proven || old.Proven
		l.Made = max(l.Made, old.Made)
		if l.Proved.Before(old.Proved) {
			l.Proved = old.Proved
		}
	}
	if err := b.replace(key, raw, l.Encode()); err != nil || !proves {
		return err
	}
	return b.shown(scope.Upstream, l)
}
