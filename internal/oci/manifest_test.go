package oci

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// descriptor returns the JSON of a descriptor whose digest ends in n.
func descriptor(mediaType string, n int) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":%d}`, mediaType, n, n)
}

func digests(ds []Descriptor) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&b, "%s ", strings.TrimLeft(d.Digest.Encoded(), "0"))
	}
	return strings.TrimSpace(b.String())
}

func TestParseManifest(t *testing.T) {
	for _, test := range []struct {
		name, raw                string
		manifests, blobs         string
		subject                  bool
		artifactType, annotation string
	}{
		{
			name: "image", raw: `{"config":` + descriptor("c", 1) + `,"layers":[` + descriptor("l", 2) + `,` + descriptor("l", 3) + `],"annotations":{"k":"v"}}`,
			blobs: "1 2 3", artifactType: "c", annotation: "v",
		},
		{
			name: "index", raw: ` {"manifests":[` + descriptor("m", 1) + `,` + descriptor("m", 2) + `],"artifactType":"t"}`,
			manifests: "1 2", artifactType: "t",
		},
		{name: "empty index", raw: `{"manifests":[]}`},
		{name: "null lists", raw: `{"manifests":null,"layers":null,"config":null}`},
		{
			name: "referrer", raw: `{"artifactType":"t","config":` + descriptor("c", 1) + `,"subject":` + descriptor("m", 9) + `}`,
			blobs: "1", subject: true, artifactType: "t",
		},
		{name: "OCI artifact manifest", raw: `{"blobs":[` + descriptor("b", 1) + `],"subject":{"digest":"bad"}}`, blobs: "1"},
		{name: "schema 1", raw: fmt.Sprintf(`{"fsLayers":[{"blobSum":"sha256:%064x"},{"blobSum":"md5:1"}]}`, 7), blobs: "7"},
		{name: "digests that nobody can ask for", raw: `{"layers":[{"digest":"sha256:1"},{"digest":""},{},` + descriptor("l", 2) + `]}`, blobs: "2"},
		{name: "negative size", raw: fmt.Sprintf(`{"layers":[{"digest":"sha256:%064x","size":-2}]}`, 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := ParseManifest([]byte(test.raw))
			if err != nil {
				t.Fatal(err)
			}
			if got := digests(c.Manifests); got != test.manifests {
				t.Errorf("manifests are %q, want %q", got, test.manifests)
			}
			if got := digests(c.Blobs); got != test.blobs {
				t.Errorf("blobs are %q, want %q", got, test.blobs)
			}
			if (c.Subject != nil) != test.subject || c.ArtifactType != test.artifactType || c.Annotations["k"] != test.annotation {
				t.Errorf("contents are %+v", c)
			}
		})
	}
}

func TestParseManifestRefuses(t *testing.T) {
	index, layer := `"manifests":[`+descriptor("m", 1)+`]`, `"layers":[`+descriptor("l", 1)+`]`
	for name, raw := range map[string]string{
		"nothing":          "",
		"white space":      " \n",
		"array":            "[]",
		"text":             "<html>",
		"null":             "null",
		"cut":              `{"layers":[`,
		"trailing bytes":   `{} {}`,
		"list of a number": `{"layers":3}`,
		"list of a string": `{"layers":["x"]}`,
		"fractional size":  `{"layers":[{"size":1.5}]}`,
		"index and layers": `{` + index + `,` + layer + `}`,
		"index and config": `{` + index + `,"config":` + descriptor("c", 1) + `}`,
		"index and schema": `{` + index + `,"fsLayers":[]}`,
		"empty and layers": `{"manifests":[],` + layer + `}`,
		"too many layers":  `{"layers":[{}` + strings.Repeat(",{}", maxElements) + `]}`,
		"too many in all":  `{"layers":[{}` + strings.Repeat(",{}", maxElements-1) + `],"blobs":[{}]}`,
	} {
		if c, err := ParseManifest([]byte(raw)); err == nil {
			t.Errorf("%s: contents are %+v, want an error", name, c)
		}
	}
	one := descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 4096)
	if c, err := ParseManifest([]byte(`{"layers":[` + strings.Repeat(one+",", 9_999) + one + `]}`)); err != nil || len(c.Blobs) != 10_000 {
		t.Errorf("of an image of 10,000 layers, %d are read: %v", len(c.Blobs), err)
	}
	most := `{"layers":[{}` + strings.Repeat(",{}", maxElements-1) + `]}`
	if _, err := ParseManifest([]byte(most)); err != nil {
		t.Errorf("%d descriptors: %v", maxElements, err)
	}
}

