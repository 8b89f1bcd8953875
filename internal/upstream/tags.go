package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

const maxTagsPage = 8 << 20

// Tags gets one page of the tag list (distribution-spec, "Listing Tags"): the first
// one, or the one that the page before led to, from the same URL. How long a page is,
// the registry decides: some refuse an n that they find too great, others cut the list
// at it and give no link. Tags that are none by the spec's grammar are left out.
func (c *Client) Tags(ctx context.Context, repository string, at oci.TagsCursor) (oci.TagsPart, error) {
	op := operation{
		op: wire.OpTags, kind: lists, repository: repository, unknown: oci.CodeNameUnknown, at: at.Endpoint,
	}
	if len(op.among(c.endpoints)) == 0 {
		return oci.TagsPart{}, op.errorOf(&wire.Failure{
			Class: oci.ClassStatus, Status: http.StatusGone, Text: "the list was begun at a URL that is not configured any more",
		})
	}
	params := queryOf("?" + at.Query)
	return each(ctx, c, op, func(ctx context.Context, v *visit) (oci.TagsPart, error) {
		a, err := v.ask(ctx, v.outgoing(wire.OpTags, http.MethodGet, "tags/list", params, http.Header{"Accept": {"application/json"}}))
		if err != nil {
			return oci.TagsPart{}, err
		}
		return v.tags(ctx, a, params)
	})
}

// among returns the endpoints that an operation may ask.
func (op operation) among(endpoints []*endpoint) []*endpoint {
	if op.at == "" {
		return endpoints
	}
	for i, e := range endpoints {
		if e.base.String() == op.at {
			return endpoints[i : i+1]
		}
	}
	return nil
}

func (v *visit) tags(ctx context.Context, a *wire.Answer, asked url.Values) (oci.TagsPart, error) {
	if a.StatusCode != http.StatusOK {
		return oci.TagsPart{}, v.session.StatusFailure(a)
	}
	raw, err := a.Read(ctx, maxTagsPage)
	if err != nil {
		return oci.TagsPart{}, err
	}
	tags, err := parseTags(raw)
	if err != nil {
		return oci.TagsPart{}, &wire.Failure{
			Class: oci.ClassNotRegistry, Status: a.StatusCode,
			Text: a.URL.Host + " sent something that is no tag list",
		}
	}
	part := oci.TagsPart{Tags: tags}
	next, err := nextPage(a.Header.Values("Link"), asked)
	if err != nil {
		return oci.TagsPart{}, linkFailure(a, err)
	}
	if next != nil {
		part.Next = oci.TagsCursor{Endpoint: v.e.base.String(), Query: next.Encode()}
	}
	return part, nil
}

func linkFailure(a *wire.Answer, err error) *wire.Failure {
	return &wire.Failure{
		Class: oci.ClassNotRegistry, Status: a.StatusCode, Err: err,
		Text: a.URL.Host + " sent a part of a list, and does not say where it goes on",
	}
}

// parseTags returns the valid tags of a list. null is an empty list, but a document
// that says nothing of tags is none.
func parseTags(raw []byte) ([]string, error) {
	var document struct {
		Name json.RawMessage `json:"name"`
		Tags tagNames        `json:"tags"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, err
	}
	if !document.Tags.told && document.Name == nil {
		return nil, errors.New("neither a name nor tags")
	}
	valid := document.Tags.names[:0]
	for _, tag := range document.Tags.names {
		if oci.ValidTag(tag) {
			valid = append(valid, tag)
		}
	}
	return valid, nil
}

type tagNames struct {
	names []string
	told  bool
}

// UnmarshalJSON implements json.Unmarshaler. It is called for null, too.
func (t *tagNames) UnmarshalJSON(raw []byte) error {
	t.told = true
	return json.Unmarshal(raw, &t.names)
}
