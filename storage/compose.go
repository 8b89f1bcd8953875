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
func (s *Store) compose(o Options) {
	if o.volume == nil {
		o.volume = s.root.Bytes
	}
	if o.inodes == nil {
		o.inodes = s.root.Inodes
	}
	born := s.now()
	if o.uptime == nil {
		o.uptime = func() time.Duration { return s.now().Sub(born) }
	}
	s.space = volume.NewSpace(o.volume, o.inodes)
	s.state = &volume.StateFile{Now: s.now, Log: s.log}
	s.ballast = volume.NewBallast(s.root, s.space)
	s.layout = &layout{root: s.root, path: s.path}
	s.clock = eviction.NewClock(s.now, o.uptime)
	s.ledger, s.opened = &volume.Ledger{}, &opened{}
	s.census = eviction.NewCensus(s.ledger, s.log)
	s.parts = &parts{
		root: s.root, space: s.space, layout: s.layout, life: s.life, log: s.log, now: s.now, save: o.save,
	}
	s.limits = eviction.NewBudget(s.space, s.ledger, s.parts.announced)
	s.limits.Store(&o.Limits)

	s.removal = &images.Remover{}
	s.index = index.New(index.Options{
		Path: s.path, Root: s.root, Space: s.space, Life: s.life, Log: s.log, Now: s.now, Patience: o.patience, Unbacked: o.unbacked,
		State: func() *volume.State { return &s.state.State }, Note: s.state.Note,
		Counted: s.ledger.Add, Linked: s.removal.Linked, Damaged: s.limits.Soon,
	})
	s.index.Rebuild = o.rebuild
	s.snapshots = index.NewSnapshots(s.index)
	table := index.BlobTable{Index: s.index}
	contents := images.Contents{Root: s.root}
	s.uses = eviction.NewUseLog(s.index, contents, s.log)
	s.Pinning = images.NewPinning(s.life, s.index, contents, s.now, func() []oci.Pin { return s.limits.Load().Pins }, s.limits.PinsChanged)

	s.parts.limits, s.parts.table = s.limits, table
	s.judge = integrity.New(integrity.Options{
		Root: s.root, Space: s.space, State: s.state, Life: s.life, Log: s.log, Now: s.now,
		Records: table, Filling: s.parts.has,
	})
	s.durability = &integrity.Durability{State: s.state, Suspects: &s.judge.Suspects, Log: s.log, Now: s.now}
	s.remover = eviction.NewRemover(s.root, s.space, s.index, s.judge, s.life, s.log, s.now)
	s.queue = eviction.NewQueue(s.life, s.limits, s.remover, o.way, s.quiet)
	s.parts.queue, s.parts.judge, s.parts.durability = s.queue, s.judge, s.durability
	s.eviction = eviction.New(eviction.Options{
		Limits: s.limits, Queue: s.queue, Remover: s.remover, Uses: s.uses, Ballast: s.ballast, Index: s.index, Log: s.log, Now: s.now,
		Clock: s.clock, SweepParts: s.parts.sweep, InUse: s.opened.has, Pins: s.Pinning.Resolve,
		From: func() time.Time {
			if s.isRestored() {
				return time.Time{}
			}
			return born.Truncate(time.Second) // of what was here before, it is not known yet what is pinned
		},
	})

	s.Blobs = &Blobs{
		root: s.root, life: s.life, log: s.log, now: s.now, table: table, judge: s.judge, opened: s.opened, uses: &s.uses.Blobs,
		limits: s.limits, parts: s.parts,
	}
	s.Records = &Records{
		life: s.life, index: s.index, log: s.log, now: s.now, large: s.Blobs, uses: &s.uses.Manifests, full: s.limits.Soon,
	}
	s.forgetting = &forgetting{
		Forgetter: images.Forgetter{
			Index: s.index, Pins: s.Pinning, Contents: contents, Log: s.log, Now: s.now, ClockTrusted: s.clock.Trusted, Used: s.uses.Manifests.Seen,
		},
		limits: s.limits, state: s.state, clock: s.clock, life: s.life,
	}
	removal := s.removal
	removal.Index, removal.Life, removal.Log, removal.Pins, removal.Contents = s.index, s.life, s.log, s.Pinning, contents
	removal.Blobs, removal.MakeRoom, removal.Settle = removable{s.remover, s.parts, s.opened}, s.makeRoomToRemove, s.settleRemoval
}
