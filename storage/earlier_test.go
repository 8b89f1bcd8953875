package storage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// earlierStore is the directory of a store as the first program with this layout wrote
// it: earlierContent.put, and then Close. It is never written again.
const earlierStore = "testdata/earlier.tar.gz"

// earlierContent is what lies in it.
type earlierContent struct {
	clock           *clock
	layer, shared   []byte
	other           oci.Scope
	manifest, large oci.Manifest
	children        []oci.Descriptor
	spoken          oci.Descriptor // of what the upstream has merely spoken
	tag             Tag
	referrers       Referrers
	pin             oci.Pin
	part            []byte
}

func newEarlierContent(t *testing.T) *earlierContent {
	t.Helper()
	c := &earlierContent{clock: newClock(), other: oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}}
	at := time.Unix(c.clock.now().Unix(), 0)
	c.layer, _ = content(1, 5000)
	c.shared, _ = content(2, 3000)
	c.part, _ = content(3, 4000)
	c.children = []oci.Descriptor{{Digest: oci.Sum(c.layer), Size: 5000}, {Digest: oci.Sum(c.shared), Size: 3000}}
	c.manifest = c.image(nil)
	c.large = c.image(bytes.Repeat([]byte(" "), index.MaxValue))
	_, spoken := content(4, 10)
	c.spoken = oci.Descriptor{Digest: spoken, Size: 10}
	c.tag = Tag{Digest: c.manifest.Digest, MediaType: c.manifest.MediaType, Size: int64(len(c.manifest.Bytes)), Checked: at, Changed: at.Add(-time.Hour)}
	c.referrers = Referrers{Descriptors: []oci.Descriptor{{MediaType: "a/b", Digest: spoken, Size: 10, ArtifactType: "c/d"}}, Checked: at}
	var err error
	if c.pin, err = oci.ParsePin("docker.io/library/alpine:3*"); err != nil {
		t.Fatal(err)
	}
	return c
}

// image returns a manifest of both blobs, and as long as padding makes it.
func (c *earlierContent) image(padding []byte) oci.Manifest {
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	b := []byte(`{"schemaVersion":2,"mediaType":"` + mediaType + `","config":{"mediaType":"a/b","size":3000,"digest":"` + oci.Sum(c.shared).String() +
		`"},"layers":[{"mediaType":"c/d","size":5000,"digest":"` + oci.Sum(c.layer).String() + `"}]}`)
	b = append(b, padding...)
	return oci.Manifest{MediaType: mediaType, Digest: oci.Sum(b), Bytes: b}
}

// put puts everything into a store.
func (c *earlierContent) put(t *testing.T, s *Store) {
	t.Helper()
	putBlob(t, s, c.layer)
	putBlobIn(t, s, c.other, c.shared)
	p, err := s.Part(t.Context(), scope, oci.Sum(c.part), 4000)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.WriteAt(c.part[:1500], 0); err != nil {
		t.Fatal(err)
	}
	_, err = s.Pin(t.Context(), c.pin)
	if err := errors.Join(err,
		p.Suspend(extents(0, 1500)),
		s.PutManifest(t.Context(), scope, c.manifest, c.children),
		s.PutOpenManifest(t.Context(), c.other, c.large, c.children),
		s.LinkOpen(t.Context(), scope, c.children[0]), s.Claim(t.Context(), scope, c.spoken),
		s.PutTag(t.Context(), scope, "3.20", c.tag), s.PutTag(t.Context(), scope, "latest", c.tag), s.DeleteTag(t.Context(), scope, "latest"),
		s.PutReferrers(t.Context(), scope, c.manifest.Digest, c.referrers)); err != nil {
		t.Fatal(err)
	}
	s.UseManifest(c.manifest.Digest)
}

