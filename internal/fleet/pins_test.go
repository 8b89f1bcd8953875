package fleet_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// pin pins as mirror pin does, and unpin ends it as mirror unpin does.
func (g *gateway) pin(pattern string) {
	g.t.Helper()
	pin, err := oci.ParsePin(pattern)
	if err == nil {
		_, err = g.store.Pin(g.t.Context(), pin)
	}
	if err = errors.Join(err, g.fleet.Pin(g.t.Context(), pin)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) unpin(pattern string) (dropped bool) {
	g.t.Helper()
	pin, err := oci.ParsePin(pattern)
	if err == nil {
		dropped, err = g.fleet.Unpin(g.t.Context(), pin)
	}
	if _, local := g.store.Unpin(g.t.Context(), pin); err != nil || local != nil {
		g.t.Fatal(err, local)
	}
	return dropped
}

// pins wants a gateway to have these, once it has looked.
func (g *gateway) pins(want ...string) {
	g.t.Helper()
	if err := g.fleet.Look(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	stored, err := g.store.Pins(g.t.Context())
	var got []string
	for _, one := range stored {
		got = append(got, one.String())
	}
	if err != nil || !slices.Equal(got, want) {
		g.t.Errorf("pins are %q, %v, want %q", got, err, want)
	}
}

// What is pinned on one gateway is pinned on all, and in the bucket, until it is unpinned
// on any. Pins from before the bucket are everybody's.
func TestPinsAreOfAll(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	const alpine, old = "docker.io/library/alpine", "docker.io/library/old:1"
	first, second := newGateway(t, from, m), newGateway(t, from, nil)
	first.pull(image, 0)
	first.settled(0)
	uploaded(t, m, image)
	second.pin(old)
	second.fleet.Use("memory", m)
	first.pin(alpine)
	second.pins(alpine, old)
	first.pins(alpine, old)
	// Nobody removes it, whether or not he has it.
	for _, name := range []string{"docker.io/library/alpine:3", "docker.io/library/alpine:none", "docker.io/library/alpine", "docker.io"} {
		sel, err := oci.ParseSelection(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = second.fleet.Purge(t.Context(), sel)
		if pinned, ok := errors.AsType[*storage.PinnedError](err); !ok || pinned.Pin != alpine || !pinned.Stored {
			t.Errorf("%s: %v", name, err)
		}
	}
	if keys := m.keys("v1/x/"); len(keys) > 0 {
		t.Errorf("purges are %v", keys)
	}
	// A list that lags drops nothing.
	m.fail(fault{empty: true}, fault{})
	second.pins(alpine, old)
	m.fail(fault{}, fault{})
	if !second.unpin(alpine) || second.unpin("docker.io/library/none:1") {
		t.Error("unpin does not tell whether there was one")
	}
	first.pins(old)
	second.pins(old)
	if !first.unpin(old) {
		t.Error("there was no pin")
	}
	second.pins()
	first.pins()
	// What was stored once is not forgotten with the process, nor what was dropped.
	first.pin(alpine)
	second.pins(alpine)
	second.fleet.Use("", nil)
	first.unpin(alpine)
	second.fleet.Use("memory", m)
	second.pins()
	first.pins()
}
