package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
	"github.com/pullgate/pullgate/storage"
)

// These tests say what one request may cost the process of a gateway: time of a
// processor, memory at the peak, requests to the upstream, records on disk.

// layersOf returns n descriptors of layers that are nowhere.
func layersOf(n int, salt string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"mediaType":%q,"digest":%q,"size":1000}`, ocispec.MediaTypeImageLayerGzip, oci.Sum(fmt.Append(nil, salt, i)))
	}
	return b.String()[1:]
}

// largest returns a manifest of 4 MiB, by what fills it.
var largest = map[string]func(salt string) string{
	"index": func(salt string) string {
		return padded(head(salt) + `"manifests":[` + layersOf(16_000, salt) + `],"x":"`)
	},
	"layers": func(salt string) string {
		return padded(head(salt) + `"layers":[` + layersOf(16_000, salt) + `],"x":"`)
	},
	"annotated": func(salt string) string {
		layer := `{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":1,"annotations":{"a":"","b":"","c":"","d":"","e":""}}`
		return padded(head(salt) + `"layers":[` + strings.Repeat(layer+",", 14_000) + layer + `],"x":"`)
	},
	"annotations": func(salt string) string {
		var names strings.Builder
		for i := range 4_000 {
			fmt.Fprintf(&names, `"%x":"%s",`, i, strings.Repeat("x", 200))
		}
		return padded(head(salt) + `"layers":[],"annotations":{` + names.String() + `"z":""},"x":"`)
	},
	"text": func(salt string) string { return padded(head(salt) + `"layers":[],"x":"`) },
	"nothing": func(salt string) string {
		open, element, end := head(salt)+`"layers":[`, `{}`, `]}`
		n := (oci.MaxManifestSize - len(open) - len(end) - len(element)) / (len(element) + 1)
		return open + strings.Repeat(element+",", n) + element + end
	},
}

func head(salt string) string { return `{"schemaVersion":2,"salt":"` + salt + `",` }

// padded ends a document whose last string is open.
func padded(open string) string {
	return open + strings.Repeat("x", oci.MaxManifestSize-len(open)-2) + `"}`
}

func (p *measured) putManifest(tag, raw string) digest.Digest {
	mediaType := ocispec.MediaTypeImageManifest
	if strings.Contains(raw, `"manifests":`) {
		mediaType = ocispec.MediaTypeImageIndex
	}
	return p.upstream.PutManifest("library/app", tag, mediaType, []byte(raw))
}

// warm has the gateway do once what is measured later, in small.
func (p *measured) warm() {
	p.t.Helper()
	image := p.upstream.PutImage("library/app", "warm", 1, 1000)
	for range 3 {
		p.get("manifests/warm", http.StatusOK)
		p.get("manifests/"+image.Platforms[0].Manifest.Digest.String(), http.StatusOK)
		p.get("blobs/"+image.Platforms[0].Layers[0].Digest.String(), http.StatusOK)
		p.get("referrers/"+image.Index.Digest.String(), http.StatusOK)
	}
}

func TestCostOfUnknownDigest(t *testing.T) {
	if raced() {
		t.Skip("the race detector takes time of its own")
	}
	p := startMeasured(t, "misses_per_client 1000")
	p.warm()
	const manifests = 24
	layers := `"layers":[` + layersOf(1_300, "l") + `],"x":"` // of so many images all are remembered
	for i := range manifests {
		p.get("manifests/"+p.putManifest("", padded(head(fmt.Sprint(i))+layers)).String(), http.StatusOK)
	}
	const times = 200
	for _, kind := range []string{"blobs", "manifests"} {
		before := p.processor()
		for i := range times {
			p.get(kind+"/"+oci.Sum(fmt.Append(nil, kind, i)).String(), http.StatusNotFound)
		}
		each := (p.processor() - before) / times
		t.Logf("GET of an unknown digest in %s: %s", kind, each)
		if each >= 10*time.Millisecond {
			t.Errorf("GET of an unknown digest in %s beside %d manifests of 4 MiB takes a processor %s", kind, manifests, each)
		}
	}
}

func TestCostOfColdManifests(t *testing.T) {
	if raced() {
		t.Skip("the race detector takes memory of its own")
	}
	for kind, manifest := range largest {
		t.Run(kind, func(t *testing.T) {
			p := startMeasured(t, "")
			p.warm()
			want := http.StatusOK
			if kind == "nothing" {
				want = http.StatusBadGateway
			}
			var digests []digest.Digest
			for i := range 6 {
				digests = append(digests, p.putManifest(fmt.Sprint("t", i), manifest(fmt.Sprint(i))))
			}
			if kind == "annotations" { // and from an upstream that does not announce their size
				p.upstream.On(registrytest.Rule{Kind: "manifests", Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					next(unannounced{w}, r)
				}})
			}
			before := p.processor()
			peak := p.peak(func() {
				var group sync.WaitGroup
				for i, d := range digests {
					ref := d.String()
					if want == http.StatusOK && i%2 == 0 {
						ref = fmt.Sprint("t", i)
					}
					group.Go(func() { p.get("manifests/"+ref, want) })
				}
				group.Wait()
			})
			t.Logf("six cold manifests of 4 MiB: %d MiB, %s of a processor", peak>>20, p.processor()-before)
			if peak > 64<<20 {
				t.Errorf("six cold manifests of 4 MiB at once take %d MiB", peak>>20)
			}
			seen := len(p.upstream.Requests())
			for _, d := range digests {
				p.get("manifests/"+d.String(), want)
			}
			if again := p.upstream.Requests()[seen:]; len(again) > 0 {
				t.Errorf("they are asked for again: %v", again)
			}
		})
	}
}

