package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Purged is what a purge has removed from the bucket, or would.
type Purged struct {
	Tags   int64 `json:"tags"`
	Proofs int64 `json:"proofs"`
}

// None reports whether nothing of it was there.
func (p *Purged) None() bool { return p == nil || *p == Purged{} }

// deleters is how many objects are deleted at a time.
const deleters = 16

// PlanPurge returns what Purge would remove from the bucket; nil = there is none. What is
// pinned is a *storage.PinnedError.
func (f *Fleet) PlanPurge(ctx context.Context, sel oci.Selection) (*Purged, error) {
	d := f.depot.Load()
	if d == nil {
		return nil, nil
	}
	p, err := planPurge(ctx, f, d, sel)
	if err != nil {
		return nil, fmt.Errorf("look for %s in the bucket: %w", sel, err)
	}
	return &p.purged, nil
}

// Purge removes tags and proofs by name from the bucket, and has all gateways forget them:
// what their upstream has said before is worth nothing from then on, on whichever gateway,
// whoever has it still to upload. What is stored here, the caller removes.
func (f *Fleet) Purge(ctx context.Context, sel oci.Selection) (*Purged, error) {
	d := f.depot.Load()
	if d == nil {
		return nil, nil
	}
	report, err := d.purges.purge(ctx, sel)
	if err != nil {
		return report, fmt.Errorf("remove %s from the bucket: %w", sel, err)
	}
	return report, nil
}

func (l *purgeLog) purge(ctx context.Context, sel oci.Selection) (*Purged, error) {
	p, err := planPurge(ctx, l.fleet, l.depot, sel)
	if err != nil {
		return nil, err
	}
	if err := l.write(ctx, purge{Selection: sel.String(), Digests: p.digests, selection: sel, mine: true}); err != nil {
		return nil, err
	}
	group, deleting := errgroup.WithContext(ctx)
	group.SetLimit(deleters)
	remove := func(_ oci.Scope, _, key string) error {
		group.Go(func() error { return writer{l.depot, l.fleet}.drop(deleting, key) })
		return deleting.Err()
	}
	if p.whole {
		err = p.each(deleting, remove)
	}
	for _, key := range p.keys {
		_ = remove(oci.Scope{}, "", key) // see Wait
	}
	return &p.purged, errors.Join(group.Wait(), err)
}

// write writes a purge, and has it hold here. It follows all that there are.
func (l *purgeLog) write(ctx context.Context, p purge) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	if err := l.list(ctx); err != nil {
		return err
	}
	p.key = purgeName(time.Now(), l.last, rand.Text()[:8])
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := l.depot.put(ctx, purgesAt+p.key, bytes.NewReader(raw), int64(len(raw)), bucket.PutOptions{ContentType: "application/json"}); err != nil {
		return err
	}
	l.learn(p)
	return l.depot.tellNews(ctx)
}

// tellNews has the other gateways see that there is something new. It is not lost without:
// they look for it from time to time.
func (d *depot) tellNews(ctx context.Context) error {
	news := rand.Text()
	if err := d.put(ctx, markerAt, strings.NewReader(news), int64(len(news)), bucket.PutOptions{}); err != nil {
		return fmt.Errorf("tell the other gateways at once: %w", err)
	}
	return nil
}

// work does here what others have purged.
func (l *purgeLog) work() {
	for {
		select {
		case p := <-l.apply:
			if !p.mine && p.Selection != "" {
				l.removeHere(p)
			}
			if l.depot.ctx.Err() == nil {
				l.kept.change(func(k *Kept) { k.Cursor = max(k.Cursor, p.key) })
			}
		case <-l.depot.ctx.Done():
			return
		}
	}
}

// removeHere removes from the gateway's own store what another one has purged. That it is
// worth nothing does not wait for this.
func (l *purgeLog) removeHere(p purge) {
	ctx, log := l.depot.ctx, l.depot.log
	defer l.fleet.survive("remove what was purged")
	_, err := l.fleet.local.Store.Remove(ctx, storage.RemoveOptions{Selection: p.selection})
	if pinned, ok := errors.AsType[*storage.PinnedError](err); ok {
		log.Warn("what another gateway has removed is pinned here: it stays, and has to be confirmed anew", "image", pinned.Image, "pin", pinned.Pin)
	}
	// What was in use stays stored, and so does its link.
	if err := l.forget(ctx, p.selection); err != nil && ctx.Err() == nil {
		log.Warn("not all is forgotten that another gateway has removed", "selection", p.Selection, "error", err)
	}
}

// forget forgets links and tags of a selection that were recorded before its purge.
func (l *purgeLog) forget(ctx context.Context, sel oci.Selection) error {
	catalog, err := l.fleet.local.Catalog(ctx)
	if err != nil {
		return err
	}
	defer catalog.Close()
	records := l.fleet.local.Records
	for scope, err := range catalog.Scopes(ctx, sel.Upstream) {
		if err != nil {
			return err
		}
		if !sel.Has(scope) {
			continue
		}
		for d, err := range catalog.Links(ctx, scope) {
			var link storage.Link
			if err == nil {
				link, err = records.Linked(ctx, scope, d.Digest)
			}
			if err == nil && l.voided(scope, d.Digest, link) {
				err = records.Refute(ctx, scope, d.Digest)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for t, err := range catalog.Tags(ctx, sel.Upstream, sel.Repository) {
		if err == nil && l.depot.outdated(t.Scope, t.Name, t.Tag) {
			err = records.DeleteTag(ctx, t.Scope, t.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
