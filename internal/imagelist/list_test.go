package imagelist

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullgate/pullgate/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	hex    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	sum    = "sha256:" + hex
	sum512 = "sha512:" + hex + hex
)

// Each list in testdata gives the images of the file beside it.
func TestGoldenLists(t *testing.T) {
	names, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".golden") {
			continue
		}
		tested++
		t.Run(filepath.Base(name), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for ending, raw := range map[string][]byte{
				"as it is":      raw,
				"as of Windows": append([]byte("\ufeff"), bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))...),
			} {
				images, err := Read(name, bytes.NewReader(raw))
				if err != nil {
					t.Fatalf("%s: %v", ending, err)
				}
				var got strings.Builder
				for _, i := range images {
					got.WriteString(i.String() + "\n")
				}
				if *update {
					if err := os.WriteFile(name+".golden", []byte(got.String()), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(name + ".golden")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("%s: images (-want +got):\n%s", ending, diff)
				}
			}
		})
	}
	if tested < 8 {
		t.Errorf("only %d lists", tested)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for list, want := range map[string]string{
		"alpine\n\n# fine\nalpine:3:4\n": `list, line 4: "alpine:3:4" is no image reference`,
		"NAME READY\n":                   `line 1: "NAME READY" is no image reference: it has a space`,
		"docker://alpine":                "leave out the docker://",
		"alpine@sha256:12":               "line 1: ",
		"alpine:-x":                      `"-x" is no tag`,
		"quay.io/Acme/app":               "no repository name",
		"<none>:<none>":                  "line 1: ",
		"-bad.example/x":                 `"-bad.example" is no registry`,
		"a:1\nb c\nd e\n":                "line 3: ",
		"kind: Pod\nspec:\n- image: '{{ .Values.image }}'\n":        "line 3: ",
		"---\nimage: a\n---\nb: [\n":                                "list: yaml: ",
		"{\n\"a\":\n[{\"image\":\n\"a b\"}]}":                       "line 4: ",
		"{\"image\": \"a\"":                                         "list: yaml: ",
		"[\"alpine\", \"a b\"]":                                     "line 1: ",
		strings.Repeat("a b\n", 25):                                 "list: and 15 more",
		"{\"image\": \"" + strings.Repeat("x", 1000) + " long\"}\n": "…",
	} {
		images, err := Read("list", strings.NewReader(list))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %s", list, images, err, want)
		}
	}
	if _, err := Read("list", brokenReader{}); !errors.Is(err, errBroken) {
		t.Errorf("error is %v", err)
	}
	if _, err := read("list", strings.NewReader("#23456"), 5); err == nil || !strings.Contains(err.Error(), "more than 5 bytes") {
		t.Errorf("error of a list that is too long is %v", err)
	}
	if images, err := Read("list", strings.NewReader("# nothing\n")); err != nil || len(images) > 0 {
		t.Errorf("of an empty list: %v, %v", images, err)
	}
}

// However much of nothing a list holds, it takes less memory than nodes of
// it would.
func TestListsTakeBoundedMemory(t *testing.T) {
	repeat := func(open, element, end string) func() string {
		return func() string { return open + strings.Repeat(element, (12<<20-len(open)-len(end))/len(element)) + end }
	}
	for name, test := range map[string]struct {
		list    func() string // one at a time
		refused string
	}{
		"objects":       {repeat("[", "{},", "{}]"), ""},
		"documents":     {repeat("{}", "{} ", "{}"), ""},
		"strings":       {repeat("[", `"",`, `""]`), "split it"},
		"of kubectl":    {repeat(`{"items":[`, `{"apiVersion":"v1","kind":"Pod","metadata":{"a":"`+strings.Repeat("b", 1000)+`"},"spec":{"image":"a","b":[],"c":{"d":1}}},`, `{}]}`), ""},
		"YAML in flow":  {repeat("a: [", "{},", "{}] # YAML"), "split it"},
		"YAML in lines": {repeat("a:\n", "- b\n", ""), "split it"},
		"YAML nested":   {repeat("a:\n", "- - - - - - - - - - - b\n", ""), "split it"},
		"no references": {repeat("a b\n", "a b\n", ""), "more"},
	} {
		t.Run(name, func(t *testing.T) {
			list := test.list()
			var err error
			peak := testenv.PeakMemory(t, func() { _, err = Read("list", strings.NewReader(list)) })
			t.Logf("%d MiB, %.80v", peak>>20, err)
			if (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("error is %v, want %q", err, test.refused)
			}
			if peak > 256<<20 {
				t.Errorf("a list of %d MiB takes %d MiB", len(list)>>20, peak>>20)
			}
		})
	}
}

// Of many images, so many are taken.
func TestTooManyImages(t *testing.T) {
	var b strings.Builder
	for i := range maxImages + 1 {
		fmt.Fprintf(&b, "a/%d\n", i)
	}
	if _, err := Read("list", strings.NewReader(b.String())); err == nil || !strings.Contains(err.Error(), "line 131073: there are more than 131072 images") {
		t.Errorf("error is %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func TestParse(t *testing.T) {
	for s, want := range map[string]Image{
		"alpine":                               {"docker.io", "library/alpine", "latest", ""},
		"acme/app:1":                           {"docker.io", "acme/app", "1", ""},
		"docker.io/alpine@" + sum:              {"docker.io", "library/alpine", "", sum},
		"registry-1.docker.io/x:1":             {"docker.io", "library/x", "1", ""},
		"localhost/x":                          {"localhost", "x", "latest", ""},
		"host:5000/x:1@" + sum:                 {"host:5000", "x", "1", sum},
		"GHCR.io/a/b:T":                        {"ghcr.io", "a/b", "T", ""},
		"k8s.gcr.io/pause:3.9":                 {"k8s.gcr.io", "pause", "3.9", ""},
		"alpine:3@sha512:" + sum[7:] + sum[7:]: {"docker.io", "library/alpine", "3", sum512},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", s, got, err)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%s read again is %+v, %v", got, again, err)
		}
		if ref := got.Reference(); ref.IsDigest() != strings.Contains(s, "@") || ref.IsDigest() && ref.Tag != "" {
			t.Errorf("reference of %s is %+v", s, ref)
		}
	}
}

// Whatever a list holds, it is read or refused; what is read is complete, without
// repetitions, and reads again as the same.
func FuzzRead(f *testing.F) {
	names, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("a: &a [*a]\nimage: *a"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		images, err := Read("list", bytes.NewReader(raw))
		if err != nil {
			return
		}
		var again bytes.Buffer
		known := map[Image]bool{}
		for _, i := range images {
			if known[i] || i.Tag == "" && i.Digest == "" {
				t.Fatalf("%v is incomplete, or there twice", i)
			}
			known[i] = true
			again.WriteString(i.String() + "\n")
		}
		if got, err := Read("again", &again); err != nil || !cmp.Equal(got, images) {
			t.Fatalf("read again: %v, %v; want %v", got, err, images)
		}
	})
}
