package upstream

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

const (
	zooTags    = 2500
	zooClients = 20
)

// habitat is what there is in each registry of the zoo. Some names are parts of the
// word "repository:", and all of them stand in one scope or another.
type habitat struct {
	*enclosure

	images map[string]registrytest.Image // by repository
	seeds  map[string]uint64
	// The repositories: those that everybody may see, the one of the account, the
	// one that is refused, the ones that are missing, the one with many tags and the
	// one with a signature.
	public, missing                  []string
	private, refused, tagged, signed string
	tags                             []string
	signature                        oci.Descriptor

	mu     sync.Mutex
	wrongs map[string]int
}

func settle(t testing.TB, seed uint64, p registrytest.Profile, account bool) *habitat {
	t.Helper()
	h := &habitat{enclosure: enclose(t, p, account), images: map[string]registrytest.Image{}, seeds: map[string]uint64{}, wrongs: map[string]int{}}
	t.Cleanup(h.server.Close)
	h.private, h.refused = p.Repository("closed", "repo"), p.Repository("secret", "pull")
	h.tagged, h.signed = p.Repository("open", "repository"), p.Repository("team", "pull")
	h.public = []string{p.Repository("open", "app"), p.Repository("pos", "repo"), p.Repository("open", "pos"), h.tagged, h.signed}
	h.missing = []string{p.Repository("open", "none"), p.Repository("gone", "app")}
	for i, name := range append([]string{h.private, h.refused}, h.public...) {
		h.seeds[name] = seed<<8 + uint64(i)
		h.images[name] = h.server.PutImage(name, "latest", h.seeds[name], 20_000, 3_000)
	}
	copied := p.Repository("copy", "app") // has the same bytes
	h.server.CopyRepository(h.public[0], copied)
	h.public, h.seeds[copied], h.images[copied] = append(h.public, copied), h.seeds[h.public[0]], h.images[h.public[0]]
	h.server.SetVisibility(h.private, registrytest.Private)
	h.server.SetVisibility(h.refused, registrytest.Refused)
	h.tags = []string{"latest"}
	for i := range zooTags - 1 {
		h.tags = append(h.tags, fmt.Sprintf("v%d", i))
		h.server.PutTag(h.tagged, h.tags[i+1], h.images[h.tagged].Index.Digest)
	}
	slices.Sort(h.tags)
	h.sign()
	return h
}

// sign puts a signature of an image where the registry has it looked for.
func (h *habitat) sign() {
	if h.profile.Referrers == registrytest.ReferrersNone {
		return
	}
	subject := h.images[h.signed].Index
	empty := h.server.PutBlob(h.signed, []byte("{}"))
	raw := marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.test",
		Config:  ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: empty, Size: 2},
		Layers:  []ocispec.Descriptor{{MediaType: ocispec.MediaTypeEmptyJSON, Digest: empty, Size: 2}},
		Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	})
	h.signature = oci.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.test", Size: int64(len(raw)),
		Digest: h.server.PutManifest(h.signed, "", ocispec.MediaTypeImageManifest, raw),
	}
	if h.profile.Referrers == registrytest.ReferrersTag {
		h.server.PutManifest(h.signed, oci.ReferrersTag(subject.Digest), ocispec.MediaTypeImageIndex, marshal(ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{h.signature},
		}))
	}
}

func marshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// wrong notes what is not as it should be, once for each kind of thing.
func (h *habitat) wrong(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrongs[fmt.Sprintf(format, args...)]++
}

// open reports whether the upstream is asked as somebody who may see what is public.
func (h *habitat) open() bool {
	a := h.profile.Auth
	return h.account || a.Open || a.Tokens != nil || !a.Basic
}

// deed is something that a client does.
type deed func(g *zooGateway, random *rand.Rand)

// pull gets an image as clients do, with a HEAD before some of its GETs.
func (h *habitat) pull(name string) deed {
	return func(g *zooGateway, random *rand.Rand) {
		image := h.images[name]
		platform, number := image.Platforms[0], uint64(0)
		if random.IntN(2) == 1 {
			platform, number = image.Platforms[1], 1
		}
		parts := []struct{ path, digest, body string }{
			{"manifests/latest", image.Index.Digest.String(), string(image.IndexBytes)},
			{"manifests/" + platform.Manifest.Digest.String(), platform.Manifest.Digest.String(), string(platform.ManifestBytes)},
			{"blobs/" + platform.Config.Digest.String(), platform.Config.Digest.String(), ""},
		}
		for i, layer := range platform.Layers {
			content := registrytest.Random(h.seeds[name]<<16+number<<8+uint64(i), int(layer.Size))
			parts = append(parts, struct{ path, digest, body string }{"blobs/" + layer.Digest.String(), layer.Digest.String(), string(content)})
		}
		for _, part := range parts {
			methods := []string{http.MethodHead, http.MethodGet}
			for _, method := range methods[random.IntN(2):] {
				a := g.ask(method, h.enclosure, name+"/"+part.path)
				if part.body == "" { // the configuration, which is known by its digest
					part.body = a.body
				}
				if !a.right(method, part.digest, part.body) || method == http.MethodGet && oci.Sum([]byte(a.body)).String() != part.digest {
					h.wrong("pull %s %s %s: %s", name, method, kindOf(part.path), a)
					return
				}
			}
		}
	}
}

// String tells what matters to people.
func (a said) String() string { return fmt.Sprintf("%d %.200s", a.status, strings.TrimSpace(a.body)) }

func kindOf(path string) string {
	kind, reference, _ := strings.Cut(path, "/")
	if kind == "manifests" && !strings.Contains(reference, ":") {
		return "tag"
	}
	return kind
}

