package storage

import (
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// compose makes the parts of a store, none of which does anything yet.
func (s *Store) compose(path string, root volume.Files, o Options) {
	if o.volume == nil {
		o.volume = root.Bytes
	}
	if o.inodes == nil {
		o.inodes = root.Inodes
	}
	born, quiet := s.now(), o.Quiet || o.Inspect
	if o.uptime == nil {
		o.uptime = func() time.Duration { return s.now().Sub(born) }
	}
	space := volume.NewSpace(o.volume, o.inodes)
	s.home = &home{
		path: path, root: root, layout: &layout{root: root, path: path}, space: space,
		state: &volume.StateFile{Now: s.now, Log: s.log}, ballast: volume.NewBallast(root, space), ledger: &volume.Ledger{},
	}
	h := s.home
	clock, opened := eviction.NewClock(s.now, o.uptime), &opened{}
	parts := &parts{
		files: &partFiles{root: root}, space: space, layout: h.layout, life: s.life, log: s.log, now: s.now, save: o.save,
	}
	limits := eviction.NewBudget(space, h.ledger, parts.announced)
	limits.Store(&o.Limits)

	s.removal = &images.Remover{}
	x := index.New(index.Options{
		Path: path, Root: root, Space: space, Life: s.life, Log: s.log, Now: s.now, Patience: o.patience, Unbacked: o.unbacked,
		State: func() *volume.State { return &h.state.State }, Note: h.state.Note,
		Counted: h.ledger.Add, Linked: s.removal.Linked, Damaged: limits.Soon,
	})
	x.Rebuild = o.rebuild
	table := index.BlobTable{Index: x}
	contents := images.Contents{Root: root}
	uses := eviction.NewUseLog(x, contents, s.log)
	s.Pinning = images.NewPinning(s.life, x, contents, s.now, func() []oci.Pin { return limits.Load().Pins }, limits.PinsChanged)

	parts.limits, parts.table = limits, table
	judge := integrity.New(integrity.Options{
		Root: root, Space: space, State: h.state, Life: s.life, Log: s.log, Now: s.now,
		Records: table, Filling: parts.has,
	})
	durability := &integrity.Durability{State: h.state, Suspects: &judge.Suspects, Log: s.log, Now: s.now}
	remover := eviction.NewRemover(root, space, x, judge, s.life, s.log, s.now)
	queue := eviction.NewQueue(s.life, limits, remover, o.way, quiet)
	parts.queue, parts.judge, parts.durability = queue, judge, durability
	k := &keeper{
		home: h, index: x, snapshots: index.NewSnapshots(x), judge: judge, durability: durability, census: eviction.NewCensus(h.ledger, s.log),
		life: s.life, log: s.log, quiet: quiet, inspect: o.Inspect, retry: o.retry, restored: make(chan struct{}), done: make(chan struct{}),
	}
	s.keeper = k
	k.eviction = eviction.New(eviction.Options{
		Limits: limits, Queue: queue, Remover: remover, Uses: uses, Ballast: h.ballast, Index: x, Log: s.log, Now: s.now,
		Clock: clock, SweepParts: parts.sweep, InUse: opened.has, Pins: s.Pinning.Resolve,
		From: func() time.Time {
			if k.isRestored() {
				return time.Time{}
			}
			return born.Truncate(time.Second) // of what was here before, it is not known yet what is pinned
		},
	})

	s.Blobs = &Blobs{
		root: root, life: s.life, log: s.log, now: s.now, table: table, judge: judge, opened: opened, uses: &uses.Blobs,
		limits: limits, parts: parts,
	}
	s.Records = &Records{
		life: s.life, index: x, log: s.log, now: s.now, large: s.Blobs, uses: uses, full: limits.Soon,
	}
	k.forgetting = &forgetting{
		Forgetter: images.Forgetter{
			Index: x, Pins: s.Pinning, Contents: contents, Log: s.log, Now: s.now, ClockTrusted: clock.Trusted, Used: uses.Manifests.Seen,
		},
		limits: limits, state: h.state, clock: clock, life: s.life,
	}
	removal := s.removal
	removal.Index, removal.Life, removal.Log, removal.Pins, removal.Contents = x, s.life, s.log, s.Pinning, contents
	removal.Blobs, removal.MakeRoom, removal.Settle = removable{remover, parts, opened}, s.makeRoomToRemove, s.settleRemoval
}
