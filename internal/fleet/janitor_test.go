package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

const day = 24 * time.Hour

// bubble is a gateway in a bubble, without a store, and the bucket that it cleans.
type bubble struct {
	t     *testing.T
	m     *memory
	fleet *fleet.Fleet
	pins  pinsOf
}

// pinsOf is a store that has pins by its configuration, and nothing else.
type pinsOf struct {
	fleet.Store

	limits *storage.Limits
}

func (p pinsOf) Limits() storage.Limits                          { return *p.limits }
func (pinsOf) Pins(context.Context) ([]storage.StoredPin, error) { return nil, nil }
func (pinsOf) LoadShared() ([]byte, error)                       { return nil, storage.ErrNoIndex }
func (pinsOf) SaveShared([]byte) error                           { return nil }

func newBubble(t *testing.T, m *memory) *bubble {
	t.Helper()
	b := &bubble{t: t, m: m, pins: pinsOf{limits: new(storage.Limits)}}
	b.fleet = fleet.New(fleet.Options{Records: noRecords{}, Store: b.pins, Catalog: func(context.Context) (*storage.Catalog, error) {
		return nil, storage.ErrNoIndex
	}})
	b.fleet.Use("memory", m)
	t.Cleanup(b.fleet.Close)
	return b
}

// blob puts a blob of 100 bytes that was written some days ago, and its proof, unless it
// has none.
func (b *bubble) blob(n, days int, proven bool) digest.Digest {
	d := digest.NewDigestFromEncoded(digest.SHA256, fmt.Sprintf("%016x%048x", n+1, n))
	b.m.put("v1/b/sha256/"+d.Encoded(), make([]byte, 100), time.Duration(days)*day)
	if proven {
		b.m.put("v1/l/docker.io/library/alpine/_/sha256-"+d.Encoded(), nil, time.Duration(days)*day)
	}
	return d
}

func (b *bubble) clean(l fleet.Limits) *fleet.Report {
	b.t.Helper()
	b.fleet.SetLimits(l)
	if err := b.fleet.Clean(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return b.fleet.Status().Report
}

// left wants these blobs to be left.
func (b *bubble) left(want ...digest.Digest) {
	b.t.Helper()
	keys := b.m.keys("v1/b/")
	for _, d := range want {
		if !strings.Contains(strings.Join(keys, " "), d.Encoded()) {
			b.t.Errorf("%s is gone", d)
		}
	}
	if len(keys) != len(want) {
		b.t.Errorf("%d blobs are left, want %d", len(keys), len(want))
	}
}

// use has a gateway write down that it has used something.
func (b *bubble) use(id string, ds ...digest.Digest) {
	g := newBubble(b.t, b.m)
	for _, d := range ds {
		g.fleet.Records().UseManifest(d)
	}
	g.fleet.WriteUses(b.t.Context(), id)
	g.fleet.Close()
}

// UseManifest implements mirror.Records.
func (noRecords) UseManifest(digest.Digest) {}

// Manifest implements mirror.Records.
func (noRecords) Manifest(context.Context, digest.Digest) (oci.Manifest, error) {
	return oci.Manifest{}, storage.ErrNoIndex
}

// Of what is too much goes what nobody used for the longest, on whichever gateway.
func TestCleaningKeepsToTheSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, newMemory())
		var all []digest.Digest
		for n := range 10 {
			all = append(all, b.blob(n, 20-n, true))
		}
		if r := b.clean(fleet.Limits{}); r.Blobs != 10 || r.Bytes != 1000 || r.Proofs != 10 || r.Removed > 0 {
			t.Errorf("%+v", r)
		}
		b.use("another", all[0])
		time.Sleep(3 * time.Hour)
		b.use("third", all[2])
		r := b.clean(fleet.Limits{MaxSize: 720})
		b.left(all[0], all[2], all[5], all[6], all[7], all[8], all[9])
		if r.Removed != 3 {
			t.Errorf("%+v", r)
		}
		// What was used stands in one list now, and in that of the last hours.
		if keys := b.m.keys("v1/u/"); len(keys) != 2 {
			t.Errorf("lists are %v", keys)
		}
		r = b.clean(fleet.Limits{MaxSize: 250})
		b.left(all[0], all[2])
		if r.Removed != 5 || r.RemovedBytes != 500 || r.Bytes != 200 || r.Over {
			t.Errorf("%+v", r)
		}
		if s := b.fleet.Status(); s.Removed != 8 || s.RemovedBytes != 800 || s.MaxSize != 250 || s.Cleaning != nil {
			t.Errorf("%+v", s)
		}
	})
}

