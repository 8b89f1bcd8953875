package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/record"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestTagRoundTrip(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, d := content(1, 10)
	_, err := s.Tag(t.Context(), scope, "3")
	wantErr(t, "unknown tag", err, fs.ErrNotExist)
	want := Tag{Digest: d, MediaType: "application/json", Size: 10, Checked: time.Unix(1_700_000_000, 0), Changed: time.Unix(5, 0)}
	for _, tag := range []string{"3", "3.1", "latest", "4"} {
		if err := s.PutTag(t.Context(), scope, tag, want); err != nil {
			t.Fatal(err)
		}
	}
	neighbour := oci.Scope{Upstream: scope.Upstream, Repository: scope.Repository + "x"}
	if err := s.PutTag(t.Context(), neighbour, "5", Tag{Digest: d}); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	got, err := s.Tag(t.Context(), scope, "3")
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if l, err := s.Linked(t.Context(), scope, d); err != nil || l.Size != 10 {
		t.Errorf("link is %+v, %v", l, err)
	}
	if err := s.DeleteTag(t.Context(), scope, "4"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTag(t.Context(), scope, "4"); err != nil {
		t.Errorf("second delete: %v", err)
	}
	for _, c := range []struct {
		after string
		n     int
		want  []string
	}{
		{"", -1, []string{"3", "3.1", "latest"}},
		{"", 2, []string{"3", "3.1"}},
		{"", 0, nil},
		{"3", -1, []string{"3.1", "latest"}},
		{"3.0", 1, []string{"3.1"}},
		{"z", -1, nil},
	} {
		if got, err := s.Tags(t.Context(), scope, c.after, c.n); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("tags after %q, %d: %v, %v, want %v", c.after, c.n, got, err, c.want)
		}
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, d := content(1, 10)
	_, err := s.Linked(t.Context(), scope, d)
	wantErr(t, "unknown link", err, fs.ErrNotExist)
	for _, c := range []struct{ put, want int64 }{{-1, -1}, {10, 10}, {-1, 10}} {
		if err := s.Link(t.Context(), scope, oci.Descriptor{Digest: d, Size: c.put}); err != nil {
			t.Fatal(err)
		}
		if l, err := s.Linked(t.Context(), scope, d); err != nil || l.Size != c.want {
			t.Errorf("after %d: %+v, %v, want %d", c.put, l, err, c.want)
		}
	}
	for _, other := range []oci.Scope{
		{Upstream: scope.Upstream, Repository: "library/busybox"}, {Upstream: "ghcr.io", Repository: scope.Repository},
	} {
		_, err := s.Linked(t.Context(), other, d)
		wantErr(t, other.String(), err, fs.ErrNotExist)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 6000, "largest inside": index.MaxValue, "external": index.MaxValue + 1} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			b, d := content(1, size)
			_, child := content(2, 1)
			want := oci.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: d, Bytes: b}
			_, err := s.Manifest(t.Context(), d)
			wantErr(t, "unknown manifest", err, fs.ErrNotExist)
			for range 2 {
				if err := s.PutManifest(t.Context(), scope, want, []oci.Descriptor{{Digest: child, Size: 1}}); err != nil {
					t.Fatal(err)
				}
			}
			s = reopen(t, s)
			got, err := s.Manifest(t.Context(), d)
			if err != nil || got.MediaType != want.MediaType || got.Digest != d || !bytes.Equal(got.Bytes, b) {
				t.Errorf("got another manifest: %v", err)
			}
			if l, err := s.Linked(t.Context(), scope, child); err != nil || l != (Link{Size: 1}) {
				t.Errorf("link of child is %+v, %v", l, err)
			}
			if l, err := s.Linked(t.Context(), scope, d); err != nil || l.Size != int64(size) || !l.Proven || l.Proved.IsZero() {
				t.Errorf("own link is %+v, %v", l, err)
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 10)
	m := oci.Manifest{Digest: d, Bytes: b}
	for name, err := range map[string]error{
		"bytes of another digest": s.PutManifest(t.Context(), scope, oci.Manifest{Digest: d, Bytes: b[1:]}, nil),
		"child without digest":    s.PutManifest(t.Context(), scope, m, []oci.Descriptor{{}}),
		"no scope":                s.PutManifest(t.Context(), oci.Scope{}, m, nil),
		"scope with a zero byte":  s.PutTag(t.Context(), oci.Scope{Upstream: "a\x00b", Repository: "c"}, "3", Tag{Digest: d}),
		"tag of a path":           s.PutTag(t.Context(), scope, "../3", Tag{Digest: d}),
		"digest of a path":        s.Link(t.Context(), scope, oci.Descriptor{Digest: "sha256:../../../../etc/passwd"}),
		"too many referrers":      s.PutReferrers(t.Context(), scope, d, Referrers{Descriptors: make([]oci.Descriptor, 20_000)}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, err := s.Manifest(t.Context(), d)
	wantErr(t, "refused manifest", err, fs.ErrNotExist)
	_, err = s.Linked(t.Context(), scope, d)
	wantErr(t, "link of a refused manifest", err, fs.ErrNotExist)
}

func TestReferrersRoundTrip(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, d := content(1, 10)
	_, err := s.Referrers(t.Context(), scope, d)
	wantErr(t, "unknown referrers", err, fs.ErrNotExist)
	for _, want := range []Referrers{
		{Descriptors: []oci.Descriptor{{MediaType: "a/b", Digest: d, Size: 3, Annotations: map[string]string{"k": "v"}}}, Checked: time.Unix(9, 0)},
		{Checked: time.Unix(10, 0)},
	} {
		if err := s.PutReferrers(t.Context(), scope, d, want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Referrers(t.Context(), scope, d); err != nil || !cmp.Equal(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestClaimsAndProofs: a manifest that names a digest proves nothing, and takes
// nothing away from what is proven.
func TestClaimsAndProofs(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	child := oci.Descriptor{Digest: oci.Sum([]byte("child"))}
	claim := func(text string, size int64) {
		t.Helper()
		child.Size = size
		raw := []byte(text)
		if err := s.PutManifest(t.Context(), scope, oci.Manifest{MediaType: "a/b", Digest: oci.Sum(raw), Bytes: raw}, []oci.Descriptor{child}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want Link) {
		t.Helper()
		l, err := s.Linked(t.Context(), scope, child.Digest)
		if err != nil || l.Size != want.Size || l.Proven != want.Proven || l.Proven == l.Proved.IsZero() {
			t.Errorf("%s: %+v, %v, want %+v", what, l, err, want)
		}
	}
	claim("{}", 5)
	check("claimed", Link{Size: 5})
	claim("{ }", 6)
	check("claimed again", Link{Size: 6})
	if err := s.Link(t.Context(), scope, oci.Descriptor{Digest: child.Digest, Size: -1}); err != nil {
		t.Fatal(err)
	}
	check("proven, size unknown", Link{Size: 6, Proven: true})
	if err := s.Link(t.Context(), scope, oci.Descriptor{Digest: child.Digest, Size: 7}); err != nil {
		t.Fatal(err)
	}
	claim("{  }", 8)
	check("claimed after the proof", Link{Size: 7, Proven: true})
}

// Who sees a manifest sees its links too.
func TestPutManifestIsOneTransaction(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	var children []oci.Descriptor
	for n := range 40 {
		_, d := content(uint64(1000+n), 1)
		children = append(children, oci.Descriptor{Digest: d, Size: int64(n)})
	}
	for n := range 50 {
		b, d := content(uint64(n), 100)
		repository := oci.Scope{Upstream: "u", Repository: strconv.Itoa(n)}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.PutManifest(t.Context(), repository, oci.Manifest{Digest: d, Bytes: b}, children); err != nil {
				t.Error(err)
			}
		})
		for {
			if _, err := s.Manifest(t.Context(), d); err == nil {
				break
			}
		}
		for _, c := range children {
			if _, err := s.Linked(t.Context(), repository, c.Digest); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
	}
}

// A write that fails leaves nothing of itself, and takes no other with it.
func TestWriterIsolatesFailures(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	poison := errors.New("poison")
	var wg sync.WaitGroup
	for n := range 500 {
		wg.Go(func() {
			key := []byte("z" + strconv.Itoa(n))
			err := s.index.Update(10, func(b *index.Batch) error {
				if err := b.Set(key, key); err != nil {
					return err
				}
				if n%7 == 0 {
					return poison
				}
				return nil
			})
			if (n%7 == 0) != errors.Is(err, poison) {
				t.Errorf("write %d: %v", n, err)
			}
			if _, err := s.index.Get(key); (n%7 == 0) != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("read %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

// Whatever is wrong with a record, it is a miss, and can be written anew.
func TestCorruptRecordIsMiss(t *testing.T) {
	t.Parallel()
	for name, corrupt := range map[string]func([]byte) []byte{
		"bit":     func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"version": func(b []byte) []byte { return record.Seal(append([]byte{99}, b[1:len(b)-4]...)) },
		"short":   func(b []byte) []byte { return b[:len(b)-1] },
		"fields":  func(b []byte) []byte { return record.Seal(b[:1]) },
		"empty":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			b, d := content(1, 100)
			put := func() {
				t.Helper()
				err := errors.Join(
					s.PutManifest(t.Context(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil),
					s.PutTag(t.Context(), scope, "3", Tag{Digest: d, Size: 100}),
					s.PutReferrers(t.Context(), scope, d, Referrers{Checked: time.Unix(1, 0)}))
				if err != nil {
					t.Fatal(err)
				}
				putBlob(t, s, b)
			}
			get := func() map[string]error {
				_, tag := s.Tag(t.Context(), scope, "3")
				_, manifest := s.Manifest(t.Context(), d)
				_, link := s.Linked(t.Context(), scope, d)
				_, referrers := s.Referrers(t.Context(), scope, d)
				return map[string]error{"tag": tag, "manifest": manifest, "link": link, "referrers": referrers}
			}
			put()
			err := s.index.Update(0, func(b *index.Batch) error {
				return b.Each(t.Context(), nil, func(key, record []byte) error {
					return b.Put(bytes.Clone(key), corrupt(bytes.Clone(record)))
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, err := range get() {
				wantErr(t, name, err, fs.ErrNotExist)
			}
			if size, err := s.StatBlob(t.Context(), d); err != nil || size != 100 {
				t.Errorf("blob is not adopted: %d, %v", size, err)
			}
			put()
			for name, err := range get() {
				if err != nil {
					t.Errorf("%s, written anew: %v", name, err)
				}
			}
		})
	}
}

func TestManifestOfWrongDigestIsDropped(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, d := content(1, 10)
	i, _ := volume.IDOf(d)
	record := index.Manifest{MediaType: "a/b", Bytes: []byte("{}")}.Encode()
	if err := s.index.Update(0, func(b *index.Batch) error { return b.Set(index.TableKey(index.TableManifest, i), record) }); err != nil {
		t.Fatal(err)
	}
	_, err := s.Manifest(t.Context(), d)
	wantErr(t, "manifest", err, fs.ErrNotExist)
	settle(t, s)
	_, err = s.index.Get(index.TableKey(index.TableManifest, i))
	wantErr(t, "record", err, fs.ErrNotExist)
}

func TestExternalManifestOfWrongDigestIsDropped(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, index.MaxValue+1)
	m := oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}
	if err := s.PutManifest(t.Context(), scope, m, nil); err != nil {
		t.Fatal(err)
	}
	file := blobFile(t, s, d)
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ToUpper(b), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Manifest(t.Context(), d)
	wantErr(t, "manifest", err, fs.ErrNotExist)
	_, err = s.StatBlob(t.Context(), d)
	wantErr(t, "its file", err, fs.ErrNotExist)
	if err := s.PutManifest(t.Context(), scope, m, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(t.Context(), d); err != nil {
		t.Error(err)
	}
}
