package storage

import (
	"encoding/json"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// storeImage stores an image of one platform with an index above it and blobs of
// 1000 bytes, and returns the blobs. long makes its manifest one that lies among
// the blobs.
func storeImage(t testing.TB, s *Store, scope oci.Scope, tag string, seed uint64, long bool) (top digest.Digest, blobs []digest.Digest) {
	t.Helper()
	var layers []oci.Descriptor
	for k := range uint64(3) {
		b, d := content(1000*seed+k, 1000)
		putBlob(t, s, b)
		blobs, layers = append(blobs, d), append(layers, oci.Descriptor{Digest: d, Size: 1000})
	}
	put := func(v map[string]any, children []oci.Descriptor) oci.Descriptor {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		m := oci.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: oci.Sum(raw), Bytes: raw}
		if err := s.PutManifest(t.Context(), scope, m, children); err != nil {
			t.Fatal(err)
		}
		return m.Descriptor()
	}
	padding := ""
	if long {
		padding = strings.Repeat("x", index.MaxValue)
	}
	image := put(map[string]any{"config": layers[0], "layers": layers[1:], "annotations": map[string]string{"x": padding}}, layers)
	if long {
		blobs = append(blobs, image.Digest)
	}
	absent := oci.Descriptor{Digest: oci.Sum([]byte("another platform of " + tag)), Size: 5}
	manifest := put(map[string]any{"manifests": []oci.Descriptor{image, absent}}, []oci.Descriptor{image, absent})
	if err := s.PutTag(t.Context(), scope, tag, Tag{Digest: manifest.Digest, Checked: s.now()}); err != nil {
		t.Fatal(err)
	}
	return manifest.Digest, blobs
}

func pins(t testing.TB, patterns ...string) (pins []oci.Pin) {
	t.Helper()
	for _, text := range patterns {
		p, err := oci.ParsePin(text)
		if err != nil {
			t.Fatal(err)
		}
		pins = append(pins, p)
	}
	return pins
}

func wantStored(t testing.TB, s *Store, what string, ds []digest.Digest, want bool) {
	t.Helper()
	for k, d := range ds {
		if _, err := s.StatBlob(t.Context(), d); want && err != nil {
			t.Errorf("%s: blob %d is gone: %v", what, k, err)
		} else if !want {
			wantErr(t, what, err, fs.ErrNotExist)
		}
	}
}

// No rule takes what is pinned, by tag or digest.
func TestPinsStay(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]func(*Store, *clock, *Limits){
		"max_size": func(_ *Store, _ *clock, l *Limits) { l.MaxSize = 1 },
		"upstream": func(_ *Store, _ *clock, l *Limits) { l.Upstreams = map[string]int64{"docker.io": 1} },
		"unused": func(_ *Store, c *clock, l *Limits) {
			l.MaxUnused = time.Hour
			c.move(1000 * time.Hour)
		},
		"free": func(s *Store, _ *clock, l *Limits) {
			l.MinFree = 20 << 30
			setVolume(s, 20<<30-1<<20, 100<<30)
			s.limits.Refused.Store(1 << 30)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := openTest(t, Options{Now: c.now})
			ghost := oci.Scope{Upstream: "docker.io#0123456789ab", Repository: "org/app"}
			_, tagged := storeImage(t, s, scope, "3.20", 1, true)
			_, other := storeImage(t, s, scope, "edge", 2, false)
			sum, exact := storeImage(t, s, scope, "latest", 3, false)
			_, below := storeImage(t, s, ghost, "v1", 4, false)
			l := Limits{Pins: pins(t, "docker.io/alpine:3.*", "docker.io/some/where@"+sum.String(), "docker.io/org/**")}
			rule(s, c, &l)
			s.limits.Store(&l)
			for range 8 {
				s.keeper.eviction.Pass(t.Context())
			}
			wantStored(t, s, "by tag", tagged, true)
			wantStored(t, s, "by digest", exact, true)
			wantStored(t, s, "by repository", below, true)
			wantStored(t, s, "not pinned", other, false)
			if u := s.Usage(); u.PinnedBytes < 9000+index.MaxValue || u.Overpinned != (name == "max_size" || name == "upstream") {
				t.Errorf("usage is %+v", u)
			}
		})
	}
}

// Where pins alone exceed the limit they stay, nothing else comes in, and one
// complaint is logged.
func TestPinsExceedTheLimit(t *testing.T) {
	t.Parallel()
	log := newMessages()
	s := openTest(t, Options{Logger: slog.New(log)})
	_, blobs := storeImage(t, s, scope, "3", 1, false)
	limits := Limits{MaxSize: 2500, Pins: pins(t, "docker.io/library/alpine")}
	s.SetLimits(limits)
	log.wait(t, "pinned images exceed the limit by themselves: nothing more is stored until there are fewer, or the limit is raised")
	_, d := content(99, 1)
	_, err := s.Part(t.Context(), scope, d, 1)
	wantErr(t, "part", err, ErrNoSpace)
	wantStored(t, s, "pinned", blobs, true)
	limits.MaxSize = 3600
	s.SetLimits(limits)
	b, d := content(99, 500)
	if got := putBlob(t, s, b); got != d {
		t.Error(got)
	}
	// And no pins, no claim.
	s.SetLimits(Limits{MaxSize: 1000})
	log.wait(t, "evicted blobs")
	wantStored(t, s, "pinned no more", blobs, false)
	if u := s.Usage(); u.Overpinned || u.PinnedBytes != 0 {
		t.Errorf("usage is %+v", u)
	}
}
