package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet/janitor"
	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// pollEvery is how often the marker of the log is looked at, and listEvery how often
	// the log itself is listed, whether or not that has changed.
	pollEvery = time.Second
	listEvery = 10 * time.Second
	// pausedAfter is how old the last look may be: a process that was paused, or a machine,
	// reads the log before it answers.
	pausedAfter = 3 * time.Second
	// lookBudget bounds one request of a look, and lookPatience how long a start, or an
	// answer after a pause, waits for a long log. The first failure ends it.
	lookBudget   = time.Second
	lookPatience = 10 * time.Second
	// overlap is how far back the log is listed again: clocks differ, and so does how long
	// a write takes.
	overlap = 10 * time.Minute
	// keepPurges is how long purges lie in the bucket at least. Who has not read them for so
	// long does not know what was purged.
	keepPurges = janitor.KeepPurges
	readers    = 16 // at a time
)

// purgeLog is the log of what the gateways of a bucket remove by name, as one of them
// follows it.
type purgeLog struct {
	purges

	depot *depot
	fleet *Fleet
	kept  *kept
	// done is the key up to which an earlier process has done them all.
	done   string
	apply  chan purge
	looked atomic.Pointer[time.Time]
	failed atomic.Pointer[error] // why the last look has failed; nil = it has not
	news   atomic.Int64          // how often the marker has changed

	turn chan struct{} // holds one while the log is read; who has put it there has:
	seen map[string]struct{}
	last string // the greatest of these
	// marker is what the marker was when the log was listed.
	marker string
	listed time.Time
}

// maxApply is how many purges may wait to be done here.
const maxApply = 1 << 16

func newPurgeLog(d *depot, f *Fleet) *purgeLog {
	k := recall(f.local.Store, d.name, d.log)
	l := &purgeLog{depot: d, fleet: f, kept: k, apply: make(chan purge, maxApply), turn: make(chan struct{}, 1), seen: map[string]struct{}{}}
	l.looked.Store(new(time.Time))
	now := k.get()
	l.done = overlapped(now.Cursor)
	l.voidBefore(now.Void)
	return l
}

// overlapped returns what keys of purges begin with that are so old that no other one may
// still appear before a given one.
func overlapped(key string) string { return fmtMillis(purgeTime(key).Add(-overlap).UnixMilli()) }

// follow reads the log again and again.
func (l *purgeLog) follow() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			func() {
				defer l.fleet.survive("read the log of purges")
				_ = l.look(l.depot.ctx, func() bool { return true }) // it is noted
			}()
		case <-l.depot.ctx.Done():
			return
		}
	}
}

// await reads the log if it was not looked at for so long that the process must have been
// paused, or has just started. A bucket that cannot be read is no reason not to answer.
func (l *purgeLog) await(ctx context.Context) {
	if l.paused() {
		ctx, cancel := context.WithTimeout(ctx, lookPatience)
		defer cancel()
		_ = l.look(ctx, l.paused) // see above
	}
}

// paused compares both clocks: one of them stops with a machine, the other is set.
func (l *purgeLog) paused() bool {
	looked, now := *l.looked.Load(), time.Now()
	return now.Sub(looked) > pausedAfter || now.Round(0).Sub(looked.Round(0)) > pausedAfter
}

// look looks at the log when it is its turn, if that is due then.
func (l *purgeLog) look(ctx context.Context, due func() bool) (err error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	if !due() {
		return nil
	}
	paused, began := l.paused(), time.Now()
	err = l.read(ctx, paused)
	if ctx.Err() == nil || err == nil {
		l.looked.Store(&began) // not by a client that has left
		l.note(err)
	}
	return err
}

func (l *purgeLog) note(err error) {
	if old := l.failed.Load(); err != nil && old == nil && !errors.Is(err, errNotAsked) {
		l.depot.log.Warn("it is not known what other gateways remove", "error", err)
	}
	if err == nil {
		l.failed.Store(nil)
		l.voidBefore(l.kept.sawLog(time.Now()))
	} else {
		l.failed.Store(&err)
	}
}