// refuse asks for what nobody may get: the answers are the given ones.
func (h *habitat) refuse(name string, statuses ...int) deed {
	return func(g *zooGateway, random *rand.Rand) {
		image, known := h.images[name]
		if !known {
			image = h.images[h.public[0]]
		}
		other := h.images[h.public[1]].Platforms[0]
		paths := []string{
			"manifests/latest", "manifests/" + image.Index.Digest.String(), "blobs/" + image.Platforms[0].Layers[0].Digest.String(),
			"manifests/" + other.Manifest.Digest.String(), "blobs/" + other.Layers[1].Digest.String(), "tags/list",
		}
		path := paths[random.IntN(len(paths))]
		method := []string{http.MethodGet, http.MethodHead}[random.IntN(2)]
		if a := g.ask(method, h.enclosure, name+"/"+path); !slices.Contains(statuses, a.status) {
			h.wrong("%s %s %s: %s, want %d", name, method, kindOf(path), a, statuses)
		}
	}
}

// list follows the links of the long list.
func (h *habitat) list(g *zooGateway, random *rand.Rand) {
	query := []string{"", "?n=100", "?n=1000"}[random.IntN(3)]
	var got []string
	next := h.tagged + "/tags/list" + query
	for pages := 0; next != "" && pages <= zooTags/50; pages++ {
		a := g.ask(http.MethodGet, h.enclosure, next)
		if h.profile.Name == "registry.ollama.ai" && a.status == http.StatusNotFound {
			return // it lists nothing
		}
		var document struct{ Tags []string }
		if err := json.Unmarshal([]byte(a.body), &document); err != nil || a.status != http.StatusOK {
			h.wrong("tags%s, page %d: %s", query, pages, a)
			return
		}
		got = append(got, document.Tags...)
		next = ""
		if target, found := strings.CutPrefix(a.link, "<"); found {
			next, _, _ = strings.Cut(target, ">")
		}
	}
	once := slices.Compact(slices.Sorted(slices.Values(got)))
	if len(once) != len(got) || !slices.Equal(once, h.tags) {
		h.wrong("tags%s: %d, %d of them different, want %d", query, len(got), len(once), len(h.tags))
	}
}

// refer asks for the signature.
func (h *habitat) refer(g *zooGateway, _ *rand.Rand) {
	a := g.ask(http.MethodGet, h.enclosure, h.signed+"/referrers/"+h.images[h.signed].Index.Digest.String())
	var index ocispec.Index
	err := json.Unmarshal([]byte(a.body), &index)
	want := []oci.Descriptor{}
	if h.signature.Digest != "" {
		want = append(want, h.signature)
	}
	if err != nil || a.status != http.StatusOK || fmt.Sprint(index.Manifests) != fmt.Sprint(want) {
		h.wrong("referrers: %s", a)
	}
}

// deeds are all that is done in a habitat.
func (h *habitat) deeds() []deed {
	const denied, gone = http.StatusForbidden, http.StatusNotFound
	a := h.profile.Auth
	if h.profile.Abroad != nil {
		a = h.profile.Abroad.Auth
	}
	nowhere := []int{gone} // what may be said of what is missing
	if a.HidesMissing || !h.open() || h.profile.Name == "harbor" {
		nowhere = append(nowhere, denied)
	}
	hidden := nowhere // and of what exists
	if h.profile.HasAccounts() {
		hidden = []int{denied}
	}
	all := []deed{h.refuse(h.refused, hidden...), h.refuse(h.missing[0], nowhere...), h.refuse(h.missing[1], nowhere...)}
	if h.account && h.profile.HasAccounts() {
		all = append(all, h.pull(h.private))
	} else {
		all = append(all, h.refuse(h.private, hidden...))
	}
	if !h.open() {
		return append(all, h.refuse(h.public[0], denied))
	}
	for _, name := range h.public {
		all = append(all, h.pull(name))
	}
	return append(all, h.list, h.refer)
}

// TestZoo has 20 clients do everything in every registry that is known, each thing
// three times and in any order: all of it is right, whatever was refused to whom.
func TestZoo(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	var habitats []*habitat
	var enclosures []*enclosure
	for i, p := range registrytest.Profiles() {
		for j, account := range []bool{false, true} {
			h := settle(t, uint64(2*i+j), p, account)
			habitats, enclosures = append(habitats, h), append(enclosures, h.enclosure)
		}
	}
	g := openZooGateway(t, enclosures...)
	defer g.close()
	var deeds []deed
	for _, h := range habitats {
		for _, d := range h.deeds() {
			deeds = append(deeds, d, d, d)
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(deeds), func(i, j int) { deeds[i], deeds[j] = deeds[j], deeds[i] })
	var clients sync.WaitGroup
	queue := make(chan int)
	for range zooClients {
		clients.Go(func() {
			for i := range queue {
				deeds[i](g, rand.New(rand.NewPCG(seed, uint64(i+1))))
			}
		})
	}
	for i := range deeds {
		queue <- i
	}
	close(queue)
	clients.Wait()
	for _, h := range habitats {
		t.Run(h.name, func(t *testing.T) {
			h.report(t)
			h.count(t)
		})
	}
}

func (h *habitat) report(t *testing.T) {
	t.Helper()
	lines := make([]string, 0, len(h.wrongs))
	for line, times := range h.wrongs {
		lines = append(lines, fmt.Sprintf("%s (%d times)", line, times))
	}
	slices.Sort(lines)
	for _, line := range lines {
		t.Error(line)
	}
}
