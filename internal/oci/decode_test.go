package oci

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestList(t *testing.T) {
	for raw, want := range map[string][]string{
		`[]`:                     {},
		` [ ] `:                  {},
		`null`:                   nil,
		`["a"]`:                  {"a"},
		"[\n\t\"a\" , \"b\"\n]":  {"a", "b"},
		`["a,]","\"[","\\",""]`:  {"a,]", `"[`, `\`, ""},
		`["[1,2]",null,"{,}\\"]`: {"[1,2]", "", `{,}\`},
	} {
		var got List[string]
		if err := json.Unmarshal([]byte(raw), &got); err != nil || !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s is %q, %v, want %q", raw, got, err, want)
		}
	}
	var nested List[[]int]
	if err := json.Unmarshal([]byte(`[[],[1, 2],[3]]`), &nested); err != nil || len(nested) != 3 || len(nested[1]) != 2 {
		t.Errorf("nested lists are %v, %v", nested, err)
	}
	for _, raw := range []string{`{}`, `"a"`, `1`, `[1]`, `[""` + strings.Repeat(`,""`, maxElements) + `]`} {
		var got List[string]
		if err := json.Unmarshal([]byte(raw), &got); err == nil {
			t.Errorf("%.20s is %d elements, want an error", raw, len(got))
		}
	}
}

// A descriptor in a list has all that one has.
func TestListOfDescriptors(t *testing.T) {
	raw := `[{"mediaType":"m","digest":"sha256:1","size":3,"urls":["u"],"annotations":{"k":"v"},"data":"aGk=","artifactType":"a",
		"platform":{"os":"linux","architecture":"arm","variant":"v7","os.features":["f"]}}]`
	var got List[Descriptor]
	var want []Descriptor
	if err := json.Unmarshal([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(raw), &want); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	if b, _ := json.Marshal(want); string(a) != string(b) {
		t.Errorf("it is %s, want %s", a, b)
	}
}

// pairs is an object of n members.
func pairs(n int, key, value string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"` + key + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26)) + `":"` + value + `"`)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

func TestAnnotationsAreBounded(t *testing.T) {
	for name, annotations := range map[string]string{
		"many": pairs(maxMembers+1, "", ""),
		"long": `{"k":"` + strings.Repeat("v", maxAnnotationBytes) + `"}`,
	} {
		for where, raw := range map[string]string{
			"manifest": `{"layers":[],"annotations":` + annotations + `}`,
			"config":   `{"config":{"annotations":` + annotations + `}}`,
			"layer":    `{"layers":[{"annotations":` + annotations + `}]}`,
			"child":    `{"manifests":[{"annotations":` + annotations + `}]}`,
			"subject":  `{"subject":{"annotations":` + annotations + `}}`,
		} {
			if _, err := ParseManifest([]byte(raw)); err == nil {
				t.Errorf("%s annotations of a %s are accepted", name, where)
			}
		}
	}
	usual := `{"annotations":` + pairs(200, "org.example.", strings.Repeat("v", 2000)) + `}`
	if c, err := ParseManifest([]byte(usual)); err != nil || len(c.Annotations) != 200 {
		t.Errorf("of 200 annotations there are %d: %v", len(c.Annotations), err)
	}
}

func TestDecodeRefusesTooManyValues(t *testing.T) {
	var v any
	if err := Decode([]byte("["+strings.Repeat("[],", maxValues/2)+"[]]"), &v); err == nil {
		t.Error("no error")
	}
	if err := Decode([]byte(`"`+strings.Repeat(`,{[`, maxValues)+`"`), &v); err != nil {
		t.Errorf("text counts for values: %v", err)
	}
	if err := Decode([]byte(`{"a`), &v); err == nil {
		t.Error("no error of JSON that is cut")
	}
}

