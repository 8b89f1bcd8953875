//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
)

// TestAirGap carries images from a registry to a gateway that nothing leads to:
// preload, verify, export, import, and then clients pull all of them by the names and
// digests that they had.
func TestAirGap(t *testing.T) {
	u := runDebianRegistry(t)
	images := pushCarried(t, u.host, 20)
	var references, blocks []string
	blobs, manifests := map[string]bool{}, 0 // a blob that several upstreams have is had from each: they do not vouch for another
	for _, i := range images {
		references = append(references, i.reference())
		manifests += i.manifests
		for d := range i.blobs {
			upstream, _, _ := strings.Cut(i.repository, "/")
			blobs[upstream+" "+d.String()] = true
		}
	}
	list := writeFile(t, "# what the cluster runs\n"+strings.Join(references, "\n")+"\n", t.TempDir(), "images.txt")

	for _, name := range carriedUpstreams {
		blocks = append(blocks, fmt.Sprintf("upstream %s {\n%s\n}", name, u.caddyfile()))
	}
	outside := startSite(t, plain, strings.Join(blocks, "\n"))
	u.reset()
	outside.mirror(t, "preload", "--file", list)
	assertCount(t, "preload: GET of a manifest", u.count("GET", "manifests"), manifests)
	assertCount(t, "preload: GET of a blob", u.count("GET", "blobs"), len(blobs))
	u.stop()
	outside.mirror(t, "verify", "--deep", "--file", list)
	dir := t.TempDir()
	bundle, folder := filepath.Join(dir, "bundle.tar"), filepath.Join(dir, "bundle")
	outside.mirror(t, "export", "--output", bundle, "--file", list)
	outside.mirror(t, "export", "--output", folder+"/")
	alone := filepath.Join(dir, "alone.tar")
	outside.mirror(t, "export", "--output", alone, images[3].reference())
	outside.stop()

	t.Run("bundle", func(t *testing.T) {
		testBundle(t, images, bundle, folder)
		if got := skopeoDigest(t, nil, nil, "oci-archive:"+alone); got != images[3].digest {
			t.Errorf("skopeo has %s alone, want %s", got, images[3].digest)
		}
	})

	blocks = nil
	for _, name := range carriedUpstreams {
		blocks = append(blocks, "upstream "+name+" {\noffline\n}")
	}
	inside := startSite(t, plain, "default docker.io\n"+strings.Join(blocks, "\n"))
	if code, out := inside.try(t, "verify", "--file", list); code != 1 || !strings.Contains(out, images[7].reference()) {
		t.Fatalf("verify of an empty gateway: exit code %d:\n%s", code, out)
	}
	inside.mirror(t, "import", bundle)
	inside.mirror(t, "verify", "--deep", "--file", list)
	t.Run("clients", func(t *testing.T) { testCarriedPulls(t, images, inside) })
	t.Run("others", func(t *testing.T) { testImports(t, images[4], inside) })

	lost := images[7]
	if err := os.Remove(blobFile(inside.store, lost.layer)); err != nil {
		t.Fatal(err)
	}
	code, out := inside.try(t, "verify", "--file", list)
	if code != 1 || !strings.Contains(out, lost.reference()) || !strings.Contains(out, lost.layer.String()) {
		t.Errorf("verify without %s: exit code %d, want 1 and the image:\n%s", lost.layer, code, out)
	}
	inside.mirror(t, "import", bundle)
	inside.mirror(t, "verify", "--deep", "--file", list)
}

