package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
)

// maxParallel is how many images are pulled at a time at most.
const maxParallel = 64

// ImageLine is one line about images: any number with Verifying, or with Preloading or
// Pulled; then, in the order of the list, one with Report for each image, or more where
// sites have it from different upstreams of one name; and one with Totals or Error.
type ImageLine struct {
	Verifying  *image.VerifyProgress  `json:"verifying,omitempty"`
	Preloading *image.PreloadProgress `json:"preloading,omitempty"`
	Pulled     *image.Pulled          `json:"pulled,omitempty"`
	Report     *image.Report          `json:"report,omitempty"`
	Totals     *image.Totals          `json:"totals,omitempty"`
	Error      string                 `json:"error,omitempty"`
}

// IsProgress reports whether others say more than this line.
func (l ImageLine) IsProgress() bool { return l.Verifying != nil || l.Preloading != nil }

// ImageRequest is about images in one store: without a path, that of the newest
// configuration. Over HTTP, the images are the body.
type ImageRequest struct {
	Path   string
	Images []imagelist.Image
	image.Choice
}

// Parameters returns the query.
func (q *ImageRequest) Parameters() Parameters {
	return Parameters{
		"path": text(&q.Path), "referrers": flag(&q.Referrers),
		"platform": {func(value string) (err error) {
			q.Platforms, err = ParsePlatforms(strings.Split(value, ","))
			return err
		}, func() string {
			names := make([]string, 0, len(q.Platforms))
			for _, p := range q.Platforms {
				names = append(names, p.String())
			}
			return strings.Join(names, ",")
		}},
	}
}

// ReadBody reads the list of images.
func (q *ImageRequest) ReadBody(w http.ResponseWriter, r *http.Request) (err error) {
	q.Images, err = imagelist.Read("body", http.MaxBytesReader(w, r.Body, imagelist.MaxSize))
	if err == nil && len(q.Images) == 0 {
		err = errors.New("the body names no image")
	}
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	return nil
}

func (q *ImageRequest) body() io.Reader {
	var b strings.Builder
	for _, i := range q.Images {
		b.WriteString(i.String() + "\n")
	}
	return strings.NewReader(b.String())
}

// VerifyRequest looks whether images are cached completely.
type VerifyRequest struct {
	ImageRequest
	// Deep reads every blob, and Rate is how much of them per second at most.
	Deep bool
	Rate int64
}

// Parameters returns the query.
func (q *VerifyRequest) Parameters() Parameters {
	p := q.ImageRequest.Parameters()
	p["deep"], p["rate"] = flag(&q.Deep), rate(&q.Rate)
	return p
}

// PreloadRequest pulls images. Downloads of blobs that have begun go on if it ends.
type PreloadRequest struct {
	ImageRequest
	// Parallel is how many images are pulled at a time; 0 = image.DefaultImages.
	Parallel int
}

// Parameters returns the query.
func (q *PreloadRequest) Parameters() Parameters {
	p := q.ImageRequest.Parameters()
	p["parallel"] = parameter{func(value string) (err error) {
		q.Parallel, err = ParseParallel(value)
		return err
	}, func() string { return strconv.Itoa(q.Parallel) }}
	return p
}

// ParseParallel parses how many images are pulled at a time.
func ParseParallel(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxParallel {
		return 0, fmt.Errorf("%q is no number from 1 to %d", value, maxParallel)
	}
	return n, nil
}

// ParsePlatforms parses platforms, each of which is there once in the result.
func ParsePlatforms(names []string) (platforms []image.Platform, err error) {
	for _, name := range names {
		p, err := image.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(platforms, p) {
			platforms = append(platforms, p)
		}
	}
	return platforms, nil
}

// Verify implements Gateway.
func (l *Local) Verify(ctx context.Context, q VerifyRequest, tell func(ImageLine)) error {
	s, sites, err := l.sites(q.Path)
	if err != nil {
		return err
	}
	var wants []image.Want
	if !l.serves() {
		if wants, err = storedWants(ctx, s, sites, q.Images); err != nil {
			return err
		}
	} else {
		for _, i := range q.Images {
			places, unknown := sites.places(i)
			if unknown != "" {
				wants = append(wants, image.Want{Image: i, Error: unknown})
			}
			for _, p := range places {
				wants = append(wants, image.Want{Image: i, Scopes: []oci.Scope{p.scope()}})
			}
		}
	}
	reports, totals, err := image.Verify(ctx, s.Store, wants, image.VerifyOptions{
		Choice: q.Choice, Deep: q.Deep, Rate: q.Rate,
		Progress: func(p image.VerifyProgress) { tell(ImageLine{Verifying: &p}) },
	})
	conclude(tell, reports, totals, err)
	return nil
}

// storedWants returns where a store may have images. Without a running server it is
// not certain which identity of an upstream counts: one that is complete does.
func storedWants(ctx context.Context, s *Store, sites Sites, images []imagelist.Image) ([]image.Want, error) {
	catalog, err := s.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	defer catalog.Close()
	stored := map[oci.Scope][]oci.Scope{} // by the name of the upstream
	for scope, err := range catalog.Scopes(ctx, "") {
		if err != nil {
			return nil, err
		}
		by := oci.Scope{Upstream: oci.UpstreamName(scope.Upstream), Repository: scope.Repository}
		stored[by] = append(stored[by], scope)
	}
	wants := make([]image.Want, len(images))
	for n, i := range images {
		by := oci.Scope{Upstream: i.Upstream, Repository: i.Repository}
		if at := sites.find(i); len(at) > 0 {
			by = oci.Scope{Upstream: at[0].upstream.Name, Repository: at[0].repository}
		}
		wants[n] = image.Want{Image: i, Scopes: stored[by]}
		if len(stored[by]) == 0 {
			wants[n].Scopes = []oci.Scope{by}
		}
	}
	return wants, nil
}

// Preload implements Gateway. The identities of the upstreams are looked up.
func (l *Local) Preload(ctx context.Context, q PreloadRequest, tell func(ImageLine)) error {
	s, sites, err := l.sites(q.Path)
	if err != nil {
		return err
	}
	// Whoever is in keeps store and clients, whatever becomes of the configuration.
	pullers, leave, err := sites.enter(s.Mirror)
	if err != nil {
		return refuse(http.StatusServiceUnavailable, err)
	}
	defer leave()
	ctx, cancel := sites.untilExit(ctx)
	defer cancel(nil)
	var wants []image.PreloadWant
	for _, i := range q.Images {
		places, unknown := sites.places(i)
		if unknown != "" {
			wants = append(wants, image.PreloadWant{Image: i, Error: unknown})
		}
		for _, p := range places {
			wants = append(wants, image.PreloadWant{Image: i, Scope: p.scope(), Upstream: p.upstream.Name, Puller: pullers[p.site]})
		}
	}
	reports, totals, err := image.Preload(ctx, s.Store, wants, image.PreloadOptions{
		Choice: q.Choice, Images: q.Parallel,
		Progress: func(p image.PreloadProgress) { tell(ImageLine{Preloading: &p}) },
		Pulled:   func(p image.Pulled) { tell(ImageLine{Pulled: &p}) },
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	conclude(tell, reports, totals, err)
	return nil
}

// conclude tells what came of a request about images.
func conclude(tell func(ImageLine), reports []image.Report, totals image.Totals, err error) {
	if err != nil {
		tell(ImageLine{Error: err.Error()})
		return
	}
	for i := range reports {
		tell(ImageLine{Report: &reports[i]})
	}
	tell(ImageLine{Totals: &totals})
}
