package storage

import (
	"time"

	"github.com/pullgate/pullgate/internal/oci"
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
	s.clock = &clockWatch{now: s.now, uptime: o.uptime}
	s.ledger, s.opened = &volume.Ledger{}, &opened{}
	s.census = &census{ledger: s.ledger, log: s.log}
	s.limits = &limits{space: s.space, ledger: s.ledger, kick: make(chan struct{}, 1)}
	s.limits.Store(&o.Limits)

	s.removal = &images.Remover{}
	s.index = index.New(index.Options{
		Path: s.path, Root: s.root, Space: s.space, Life: s.life, Log: s.log, Now: s.now, Patience: o.patience, Unbacked: o.unbacked,
		State: func() *volume.State { return &s.state.State }, Note: s.state.Note,
		Counted: s.ledger.Add, Linked: s.removal.Linked, Damaged: s.limits.soon,
	})
	s.index.Rebuild = o.rebuild
	s.snapshots = index.NewSnapshots(s.index)
	table := index.BlobTable{Index: s.index}
	contents := images.Contents{Root: s.root}
	s.uses = &useLog{index: s.index, contents: contents, log: s.log}
	s.Pinning = images.NewPinning(s.life, s.index, contents, s.now, func() []oci.Pin { return s.limits.Load().Pins }, s.limits.pinsChanged)

	s.parts = &parts{
		root: s.root, space: s.space, layout: s.layout, life: s.life, log: s.log, now: s.now, save: o.save, limits: s.limits, table: table,
	}
	s.limits.running = s.parts.announced
	s.judge = integrity.New(integrity.Options{
		Root: s.root, Space: s.space, State: s.state, Life: s.life, Log: s.log, Now: s.now,
		Records: table, Filling: s.parts.has,
	})
	s.durability = &integrity.Durability{State: s.state, Suspects: &s.judge.Suspects, Log: s.log, Now: s.now}
	s.remover = &remover{root: s.root, space: s.space, index: s.index, judge: s.judge, life: s.life, log: s.log, now: s.now}
	s.queue = &queue{life: s.life, limits: s.limits, remover: s.remover, patience: o.way, quiet: s.quiet}
	s.parts.queue, s.parts.judge, s.parts.durability = s.queue, s.judge, s.durability
	s.eviction = &eviction{
		limits: s.limits, queue: s.queue, remover: s.remover, parts: s.parts, opened: s.opened, uses: s.uses, ballast: s.ballast,
		index: s.index, log: s.log, now: s.now, clock: s.clock, pins: s.Pinning,
		from: func() time.Time {
			if s.isRestored() {
				return time.Time{}
			}
			return born.Truncate(time.Second) // of what was here before, it is not known yet what is pinned
		},
	}

	s.Blobs = &Blobs{
		root: s.root, life: s.life, log: s.log, now: s.now, table: table, judge: s.judge, opened: s.opened, uses: &s.uses.blobs,
		limits: s.limits, parts: s.parts,
	}
	s.Records = &Records{
		life: s.life, index: s.index, log: s.log, now: s.now, large: s.Blobs, uses: &s.uses.manifests, full: s.limits.soon,
	}
	s.forgetting = &forgetting{
		Forgetter: images.Forgetter{
			Index: s.index, Pins: s.Pinning, Contents: contents, Log: s.log, Now: s.now, ClockTrusted: s.clock.trusted, Used: s.uses.manifests.seen,
		},
		limits: s.limits, state: s.state, clock: s.clock, life: s.life,
	}
	removal := s.removal
	removal.Index, removal.Life, removal.Log, removal.Pins, removal.Contents = s.index, s.life, s.log, s.Pinning, contents
	removal.Blobs, removal.MakeRoom, removal.Settle = removable{s.remover, s.parts, s.opened}, s.makeRoomToRemove, s.settleRemoval
}
