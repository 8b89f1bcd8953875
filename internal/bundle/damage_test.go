package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// both reads a tar from a file and from a stream.
func both(t *testing.T, raw []byte, check func(t *testing.T, got pieces, err error)) {
	t.Helper()
	for name, begin := range map[string]func() (*Reader, error){
		"file":   func() (*Reader, error) { return open(t, "bundle.tar", raw) },
		"stream": func() (*Reader, error) { return OpenStream(bytes.NewReader(raw)) },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := begin()
			var got pieces
			if err == nil {
				got, err = readAll(r)
			}
			check(t, got, err)
		})
	}
}

func TestDamage(t *testing.T) {
	raw, x, all := sampleBundle(t)
	entries := untar(t, raw)
	layer := entries[len(entries)-1]
	change := func(edit func([]entry) []entry) []byte {
		copied := make([]entry, len(entries))
		for i, e := range entries {
			copied[i] = entry{e.header, bytes.Clone(e.body)}
		}
		return tarOf(t, edit(copied)...)
	}
	last := len(entries) - 1
	link := func(kind byte, name, target string) entry {
		return entry{tar.Header{Typeflag: kind, Name: name, Linkname: target}, nil}
	}
	named := strings.TrimPrefix(layer.header.Name, "blobs/sha256/")
	for name, test := range map[string]struct {
		raw  []byte
		want string // in the error
	}{
		"bit of a blob": {change(func(e []entry) []entry { e[last].body[7] ^= 1; return e }), named},
		"bit of a manifest": {change(func(e []entry) []entry {
			for i := range e {
				if digestOf(e[i].header.Name) == x.Images[0].Descriptor.Digest {
					e[i].body[len(e[i].body)-3] ^= 1
				}
			}
			return e
		}), x.Images[0].Descriptor.Digest.Encoded()},
		"longer blob":     {change(func(e []entry) []entry { e[last].body = append(e[last].body, 0); return e }), named},
		"shorter blob":    {change(func(e []entry) []entry { e[last].body = e[last].body[1:]; return e }), named},
		"blob twice":      {change(func(e []entry) []entry { return append(e, e[last]) }), named},
		"index twice":     {change(func(e []entry) []entry { return append(e, e[1]) }), "index.json"},
		"no index":        {change(func(e []entry) []entry { return e[:1] }), "index.json"},
		"no layout":       {change(func(e []entry) []entry { return e[1:] }), "manifest.json"},
		"other version":   {change(func(e []entry) []entry { e[0].body = []byte(`{"imageLayoutVersion":"2.0.0"}`); return e }), "2.0.0"},
		"no manifest":     {change(func(e []entry) []entry { return e[:4] }), x.Images[0].Descriptor.Digest.Encoded()},
		"traversal":       {change(func(e []entry) []entry { return append(e, file("blobs/../../etc/passwd", nil)) }), "leads out"},
		"absolute":        {change(func(e []entry) []entry { return append(e, file("/etc/passwd", nil)) }), "leads out"},
		"link for a blob": {change(func(e []entry) []entry { return append(e[:last], link(tar.TypeSymlink, e[last].header.Name, "x")) }), named},
		"link outside":    {change(func(e []entry) []entry { return append(e, link(tar.TypeSymlink, "blobs/x", "../../etc")) }), "link"},
		"hard link":       {change(func(e []entry) []entry { return append(e, link(tar.TypeLink, "blobs/x", e[1].header.Name)) }), "no file"},
		"device":          {change(func(e []entry) []entry { return append(e, link(tar.TypeChar, "blobs/x", "")) }), "no file"},
		"fifo":            {change(func(e []entry) []entry { return append(e, link(tar.TypeFifo, "blobs/x", "")) }), "no file"},
		"empty":           {nil, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, test.raw, func(t *testing.T, got pieces, err error) {
				if name == "empty" || name == "no layout" {
					if err == nil {
						t.Error("no error")
					}
					return
				}
				if _, ok := errors.AsType[*DamageError](err); !ok || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error is %v, want one about %s", err, test.want)
				}
				if !subset(got, all) {
					t.Error("something else was handed out")
				}
			})
		})
	}
}