// A manifest of the greatest size must not become many times its size in memory.
func TestParseManifestBoundsMemory(t *testing.T) {
	raw := []byte(`{"layers":[{}` + strings.Repeat(",{}", (MaxManifestSize-20)/3) + `]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParseManifest(raw)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("the manifest was accepted")
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16<<20 {
		t.Errorf("reading %d bytes allocated %d", len(raw), allocated)
	}
}

func TestDecodeManifestTellsMediaType(t *testing.T) {
	const index, image = ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest
	for _, test := range []struct {
		name, contentType, raw, want string // want "" = an error
	}{
		{"said once", index, `{}`, index},
		{"said twice", index, `{"mediaType":"` + index + `"}`, index},
		{"with parameters", image + "; charset=utf-8", `{}`, image},
		{"with broken parameters", image + "; charset", `{}`, image},
		{"in capitals", strings.ToUpper(image), `{"mediaType":"` + image + `"}`, image},
		{"generic, said inside", "application/json", `{"mediaType":"` + MediaTypeDockerManifestList + `"}`, MediaTypeDockerManifestList},
		{"plain text, said inside", "text/plain; charset=utf-8", `{"mediaType":"` + image + `"}`, image},
		{"missing, index", "", `{"manifests":[]}`, index},
		{"missing, image", "", `{"config":{}}`, image},
		{"missing, image without config", MediaTypeOctetStream, `{"layers":[]}`, image},
		{"missing, schema 1", "application/json", `{"fsLayers":[]}`, MediaTypeDockerSchema1Signed},
		{"unreadable", "@", `{"layers":[]}`, image},
		{"unknown but well formed", "application/vnd.x+json", `{}`, "application/vnd.x+json"},
		{"two types", index, `{"mediaType":"` + image + `"}`, ""},
		{"nothing tells", "application/json", `{}`, ""},
		{"ambiguous", index, `{"manifests":[],"layers":[]}`, ""},
		{"no JSON", index, `<html>`, ""},
		{"page", "text/html", `{}`, ""},
		{"page, said inside", "application/json", `{"mediaType":"text/html"}`, ""},
		{"parameters inside", "application/json", `{"mediaType":"application/json; charset=utf-8"}`, ""},
		{"line break inside", "", `{"mediaType":"application/x\r\nSet-Cookie: a=b"}`, ""},
		{"no subtype", "", `{"mediaType":"application/"}`, ""},
		{"long", "", `{"mediaType":"application/` + strings.Repeat("x", 128) + `"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := DecodeManifest(test.contentType, []byte(test.raw))
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("DecodeManifest(%q, %s) = %q, %v, want %q", test.contentType, test.raw, got, err, test.want)
			}
		})
	}
}

func TestManifestDescriptor(t *testing.T) {
	m := Manifest{MediaType: "application/x", Digest: Sum([]byte("{}")), Bytes: []byte("{}")}
	if d := m.Descriptor(); d.MediaType != m.MediaType || d.Digest != m.Digest || d.Size != 2 {
		t.Errorf("Descriptor() = %+v", d)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"config":` + descriptor("c", 1) + `,"layers":[` + descriptor("l", 2) + `]}`))
	f.Add([]byte(`{"manifests":[{"digest":"x"},null],"subject":` + descriptor("m", 3) + `}`))
	f.Add([]byte(`{"fsLayers":[{"blobSum":"sha256:"}],"mediaType":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseManifest(raw)
		if err != nil {
			return
		}
		all := append(append([]Descriptor{}, c.Manifests...), c.Blobs...)
		if c.Subject != nil {
			all = append(all, *c.Subject)
		}
		for _, d := range all {
			if _, err := ParseDigest(d.Digest.String()); err != nil || d.Size < -1 {
				t.Errorf("%s holds %+v", raw, d)
			}
		}
		if len(c.Manifests) > 0 && len(c.Blobs) > 0 {
			t.Errorf("%s is an index and an image", raw)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add("application/json", []byte(`{"mediaType":"application/x"}`))
	f.Add("text/html; charset", []byte(`{}`))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		mediaType, _, err := DecodeManifest(contentType, raw)
		if err != nil {
			return
		}
		if !strings.HasPrefix(mediaType, "application/") || strings.ContainsAny(mediaType, " ;,\"\r\n\x00") {
			t.Errorf("DecodeManifest(%q, %q) = %q", contentType, raw, mediaType)
		}
	})
}
