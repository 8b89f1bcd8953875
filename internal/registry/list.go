package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxPage is the greatest page of tags that is asked for; ECR refuses more.
	maxPage = 1000
	// maxParameter and maxExtra bound what a client can make the gateway send
	// upstream: quay.io's next_page is some 200 bytes.
	maxParameter = 2048
	maxExtra     = 8
	// maxArtifactType is the longest media type (RFC 6838, section 4.2).
	maxArtifactType = 255
)

type tagsDocument struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func (x *exchange) serveTags() error {
	page, err := tagsPage(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	wanted := page.N
	if wanted == 0 {
		page.N = 1 // whether the repository exists and may be seen still counts
	}
	list, status, err := x.h.mirror.Tags(x.context(), x.answer.Request, page)
	x.cached(status)
	if err != nil {
		return err
	}
	tags, next := list.Tags, list.Next
	switch {
	case wanted == 0:
		tags, next = nil, nil
	case wanted > 0 && len(tags) > wanted:
		// Not every upstream pays attention to n.
		tags = tags[:wanted]
		next = url.Values{"n": {strconv.Itoa(wanted)}, "last": {tags[wanted-1]}}
	}
	if next != nil {
		x.w.Header().Set("Link", x.link(next))
	}
	if tags == nil {
		tags = []string{}
	}
	return x.sendJSON("application/json", tagsDocument{Name: x.answer.Request.Name, Tags: tags})
}

// link points to the next page on the path that the client has used. It is
// relative: no host that a client could send credentials to comes from here.
func (x *exchange) link(next url.Values) string {
	query := make(url.Values, len(next)+1)
	maps.Copy(query, next)
	query.Del("ns")
	if x.namespace != "" {
		query.Set("ns", x.namespace)
	}
	return "<" + x.r.URL.EscapedPath() + "?" + query.Encode() + `>; rel="next"`
}

// tagsPage reads the parameters of a tag list.
func tagsPage(query string) (oci.TagsPage, error) {
	page := oci.TagsPage{N: -1}
	values, err := url.ParseQuery(query)
	if err != nil {
		return page, errQuery("the query is malformed")
	}
	delete(values, "ns")
	if err := checkParameters(values); err != nil {
		return page, err
	}
	if values.Has("n") {
		n, ok := parsePosition(values.Get("n"))
		if !ok {
			return page, errQuery("n is no number of tags")
		}
		page.N = int(min(n, maxPage))
	}
	page.Last = values.Get("last")
	delete(values, "n")
	delete(values, "last")
	if len(values) > 0 {
		page.Extra = values
	}
	return page, nil
}

// checkParameters refuses what no link of a registry holds.
func checkParameters(values url.Values) error {
	if len(values) > maxExtra {
		return errQuery(fmt.Sprintf("the query has more than %d parameters", maxExtra))
	}
	size := 0
	for name, all := range values {
		if len(all) > 1 {
			return errQuery("the query has a parameter twice")
		}
		if size += len(name) + len(all[0]); size > maxParameter {
			return errQuery(fmt.Sprintf("the query has more than %d bytes", maxParameter))
		}
		if !printable(name) || !printable(all[0]) {
			return errQuery("the query has characters that are not printable ASCII")
		}
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (x *exchange) serveReferrers() error {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return errQuery("the query is malformed")
	}
	artifactType := values.Get("artifactType")
	if len(artifactType) > maxArtifactType || !printable(artifactType) {
		return errQuery("artifactType is no media type")
	}
	referrers, status, err := x.h.mirror.Referrers(x.context(), x.answer.Request)
	x.cached(status)
	if err != nil {
		return err
	}
	// The list may be the mirror's own, and the document must not say null.
	selected := make([]oci.Descriptor, 0, len(referrers))
	for _, d := range referrers {
		if artifactType == "" || d.ArtifactType == artifactType {
			selected = append(selected, d)
		}
	}
	if artifactType != "" {
		x.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return x.sendJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: selected,
	})
}

func (x *exchange) sendJSON(mediaType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", x.answer.Request.Kind, err)
	}
	header := x.w.Header()
	header.Set("Content-Type", mediaType)
	header.Set("Cache-Control", cacheChecked)
	return x.sendBytes(http.StatusOK, body)
}