func subset(a, b pieces) bool {
	for d, content := range a {
		if !bytes.Equal(b[d], content) {
			return false
		}
	}
	return true
}

// Folders are read with the same care.
func TestDamagedFolder(t *testing.T) {
	raw, _, _ := sampleBundle(t)
	entries := untar(t, raw)
	last := filepath.FromSlash(entries[len(entries)-1].header.Name)
	for name, damage := range map[string]func(string) error{
		"bit": func(f string) error {
			b, err := os.ReadFile(filepath.Join(f, last))
			b[0] ^= 1
			return errors.Join(err, os.WriteFile(filepath.Join(f, last), b, 0o600))
		},
		"cut": func(f string) error { return os.Truncate(filepath.Join(f, last), 10) },
		"link": func(f string) error {
			return errors.Join(os.Rename(filepath.Join(f, last), filepath.Join(f, "x")), os.Symlink("../../x", filepath.Join(f, last)))
		},
		"link of a folder": func(f string) error {
			return errors.Join(os.Rename(filepath.Join(f, "blobs"), filepath.Join(f, "x")), os.Symlink("x", filepath.Join(f, "blobs")))
		},
		"no index": func(f string) error { return os.Remove(filepath.Join(f, "index.json")) },
	} {
		t.Run(name, func(t *testing.T) {
			f := extract(t, raw)
			if err := damage(f); err != nil {
				t.Fatal(err)
			}
			r, err := Open(f)
			if err == nil {
				_, err = readAll(r)
				r.Close()
			}
			if _, ok := errors.AsType[*DamageError](err); !ok {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// Of a bundle that was cut anywhere, all is there or there is an error.
func TestCut(t *testing.T) {
	raw, _, all := sampleBundle(t)
	for end := 0; end < len(raw); end += 509 {
		for name, r := range map[string]func() (*Reader, error){
			"stream": func() (*Reader, error) { return OpenStream(bytes.NewReader(raw[:end])) },
			"file":   func() (*Reader, error) { return open(t, "cut.tar", raw[:end]) },
		} {
			reader, err := r()
			var got pieces
			if err == nil {
				got, err = readAll(reader)
			}
			if err == nil && (!same(got, all) || len(raw)-end > 512) {
				t.Errorf("%s cut at %d: %d pieces of %d, and no error", name, end, len(got), len(all))
			}
			if _, ok := errors.AsType[*DamageError](err); err != nil && !ok && !errors.Is(err, ErrOrder) {
				t.Errorf("%s cut at %d: %v", name, end, err)
			}
		}
	}
}

// Whatever bit flips in what is compressed, nothing wrong comes out.
func TestFlips(t *testing.T) {
	seed := uint64(20)
	random := rand.New(rand.NewPCG(seed, 0))
	_, _, all := sampleBundle(t)
	path := filepath.Join(t.TempDir(), "a.tar.zst")
	output(t, path)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		at, bit := random.IntN(len(raw)), byte(1)<<random.IntN(8)
		raw[at] ^= bit
		r, err := OpenStream(bytes.NewReader(raw))
		var got pieces
		if err == nil {
			got, err = readAll(r)
			r.Close()
		}
		if err == nil || !subset(got, all) {
			t.Errorf("seed %d: bit %d of byte %d: %v", seed, bit, at, err)
		}
		raw[at] ^= bit
	}
}

// An error of reading is what it is, and no damage.
func TestFailingReader(t *testing.T) {
	raw, _, _ := sampleBundle(t)
	failure := errors.New("disk on fire")
	for _, at := range []int64{0, 600, 2000, 9000, int64(len(raw)) - 1} {
		r, err := OpenStream(io.MultiReader(io.LimitReader(bytes.NewReader(raw), at), failing{failure}))
		if err == nil {
			_, err = readAll(r)
		}
		if !errors.Is(err, failure) {
			t.Errorf("failing at %d: %v", at, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
