package caddymodule

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/testenv"
)

// TestServiceIsOpenWhileSomebodyIsIn has requests come and go while the configuration
// leaves, and after it: each finds the store open until it has left, and the last one
// closes it.
func TestServiceIsOpenWhileSomebodyIsIn(t *testing.T) {
	s := &service{
		app:       &appRun{path: t.TempDir()},
		upstreams: []*config.Upstream{{Name: "registry.test"}},
		wire:      registry.Options{},
		log:       slog.New(slog.DiscardHandler),
		empty:     make(chan struct{}),
		exiting:   make(chan struct{}),
	}
	scope := oci.Scope{Upstream: "registry.test", Repository: "a"}
	if err := s.upstreams[0].Provision(); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	// Of the later ones, each may open the store for itself, which takes long.
	early, late := 1000, testenv.Rounds(2, 5)
	var wait sync.WaitGroup
	var retire sync.Once
	var retired atomic.Bool
	for range 4 {
		wait.Go(func() {
			for k, left := 0, late; left > 0; k++ {
				if k == early {
					retire.Do(func() {
						s.retire()
						retired.Store(true)
					})
				}
				if retired.Load() {
					left--
				}
				open, err := s.enterOpen()
				if err != nil {
					t.Error(err)
					return
				}
				if open == nil || open != s.open.Load() {
					t.Errorf("request %d is in, and what it got is not what is open", k)
				} else if _, err := open.cache.Tag(t.Context(), scope, "t"); !errors.Is(err, fs.ErrNotExist) {
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
