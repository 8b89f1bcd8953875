package caddymodule

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// putLargeImage makes an image of n blobs of 4 KiB beside its configuration.
func putLargeImage(t *testing.T, upstream *registrytest.Server, repository string, n int) ocispec.Manifest {
	t.Helper()
	put := func(mediaType string, content []byte) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: upstream.PutBlob(repository, content), Size: int64(len(content))}
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: put(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)),
	}
	for k := range n {
		content := make([]byte, 4<<10)
		binary.BigEndian.PutUint64(content, uint64(k))
		m.Layers = append(m.Layers, put(ocispec.MediaTypeImageLayer, content))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4<<20 {
		t.Fatalf("the manifest has %d bytes: no client takes it", len(raw))
	}
	upstream.PutManifest(repository, "many", m.MediaType, raw)
	return m
}

// An image of very many blobs is pulled like any other: each of them crosses the
// link to the upstream once, and none a second time. PULLGATE_LONG makes it 10,000.
func TestLargeImage(t *testing.T) {
	blobs := 1000
	if os.Getenv("PULLGATE_LONG") != "" {
		blobs = 10_000
	}
	const repository = "library/many"
	upstream := registrytest.New(t, registrytest.Options{})
	m := putLargeImage(t, upstream, repository, blobs)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	for _, pull := range []string{"cold", "warm"} {
		began := time.Now()
		s.pullAll(repository, m)
		t.Logf("%s: %d blobs in %s", pull, blobs, time.Since(began))
		if got := upstream.Count(http.MethodGet, "blobs"); got != blobs+1 {
			t.Errorf("%s: %d GETs of blobs, want %d", pull, got, blobs+1)
		}
		if got := upstream.BlobBytes(); got != int64(blobs)*4<<10+m.Config.Size {
			t.Errorf("%s: the upstream sent %d bytes of blobs", pull, got)
		}
		if got := upstream.Accepted(http.MethodGet, "manifests"); got != 1 {
			t.Errorf("%s: %d GETs of manifests, want 1", pull, got)
		}
	}
}

// pullAll pulls all of an image, three blobs at a time as clients do.
func (s *site) pullAll(repository string, m ocispec.Manifest) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 3}}
	defer client.CloseIdleConnections()
	base := "http://" + s.addr + "/v2/proxy-docker.io/" + repository
	get := func(path string) []byte {
		answer, err := client.Get(base + path)
		if err != nil {
			s.t.Error(err)
			return nil
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			s.t.Errorf("GET %s: %s: %v", path, answer.Status, err)
		}
		return body
	}
	get("/manifests/many")
	todo := make(chan ocispec.Descriptor)
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			for d := range todo {
				if body := get("/blobs/" + d.Digest.String()); digest.FromBytes(body) != d.Digest {
					s.t.Errorf("%s has %d other bytes", d.Digest, len(body))
				}
			}
		})
	}
	todo <- m.Config
	for _, layer := range m.Layers {
		todo <- layer
	}
	close(todo)
	wait.Wait()
	filled(s.t)
}
