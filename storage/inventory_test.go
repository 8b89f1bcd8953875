package storage

import (
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/eviction"
)

// lines returns an inventory as text.
func lines(t testing.TB, s *Store, text string) (lines []string) {
	t.Helper()
	var sel oci.Selection
	if text != "" {
		sel = selection(t, text)
	}
	v, err := s.Inventory(t.Context(), sel)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range v.Holdings {
		line := fmt.Sprintf("%s %d/%d/%d %d=%d own %d", h.Name, h.Repositories, h.Tags, h.Manifests, h.Blobs, h.Bytes, h.OwnBytes)
		if h.Image != nil {
			line += fmt.Sprintf(" %q %s absent %d", h.Image.Tag, h.Image.Digest, h.Image.Absent)
		}
		lines = append(lines, line)
	}
	return append(lines, fmt.Sprintf("%d=%d, unlinked %d=%d", v.Blobs, v.Bytes, v.UnlinkedBlobs, v.UnlinkedBytes))
}

// An inventory counts each blob once for each that has it, and tells what nobody else has.
func TestInventory(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	wantList(t, "of nothing", lines(t, s, ""), "0=0, unlinked 0=0")
	busybox := oci.Scope{Upstream: "docker.io", Repository: "library/busybox"}
	secret := oci.Scope{Upstream: "docker.io#0123456789ab", Repository: "library/busybox"}
	other := oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}
	one := putTagged(t, s, scope, "1", nil, 1, 2)
	two := putTagged(t, s, scope, "2", nil, 2, 3, 4)
	index := putJSON(t, s, scope, map[string]any{"manifests": []oci.Descriptor{two, {Digest: oci.Sum([]byte("another platform")), Size: 5}}}, two)
	putTagged(t, s, busybox, "1", nil, 3, 5)
	putTagged(t, s, secret, "1", nil, 5, 6)
	putTagged(t, s, other, "1", nil, 2)
	b, _ := content(9, 1000)
	putBlob(t, s, b)
	c.move(3*time.Hour + 40*time.Minute)
	s.UseManifest(one.Digest)
	if r := remove(t, s, "docker.io/alpine@"+blobOf(4).String()); r.Blobs != 1 {
		t.Fatal(r)
	}
	wantList(t, "everything", lines(t, s, ""),
		"docker.io 2/4/5 5=5000 own 4000", "ghcr.io 1/1/1 1=1000 own 0", "6=6000, unlinked 1=1000")
	wantList(t, "docker.io", lines(t, s, "docker.io"),
		"docker.io/library/alpine 0/2/3 3=3000 own 1000", "docker.io/library/busybox 0/2/2 3=3000 own 2000", "6=6000, unlinked 1=1000")
	wantList(t, "alpine", lines(t, s, "docker.io/alpine"),
		"docker.io/library/alpine:1 0/0/1 2=2000 own 1000 \"1\" "+one.Digest.String()+" absent 0",
		"docker.io/library/alpine:2 0/0/1 2=2000 own 0 \"2\" "+two.Digest.String()+" absent 1",
		"docker.io/library/alpine@"+index.Digest.String()+" 0/0/2 2=2000 own 0 \"\" "+index.Digest.String()+" absent 1",
		"6=6000, unlinked 1=1000")
	v, err := s.Inventory(t.Context(), selection(t, "docker.io/alpine"))
	if err != nil {
		t.Fatal(err)
	}
	if used := v.Holdings[0].Image.Used; used == nil || !used.Equal(c.now()) {
		t.Errorf("used at %v, want %v", used, c.now())
	}
	// What is not in memory any more, the index knows to the hour.
	s.keeper.eviction.Uses.Write()
	s.keeper.eviction.Uses.Latest = eviction.Latest{}
	if v, err := s.Inventory(t.Context(), selection(t, "docker.io/alpine")); err != nil || !v.Holdings[0].Image.Used.Equal(c.now().Truncate(time.Hour)) {
		t.Errorf("used at %v, %v", v.Holdings[0].Image.Used, err)
	}
	_, err = s.Inventory(t.Context(), selection(t, "docker.io/none"))
	wantErr(t, "of what is not there", err, fs.ErrNotExist)
	// What it promises is freed.
	if r := remove(t, s, v.Holdings[0].Name); r.Bytes != v.Holdings[0].OwnBytes {
		t.Errorf("removed %+v", r)
	}
}
