package caddymodule

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

// TestServiceIsOpenWhileSomebodyIsIn has requests come and go while the configuration
// leaves, and after it: each finds the store open until it has left, and the last one
// closes it.
func TestServiceIsOpenWhileSomebodyIsIn(t *testing.T) {
	s := &service{
		app:       &appRun{path: t.TempDir()},
		upstreams: []*Upstream{{Name: "registry.test"}},
		wire:      registry.Options{},
		log:       slog.New(slog.DiscardHandler),
		empty:     make(chan struct{}),
		exiting:   make(chan struct{}),
	}
	scope := oci.Scope{Upstream: "registry.test", Repository: "a"}
	if err := s.upstreams[0].provision(); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	// Of the later ones, each may open the store for itself, which takes long.
	const early, late = 1000, 5
	var wait sync.WaitGroup
	var retire sync.Once
	for range 4 {
		wait.Go(func() {
			for k := range early + late {
				if k == early {
					retire.Do(s.retire)
				}
				open, err := s.enterOpen()
				if err != nil {
					t.Error(err)
					return
				}
				if open == nil || open != s.open.Load() {
					t.Errorf("request %d is in, and what it got is not what is open", k)
				} else if _, err := open.cache.store.Tag(t.Context(), scope, "t"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("request %d is in, and the store is not open: %v", k, err)
				}
				s.leave()
			}
		})
	}
	wait.Wait()
	<-s.empty
	if in, open := s.in.Load(), s.open.Load(); in != 0 || open != nil {
		t.Errorf("%d are in at the end, open: %v", in, open != nil)
	}
}
