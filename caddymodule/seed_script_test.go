package caddymodule

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// seedImage stores an image as if it had been pulled: a layer of 3,000 bytes of its
// own, and one of 5,000 that all have.
func seedImage(ts *testscript.TestScript, _ bool, args []string) {
	s, err := storage.Open(context.Background(), storage.Options{Path: ts.MkAbs(args[0])})
	ts.Check(err)
	defer func() { ts.Check(s.Close()) }()
	for _, name := range args[1:] {
		sel, err := oci.ParseSelection(name)
		ts.Check(err)
		scope := oci.Scope{Upstream: sel.Upstream, Repository: sel.Repository}
		var layers []oci.Descriptor
		for _, content := range []string{strings.Repeat("shared", 5000)[:5000], strings.Repeat(name, 3000)[:3000]} {
			d := oci.Descriptor{Digest: oci.Sum([]byte(content)), Size: int64(len(content))}
			layers = append(layers, d)
			if _, err := s.StatBlob(context.Background(), d.Digest); err == nil {
				continue
			}
			p, err := s.Part(context.Background(), scope, d.Digest, d.Size)
			ts.Check(err)
			_, err = p.WriteAt([]byte(content), 0)
			ts.Check(err)
			ts.Check(p.Commit(d.Size))
			ts.Check(p.Close())
		}
		mediaType := "application/vnd.oci.image.manifest.v1+json"
		raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaType, "config": layers[1], "layers": layers})
		ts.Check(err)
		m := oci.Manifest{MediaType: mediaType, Digest: oci.Sum(raw), Bytes: raw}
		ts.Check(s.PutManifest(context.Background(), scope, m, layers))
		ts.Check(s.Link(context.Background(), scope, layers...))
		if sel.Reference.Tag != "" {
			t := storage.Tag{Digest: m.Digest, MediaType: mediaType, Size: int64(len(raw)), Checked: time.Now(), Changed: time.Now()}
			ts.Check(s.PutTag(context.Background(), scope, sel.Reference.Tag, t))
		}
	}
}