// read lists the log if there is news, or the last list is old, or nothing else tells.
func (l *purgeLog) read(ctx context.Context, anyway bool) error {
	if l.depot.reads.Open() != nil {
		return errNotAsked
	}
	now, err := l.readMarker(ctx)
	if err != nil {
		return fmt.Errorf("read the log of purges: %w", err)
	}
	if !anyway && now == l.marker && time.Since(l.listed) < listEvery {
		return nil
	}
	began := time.Now()
	if err := l.list(ctx); err != nil {
		return fmt.Errorf("read the log of purges: %w", err)
	}
	if l.listed = began; now != l.marker {
		l.marker = now
		l.news.Add(1)
	}
	return nil
}

// readMarker returns what tells one state of the marker from others.
func (l *purgeLog) readMarker(ctx context.Context) (string, error) {
	ctx, cancel := l.budget(ctx)
	defer cancel()
	l.depot.counts.reads.Add(1)
	info, err := l.depot.objects.Head(ctx, markerAt)
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	return info.ETag + info.Modified.String(), err
}

func (l *purgeLog) budget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, max(lookBudget, l.depot.budget))
}

// list learns of all that is new in the log.
func (l *purgeLog) list(ctx context.Context) error {
	listing, cancel := l.budget(ctx)
	defer cancel()
	after := ""
	if l.last != "" {
		after = purgesAt + overlapped(l.last)
	}
	var keys []string
	l.depot.counts.reads.Add(1)
	for o, err := range l.depot.objects.List(listing, purgesAt, after) {
		if err != nil {
			return err
		}
		key := strings.TrimPrefix(o.Key, purgesAt)
		if _, known := l.seen[key]; !known {
			keys = append(keys, key)
		}
	}
	return l.learnAll(ctx, keys)
}

// knows reports whether a purge is known here, and looks for it if it is not.
func (l *purgeLog) knows(ctx context.Context, key string) bool {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-l.turn }()
	if _, known := l.seen[key]; !known && l.depot.reads.Open() == nil {
		if err := l.list(ctx); err == nil || ctx.Err() == nil {
			l.note(err) // not that of a client that has left
		}
	}
	_, known := l.seen[key]
	return known
}

// learnAll reads purges, and learns of those up to the first that cannot be read.
func (l *purgeLog) learnAll(ctx context.Context, keys []string) error {
	found, errs := make([]purge, len(keys)), make([]error, len(keys))
	group := new(errgroup.Group)
	group.SetLimit(readers)
	for n, key := range keys {
		group.Go(func() error {
			found[n], errs[n] = l.readPurge(ctx, key)
			return errs[n]
		})
	}
	_ = group.Wait() // see errs
	for n, p := range found {
		if errs[n] != nil {
			return errs[n]
		}
		l.learn(p)
	}
	return nil
}

// readPurge reads a purge. One that cannot be understood is about nothing.
func (l *purgeLog) readPurge(ctx context.Context, key string) (p purge, err error) {
	ctx, cancel := l.budget(ctx)
	defer cancel()
	l.depot.counts.reads.Add(1)
	var o bucket.Object
	if o, err = l.depot.objects.Get(ctx, purgesAt+key, 0, -1); err == nil {
		err = readRecord(o, &p)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if err == nil {
		p.selection, err = oci.ParseSelection(p.Selection)
	}
	if err != nil {
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		l.depot.log.Error("a purge in the bucket cannot be understood", "key", key, "error", err)
		p = purge{}
	}
	p.key = key
	return p, nil
}

// learn has a purge hold from now on, or, if an earlier process has done it, from when it
// was written. The caller has the turn.
func (l *purgeLog) learn(p purge) {
	if _, known := l.seen[p.key]; known {
		return
	}
	l.seen[p.key] = struct{}{}
	l.last = max(l.last, p.key)
	done, at := p.key <= l.done, time.Now()
	if done {
		at = purgeTime(p.key)
	}
	if p.Selection != "" {
		l.add(p, at)
	}
	if done {
		return
	}
	select {
	case l.apply <- p:
	default: // the next start finds it not done
		l.depot.log.Error("too many purges wait to be done here", "selection", p.Selection)
	}
}
