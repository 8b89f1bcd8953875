package upstream

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// acceptManifests are all manifest types, in every request: registries that
// convert or refuse by Accept would otherwise make the answer depend on who asked
// first. Schema 1 is not among them: the digest of a signed one is not that of its
// bytes, and clients of today take it no more.
var acceptManifests = strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest,
	oci.MediaTypeDockerManifestList, oci.MediaTypeDockerManifest,
	oci.MediaTypeOCIArtifactManifest,
}, ", ")

func manifestOperation(op, repository string, ref oci.Reference) operation {
	object := ":" + ref.Tag
	if ref.IsDigest() {
		object = "@" + ref.Digest.String()
	}
	return operation{op: op, kind: manifests, repository: repository, object: object, unknown: oci.CodeManifestUnknown}
}

func (v *visit) askManifest(ctx context.Context, op, method string, ref oci.Reference) (*wire.Answer, error) {
	return v.ask(ctx, v.outgoing(op, method, "manifests/"+ref.String(), nil, http.Header{"Accept": {acceptManifests}}))
}

// Manifest gets a manifest of at most oci.MaxManifestSize and checks it: its
// digest against ref, its type against its content.
func (c *Client) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	if err := checkReference(ref); err != nil {
		return oci.Manifest{}, err
	}
	op := manifestOperation(wire.OpGetManifest, repository, ref)
	return each(ctx, c, op, func(ctx context.Context, v *visit) (oci.Manifest, error) { return v.manifest(ctx, ref) })
}

// manifest gets a manifest. What the header of the answer says of digest and
// encoding counts for nothing where the bytes are right.
func (v *visit) manifest(ctx context.Context, ref oci.Reference) (_ oci.Manifest, err error) {
	a, err := v.askManifest(ctx, wire.OpGetManifest, http.MethodGet, ref)
	if err != nil {
		return oci.Manifest{}, err
	}
	if a.StatusCode != http.StatusOK {
		return oci.Manifest{}, v.session.StatusFailure(a)
	}
	room := new(oci.Room)
	defer func() {
		if err != nil {
			room.Leave()
		}
	}()
	raw, err := a.ReadWithin(ctx, room, oci.MaxManifestSize)
	if err != nil {
		return oci.Manifest{}, err
	}
	m := oci.Manifest{Bytes: raw, Digest: ref.Digest, Room: room}
	if told, err := oci.ParseDigest(a.Header.Get("Docker-Content-Digest")); err == nil && m.Digest == "" && oci.Verify(told, raw) {
		m.Digest = told // of the algorithm that HEAD tells of, too
	}
	switch {
	case m.Digest == "":
		m.Digest = oci.Sum(raw)
	case !oci.Verify(m.Digest, raw) && isSchema1(contentType(a)): // the digest of a signed one is that of its payload
		return oci.Manifest{}, schema1Failure(a)
	case !oci.Verify(m.Digest, raw) && a.IsPage():
		return oci.Manifest{}, wire.PageFailure(a)
	case !oci.Verify(m.Digest, raw):
		return oci.Manifest{}, digestFailure(a, m.Digest, oci.Sum(raw))
	}
	mediaType, contents, err := oci.DecodeManifest(contentType(a), raw)
	m.MediaType, m.Contents = mediaType, &contents
	switch {
	case err != nil:
		return oci.Manifest{}, notManifest(a, err)
	case isSchema1(m.MediaType):
		return oci.Manifest{}, schema1Failure(a)
	}
	return m, nil
}

// contentType returns the media type of an answer if it is that of a manifest. Others
// are sent by servers that do not know, such as the storage behind a redirect.
func contentType(a *wire.Answer) string {
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if !oci.IsManifestType(mediaType) {
		return ""
	}
	return mediaType
}

var errSchema1 = errors.New("obsolete schema 1")

// isSchema1 reports whether a manifest is of the format that Docker had before 2016.
func isSchema1(mediaType string) bool {
	return mediaType == oci.MediaTypeDockerSchema1 || mediaType == oci.MediaTypeDockerSchema1Signed
}

func schema1Failure(a *wire.Answer) *wire.Failure {
	return &wire.Failure{
		Class: oci.ClassNotFound, Status: a.StatusCode, Err: errSchema1,
		Text: a.URL.Host + " has this image in the obsolete schema 1 alone, which is not mirrored; push it anew with a current tool",
	}
}

func notManifest(a *wire.Answer, err error) *wire.Failure {
	if a.IsPage() {
		return wire.PageFailure(a)
	}
	return &wire.Failure{
		Class: oci.ClassNotRegistry, Status: a.StatusCode, Err: err,
		Text: a.URL.Host + " sent something that is no valid manifest",
	}
}

func digestFailure(a *wire.Answer, want, got digest.Digest) *wire.Failure {
	return &wire.Failure{
		Class: oci.ClassDigest, Status: a.StatusCode,
		Text: fmt.Sprintf("%s sent %s in place of %s", a.URL.Host, got, want),
	}
}

// checkReference refuses what the wire would never let through.
func checkReference(ref oci.Reference) error {
	parsed, err := oci.ParseReference(ref.String())
	if err == nil && parsed != ref {
		err = oci.NewError(oci.CodeManifestInvalid, "a reference is a tag or a digest, not both")
	}
	return err
}
