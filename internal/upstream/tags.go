package upstream

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pullgate/pullgate/internal/oci"
)

const maxTagsPage = 8 << 20

// Tags gets one page of the tag list (distribution-spec, "Listing Tags"). Tags
// that are none by the spec's grammar are left out.
func (c *Client) Tags(ctx context.Context, repository string, page oci.TagsPage) (oci.TagList, error) {
	op := operation{op: opTags, kind: lists, repository: repository, unknown: oci.CodeNameUnknown}
	params := maps.Clone(page.Extra)
	if params == nil {
		params = url.Values{}
	}
	if page.N >= 0 {
		params.Set("n", strconv.Itoa(page.N))
	}
	if page.Last != "" {
		params.Set("last", page.Last)
	}
	return each(ctx, c, op, func(ctx context.Context, v *visit) (oci.TagList, error) {
		a, err := v.ask(ctx, query{
			op: opTags, method: http.MethodGet, rest: "tags/list", params: params,
			header: http.Header{"Accept": {"application/json"}},
		})
		if err != nil {
			return oci.TagList{}, err
		}
		return v.tags(ctx, a)
	})
}

func (v *visit) tags(ctx context.Context, a *answer) (oci.TagList, error) {
	if a.StatusCode != http.StatusOK {
		return oci.TagList{}, v.statusFailure(a)
	}
	raw, err := a.read(ctx, maxTagsPage)
	if err != nil {
		return oci.TagList{}, err
	}
	var document struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return oci.TagList{}, &failure{
			class: oci.ClassNotRegistry, status: a.StatusCode,
			text: a.url.Host + " sent something that is no tag list",
		}
	}
	list := oci.TagList{Tags: make([]string, 0, len(document.Tags))}
	for _, tag := range document.Tags {
		if oci.ValidTag(tag) {
			list.Tags = append(list.Tags, tag)
		}
	}
	if !a.abroad {
		list.Next = nextPage(a.Header.Values("Link"), a.url)
	}
	return list, nil
}
