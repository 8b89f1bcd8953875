package registrytest

import (
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestContent puts, copies and deletes, and finds what is there.
func TestContent(t *testing.T) {
	t.Parallel()
	c := &Content{repositories: map[string]*repository{}}
	blob := c.PutBlob("a", []byte("1"))
	root := c.PutManifest("a", "2", ocispec.MediaTypeImageManifest, []byte(`{"config":{"digest":"`+blob.String()+`"}}`))
	c.PutTag("a", "1", root)
	c.CopyRepository("a", "b")
	c.CopyRepository("a", "a")
	c.DeleteTag("a", "2")
	c.DeleteBlob("a", blob)
	for _, x := range []struct {
		repository string
		tags       []string
		blob       bool
	}{{"a", []string{"1"}, false}, {"b", []string{"2", "1"}, true}} {
		r := c.find(x.repository)
		if got := r.names(); !slices.Equal(got, x.tags) {
			t.Errorf("%s has the tags %q, want %q", x.repository, got, x.tags)
		}
		if got := r.blob(blob) != nil; got != x.blob {
			t.Errorf("%s has the blob: %t", x.repository, got)
		}
		if d, _, ok := r.resolve("1"); !ok || d != root {
			t.Errorf("%s has %s as 1", x.repository, d)
		}
	}
	r := c.find("b")
	if r.wasNamed(blob) {
		t.Error("it was named before anybody got the manifest")
	}
	if r.give(root); !r.wasGiven(root) || !r.wasNamed(blob) {
		t.Error("it was not named")
	}
	if c.Forget(); r.wasGiven(root) || r.wasNamed(blob) {
		t.Error("it is not forgotten")
	}
	if gone := c.find("c"); gone != nil || gone.blob(blob) != nil || gone.wasGiven(root) {
		t.Error("there is a repository that nobody put")
	}
}