// testBundle has other tools read a bundle.
func testBundle(t *testing.T, images []*carried, bundle, folder string) {
	for _, i := range images {
		if i.docker {
			continue // skopeo finds names at manifests of OCI's types only, others where they are alone
		}
		if got := skopeoDigest(t, nil, nil, "oci-archive:"+bundle+":"+i.reference()); got != i.digest {
			t.Errorf("%s: skopeo has %s, want %s", i.reference(), got, i.digest)
		}
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("crane: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != len(images) {
		t.Errorf("crane sees %d images, want %d", len(manifest.Manifests), len(images))
	}
}

// testCarriedPulls has clients pull images by their names, with what client-config
// writes for them.
func testCarriedPulls(t *testing.T, images []*carried, g *gateway) {
	n := newNode(t)
	g.configure(t, []string{"containerd"}, filepath.Join(n.etc, "containerd/certs.d"))
	g.configure(t, []string{"podman"}, filepath.Join(n.etc, "containers"))
	ctr := configuredContainerd(t, n, g).(*containerdClient)
	pod := configuredPodman(t, n, g).(*podman)
	within, env := n.within(), n.env()
	var names []string
	for n, i := range images {
		pinned := i.repository + "@" + i.digest.String()
		if n%5 == 0 { // the others have been found to have the digest, too
			ctr.pullImage(t, pinned)
			names = append(names, pinned)
		}
		names = append(names, i.reference())
		for client, got := range map[string]digest.Digest{
			"containerd":       ctr.pullImage(t, i.reference()),
			"skopeo":           skopeoDigest(t, within, env, "docker://"+i.reference()),
			"skopeo by digest": skopeoDigest(t, within, env, "docker://"+pinned),
			"crane":            craneDigest(t, g, i, ":"+i.tag),
			"crane by digest":  craneDigest(t, g, i, "@"+i.digest.String()),
		} {
			if got != i.digest {
				t.Errorf("%s: %s has %s, want %s", i.reference(), client, got, i.digest)
			}
		}
	}
	pod.podman(t, append([]string{"pull", "--quiet"}, names...)...)
	found := pod.podman(t, "images", "--all", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}")
	for _, i := range images {
		if line := i.reference() + " " + i.digest.String() + "\n"; !strings.Contains(found, line) {
			t.Errorf("podman has no %s%s", line, found)
		}
	}
}

// skopeoDigest copies all of an image to a folder, as it is.
func skopeoDigest(t *testing.T, within, env []string, source string) digest.Digest {
	t.Helper()
	dir := t.TempDir()
	line := append(slices.Clone(within), "skopeo", "copy", "--quiet", "--all", "--preserve-digests", source, "dir:"+dir)
	run(t, env, line[0], line[1:]...)
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(raw)
}

// craneDigest pulls an image from the gateway and reads all of it.
func craneDigest(t *testing.T, g *gateway, i *carried, reference string) digest.Digest {
	t.Helper()
	upstream, _, _ := strings.Cut(i.repository, "/")
	transport := insecureClient().Transport
	descriptor, err := crane.Get(g.host+"/proxy-"+upstream+"/"+i.path()+reference, crane.Insecure, crane.WithTransport(transport))
	if err != nil {
		t.Error(err)
		return ""
	}
	if descriptor.MediaType.IsIndex() {
		index, err := descriptor.ImageIndex()
		if err == nil {
			err = validate.Index(index)
		}
		if err != nil {
			t.Error(err)
		}
		return digest.Digest(descriptor.Digest.String())
	}
	image, err := descriptor.Image()
	if err == nil {
		err = validate.Image(image)
	}
	if err != nil {
		t.Error(err)
	}
	return digest.Digest(descriptor.Digest.String())
}

// testImports imports what other tools have made of an image of docker.io, under
// names of their own.
func testImports(t *testing.T, i *carried, g *gateway) {
	dir := t.TempDir()
	n := newNode(t)
	g.configure(t, []string{"docker", "--ns"}, filepath.Join(n.etc, "docker"))
	g.configure(t, []string{"podman"}, filepath.Join(n.etc, "containers"))
	daemon := runDocker(t, n.env(), n.within())
	daemon.pullImage(t, strings.TrimPrefix(i.repository, "docker.io/"), i.tag)
	saved := writeFile(t, string(daemon.call(t, "GET", "/images/"+i.path()+":"+i.tag+"/get")), dir, "save.tar")
	line := append(n.within(), "skopeo", "copy", "--quiet", "--all", "--preserve-digests", "docker://"+i.reference(), "oci:"+dir+"/layout:any")
	run(t, n.env(), line[0], line[1:]...)

	g.mirror(t, "import", saved, "--as", "quay.io/saved/docker:1")
	g.mirror(t, "import", filepath.Join(dir, "layout"), "--as", "quay.io/saved/skopeo:1")
	g.mirror(t, "verify", "--deep", "quay.io/saved/docker:1", "quay.io/saved/skopeo:1")
	pod := configuredPodman(t, n, g).(*podman)
	pod.podman(t, "pull", "--quiet", "quay.io/saved/docker:1") // which checks the layers against the config
	id := strings.TrimSpace(pod.podman(t, "image", "inspect", "--format", "{{.Id}}", "quay.io/saved/docker:1"))
	var inspected struct{ ID string }
	if err := json.Unmarshal(daemon.call(t, "GET", "/images/"+i.path()+":"+i.tag+"/json"), &inspected); err != nil {
		t.Fatal(err)
	}
	if inspected.ID != "sha256:"+id {
		t.Errorf("what docker saved is image %s at podman, want %s", id, inspected.ID)
	}
	fromSkopeo := &carried{repository: "quay.io/saved/skopeo", tag: "1"}
	if got := craneDigest(t, g, fromSkopeo, ":1"); got != i.digest {
		t.Errorf("crane has %s of skopeo's layout, want %s", got, i.digest)
	}
}

func blobFile(store string, d digest.Digest) string {
	return filepath.Join(store, "blobs", d.Algorithm().String(), d.Encoded()[:3], d.Encoded())
}

// mirror runs a command on the gateway, which has to succeed.
func (g *gateway) mirror(t *testing.T, command string, args ...string) {
	t.Helper()
	if code, out := g.try(t, command, args...); code != 0 {
		t.Fatalf("mirror %s %v: exit code %d:\n%s", command, args, code, out)
	}
}

// try runs a command on the gateway. It returns its exit code and all that it printed.
func (g *gateway) try(t *testing.T, command string, args ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"mirror", command, "--address", g.admin}, args...)...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), b.String()
}
