package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// A blob that is a manifest, by what it says, has that type, whether it is finished or
// under way; anything else has none.
func TestTypeOfBlob(t *testing.T) {
	t.Parallel()
	const octets = oci.MediaTypeOctetStream
	layer := `{"mediaType":"` + ocispec.MediaTypeImageLayer + `","digest":"` + testDigest.String() + `","size":1}`
	for name, test := range map[string]struct{ content, want string }{
		"image":               {`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":` + layer + `,"layers":[]}`, ocispec.MediaTypeImageManifest},
		"image without type":  {`{"config":` + layer + `,"layers":[],"schemaVersion":2}`, ocispec.MediaTypeImageManifest},
		"index":               {"{\n \"schemaVersion\": 2, \"manifests\": []}", ocispec.MediaTypeImageIndex},
		"Docker's list":       {`{"schemaVersion":2,"mediaType":"` + oci.MediaTypeDockerManifestList + `","manifests":[]}`, oci.MediaTypeDockerManifestList},
		"schema 1":            {`{"schemaVersion":1,"fsLayers":[]}`, oci.MediaTypeDockerSchema1Signed},
		"config":              {`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers"}}`, octets},
		"config that says so": {`{"config":{"Labels":{"x":"\"schemaVersion\""}}}`, octets},
		"other version":       {`{"schemaVersion":3,"manifests":[]}`, octets},
		"nothing in it":       {`{"schemaVersion":2}`, octets},
		"ambiguous":           {`{"schemaVersion":2,"manifests":[],"layers":[]}`, octets},
		"page":                {`{"schemaVersion":2,"mediaType":"text/html","manifests":[]}`, octets},
		"other type":          {`{"schemaVersion":2,"mediaType":"application/x","manifests":[]}`, octets},
		"no JSON":             {`{"schemaVersion"`, octets},
		"empty":               {``, octets},
		"large":               {`{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat("x", maxTyped) + `"}`, octets},
	} {
		b := []byte(test.content)
		for how, blob := range map[string]func(context.Context) oci.Blob{"file": fileBlob(t, b), "fill": fillBlob(b, 1<<20, len(b)+1, nil)} {
			m := &fakeMirror{blob: blob}
			server, client := serve(t, New(options(m)), false)
			answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+"/blobs/"+oci.Sum(b).String(), nil)
			if err != nil || string(body) != test.content {
				t.Fatalf("%s, %s: %d bytes of %d, %v", name, how, len(body), len(b), err)
			}
			if got := answer.Header.Get("Content-Type"); got != test.want {
				t.Errorf("%s, %s: type %q, want %q", name, how, got, test.want)
			}
			if answer.ContentLength != int64(len(b)) {
				t.Errorf("%s, %s: length %s", name, how, fmt.Sprint(answer.ContentLength))
			}
		}
	}
}