// unannounced leaves out how long an answer is.
type unannounced struct{ http.ResponseWriter }

func (w unannounced) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

func TestCostOfReferrers(t *testing.T) {
	for name, test := range map[string]struct{ pages, status, times int }{
		"too many":          {5, http.StatusBadGateway, 5},
		"as many as may be": {2, http.StatusOK, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := startMeasured(t, "")
			p.warm()
			var pages []string
			for i := range test.pages {
				page := `{"schemaVersion":2,"manifests":[` + layersOf(15_000, fmt.Sprint(i)) + `],"x":"`
				pages = append(pages, page+strings.Repeat("x", 4<<20-len(page)-2)+`"}`)
			}
			p.upstream.On(registrytest.Rule{Kind: "referrers", Hook: func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
				at := 0
				_, _ = fmt.Sscan(r.URL.Query().Get("page"), &at)
				if at < test.pages-1 {
					w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, at+1))
				}
				w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
				_, _ = w.Write([]byte(pages[at]))
			}})
			seen := 0
			peak := p.peak(func() {
				for range test.times {
					p.get("referrers/"+oci.Sum(nil).String(), test.status)
					if seen == 0 {
						seen = p.upstream.Count("", "referrers")
					}
				}
			})
			t.Logf("referrers of %d pages of 4 MiB: %d MiB", test.pages, peak>>20)
			if peak > 32<<20 {
				t.Errorf("referrers of %d pages of 4 MiB take %d MiB", test.pages, peak>>20)
			}
			if n := p.upstream.Count("", "referrers"); n != seen {
				t.Errorf("they are asked for %d times, and once took %d", n, seen)
			}
		})
	}
}

func TestCostOfInventedLayers(t *testing.T) {
	t.Parallel()
	p := startMeasured(t, "")
	actual := p.upstream.PutBlob("library/app", registrytest.Random(1, 4<<20))
	p.putManifest("3", fmt.Sprintf(`{"schemaVersion":2,"layers":[{"digest":%q,"size":%d},%s]}`, actual, 4<<20, layersOf(3_000, "i")))
	p.get("manifests/3", http.StatusOK)
	before := len(p.upstream.Requests())
	p.get("blobs/"+actual.String(), http.StatusOK)
	// What comes later than this does not come at all: the blob is there.
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if n := len(p.upstream.Requests()) - before; n > 4 {
			t.Fatalf("%d requests for one blob", n)
		}
	}
	t.Logf("%d requests for one blob", len(p.upstream.Requests())-before)
}

// What is asked for and is not there leaves no record.
func TestCostOfAskingForNothing(t *testing.T) {
	t.Parallel()
	p := startMeasured(t, "misses_per_client 1000")
	image := p.upstream.PutImage("library/app", "3", 1, 10)
	p.get("manifests/3", http.StatusOK)
	p.get("referrers/"+image.Index.Digest.String(), http.StatusOK)
	digests := make([]digest.Digest, testenv.Rounds(600, 3000))
	for i := range digests {
		digests[i] = oci.Sum(fmt.Append(nil, "nothing", i))
		p.get("referrers/"+digests[i].String(), http.StatusOK)
		if i%10 == 0 {
			p.get(fmt.Sprint("manifests/", i), http.StatusNotFound)
			p.get("manifests/"+digests[i].String(), http.StatusNotFound)
			p.get("blobs/"+digests[i].String(), http.StatusNotFound)
		}
	}
	p.stop()
	s, err := storage.Open(t.Context(), storage.Options{Path: p.storage, Existing: true, Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	scope := oneScope(t, s)
	if _, err := s.Referrers(t.Context(), scope, image.Index.Digest); err != nil {
		t.Errorf("there is no record of what is here: %v", err)
	}
	for _, d := range digests {
		_, err := s.Referrers(t.Context(), scope, d)
		_, err2 := s.Linked(t.Context(), scope, d)
		if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err2, fs.ErrNotExist) {
			t.Fatalf("there is a record of %s: %v, %v", d, err, err2)
		}
	}
	if tags, err := s.Tags(t.Context(), scope, "", 10); err != nil || len(tags) != 1 {
		t.Errorf("tags are %v, %v", tags, err)
	}
}

// oneScope returns the only scope of a store.
func oneScope(t *testing.T, s *storage.Store) (one oci.Scope) {
	t.Helper()
	c, err := s.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	for scope, err := range c.Scopes(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		one = scope
		n++
	}
	if n != 1 {
		t.Fatalf("%d scopes", n)
	}
	return one
}
