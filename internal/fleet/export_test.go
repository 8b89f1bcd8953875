package fleet

import (
	"context"
	"time"
)

// Relax gives the bucket as much time as a slow machine takes.
func (f *Fleet) Relax() { f.budget = time.Minute }

// Pause has a gateway be as one that was paused for a while.
func (f *Fleet) Pause() {
	l := f.depot.Load().purges
	l.turn <- struct{}{}
	old := l.looked.Load().Add(-2 * pausedAfter)
	l.looked.Store(&old)
	<-l.turn
}

// Look has a gateway look for what others have removed and pinned, and waits for that.
func (f *Fleet) Look(ctx context.Context) error {
	d := f.depot.Load()
	if err := d.purges.look(ctx, func() bool { return true }); err != nil {
		return err
	}
	return d.pins.compare(ctx)
}

// Lapse has a gateway be as one that has not read for a month what others have removed.
func (f *Fleet) Lapse() {
	f.depot.Load().purges.kept.change(func(k *Kept) { k.Read = time.Now().UTC().Add(-keepPurges - time.Hour) })
}

// Cursor returns the last purge that was done here.
func (f *Fleet) Cursor() string { return f.depot.Load().purges.kept.get().Cursor }

// WriteUses writes down what was used.
func (f *Fleet) WriteUses(ctx context.Context, id string) { f.depot.Load().used.Write(ctx, id) }

// Clean cleans the bucket.
func (f *Fleet) Clean(ctx context.Context) error { return f.depot.Load().cleaner.Clean(ctx) }
