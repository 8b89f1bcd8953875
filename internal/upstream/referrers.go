package upstream

import (
	"context"
	"mime"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// maxReferrersPages bounds how far the pages of one answer are followed. A page
// holds up to oci.MaxManifestSize; nothing real comes near.
const maxReferrersPages = 32

// Referrers gets the descriptors of all manifests that refer to d: from the
// referrers API, its pages followed, or from the referrers tag where the
// registry has no such API (distribution-spec, "Listing Referrers" and
// "Unavailable Referrers API"). None is no error.
func (c *Client) Referrers(ctx context.Context, repository string, d digest.Digest) ([]oci.Descriptor, error) {
	if _, err := oci.ParseDigest(d.String()); err != nil {
		return nil, err
	}
	op := operation{
		op: opReferrers, kind: lists, repository: repository,
		object: "@" + d.String(), unknown: oci.CodeManifestUnknown,
	}
	return each(ctx, c, op, func(ctx context.Context, v *visit) ([]oci.Descriptor, error) {
		found, hasAPI, err := v.referrersAPI(ctx, d)
		if err != nil || hasAPI {
			return found, err
		}
		m, err := v.manifest(ctx, oci.Reference{Tag: oci.ReferrersTag(d)})
		if err != nil {
			if asFailure(ctx, v.e.base.Host, err).class == oci.ClassNotFound {
				return nil, nil
			}
			return nil, err
		}
		return referrersIn(m.Bytes, v.e)
	})
}

// referrersAPI follows the API's pages; ok = the registry has the API.
func (v *visit) referrersAPI(ctx context.Context, d digest.Digest) (all []oci.Descriptor, ok bool, err error) {
	var params url.Values
	for range maxReferrersPages {
		a, err := v.ask(ctx, query{
			op: opReferrers, method: http.MethodGet, rest: "referrers/" + d.String(), params: params,
			header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
		})
		if err != nil {
			return nil, false, err
		}
		switch a.StatusCode {
		case http.StatusOK:
		case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
			a.drain()
			return nil, false, nil
		default:
			return nil, false, v.statusFailure(a)
		}
		if mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); mediaType != ocispec.MediaTypeImageIndex {
			// Older registries answer unknown routes with whatever they like.
			a.drain()
			return nil, false, nil
		}
		raw, err := a.read(ctx, oci.MaxManifestSize)
		if err != nil {
			return nil, false, err
		}
		found, err := referrersIn(raw, v.e)
		if err != nil {
			return nil, false, err
		}
		all = append(all, found...)
		if params = nextPage(a.Header.Values("Link"), a.url); params == nil || a.abroad {
			break
		}
	}
	return all, true, nil
}

func referrersIn(raw []byte, e *endpoint) ([]oci.Descriptor, error) {
	contents, err := oci.ParseManifest(raw)
	if err != nil {
		return nil, &failure{
			class: oci.ClassNotRegistry, status: http.StatusOK, err: err,
			text: e.base.Host + " sent something that is no index of referrers",
		}
	}
	return contents.Manifests, nil
}
