package storage

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// check checks a store, and returns how many findings there are of each kind.
func check(t *testing.T, s *Store, o CheckOptions) (CheckReport, map[FindingKind]FindingCount) {
	t.Helper()
	r, err := s.Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Reason == "" || f.Name == "" || strings.Contains(f.Reason, "not mended") || f.Done != "" && !o.Repair {
			t.Errorf("finding %+v", f)
		}
	}
	return r, r.Counts
}

// putImage stores a manifest with a tag, and n blobs.
func putImage(t *testing.T, s *Store, tag string, n int) (m oci.Manifest, blobs []digest.Digest) {
	t.Helper()
	var children []oci.Descriptor
	for k := range n {
		b, _ := content(rand.Uint64(), 1000+k)
		blobs = append(blobs, putBlob(t, s, b))
		children = append(children, oci.Descriptor{Digest: blobs[k], Size: int64(1000 + k)})
	}
	m = oci.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Bytes: []byte(`{"tag":"` + tag + `"}`)}
	m.Digest = oci.Sum(m.Bytes)
	err := s.PutManifest(t.Context(), scope, m, children)
	if err == nil {
		err = s.PutTag(t.Context(), scope, tag, Tag{Digest: m.Digest, Size: int64(len(m.Bytes)), Checked: s.now(), Changed: s.now()})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, blobs
}

