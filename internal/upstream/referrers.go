package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

const (
	// maxReferrers is how many bytes all pages of a list of referrers may have.
	maxReferrers = 8 << 20
	// maxIdlePages is how many of them in a row may bring nothing new.
	maxIdlePages = 16
)

// Referrers gets the descriptors of all manifests that refer to d: from the
// referrers API, its pages followed, or from the referrers tag where the
// registry has no such API (distribution-spec, "Listing Referrers" and
// "Unavailable Referrers API"). None is no error. The list is whole, or an error.
func (c *Client) Referrers(ctx context.Context, repository string, d digest.Digest) ([]oci.Descriptor, error) {
	if _, err := oci.ParseDigest(d.String()); err != nil {
		return nil, err
	}
	op := operation{
		op: wire.OpReferrers, kind: lists, repository: repository,
		object: "@" + d.String(), unknown: oci.CodeManifestUnknown,
	}
	return each(ctx, c, op, func(ctx context.Context, v *visit) ([]oci.Descriptor, error) {
		found, hasAPI, err := v.referrersAPI(ctx, d)
		if err != nil || hasAPI {
			return found, err
		}
		return v.referrersTag(ctx, d)
	})
}

// referrersTag returns what the referrers tag lists. Some registries answer it with
// the subject itself, or with whatever else: that is no list.
func (v *visit) referrersTag(ctx context.Context, d digest.Digest) ([]oci.Descriptor, error) {
	m, err := v.manifest(ctx, oci.Reference{Tag: oci.ReferrersTag(d)})
	if err != nil {
		f := wire.AsFailure(ctx, v.e.base.Host, err)
		if f.Class == oci.ClassNotFound || f.Class == oci.ClassNotRegistry && f.Status == http.StatusOK ||
			f.Class == oci.ClassStatus && !f.Abroad && refusesKind(f.Status) {
			return nil, nil
		}
		return nil, err
	}
	m.Room.Leave() // it goes nowhere
	if oci.Verify(d, m.Bytes) || m.MediaType != ocispec.MediaTypeImageIndex {
		return nil, nil
	}
	return m.Contents.Manifests, nil
}

// refusesKind reports whether a status is that of a registry which does not know
// what it is asked for. The others speak of who asks, or of a trouble that passes.
func refusesKind(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 4
}

// referrersAPI follows the API's pages; ok = the registry has the API.
func (v *visit) referrersAPI(ctx context.Context, d digest.Digest) (all []oci.Descriptor, ok bool, err error) {
	var params url.Values
	l := referrersList{visited: map[string]bool{"": true}, known: map[digest.Digest]bool{}}
	for {
		a, err := v.ask(ctx, v.outgoing(wire.OpReferrers, http.MethodGet, "referrers/"+d.String(), params,
			http.Header{"Accept": {ocispec.MediaTypeImageIndex}}))
		if err == nil && a.StatusCode == http.StatusOK {
			err = typed(ctx, a)
		}
		if params == nil && lacksReferrers(a, err) {
			if err == nil {
				a.Drain()
			}
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		found, err := v.referrersPage(ctx, a, &l)
		if err != nil {
			return nil, false, err
		}
		if params, err = nextPage(a.Header.Values("Link"), params); err != nil {
			return nil, false, linkFailure(a, err)
		}
		switch more, circles := l.add(found, params); {
		case circles:
			return nil, false, linkFailure(a, errLink)
		case !more:
			return slices.Concat(l.pages...), true, nil
		}
	}
}

// referrersList is what the pages of a list have brought.
type referrersList struct {
	pages   [][]oci.Descriptor // what is new in each
	known   map[digest.Digest]bool
	visited map[string]bool
	size    int64
	// buffer is the memory that the pages are read into, one after the other.
	buffer []byte
	// idle counts the last pages that brought nothing new.
	idle int
}

// add takes in a page and where it leads to: to more, or in a circle. A page of nothing
// is the end, also where it leads back.
func (l *referrersList) add(found []oci.Descriptor, next url.Values) (more, circles bool) {
	l.idle++
	empty := len(found) == 0
	found = slices.DeleteFunc(found, func(d oci.Descriptor) bool {
		known := l.known[d.Digest]
		l.known[d.Digest] = true
		return known
	})
	if len(found) > 0 {
		l.pages, l.idle = append(l.pages, found), 0
	}
	key := next.Encode()
	if next == nil || l.visited[key] && empty {
		return false, false
	}
	circles = l.visited[key] || l.idle > maxIdlePages
	l.visited[key] = true
	return true, circles
}

// lacksReferrers reports whether the answer to the first request is that of a
// registry without the API. Older ones answer unknown routes with whatever they like,
// and ghcr.io sends the request away, to where nothing that it is told counts.
func lacksReferrers(a *wire.Answer, err error) bool {
	var f *wire.Failure
	switch {
	case err != nil:
		return errors.As(err, &f) && f.Abroad && f.Class == oci.ClassRateLimited
	case a.StatusCode == http.StatusOK:
		return !isIndex(a)
	}
	return a.StatusCode == http.StatusForbidden || refusesKind(a.StatusCode) || wire.IsRedirect(a.StatusCode) ||
		a.Abroad && a.StatusCode < http.StatusInternalServerError
}

// referrersPage reads one page, of as many bytes as the list may still have.
func (v *visit) referrersPage(ctx context.Context, a *wire.Answer, l *referrersList) ([]oci.Descriptor, error) {
	if a.StatusCode != http.StatusOK {
		f := v.session.StatusFailure(a)
		if f.Class == oci.ClassNotFound {
			f.Class = oci.ClassStatus // it is a page that is missing, the others are not
		}
		return nil, f
	}
	if !isIndex(a) {
		a.Drain()
		return nil, &wire.Failure{Class: oci.ClassNotRegistry, Status: a.StatusCode, Text: a.URL.Host + " sent no index of referrers"}
	}
	raw, err := a.ReadInto(ctx, l.buffer, maxReferrers-l.size)
	if f := (*wire.Failure)(nil); errors.As(err, &f) && f.Class == oci.ClassLength {
		return nil, &wire.Failure{
			Class: oci.ClassLength, Status: a.StatusCode,
			Text: fmt.Sprintf("%s sends a list of referrers that has more than %d bytes", a.URL.Host, maxReferrers),
		}
	}
	if err != nil {
		return nil, err
	}
	l.buffer, l.size = raw, l.size+int64(len(raw))
	return referrersIn(raw, v.e)
}

// typed sets the type of an answer that has a generic one, or none, if its content is an
// index: no signature is overlooked for a header.
func typed(ctx context.Context, a *wire.Answer) error {
	if isIndex(a) || a.IsPage() {
		return nil
	}
	raw, err := a.Read(ctx, maxReferrers)
	if err != nil {
		return err
	}
	a.Body, a.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	var document struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(raw, &document) == nil && document.SchemaVersion == 2 && document.Manifests != nil &&
		(document.MediaType == "" || document.MediaType == ocispec.MediaTypeImageIndex) {
		a.Header.Set("Content-Type", ocispec.MediaTypeImageIndex)
	}
	return nil
}

func isIndex(a *wire.Answer) bool {
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return mediaType == ocispec.MediaTypeImageIndex
}

func referrersIn(raw []byte, e *endpoint) ([]oci.Descriptor, error) {
	contents, err := oci.ParseManifest(raw)
	if err != nil {
		return nil, &wire.Failure{
			Class: oci.ClassNotRegistry, Status: http.StatusOK, Err: err,
			Text: e.base.Host + " sent something that is no index of referrers",
		}
	}
	return contents.Manifests, nil
}
