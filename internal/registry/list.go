package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxPage is the greatest page of tags for a client that says how many it
	// wants. It waits for all of them, and registries send 100 at a time.
	maxPage = 1000
	// maxParameter and maxExtra bound what is read of a query: the longest that makes
	// sense is a tag of 128 bytes.
	maxParameter = 2048
	maxExtra     = 8
	// maxArtifactType is the longest media type (RFC 6838, section 4.2), and
	// maxArtifactTypes how many may be asked for at once.
	maxArtifactType  = 255
	maxArtifactTypes = 32
)

type tagsDocument struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func (x *exchange) serveTags() error {
	page, n, err := tagsPage(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	nothing := page.N == 0
	if nothing {
		page.N = 1 // whether the repository exists and may be seen still counts
	}
	list, status, err := x.h.o.Mirror.Tags(x.ctx, x.answer.Request, page)
	x.cached(status)
	if err != nil {
		return err
	}
	if nothing {
		list = oci.TagList{}
	}
	if list.More {
		x.w.Header().Set("Link", x.link(n, list.Tags[len(list.Tags)-1]))
	}
	if list.Tags == nil {
		list.Tags = []string{}
	}
	return x.sendJSON("application/json", tagsDocument{Name: x.answer.Request.Name, Tags: list.Tags})
}

// link points to what follows a tag, on the path that the client has used and with
// the n that it sent. It is relative: no host that a client could send credentials to
// comes from here.
func (x *exchange) link(n, last string) string {
	query := url.Values{"last": {last}}
	if n != "" {
		query.Set("n", n)
	}
	if x.route.Namespace != "" {
		query.Set("ns", x.route.Namespace)
	}
	return "<" + x.r.URL.EscapedPath() + "?" + query.Encode() + `>; rel="next"`
}

// tagsPage reads the parameters of a tag list. n is that of the client as it stands,
// for the link to the next page; empty = there is none. Other parameters mean nothing
// here, and never go upstream.
func tagsPage(query string) (page oci.TagsPage, n string, err error) {
	page.N = -1
	values, err := url.ParseQuery(query)
	if err != nil {
		return page, "", errQuery("the query is malformed")
	}
	delete(values, "ns")
	if err := checkParameters(values); err != nil {
		return page, "", err
	}
	if values.Has("n") {
		n = values.Get("n")
		wanted, ok := parsePosition(n)
		if !ok {
			return page, "", errQuery("n is no number of tags")
		}
		page.N = int(min(wanted, maxPage))
	}
	page.Last = values.Get("last")
	return page, n, nil
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
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

func (x *exchange) serveReferrers() error {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return errQuery("the query is malformed")
	}
	types, err := artifactTypes(values["artifactType"])
	if err != nil {
		return err
	}
	referrers, status, err := x.h.o.Mirror.Referrers(x.ctx, x.answer.Request)
	x.cached(status)
	if err != nil {
		return err
	}
	if len(types) > 0 {
		referrers = slices.DeleteFunc(slices.Clone(referrers), func(d oci.Descriptor) bool { return !slices.Contains(types, d.ArtifactType) })
		x.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	body, err := encodeIndex(referrers)
	if err != nil {
		return err
	}
	return x.sendDocument(ocispec.MediaTypeImageIndex, body)
}

// encodeIndex writes an index of manifests, one after the other: json.Marshal takes
// several times the memory that a long one has.
func encodeIndex(manifests []oci.Descriptor) ([]byte, error) {
	const each = 256 // is about what one takes
	body := bytes.NewBuffer(make([]byte, 0, each*(len(manifests)+1)))
	body.WriteString(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[`)
	to := json.NewEncoder(body)
	for i, d := range manifests {
		if i > 0 {
			body.WriteByte(',')
		}
		if err := to.Encode(d); err != nil {
			return nil, fmt.Errorf("encode index: %w", err)
		}
		body.Truncate(body.Len() - 1) // what ends a line
	}
	body.WriteString(`]}`)
	return body.Bytes(), nil
}

// artifactTypes reads the types of which a client wants any.
func artifactTypes(values []string) (types []string, err error) {
	for _, value := range values {
		switch {
		case value == "":
			continue
		case len(value) > maxArtifactType || !printable(value):
			return nil, errQuery("artifactType is no media type")
		case len(types) == maxArtifactTypes:
			return nil, errQuery(fmt.Sprintf("the query has more than %d artifact types", maxArtifactTypes))
		}
		types = append(types, value)
	}
	return types, nil
}

func (x *exchange) sendJSON(mediaType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", x.answer.Request.Kind, err)
	}
	return x.sendDocument(mediaType, body)
}

// sendDocument answers with what may have changed when it is asked for again.
func (x *exchange) sendDocument(mediaType string, body []byte) error {
	header := x.w.Header()
	header.Set("Content-Type", mediaType)
	header.Set("Cache-Control", cacheChecked)
	return x.sendBytes(http.StatusOK, body)
}