func TestCheckOfASoundStore(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	putImage(t, s, "3", 4)
	err := s.PutTag(t.Context(), scope, "head", Tag{Digest: oci.Sum([]byte("not here")), Size: 8, Checked: s.now()})
	if err != nil {
		t.Fatal(err)
	}
	putBlob(t, s, nil)
	// What runs and what was suspended is in order.
	running, _ := content(1, 5000)
	p, err := s.Part(t.Context(), scope, oci.Sum(running), 5000)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	suspended, d := content(2, 5000)
	q, err := s.Part(t.Context(), scope, d, 5000)
	if err == nil {
		_, err = q.WriteAt(suspended[:700], 0)
	}
	if err := errors.Join(err, q.Suspend(extents(0, 700)), q.Close()); err != nil {
		t.Fatal(err)
	}
	for _, o := range []CheckOptions{{}, {Repair: true}, {Verify: true}, {Verify: true, Repair: true}} {
		var last CheckProgress
		o.Progress = func(now CheckProgress) {
			if now.Blobs < last.Blobs || now.Bytes < last.Bytes {
				t.Errorf("progress went from %+v to %+v", last, now)
			}
			last = now
		}
		got, _ := check(t, s, o)
		want := CheckReport{
			Verify: o.Verify, Repair: o.Repair, Blobs: 5, Bytes: 4006, Verified: 1,
			RecordCounts: integrity.RecordCounts{Manifests: 1, Tags: 2, Links: 6, TagsWithoutManifest: 1},
			FileCounts:   integrity.FileCounts{FillsRunning: 1, FillsSuspended: 1, SuspendedBytes: 700},
		}
		if o.Verify {
			want.Verified = 5
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		if want := (CheckProgress{Blobs: 5, Bytes: 4006, TotalBlobs: 5, TotalBytes: 4006}); last != want {
			t.Errorf("progress ended at %+v, want %+v", last, want)
		}
	}
}

// Each kind of damage is found, left as it is without Repair, and mended with it.
func TestCheckFindsAndMends(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, s *Store, name, text string) {
		t.Helper()
		name = filepath.Join(s.home.path, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	set := func(t *testing.T, s *Store, key, value []byte) {
		t.Helper()
		if err := s.index.Update(0, func(b *index.Batch) error { return b.Put(key, value) }); err != nil {
			t.Fatal(err)
		}
	}
	forget := func(t *testing.T, s *Store, d digest.Digest) {
		t.Helper()
		i, _ := volume.IDOf(d)
		if err := s.index.Update(0, func(b *index.Batch) error { return b.DropBlob(i) }); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		harm   func(t *testing.T, s *Store, m oci.Manifest, blobs []digest.Digest)
		verify bool
		want   FindingKind
		blobs  int64 // that are left of 3 when it is mended
	}{
		"flipped": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			flipBit(t, s, blobs[1], 77)
		}, true, FindingDamaged, 2},
		"flipped and unrecorded": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			flipBit(t, s, blobs[1], 77)
			forget(t, s, blobs[1])
		}, true, FindingDamaged, 2},
		"emptied": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			if err := os.Truncate(blobFile(t, s, blobs[0]), 0); err != nil {
				t.Fatal(err)
			}
		}, false, FindingDamaged, 2},
		"wrong record": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			i, _ := volume.IDOf(blobs[0])
			set(t, s, index.TableKey(index.TableBlob, i), index.Blob{Size: 7, Created: time.Unix(100, 0)}.Encode())
		}, false, FindingSize, 3},
		"unreadable record of a blob": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			i, _ := volume.IDOf(blobs[0])
			set(t, s, index.TableKey(index.TableBlob, i), []byte("x"))
		}, false, FindingUnrecorded, 3},
		"unrecorded": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			forget(t, s, blobs[2])
		}, false, FindingUnrecorded, 3},
		"missing": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			if err := os.Remove(blobFile(t, s, blobs[2])); err != nil {
				t.Fatal(err)
			}
		}, false, FindingMissing, 2},
		"other name": {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) {
			write(t, s, "blobs/sha256/abc/notes", "x")
		}, false, FindingStray, 3},
		"other directory": {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) { write(t, s, "blobs/md5", "x") }, false, FindingStray, 3},
		"other shard":     {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) { write(t, s, "blobs/sha256/ABC", "x") }, false, FindingStray, 3},
		"wrong shard": {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) {
			write(t, s, "blobs/sha256/abc/"+strings.Repeat("0", 64), "x")
		}, false, FindingStray, 3},
		"no part": {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) { write(t, s, "ingest/x", "x") }, false, FindingStray, 3},
		"part of nothing": {func(t *testing.T, s *Store, m oci.Manifest, _ []digest.Digest) {
			i, _ := volume.IDOf(m.Digest)
			write(t, s, i.PartPath(), "")
		}, false, FindingPart, 3},
		"part without bytes": {func(t *testing.T, s *Store, m oci.Manifest, _ []digest.Digest) {
			i, _ := volume.IDOf(m.Digest)
			write(t, s, i.PartPath(), "")
			write(t, s, i.SidecarPath(), `{"digest":"`+m.Digest.String()+`","size":9,"covered":[{"start":0,"end":9}]}`)
		}, false, FindingPart, 3},
		"snapshot": {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) {
			write(t, s, "snapshot/meta-20200101T000000Z.zst", "x")
		}, false, FindingSnapshot, 3},
		"manifest": {func(t *testing.T, s *Store, m oci.Manifest, _ []digest.Digest) {
			i, _ := volume.IDOf(m.Digest)
			set(t, s, index.TableKey(index.TableManifest, i), index.Manifest{Bytes: []byte("other")}.Encode())
		}, false, FindingManifest, 3},
		"manifest elsewhere": {func(t *testing.T, s *Store, m oci.Manifest, _ []digest.Digest) {
			i, _ := volume.IDOf(m.Digest)
			set(t, s, index.TableKey(index.TableManifest, i), index.Manifest{External: true}.Encode())
		}, false, FindingManifest, 3},
		"tag": {func(t *testing.T, s *Store, _ oci.Manifest, _ []digest.Digest) {
			key, _ := index.TagKey(scope, "3")
			set(t, s, key, []byte("x"))
		}, false, FindingRecord, 3},
		"link": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			i, _ := volume.IDOf(blobs[0])
			key, _ := index.ScopedKey(index.TableLink, scope, i)
			set(t, s, key, []byte("x"))
		}, false, FindingRecord, 3},
		"referrers": {func(t *testing.T, s *Store, _ oci.Manifest, blobs []digest.Digest) {
			i, _ := volume.IDOf(blobs[0])
			key, _ := index.ScopedKey(index.TableReferrers, scope, i)
			set(t, s, key, nil)
		}, false, FindingRecord, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{Quiet: true}) // nobody else looks
			m, blobs := putImage(t, s, "3", 3)
			c.harm(t, s, m, blobs)
			for range 2 {
				if _, got := check(t, s, CheckOptions{Verify: c.verify}); len(got) != 1 || got[c.want] != (FindingCount{Found: 1, Repaired: 0}) {
					t.Errorf("found %v, want one %s", got, c.want)
				}
			}
			r, got := check(t, s, CheckOptions{Verify: c.verify, Repair: true})
			if len(got) != 1 || got[c.want] != (FindingCount{Found: 1, Repaired: 1}) {
				t.Errorf("mended %v, want one %s", got, c.want)
			}
			if r.Blobs != c.blobs {
				t.Errorf("%d blobs are in order, want %d", r.Blobs, c.blobs)
			}
			settle(t, s)
			if r, got := check(t, s, CheckOptions{Verify: true}); len(got) != 0 || r.Blobs != c.blobs {
				t.Errorf("%v is left, and %d blobs", r.Findings, r.Blobs)
			}
			// One that could not be read was not counted at the opening either.
			if u := s.Usage(); u.Blobs != c.blobs && name != "unreadable record of a blob" {
				t.Errorf("usage is %+v", u)
			}
		})
	}
}

// What was adopted is as old as its file, and so is evicted in its turn.
func TestCheckAdoptsWithAge(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, _ := content(1, 100)
	d := putBlob(t, s, b)
	i, _ := volume.IDOf(d)
	old := time.Now().Add(-100 * time.Hour).Truncate(time.Second)
	err := s.index.Update(0, func(b *index.Batch) error { return b.DropBlob(i) })
	if err := errors.Join(err, os.Chtimes(blobFile(t, s, d), old, old)); err != nil {
		t.Fatal(err)
	}
	check(t, s, CheckOptions{Repair: true})
	if r, known := s.index.Blob(i); !known || !r.Created.Equal(old) || r.Size != 100 {
		t.Errorf("record is %+v, %v", r, known)
	}
}
