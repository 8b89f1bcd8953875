package images

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func idOf(t *testing.T, name string) volume.ID {
	t.Helper()
	i, err := volume.IDOf(oci.Sum([]byte(name)))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// treeOf returns a tree: an index of two images that share a layer, a signature of one
// of them, and another image that has that layer, too.
func treeOf(t *testing.T) (tree *tree, names map[volume.ID]string) {
	t.Helper()
	names = make(map[volume.ID]string)
	id := func(name string) volume.ID {
		names[idOf(t, name)] = name
		return idOf(t, name)
	}
	of := func(names ...string) (list []oci.Descriptor) {
		for _, name := range names {
			list = append(list, oci.Descriptor{Digest: id(name).Digest()})
		}
		return list
	}
	tree = newTree()
	tree.contents[id("index")] = oci.Contents{Manifests: of("amd64", "arm64")}
	tree.contents[id("amd64")] = oci.Contents{Blobs: of("layer", "amd64 layer")}
	tree.contents[id("arm64")] = oci.Contents{Blobs: of("layer", "arm64 layer")}
	tree.contents[id("signature")] = oci.Contents{Blobs: of("signed")}
	tree.contents[id("other")] = oci.Contents{Blobs: of("layer")}
	tree.referrers[id("amd64")] = []volume.ID{id("signature")}
	return tree, names
}

// What is below an image, or refers to it, goes with it, except what another keeps.
func TestTree(t *testing.T) {
	tree, names := treeOf(t)
	dying := func() []string {
		var list []string
		for i := range tree.dying {
			list = append(list, names[i])
		}
		slices.Sort(list)
		return list
	}
	tree.condemn(idOf(t, "index"))
	want := []string{"amd64", "amd64 layer", "arm64", "arm64 layer", "index", "layer", "signature", "signed"}
	if got := dying(); !cmp.Equal(got, want) {
		t.Errorf("dying are %q, want %q", got, want)
	}
	tree.keep(idOf(t, "other"))
	want = slices.DeleteFunc(want, func(name string) bool { return name == "layer" })
	if got := dying(); !cmp.Equal(got, want) {
		t.Errorf("dying beside another image are %q, want %q", got, want)
	}
	tree.keep(idOf(t, "arm64"))
	want = slices.DeleteFunc(want, func(name string) bool { return name == "arm64" || name == "arm64 layer" })
	if got := dying(); !cmp.Equal(got, want) {
		t.Errorf("dying beside a tagged image are %q, want %q", got, want)
	}
}

func TestSet(t *testing.T) {
	var none Set
	a, b := idOf(t, "a"), idOf(t, "b")
	some := Set{}
	some.add(a)
	if none.Has(a) || !some.Has(a) || some.Has(b) {
		t.Errorf("%v has other content", slices.Collect(maps.Keys(some)))
	}
}

// Only what is linked while a removal runs is noticed.
func TestRelinked(t *testing.T) {
	var m Remover
	a, b := idOf(t, "a"), idOf(t, "b")
	m.Linked(a)
	again := m.relinked.begin()
	m.Linked(b)
	if again.has(a) || !again.has(b) {
		t.Error("it notices something else")
	}
	m.relinked.end()
	m.Linked(a)
	if again.has(a) {
		t.Error("it goes on noticing")
	}
}