// What was not used for too long goes, but not much of all at once.
func TestCleaningForgetsWhatIsUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, newMemory())
		old := []digest.Digest{b.blob(0, 100, true), b.blob(1, 99, true), b.blob(2, 98, true)}
		recent := b.blob(3, 1, true)
		b.m.put("v1/m/sha256/"+strings.Repeat("a", 64), []byte("{}"), 100*day)
		b.m.put("v1/l/docker.io/library/alpine/_/sha256-"+strings.Repeat("a", 64), nil, 100*day)
		b.clean(fleet.Limits{MaxUnused: 90 * day})
		b.left(old[1], old[2], recent)
		if keys := b.m.keys("v1/m/"); len(keys) > 0 {
			t.Errorf("manifests are %v", keys)
		}
		for range 5 {
			b.clean(fleet.Limits{MaxUnused: 90 * day})
		}
		b.left(recent)
		if keys := b.m.keys("v1/l/"); len(keys) != 1 {
			t.Errorf("proofs are %v", keys)
		}
	})
}

// What no proof names goes after a day; a list of proofs that lags costs nothing.
func TestCleaningRemovesWhatIsUnnamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, newMemory())
		b.blob(0, 2, false)
		young, named := b.blob(1, 0, false), b.blob(2, 2, true)
		proofs := b.m.keys("v1/l/")
		proof, err := b.m.object(proofs[0])
		if err != nil || b.m.Delete(t.Context(), proofs[0]) != nil {
			t.Fatal(err)
		}
		b.clean(fleet.Limits{})
		if keys := b.m.keys("v1/b/"); len(keys) != 3 {
			t.Errorf("%d blobs are left", len(keys))
		}
		b.m.put(proofs[0], proof.content, 2*day)
		b.clean(fleet.Limits{})
		b.left(young, named)
		// Nor does a list of blobs that lags cost many proofs.
		for n := range 400 {
			b.blob(n+10, 2, true)
		}
		b.m.fail(fault{empty: true}, fault{})
		b.clean(fleet.Limits{})
		b.m.fail(fault{}, fault{})
		if keys := b.m.keys("v1/l/"); len(keys) != 401 {
			t.Errorf("%d proofs are left", len(keys))
		}
	})
}

// What is used while the cleaning runs stays, and so does what is pinned.
func TestCleaningSparesWhatIsUsedAndPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, newMemory())
		used, pinned, layer := b.blob(0, 20, true), b.blob(1, 30, true), b.blob(2, 40, true)
		raw, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config": oci.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: pinned, Size: 100},
			"layers": []oci.Descriptor{{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: layer, Size: 100}},
		})
		if err != nil {
			t.Fatal(err)
		}
		image := oci.Sum(raw)
		b.m.put("v1/m/sha256/"+image.Encoded(), raw, 50*day)
		tag, err := json.Marshal(map[string]any{"digest": image})
		if err != nil {
			t.Fatal(err)
		}
		b.m.put("v1/t/docker.io/library/alpine/_/3", tag, 50*day)
		pin, err := oci.ParsePin("docker.io/library/alpine:3")
		if err != nil {
			t.Fatal(err)
		}
		b.pins.limits.Pins = []oci.Pin{pin}
		b.blob(3, 10, true)
		listed := 0
		b.m.onList(func(prefix string) {
			if prefix == "v1/b/" {
				if listed++; listed == 2 { // it is decided what goes
					b.use("another", used)
				}
			}
		})
		r := b.clean(fleet.Limits{MaxSize: 150, MaxUnused: day})
		b.left(used, pinned, layer)
		if r.PinnedBytes != 200 || !r.Over || len(b.m.keys("v1/m/")) != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A bucket is cleaned every 6 h by one of its gateways, and old purges go.
func TestOneGatewayCleans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		first, second := newBubble(t, m), newBubble(t, m)
		first.blob(0, 1, true)
		key := fmt.Sprintf("v1/x/%013d-old", time.Now().Add(-32*day).UnixMilli())
		m.put(key, []byte(`{"selection":"docker.io"}`), 32*day)
		var lists atomic.Int64
		m.onList(func(prefix string) {
			if prefix == "v1/m/" {
				lists.Add(1)
			}
		})
		time.Sleep(7 * time.Hour)
		if n := lists.Load() / 2; n != 2 && n != 3 { // both may begin at one moment
			t.Errorf("it was cleaned %d times", n)
		}
		if keys := m.keys("v1/x/"); len(keys) > 0 {
			t.Errorf("purges are %v", keys)
		}
		raw, err := m.object("v1/report")
		if err != nil || !bytes.Contains(raw.content, []byte(`"blobs":1`)) {
			t.Errorf("report is %s, %v", raw.content, err)
		}
		for _, b := range []*bubble{first, second} {
			if r := b.fleet.Status().Report; r == nil || r.Blobs != 1 {
				t.Errorf("%+v", r)
			}
		}
	})
}
