package registry

import (
	"bytes"
	"os"

	"github.com/pullgate/pullgate/internal/oci"
)

// maxTyped is the size up to which it is found out whether a blob is a manifest.
const maxTyped = bufferSize

// Some upstreams have their manifests among the blobs. A client that gets one has to see
// that it is one, whether or not anybody has asked for it as such before.

// fileType returns the media type of a blob in a file.
func fileType(file *os.File, size int64) string {
	if file == nil || size == 0 || size > maxTyped {
		return oci.MediaTypeOctetStream
	}
	buffer := takeBuffer()
	defer giveBuffer(buffer)
	// What cannot be read is found out where it is sent.
	n, _ := file.ReadAt(buffer[:min(size, int64(len(buffer)))], 0)
	return typeOf(buffer[:n], size)
}

// typeOf returns the media type of a blob by its first bytes, if these are all: what a
// layer is, only its manifest knows.
func typeOf(raw []byte, size int64) string {
	// For what is no manifest, that is little work.
	if int64(len(raw)) != size || size == 0 || raw[0] != '{' || !bytes.Contains(raw, []byte(`"schemaVersion"`)) {
		return oci.MediaTypeOctetStream
	}
	var version struct {
		Schema int `json:"schemaVersion"`
	}
	if err := oci.Decode(raw, &version); err != nil || version.Schema != 1 && version.Schema != 2 {
		return oci.MediaTypeOctetStream
	}
	mediaType, _, err := oci.DecodeManifest("", raw)
	if err != nil || !oci.IsManifestType(mediaType) {
		return oci.MediaTypeOctetStream
	}
	return mediaType
}
