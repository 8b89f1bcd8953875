package pulls

import (
	"net/http"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

// BenchmarkHit measures what is added to requests that the cache answers: to those of a
// pull, each of a manifest and a blob, and to a HEAD of a tag.
func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	i := w.image("nginx", 8)
	w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
	for _, of := range []struct {
		name string
		call *call
	}{
		{"manifest", w.ask(node, http.MethodGet, oci.KindManifest, i.manifest.String()).header(oci.ResultHit, i.manifest)},
		{"blob", w.ask(node, http.MethodGet, oci.KindBlob, i.blobs[1].String()).header(oci.ResultHit, i.blobs[1])},
		{"head", w.ask(node, http.MethodHead, oci.KindManifest, i.manifest.String()).header(oci.ResultHit, i.manifest)},
	} {
		of.call.done(1000)
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a := registry.Answer{Request: of.call.a.Request}
				w.Begin(of.call.r, &a)
				a.Status, a.Digest, a.Cache.Result, a.Manifest = http.StatusOK, of.call.a.Digest, oci.ResultHit, of.call.a.Manifest
				w.Header(of.call.r, &a)
				w.Done(of.call.r, &a)
			}
		})
	}
}