// DecodeManifest tells of the contents, and refuses, what ParseManifest does.
func TestDecodeManifest(t *testing.T) {
	image := `{"config":` + descriptor("c", 1) + `,"layers":[` + descriptor("l", 2) + `]}`
	for _, raw := range []string{
		image,
		`{"manifests":[` + descriptor("m", 1) + `]}`,
		`{}`,
		`{"layers":[`,
		`{"manifests":[],"layers":[]}`,
		`{"layers":[{}` + strings.Repeat(",{}", maxElements-1) + `],"blobs":[{}]}`,
	} {
		_, c, err := DecodeManifest("application/x", []byte(raw))
		want, wantErr := ParseManifest([]byte(raw))
		if (err != nil) != (wantErr != nil) || digests(c.Manifests) != digests(want.Manifests) || digests(c.Blobs) != digests(want.Blobs) {
			t.Errorf("%.60s: %+v, %v, want %+v, %v", raw, c, err, want, wantErr)
		}
	}
}

// Read reads once.
func TestManifestRead(t *testing.T) {
	m := Manifest{Bytes: []byte(`{"layers":[` + descriptor("l", 2) + `]}`)}
	if err := m.Read(); err != nil || digests(m.Contents.Blobs) != "2" {
		t.Fatalf("%+v, %v", m.Contents, err)
	}
	read := m.Contents
	if err := m.Read(); err != nil || m.Contents != read {
		t.Errorf("it is read again: %v", err)
	}
	if err := (&Manifest{Bytes: []byte(`{"layers":`)}).Read(); err == nil {
		t.Error("no error of what is no manifest")
	}
}

func TestChildren(t *testing.T) {
	const layer, cache = ocispec.MediaTypeImageLayerGzip, "application/vnd.buildkit.cacheconfig.v0"
	for _, test := range []struct{ name, raw, manifests, blobs string }{
		{"image", `{"config":` + descriptor("c", 1) + `,"layers":[` + descriptor(ocispec.MediaTypeImageManifest, 2) + `]}`, "", "1 2"},
		{"index", `{"manifests":[` + descriptor(ocispec.MediaTypeImageManifest, 1) + `,` + descriptor(MediaTypeDockerManifestList, 2) + `]}`, "1 2", ""},
		{"build cache", `{"manifests":[` + descriptor(layer, 1) + `,` + descriptor(cache, 2) + `]}`, "", "1 2"},
		{"both", `{"manifests":[` + descriptor(layer, 1) + `,` + descriptor(ocispec.MediaTypeImageIndex, 2) + `,` + descriptor(cache, 3) + `]}`, "2", "1 3"},
	} {
		c, err := ParseManifest([]byte(test.raw))
		manifests, blobs := c.Children()
		if err != nil || digests(manifests) != test.manifests || digests(blobs) != test.blobs {
			t.Errorf("%s: manifests %q, blobs %q, %v, want %q and %q", test.name, digests(manifests), digests(blobs), err, test.manifests, test.blobs)
		}
	}
}

func TestIsManifestType(t *testing.T) {
	for mediaType, want := range map[string]bool{
		"":                             true,
		ocispec.MediaTypeImageIndex:    true,
		ocispec.MediaTypeImageManifest: true,
		strings.ToUpper(ocispec.MediaTypeImageIndex):          true,
		ocispec.MediaTypeImageManifest + "; charset=utf-8":    true,
		MediaTypeDockerManifest:                               true,
		MediaTypeDockerManifestList:                           true,
		MediaTypeDockerSchema1:                                true,
		MediaTypeDockerSchema1Signed:                          true,
		MediaTypeOCIArtifactManifest:                          true,
		"application/vnd.cncf.oras.artifact.manifest.v1+json": true,

		"application/vnd.buildkit.cacheconfig.v0":                   false,
		ocispec.MediaTypeImageLayer:                                 false,
		ocispec.MediaTypeImageLayerGzip:                             false,
		ocispec.MediaTypeImageLayerZstd:                             false,
		ocispec.MediaTypeImageConfig:                                false,
		ocispec.MediaTypeEmptyJSON:                                  false,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":         false,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": false,
		"application/vnd.in-toto+json":                              false,
		"application/vnd.example.manifest.v1.tar+gzip":              false,
		MediaTypeOctetStream:                                        false, "application/json": false, "text/plain": false,
	} {
		if got := IsManifestType(mediaType); got != want {
			t.Errorf("%q: %v", mediaType, got)
		}
	}
}
