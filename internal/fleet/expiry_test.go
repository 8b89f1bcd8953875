package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// What has come to the bucket late, and would bring back what was purged, goes with the record
// of the purge, and that one not without it. What is newer, or not purged, stays.
func TestPurgesGoWithWhatIsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		const at = "docker.io/library/alpine/_/"
		purge := func(ms int64, selection string, ds ...oci.Descriptor) string {
			t.Helper()
			record := map[string]any{"selection": selection}
			if len(ds) > 0 {
				record["digests"] = []any{ds[0].Digest}
			}
			raw, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprintf("%013d-old", time.Now().Add(-32*day).UnixMilli()+ms)
			m.put("v1/x/"+key, raw, 32*day)
			return key
		}
		gone, stays := oci.Sum([]byte("gone")), oci.Sum([]byte("stays"))
		first := purge(0, "docker.io/library/alpine:3", oci.Descriptor{Digest: gone})
		last := purge(1, "docker.io/library/other")
		put := func(key string, record any, meta ...string) {
			t.Helper()
			var raw []byte
			o := bucket.PutOptions{}
			if record != nil {
				raw, _ = json.Marshal(record)
			}
			if len(meta) > 0 {
				o.Meta = map[string]string{"purge": meta[0]}
			}
			if err := m.Put(t.Context(), key, bytes.NewReader(raw), int64(len(raw)), o); err != nil {
				t.Fatal(err)
			}
		}
		tag := func(digest any, purge string) map[string]any { return map[string]any{"digest": digest, "purge": purge} }
		put("v1/l/"+at+"sha256-"+gone.Encoded(), nil)
		put("v1/l/"+at+"sha256-"+stays.Encoded(), nil)
		put("v1/t/"+at+"3", tag(stays, ""))
		put("v1/t/"+at+"same", tag(gone, ""))
		put("v1/t/"+at+"4", tag(stays, ""))
		put("v1/r/"+at+"sha256-"+gone.Encoded(), map[string]any{})
		put("v1/l/docker.io/library/other/_/sha256-"+gone.Encoded(), nil, first)
		put("v1/l/docker.io/library/other/_/sha256-"+stays.Encoded(), nil, last)
		put("v1/l/docker.io/library/third/_/sha256-"+gone.Encoded(), nil)
		b := newBubble(t, m)
		m.stick("v1/r/")
		if err := b.fleet.Clean(t.Context()); !errors.Is(err, errUnwell) || len(m.keys("v1/x/")) != 2 {
			t.Errorf("something cannot be deleted: %v, and the purges are %v", err, m.keys("v1/x/"))
		}
		m.stick("")
		b.clean(fleet.Limits{})
		want := []string{
			"v1/l/" + at + "sha256-" + stays.Encoded(), "v1/l/docker.io/library/other/_/sha256-" + stays.Encoded(),
			"v1/l/docker.io/library/third/_/sha256-" + gone.Encoded(), "v1/t/" + at + "4",
		}
		got := slices.Concat(m.keys("v1/l/"), m.keys("v1/r/"), m.keys("v1/t/"), m.keys("v1/x/"))
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("there are\n%v, want\n%v", got, want)
		}
	})
}

// mute is a bucket that does not tell whether anything was purged.
type mute struct {
	*memory

	records atomic.Int64 // that were written
}

func (m *mute) Head(ctx context.Context, key string) (bucket.Info, error) {
	if key == "v1/news" {
		return bucket.Info{}, errUnwell
	}
	return m.memory.Head(ctx, key)
}

func (m *mute) Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	err := m.memory.Put(ctx, key, content, size, o)
	if err == nil && (strings.HasPrefix(key, "v1/l/") || strings.HasPrefix(key, "v1/t/")) {
		m.records.Add(1)
	}
	return err
}

// What a gateway uploads that has not read the log of purges for so long that they may be
// gone does not stay in the bucket.
func TestUploadsThatComeTooLateDoNotStay(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), &mute{memory: newMemory()}
	image := from.PutImage(repository, "3", 1, 10)
	g := newGateway(t, from, m)
	g.fleet.Lapse()
	g.pull(image, 0)
	await(t, "blobs come, and records go", func() bool {
		return len(m.keys("v1/b/")) == 2 && m.records.Load() >= 5 && len(m.keys("v1/l/"))+len(m.keys("v1/t/")) == 0
	})
}

// A gateway that was paused for so long that purges may be gone has everything confirmed once
// more, and downloads nothing for that.
func TestPausedGatewayForgets(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 300<<10)
	path := filepath.Join(t.TempDir(), "store")
	g := newGatewayAt(t, path, from, m, (*fleet.Fleet).Relax, time.Now)
	g.pull(image, 0)
	g.settled(0)
	uploaded(t, m, image)
	m.mu.Lock()
	clear(m.objects)
	m.mu.Unlock()
	from.Refuse()
	g.fleet.Lapse()
	g.fleet.Pause()
	g.nothing("one that was paused for a month", image)
	if err := from.Accept(); err != nil {
		t.Fatal(err)
	}
	from.Reset()
	g.close()
	newGatewayAt(t, path, from, m, (*fleet.Fleet).Relax, time.Now).pull(image, 0)
	if n := from.Count("GET", "blobs"); n > 0 {
		t.Errorf("%d blobs were downloaded again", n)
	}
}
