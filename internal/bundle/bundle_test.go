package bundle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sameIndex = cmpopts.IgnoreFields(Index{}, "Digest", "ordered")

func TestRoundTrip(t *testing.T) {
	raw, x, want := sampleBundle(t)
	for i := range x.Images {
		x.Images[i].Label = x.Images[i].Name.String()
	}
	check := func(t *testing.T, r *Reader, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x, *r.Index(), sameIndex, cmpopts.IgnoreUnexported(Index{})); diff != "" {
			t.Error(diff)
		}
		got, err := readAll(r)
		if err != nil || !same(got, want) {
			t.Errorf("%d pieces of %d, %v", len(got), len(want), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Run("stream", func(t *testing.T) {
		r, err := NewStream(bytes.NewReader(raw))
		check(t, r, err)
	})
	t.Run("folder of tar", func(t *testing.T) {
		r, err := Open(extract(t, raw))
		check(t, r, err)
	})
	for _, name := range []string{"out.tar", "out.tar.zst", "out/"} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/" + name
			output(t, path)
			r, err := Open(path)
			check(t, r, err)
			if strings.HasSuffix(name, "/") {
				return
			}
			first, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			output(t, path)
			if again, err := os.ReadFile(path); err != nil || !bytes.Equal(first, again) {
				t.Errorf("the same content makes other bytes, %v", err)
			}
			piped, err := OpenStream(io.MultiReader(bytes.NewReader(first[:1]), bytes.NewReader(first[1:])))
			check(t, piped, err)
		})
	}
}

// output writes the sample to a path.
func output(t *testing.T, path string) {
	t.Helper()
	_, x, all := sampleBundle(t)
	o, err := Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := Copy(o.Writer, reader(x, all), nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(); err != nil {
		t.Fatal(err)
	}
}

// What the bundle does not need to have may be missing, everything else not.
func TestMissing(t *testing.T) {
	_, x, all := sampleBundle(t)
	image := x.Images[0]
	layer := reader(x, all)
	for {
		e, err := layer.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Manifest == nil {
			delete(all, e.Descriptor.Digest)
			break
		}
	}
	if got, err := readAll(reader(x, all)); err != nil || !same(got, all) {
		t.Errorf("without a layer: %v", err)
	}
	delete(all, image.Manifests[1])
	_, err := readAll(reader(x, all))
	if e, ok := errors.AsType[*DamageError](err); !ok || e.Digest != image.Manifests[1] || !strings.Contains(err.Error(), image.Name.String()) {
		t.Errorf("without a manifest: %v", err)
	}
	x.Images[0].Manifests = x.Images[0].Manifests[:1]
	if _, err := readAll(reader(x, all)); err != nil {
		t.Errorf("without a manifest that was left out: %v", err)
	}
	delete(all, image.Descriptor.Digest)
	if _, err := readAll(reader(x, all)); err == nil {
		t.Error("without an index: no error")
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"docker.io/library/alpine:3.20":                 "docker.io/library/alpine:3.20",
		"docker.io/alpine:3":                            "docker.io/library/alpine:3",
		"index.docker.io/alpine":                        "docker.io/library/alpine",
		"localhost:5000/a/b:c":                          "localhost:5000/a/b:c",
		"ghcr.io/a/b@sha256:" + strings.Repeat("a", 64): "ghcr.io/a/b@sha256:" + strings.Repeat("a", 64),
		"3.20": "", "alpine": "", "library/alpine:3": "", "Ghcr.io/a/b:1": "", "ghcr.io/A:1": "", "ghcr.io/a:..": "", "ghcr.io/": "", "": "",
		"ghcr.io/a@sha256:12": "", "ghcr.io/../a:1": "",
	} {
		n, err := ParseName(text)
		if got := n.String(); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestRename(t *testing.T) {
	image := func(name, label string) Image {
		n, _ := ParseName(name)
		i, _ := sample(t, "docker.io/library/a:1", uint64(len(label)))
		i.Name, i.Label = n, label
		return i
	}
	for _, test := range []struct {
		images   []Image
		as, want string
	}{
		{[]Image{image("ghcr.io/a/b:1", "")}, "", "ghcr.io/a/b:1"},
		{[]Image{image("ghcr.io/a/b:1", "")}, "docker.io/library/c:2", "docker.io/library/c:2"},
		{[]Image{image("", "3.20")}, "docker.io/library/c:2", "docker.io/library/c:2"},
		{[]Image{image("", "3.20"), image("", "3.2")}, "docker.io/library/c", "docker.io/library/c:3.20 docker.io/library/c:3.2"},
		{[]Image{image("", "3.20"), image("", "3.2")}, "docker.io/library/c:2", "error: names one image, and there are 2: 3.20, 3.2"},
		{[]Image{image("", "3.20")}, "", "error: does not tell which image 3.20 is: name it with --as"},
		{[]Image{image("ghcr.io/a/b:1", "x"), image("ghcr.io/a/b:1", "yy")}, "", "error: two images have the name ghcr.io/a/b:1"},
		{nil, "docker.io/library/c:2", "error: there are 0"},
	} {
		x := Index{Images: test.images}
		as, _ := ParseName(test.as)
		err := x.Rename(as)
		if message, ok := strings.CutPrefix(test.want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("--as %s: %v, want %q", test.as, err, message)
			}
			continue
		}
		var got []string
		for _, i := range x.Images {
			got = append(got, i.Name.String())
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("--as %s: %v, %v, want %s", test.as, got, err, test.want)
		}
	}
}
