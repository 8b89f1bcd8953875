package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

const (
	exportPath = "/registry_mirror/export"
	// bundleStall is how long the other side of a bundle may do nothing: it may be a
	// tape, or ask somebody for a password.
	bundleStall = 10 * time.Minute
	// maxExportRequest is the largest body of a request for a bundle.
	maxExportRequest = 256 << 20
)

// exportRequest is the body of POST /registry_mirror/export, which is answered with a
// bundle as a tar. No body asks for everything that is cached. An answer that does not
// end as it should is no bundle.
//
// Query parameters: path = the store, by default that of the newest configuration;
// report=1 puts a line before the tar: the report, as JSON.
type exportRequest struct {
	// Images are references as others complete them; none = all tags.
	Images []string `json:"images,omitempty"`
	// Platforms have to be cached of each ("linux/amd64"); none = those that are.
	Platforms []string `json:"platforms,omitempty"`
	// Since are earlier bundles, by the digests of their index.json, and Has the blobs
	// that they have for each repository ("docker.io/library/alpine"), which are left
	// out.
	Since []digest.Digest            `json:"since,omitempty"`
	Has   map[string][]digest.Digest `json:"has,omitempty"`
}

func (AdminAPI) export(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	var path string
	var report bool
	if err := parameters(r, map[string]func(string) error{"path": readText(&path), "report": readFlag(&report)}); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(linesStall))
	var request exportRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxExportRequest)).Decode(&request); err != nil && !errors.Is(err, io.EOF) {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("read what to export: %w", err)}
	}
	c, live, err := liveSites(path)
	if err != nil {
		return err
	}
	e, err := newExport(r.Context(), c.store, live.identities(), request)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, errRequest) {
			status = http.StatusBadRequest
		}
		return caddy.APIError{HTTPStatus: status, Err: err}
	}
	if len(e.Report.Images) == 0 && !report {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errNothing}
	}
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	to := &patient{w, control}
	w.Header().Set("Content-Type", "application/x-tar")
	if report {
		w.Header().Set("Content-Type", "application/octet-stream")
		err = json.NewEncoder(to).Encode(e.Report)
	}
	if err == nil && len(e.Report.Images) > 0 {
		err = e.Write(r.Context(), bundle.NewWriter(to), nil)
	}
	if err != nil {
		if r.Context().Err() == nil {
			caddy.Log().Named("registry_mirror").Error("export ended: " + err.Error())
		}
		panic(http.ErrAbortHandler) // what was sent so far is no bundle
	}
	return nil
}

var (
	// errRequest marks mistakes of who asks.
	errRequest = errors.New("cannot be exported")
	errNothing = errors.New("there is no image to export that is cached as a whole")
)

// patient gives who reads its time.
type patient struct {
	w       io.Writer
	control *http.ResponseController
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(bundleStall))
	return p.w.Write(b)
}

// newExport makes up the export that a request is for.
func newExport(ctx context.Context, store *storage.Store, known *identities, request exportRequest) (*carry.Export, error) {
	o := carry.ExportOptions{
		Since: request.Since, Has: make(map[string]map[digest.Digest]bool, len(request.Has)),
		Isolated: func(s oci.Scope) bool { return known.isolated(s.Upstream) },
	}
	for place, blobs := range request.Has {
		o.Has[place] = make(map[digest.Digest]bool, len(blobs))
		for _, d := range blobs {
			o.Has[place][d] = true
		}
	}
	for _, d := range request.Since {
		if _, err := oci.ParseDigest(d.String()); err != nil {
			return nil, fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	var err error
	if o.Platforms, err = parsePlatforms(request.Platforms); err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	var wants []image.Want
	for _, text := range request.Images {
		i, err := imagelist.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errRequest, err)
		}
		i.Upstream = known.name(i.Upstream)
		wants = append(wants, image.Want{Image: i})
	}
	if wants, err = locate(ctx, store, known, wants); err != nil {
		return nil, err
	}
	return carry.NewExport(ctx, store, wants, o)
}

// locate finds out where images lie; without any, it returns all tags. What an
// upstream has left under an identity that it has no more, is nothing that is served.
func locate(ctx context.Context, store *storage.Store, known *identities, wants []image.Want) ([]image.Want, error) {
	catalog, err := store.Catalog(ctx)
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
