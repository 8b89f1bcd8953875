package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
)

// maxExportRequest is the largest body of a request for a bundle.
const maxExportRequest = 256 << 20

// ExportRequest asks for a bundle of what one store has: without a path, that of the
// newest configuration. Over HTTP it is the body, and the answer is a tar; no body asks
// for everything that is cached. An answer that does not end as it should is no bundle.
type ExportRequest struct {
	// Images are references as others complete them; none = all tags.
	Images []string `json:"images,omitempty"`
	// Platforms have to be cached of each ("linux/amd64"); none = those that are.
	Platforms []string `json:"platforms,omitempty"`
	// Since are earlier bundles, by the digests of their index.json, and Has the blobs
	// that they have for each repository ("docker.io/library/alpine"), which are left
	// out.
	Since []digest.Digest            `json:"since,omitempty"`
	Has   map[string][]digest.Digest `json:"has,omitempty"`

	Path string `json:"-"`
	// Report puts a line before the tar: the report, as JSON.
	Report bool `json:"-"`
}

// Parameters returns the query.
func (q *ExportRequest) Parameters() Parameters {
	return Parameters{"path": text(&q.Path), "report": flag(&q.Report)}
}

// ReadBody reads the rest of the request.
func (q *ExportRequest) ReadBody(w http.ResponseWriter, r *http.Request) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxExportRequest)).Decode(q)
	if err != nil && !errors.Is(err, io.EOF) {
		return refuse(http.StatusBadRequest, fmt.Errorf("read what to export: %w", err))
	}
	return nil
}

// Bundle is what is going to be exported.
type Bundle struct {
	// Report is complete before anything is written.
	Report carry.ExportReport
	// Write writes the bundle, if it has images.
	Write func(w *bundle.Writer, progress func(written int64)) error
	// Close gives up what is not written.
	Close func() error
}

// ErrNoImages is the error of an export of everything where there is nothing.
var ErrNoImages = errors.New("there is no image to export that is cached as a whole")

// Export implements Gateway.
func (l *Local) Export(ctx context.Context, q ExportRequest) (*Bundle, error) {
	s, sites, err := l.sites(q.Path)
	if err != nil {
		return nil, err
	}
	wants, o, err := q.options(sites)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, fmt.Errorf("cannot be exported: %w", err))
	}
	if wants, err = locate(ctx, s, sites, wants); err != nil {
		return nil, err
	}
	e, err := carry.NewExport(ctx, s.Store, wants, o)
	if err != nil {
		return nil, err
	}
	return &Bundle{
		Report: e.Report,
		Write:  func(w *bundle.Writer, progress func(int64)) error { return e.Write(ctx, w, progress) },
		Close:  func() error { return nil },
	}, nil
}

// options parses what is asked for.
func (q *ExportRequest) options(known Sites) (wants []image.Want, o carry.ExportOptions, err error) {
	o = carry.ExportOptions{
		Since: q.Since, Has: make(map[string]map[digest.Digest]bool, len(q.Has)),
		Isolated: func(s oci.Scope) bool { return known.isolated(s.Upstream) },
	}
	for place, blobs := range q.Has {
		o.Has[place] = make(map[digest.Digest]bool, len(blobs))
		for _, d := range blobs {
			o.Has[place][d] = true
		}
	}
	for _, d := range q.Since {
		if _, err := oci.ParseDigest(d.String()); err != nil {
			return nil, o, err
		}
	}
	if o.Platforms, err = ParsePlatforms(q.Platforms); err != nil {
		return nil, o, err
	}
	for _, text := range q.Images {
		i, err := imagelist.Parse(text)
		if err != nil {
			return nil, o, err
		}
		i.Upstream = known.name(i.Upstream)
		wants = append(wants, image.Want{Image: i})
	}
	return wants, o, nil
}

// locate finds out where images lie; without any, it returns all tags. What an
// upstream has left under an identity that it has no more, is nothing that is served.
func locate(ctx context.Context, s *Store, known Sites, wants []image.Want) ([]image.Want, error) {
	catalog, err := s.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	defer catalog.Close()
	type repository struct{ upstream, name string }
	repositoryOf := func(scope oci.Scope) repository {
		return repository{oci.UpstreamName(scope.Upstream), scope.Repository}
	}
	if len(wants) == 0 {
		places := make(map[imagelist.Image]int)
		for t, err := range catalog.Tags(ctx, "", "") {
			if err != nil {
				return nil, err
			}
			if !known.serves(t.Scope) {
				continue
			}
			at := repositoryOf(t.Scope)
			i := imagelist.Image{Upstream: at.upstream, Repository: at.name, Tag: t.Name}
			n, ok := places[i]
			if !ok {
				n = len(wants)
				places[i], wants = n, append(wants, image.Want{Image: i})
			}
			wants[n].Scopes = append(wants[n].Scopes, t.Scope)
		}
		return wants, nil
	}
	scopes := make(map[repository][]oci.Scope)
	for scope, err := range catalog.Scopes(ctx, "") {
		if err != nil {
			return nil, err
		}
		if at := repositoryOf(scope); known.serves(scope) {
			scopes[at] = append(scopes[at], scope)
		}
	}
	for n := range wants {
		wants[n].Scopes = scopes[repository{wants[n].Image.Upstream, wants[n].Image.Repository}]
	}
	return wants, nil
}
