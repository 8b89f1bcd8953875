package oci_test

import (
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

func ExampleParseManifest() {
	contents, err := oci.ParseManifest([]byte(`{
		"schemaVersion": 2,
		"mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
			"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		"layers": []
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	manifests, blobs := contents.Children()
	fmt.Println(len(manifests), "manifests,", len(blobs), "blob:", blobs[0].Digest)
	// Output: 0 manifests, 1 blob: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
}

func ExampleParseSelection() {
	selection, err := oci.ParseSelection("docker.io/alpine:3.20")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(selection.Repository, selection.Reference)
	fmt.Println(selection)
	// Output:
	// library/alpine 3.20
	// docker.io/library/alpine:3.20
}

func ExampleAsError() {
	err := fmt.Errorf("pull app: %w", oci.UpstreamError(oci.ClassNotFound, oci.CodeManifestUnknown, "there is no such tag", nil))
	e := oci.AsError(err)
	fmt.Println(e.Status, e.Code, oci.IsNotFound(err))
	// Output: 404 MANIFEST_UNKNOWN true
}
