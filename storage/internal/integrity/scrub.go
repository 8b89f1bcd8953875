package integrity

import (
	"context"
	"errors"
	"io/fs"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Scrubbed is how far a scrub got.
type Scrubbed struct {
	// Blobs and Bytes were read.
	Blobs, Bytes int64
	// Damaged blobs did not match their digest, or could not be read, and were
	// taken out of use.
	Damaged int64
}

// Scrub reads all finished blobs at a pace, and takes those out of use that do not match
// their digest. progress, if not nil, is called after each blob.
func (j *Judge) Scrub(ctx context.Context, p *Pace, progress func(Scrubbed)) (Scrubbed, error) {
	one := pass{Judge: j, pace: p, progress: progress}
	err := one.run(ctx, "")
	return one.done, err
}

// pass is a walk that decides on what it reads.
type pass struct {
	*Judge

	pace     *Pace
	wanted   func(volume.ID, fs.FileInfo) bool // nil = all
	progress func(Scrubbed)                    // may be nil
	at       func(dir string)                  // called before each directory; may be nil
	done     Scrubbed
}

// run reads the directories from the given one on.
func (p *pass) run(ctx context.Context, from string) error {
	var shards []volume.Shard
	err := p.Life.Within(context.Background(), func() (err error) { shards, err = volume.Shards(p.Root); return err })
	if err != nil {
		return err
	}
	for _, h := range shards {
		if h.Dir() < from {
			continue
		}
		if p.at != nil {
			p.at(h.Dir())
		}
		list, err := p.walker.list(h)
		if err != nil {
			return err
		}
		for _, e := range list {
			if i, ok := h.ID(e.Name()); ok {
				if err := p.blob(ctx, i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// blob reads one blob. The store may close meanwhile.
func (p *pass) blob(ctx context.Context, i volume.ID) error {
	seen, err := p.walker.look(ctx, i, p.pace, nil, func(info fs.FileInfo) bool { return p.wanted == nil || p.wanted(i, info) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Suspects.Absolve(i)
		return nil
	case err != nil || !seen.read:
		return err
	}
	return p.Life.Within(context.Background(), func() error {
		p.done.Blobs++
		if seen.damage == nil {
			p.done.Bytes += seen.info.Size()
			p.vouch(i, seen.info, p.Now())
		} else if p.Quarantine(i, seen.info, seen.damage) {
			p.done.Damaged++
		}
		if p.progress != nil {
			p.progress(p.done)
		}
		return nil
	})
}
