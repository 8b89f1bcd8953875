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
		state: &volume.StateFile{Now: s.now, Log: s.log}, ballast: volume.NewBallast(root, space),
	}
	h := s.home
	clock := &clockWatch{now: s.now, uptime: o.uptime}
	ledger, opened := &volume.Ledger{}, &opened{}
	limits := &limits{space: h.space, ledger: ledger, kick: make(chan struct{}, 1)}
	limits.Store(&o.Limits)

	s.removal = &images.Remover{}
	x := index.New(index.Options{
		Path: path, Root: root, Space: h.space, Life: s.life, Log: s.log, Now: s.now, Patience: o.patience, Unbacked: o.unbacked,
		State: func() *volume.State { return &h.state.State }, Note: h.state.Note,
		Counted: ledger.Add, Linked: s.removal.Linked, Damaged: limits.soon,
	})
	x.Rebuild = o.rebuild
	table := index.BlobTable{Index: x}
	contents := images.Contents{Root: root}
	uses := &useLog{index: x, contents: contents, log: s.log}
	s.Pinning = images.NewPinning(s.life, x, contents, s.now, func() []oci.Pin { return limits.Load().Pins }, limits.pinsChanged)

	parts := &parts{
		root: root, space: h.space, layout: h.layout, life: s.life, log: s.log, now: s.now, save: o.save, limits: limits, table: table,
	}
	limits.running = parts.announced
	judge := integrity.New(integrity.Options{
		Root: root, Space: h.space, State: h.state, Life: s.life, Log: s.log, Now: s.now,
		Records: table, Filling: parts.has,
	})
	durability := &integrity.Durability{State: h.state, Suspects: &judge.Suspects, Log: s.log, Now: s.now}
	remover := &remover{root: root, space: h.space, index: x, judge: judge, life: s.life, log: s.log, now: s.now}
	queue := &queue{life: s.life, limits: limits, remover: remover, patience: o.way, quiet: quiet}
	parts.queue, parts.judge, parts.durability = queue, judge, durability
	k := &keeper{
		home: h, index: x, snapshots: index.NewSnapshots(x), judge: judge, durability: durability, census: &census{ledger: ledger, log: s.log},
		life: s.life, log: s.log, quiet: quiet, inspect: o.Inspect, retry: o.retry, restored: make(chan struct{}), done: make(chan struct{}),
	}
	s.keeper = k
	k.eviction = &eviction{
		limits: limits, queue: queue, remover: remover, parts: parts, opened: opened, uses: uses, ballast: h.ballast,
		index: x, log: s.log, now: s.now, clock: clock, pins: s.Pinning,
		from: func() time.Time {
			if k.isRestored() {
				return time.Time{}
			}
			return born.Truncate(time.Second) // of what was here before, it is not known yet what is pinned
		},
	}

	s.Blobs = &Blobs{
		root: root, life: s.life, log: s.log, now: s.now, table: table, judge: judge, opened: opened, uses: &uses.blobs,
		limits: limits, parts: parts,
	}
	s.Records = &Records{
		life: s.life, index: x, log: s.log, now: s.now, large: s.Blobs, uses: &uses.manifests, full: limits.soon,
	}
	k.forgetting = &forgetting{
		Forgetter: images.Forgetter{
			Index: x, Pins: s.Pinning, Contents: contents, Log: s.log, Now: s.now, ClockTrusted: clock.trusted, Used: uses.manifests.seen,
		},
		limits: limits, state: h.state, clock: clock, life: s.life,
	}
	removal := s.removal
	removal.Index, removal.Life, removal.Log, removal.Pins, removal.Contents = x, s.life, s.log, s.Pinning, contents
	removal.Blobs, removal.MakeRoom, removal.Settle = removable{remover, parts, opened}, s.makeRoomToRemove, s.settleRemoval
}
