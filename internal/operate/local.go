package operate

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/history"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/storage"
)

// Store is a store that this process has open.
type Store struct {
	*storage.Store

	Path string
	// Mirror is what all mirrors on it share; nil = there are none.
	Mirror *mirror.Cache
	// Fleet is what it has to do with other gateways; nil = nothing.
	Fleet *fleet.Fleet
	// History is how much its server did; nil = it has none.
	History *history.History

	checking sync.Mutex // held by whoever checks it
}

// Local is the gateway of this process: a server, or a command that has opened the
// store itself.
type Local struct {
	// Stores returns those that are open, sorted by path.
	Stores func() []*Store
	// Sites returns the sites of the newest configuration on the store at a path, or,
	// without a path, of the newest one; nil = none is open there. For a command, they
	// are those of its configuration, if it has one.
	Sites func(path string) (*Store, Sites)
	// Server, Upstreams, Traffic and Tracked are those of a server; nil = it is a command.
	Server    func() Server
	Upstreams func() []UpstreamStatus
	Traffic   func() []Traffic
	Tracked   func(PullsRequest) Pulls
}

// Command returns the gateway of a command that has opened a store.
func Command(s *Store, sites Sites) *Local {
	return &Local{
		Stores: func() []*Store { return []*Store{s} },
		Sites:  func(string) (*Store, Sites) { return s, sites },
	}
}

// serves reports whether this is a server, so that what its configuration says is
// what is served.
func (l *Local) serves() bool { return l.Upstreams != nil }

// at returns the store that is open at a path, or without one all that are open.
func (l *Local) at(path string) ([]*Store, error) {
	open := l.Stores()
	if path == "" {
		return open, nil
	}
	canonical := RealPath(path)
	open = slices.DeleteFunc(open, func(s *Store) bool { return s.Path != canonical })
	if len(open) == 0 {
		return nil, errNotOpen(path)
	}
	return open, nil
}

// sites returns the sites of the newest configuration on a store.
func (l *Local) sites(path string) (*Store, Sites, error) {
	if path != "" {
		path = RealPath(path)
	}
	s, sites := l.Sites(path)
	if s == nil {
		return nil, nil, errNotOpen(path)
	}
	return s, sites, nil
}

// onStores does something with one store after the other, and tells what came of each.
func onStores[P, R any](todo []*Store, tell func(StoreLine[P, R]), fn func(s *Store, progress func(P)) (R, error)) {
	first := StoreLine[P, R]{Paths: []string{}}
	for _, s := range todo {
		first.Paths = append(first.Paths, s.Path)
	}
	tell(first)
	for _, s := range todo {
		report, err := fn(s, func(p P) { tell(StoreLine[P, R]{Path: s.Path, Progress: &p}) })
		last := StoreLine[P, R]{Path: s.Path, Report: &report}
		if err != nil {
			last.Error, last.Nothing = err.Error(), errors.Is(err, fs.ErrNotExist)
		}
		tell(last)
	}
}

// all is onStores with the store at a path, or all that are open.
func all[P, R any](l *Local, path string, tell func(StoreLine[P, R]), fn func(s *Store, progress func(P)) (R, error)) error {
	todo, err := l.at(path)
	if err == nil {
		onStores(todo, tell, fn)
	}
	return err
}

var _ Gateway = (*Local)(nil)

// Inventory implements Gateway.
func (l *Local) Inventory(ctx context.Context, q InventoryRequest, tell func(InventoryLine)) error {
	return all(l, q.Path, tell, func(s *Store, _ func(storage.Inventory)) (storage.Inventory, error) {
		held, err := s.Inventory(ctx, q.Selection)
		if err == nil && q.Disk {
			var use storage.DiskUse
			use, err = s.DiskUse(ctx)
			held.Disk = &use
		}
		return held, s.suggest(ctx, q.Selection, err)
	})
}