// wantRecords checks everything but the blobs.
func (c *earlierContent) wantRecords(t *testing.T, s *Store) {
	t.Helper()
	if got, err := s.Tag(t.Context(), scope, "3.20"); err != nil || got != c.tag {
		t.Errorf("tag is %+v, %v, want %+v", got, err, c.tag)
	}
	if got, err := s.Tags(t.Context(), scope, "", -1); err != nil || !cmp.Equal(got, []string{"3.20"}) {
		t.Errorf("tags are %v, %v", got, err)
	}
	for _, want := range []oci.Manifest{c.manifest, c.large} {
		if got, err := s.Manifest(t.Context(), want.Digest); err != nil || !cmp.Equal(got, want) {
			t.Errorf("manifest %s is another: %v", want.Digest, err)
		}
	}
	for _, l := range []struct {
		scope oci.Scope
		of    oci.Descriptor
		want  Link
	}{
		{scope, c.children[0], Link{Size: 5000, Proven: true, Proved: c.clock.now()}},
		{scope, c.children[1], Link{Size: 3000}},
		{scope, c.spoken, Link{Size: 10}},
		{c.other, oci.Descriptor{Digest: c.large.Digest}, Link{Size: int64(len(c.large.Bytes)), Proven: true, Proved: c.clock.now()}},
	} {
		if got, err := s.Linked(t.Context(), l.scope, l.of.Digest); err != nil || !cmp.Equal(got, l.want) {
			t.Errorf("link of %s to %s is %+v, %v, want %+v", l.of.Digest, l.scope, got, err, l.want)
		}
	}
	if got, err := s.Origins(t.Context(), c.other, c.children[0].Digest); err != nil || got != (Origins{Open: true}) {
		t.Errorf("origins are %+v, %v", got, err)
	}
	if got, err := s.Referrers(t.Context(), scope, c.manifest.Digest); err != nil || !cmp.Equal(got, c.referrers) {
		t.Errorf("referrers are %+v, %v, want %+v", got, err, c.referrers)
	}
	pins, err := s.Pins(t.Context())
	if err != nil || len(pins) != 1 || pins[0].String() != c.pin.String() || !pins[0].Made.Equal(c.clock.now()) {
		t.Errorf("pins are %v, %v, want %v", pins, err, c.pin)
	}
}

// wantServed checks everything.
func (c *earlierContent) wantServed(t *testing.T, s *Store) {
	t.Helper()
	c.wantRecords(t, s)
	for _, want := range [][]byte{c.layer, c.shared} {
		if trusted, err := s.HasBlob(t.Context(), oci.Sum(want)); err != nil || !trusted {
			t.Errorf("blob is trusted: %v, %v", trusted, err)
		}
		f, size, err := s.OpenBlob(t.Context(), oci.Sum(want))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || size != int64(len(want)) || !bytes.Equal(got, want) {
			t.Errorf("blob is another: %v", err)
		}
		f.Close()
	}
	if got, err := s.Origins(t.Context(), c.other, oci.Sum(c.shared)); err != nil || !got.Own {
		t.Errorf("origins are %+v, %v", got, err)
	}
	p, err := s.Part(t.Context(), scope, oci.Sum(c.part), 4000)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Covered(); !cmp.Equal(got, extents(0, 1500)) {
		t.Errorf("part covers %v", got)
	}
	if err := errors.Join(p.Remove(), p.Close()); err != nil {
		t.Error(err)
	}
	report, err := s.Check(t.Context(), CheckOptions{Verify: true})
	if err != nil || len(report.Findings) != 0 || report.Verified != 3 || report.Manifests != 2 || report.Tags != 1 {
		t.Errorf("check: %+v, %v", report, err)
	}
}

// TestEarlierStore: what an earlier program wrote opens, is served and is sound; and
// what this one writes is the same.
func TestEarlierStore(t *testing.T) {
	t.Parallel()
	c := newEarlierContent(t)
	t.Run("now", func(t *testing.T) {
		s := openTest(t, Options{Now: c.clock.now})
		c.put(t, s)
		c.wantServed(t, reopen(t, s))
	})
	t.Run("earlier", func(t *testing.T) {
		c.wantServed(t, openTest(t, Options{Path: unpack(t, earlierStore), Now: c.clock.now}))
	})
	t.Run("snapshot", func(t *testing.T) {
		dir := unpack(t, earlierStore)
		if err := os.RemoveAll(filepath.Join(dir, volume.MetaDir)); err != nil {
			t.Fatal(err)
		}
		c.wantRecords(t, openTest(t, Options{Path: dir, Now: c.clock.now}))
	})
}

// unpack unpacks an archive into a new directory.
func unpack(t *testing.T, name string) string {
	t.Helper()
	archive, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	z, err := gzip.NewReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	dir, files := t.TempDir(), tar.NewReader(z)
	for {
		entry, err := files.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(entry.Name))
		if entry.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(files)
		if err == nil {
			err = os.WriteFile(to, b, fs.FileMode(entry.Mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
