package upstream

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// acceptManifests are all manifest types, in every request: registries that
// convert or refuse by Accept would otherwise make the answer depend on who
// asked first. Schema 1 comes last, so that nobody sends it who has another.
var acceptManifests = strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest,
	oci.MediaTypeDockerManifestList, oci.MediaTypeDockerManifest,
	oci.MediaTypeOCIArtifactManifest,
	oci.MediaTypeDockerSchema1Signed + ";q=0.2", oci.MediaTypeDockerSchema1 + ";q=0.1",
}, ", ")

func manifestOperation(op, verb, repository string, ref oci.Reference) operation {
	object := ":" + ref.Tag
	if ref.IsDigest() {
		object = "@" + ref.Digest.String()
	}
	return operation{
		op: op, kind: kindMetadata, verb: verb, repository: repository, object: object, unknown: oci.CodeManifestUnknown,
	}
}

func manifestQuery(op operation, method string, ref oci.Reference) query {
	return query{
		operation: op, method: method, rest: "manifests/" + ref.String(),
		header: http.Header{"Accept": {acceptManifests}},
	}
}

// HeadManifest asks for type, digest and size without the bytes. It returns the
// zero descriptor if the upstream does not tell all three, or answers no HEAD.
func (c *Client) HeadManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	if err := checkReference(ref); err != nil {
		return oci.Descriptor{}, err
	}
	op := manifestOperation(opHeadManifest, "look up manifest", repository, ref)
	return each(ctx, c, op, func(ctx context.Context, e *endpoint, _ *lease) (oci.Descriptor, error) {
		a, err := c.ask(ctx, e, manifestQuery(op, http.MethodHead, ref))
		if err != nil {
			return oci.Descriptor{}, err
		}
		defer a.drain()
		class := classOfStatus(a.StatusCode)
		switch {
		case a.StatusCode == http.StatusMethodNotAllowed, a.abroad && class == oci.ClassDenied,
			a.abroad && class == oci.ClassNotFound: // GET has a body that tells whose word it is
			return oci.Descriptor{}, nil
		case a.StatusCode != http.StatusOK:
			return oci.Descriptor{}, statusFailure(a, c.o.Now())
		}
		if err := a.checkContent(); err != nil {
			return oci.Descriptor{}, err
		}
		return headDescriptor(a, ref)
	})
}

func headDescriptor(a *answer, ref oci.Reference) (oci.Descriptor, error) {
	d, err := oci.ParseDigest(a.Header.Get("Docker-Content-Digest"))
	if err != nil {
		d = ref.Digest
	}
	if ref.IsDigest() && d.Algorithm() == ref.Digest.Algorithm() && d != ref.Digest {
		return oci.Descriptor{}, digestFailure(a, ref.Digest, d)
	}
	if a.ContentLength > oci.MaxManifestSize {
		return oci.Descriptor{}, &failure{
			class: oci.ClassLength, status: a.StatusCode,
			text: fmt.Sprintf("%s announces a manifest of %d bytes, more than %d", a.url.Host, a.ContentLength, oci.MaxManifestSize),
		}
	}
	// What is no media type comes out empty.
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	switch {
	case mediaType == "", d == "", a.ContentLength <= 0,
		mediaType == "application/json", mediaType == "text/plain", mediaType == oci.MediaTypeOctetStream:
		return oci.Descriptor{}, nil
	}
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: a.ContentLength}, nil
}

// Manifest gets a manifest of at most oci.MaxManifestSize and checks it: its
// digest against ref and the answer's header, its type against its content.
func (c *Client) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	if err := checkReference(ref); err != nil {
		return oci.Manifest{}, err
	}
	op := manifestOperation(opGetManifest, "get manifest", repository, ref)
	return each(ctx, c, op, func(ctx context.Context, e *endpoint, _ *lease) (oci.Manifest, error) {
		return c.manifest(ctx, e, op, ref)
	})
}

func (c *Client) manifest(ctx context.Context, e *endpoint, op operation, ref oci.Reference) (oci.Manifest, error) {
	a, err := c.ask(ctx, e, manifestQuery(op, http.MethodGet, ref))
	if err != nil {
		return oci.Manifest{}, err
	}
	if a.StatusCode != http.StatusOK {
		return oci.Manifest{}, statusFailure(a, c.o.Now())
	}
	if err := a.checkContent(); err != nil {
		a.drain()
		return oci.Manifest{}, err
	}
	raw, err := a.read(ctx, oci.MaxManifestSize)
	if err != nil {
		return oci.Manifest{}, err
	}
	m := oci.Manifest{Bytes: raw, Digest: ref.Digest}
	if told, err := oci.ParseDigest(a.Header.Get("Docker-Content-Digest")); err == nil {
		if !oci.Verify(told, raw) {
			return oci.Manifest{}, digestFailure(a, told, oci.Sum(raw))
		}
		if m.Digest == "" {
			m.Digest = told // of the algorithm that HEAD tells of, too
		}
	}
	switch {
	case m.Digest == "":
		m.Digest = oci.Sum(raw)
	case !oci.Verify(m.Digest, raw):
		return oci.Manifest{}, digestFailure(a, m.Digest, oci.Sum(raw))
	}
	if m.MediaType, err = oci.ManifestMediaType(a.Header.Get("Content-Type"), raw); err == nil {
		_, err = oci.ParseManifest(raw)
	}
	if err != nil {
		return oci.Manifest{}, &failure{
			class: oci.ClassNotRegistry, status: a.StatusCode, err: err,
			text: a.url.Host + " sent something that is no valid manifest",
		}
	}
	return m, nil
}

func digestFailure(a *answer, want, got digest.Digest) *failure {
	return &failure{
		class: oci.ClassDigest, status: a.StatusCode,
		text: fmt.Sprintf("%s sent %s in place of %s", a.url.Host, got, want),
	}
}

// checkContent refuses bodies that are encoded, and pages made for people: a
// captive portal answers everything with 200.
func (a *answer) checkContent() error {
	if encoding := a.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &failure{
			class: oci.ClassEncoding, status: a.StatusCode,
			text: a.url.Host + " encoded the content, though it was asked not to",
		}
	}
	if mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); mediaType == "text/html" {
		return &failure{
			class: oci.ClassNotRegistry, status: a.StatusCode,
			text: a.url.Host + " answered with a web page",
		}
	}
	return nil
}

// checkReference refuses what the wire would never let through.
func checkReference(ref oci.Reference) error {
	parsed, err := oci.ParseReference(ref.String())
	if err == nil && parsed != ref {
		err = oci.NewError(oci.CodeManifestInvalid, "a reference is a tag or a digest, not both")
	}
	return err
}
