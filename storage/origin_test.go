package storage

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// What one upstream has shown is its own, unless it is open; a word shows nothing.
func TestOrigins(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	elsewhere := oci.Scope{Upstream: "other.example", Repository: scope.Repository}
	_, d := content(1, 100)
	desc := oci.Descriptor{Digest: d, Size: 100}
	check := func(what string, of oci.Scope, want Origins) {
		t.Helper()
		if got, err := s.Origins(t.Context(), of, d); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, want)
		}
	}
	for _, one := range []struct {
		what       string
		link       func(context.Context, oci.Scope, ...oci.Descriptor) error
		own, other Origins
	}{
		{"claimed", s.Claim, Origins{}, Origins{}},
		{"linked", s.Link, Origins{Own: true}, Origins{}},
		{"opened", s.LinkOpen, Origins{Own: true, Open: true}, Origins{Open: true}},
		{"linked again", s.Link, Origins{Own: true, Open: true}, Origins{Open: true}},
	} {
		if err := one.link(t.Context(), scope, desc); err != nil {
			t.Fatal(err)
		}
		check(one.what, scope, one.own)
		check(one.what, elsewhere, one.other)
	}
	if err := s.Refute(t.Context(), scope, d); err != nil {
		t.Fatal(err)
	}
	if l, err := s.Linked(t.Context(), scope, d); err != nil || l != (Link{Size: 100}) {
		t.Errorf("refuted: %+v, %v", l, err)
	}
	check("refuted", scope, Origins{Own: true, Open: true})
}

// Parts of several upstreams lie beside each other; of one that says nobody's name,
// nobody goes on.
func TestPartsByUpstream(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	elsewhere := oci.Scope{Upstream: "other.example", Repository: "x"}
	b, d := content(1, 1000)
	for _, of := range []oci.Scope{scope, elsewhere} {
		p, err := s.Part(t.Context(), of, d, 1000)
		if err != nil || len(p.Covered()) != 0 {
			t.Fatalf("%s: %v, %v", of, p, err)
		}
		if _, err := p.WriteAt(b[:500], 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Suspend(extents(0, 500)); err != nil {
			t.Fatal(err)
		}
		_ = p.Close()
	}
	for range 2 {
		for _, of := range []oci.Scope{scope, elsewhere} {
			if size, ok := s.Suspended(t.Context(), of, d); !ok || size != 1000 {
				t.Errorf("%s: %d, %v", of, size, ok)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, Options{Path: s.home.path})
	}
	i, _ := volume.IDOf(d)
	name := filepath.Join(s.home.path, i.SidecarPath())
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, regexp.MustCompile(`"origin":"[^"]*",`).ReplaceAll(raw, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := s.Part(t.Context(), scope, d, 1000)
	if err != nil || len(p.Covered()) != 0 {
		t.Errorf("%v, %v", p, err)
	}
	_ = p.Close()
}
