package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
)

const (
	// verifyPath is where images are looked for, preloadPath where they are pulled.
	verifyPath  = "/registry_mirror/verify"
	preloadPath = "/registry_mirror/preload"
)

var errExits = errors.New("the server exits: do it again when it runs, and it goes on where it ended")

// imageLine is one line of the answers to POST /registry_mirror/verify and
// /registry_mirror/preload, which are JSON lines: any number with Verifying, or
// with Preloading or Pulled; then, in the order of the list, one with Report for
// each image, or more where sites have it from different upstreams of one name;
// and one with Totals or Error. An answer that ends before is not complete.
//
// The body of the request is a list of images, as imagelist.Read has it. Query
// parameters: path = the store, by default that of the newest configuration;
// platform=linux/amd64,linux/arm64 and referrers=1 say what of an image counts;
// deep=1 has every blob read, rate=100MiB so much of them per second at most, and
// parallel=8 so many images pulled at a time. It ends when the client leaves, but
// for downloads of blobs that have begun.
type imageLine struct {
	Verifying  *image.VerifyProgress  `json:"verifying,omitempty"`
	Preloading *image.PreloadProgress `json:"preloading,omitempty"`
	Pulled     *image.Pulled          `json:"pulled,omitempty"`
	Report     *image.Report          `json:"report,omitempty"`
	Totals     *image.Totals          `json:"totals,omitempty"`
	Error      string                 `json:"error,omitempty"`
}

// imageOperation is what is asked for: by a command, or of the admin API.
type imageOperation struct {
	images   []imagelist.Image
	choice   image.Choice
	deep     bool
	rate     int64
	parallel int
	json     bool // what is printed
}

func (AdminAPI) verify(w http.ResponseWriter, r *http.Request) error {
	var o imageOperation
	c, live, err := o.read(w, r, map[string]func(string) error{"deep": readFlag(&o.deep), "rate": o.readRate})
	if err != nil {
		return err
	}
	// They are provisioned, and what they are named by does not change.
	wants := live.wants(o.images)
	ctx, lines := beginLines(w, r)
	defer lines.end()
	reports, totals, err := image.Verify(ctx, c.store, wants, image.VerifyOptions{
		Choice: o.choice, Deep: o.deep, Rate: o.rate,
		Progress: func(p image.VerifyProgress) { lines.progress(imageLine{Verifying: &p}) },
	})
	lines.conclude(reports, totals, err)
	return nil
}

func (AdminAPI) preload(w http.ResponseWriter, r *http.Request) error {
	var o imageOperation
	c, live, err := o.read(w, r, map[string]func(string) error{"parallel": o.readParallel})
	if err != nil {
		return err
	}
	if err := live.enter(); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	// Who is in keeps store and clients, whatever becomes of the configuration.
	defer live.leave()
	ctx, lines := beginLines(w, r)
	defer lines.end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, s := range live {
		go func() {
			select {
			case <-s.service.exiting:
				cancel(errExits)
			case <-ctx.Done():
			}
		}()
	}
	reports, totals, err := image.Preload(ctx, c.store, live.preloadWants(o.images), image.PreloadOptions{
		Choice: o.choice, Images: o.parallel,
		Progress: func(p image.PreloadProgress) { lines.progress(imageLine{Preloading: &p}) },
		Pulled:   func(p image.Pulled) { lines.tell(imageLine{Pulled: &p}) },
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	lines.conclude(reports, totals, err)
	return nil
}

// conclude tells what came of an operation on images.
func (l *adminLines) conclude(reports []image.Report, totals image.Totals, err error) {
	if err != nil {
		l.tell(imageLine{Error: err.Error()})
		return
	}
	for i := range reports {
		l.write(imageLine{Report: &reports[i]})
	}
	l.tell(imageLine{Totals: &totals})
}

// read reads a request, and finds what it is about. more are parameters that not
// every operation has.
func (o *imageOperation) read(w http.ResponseWriter, r *http.Request, more map[string]func(string) error) (*cache, imageSites, error) {
	if r.Method != http.MethodPost {
		return nil, nil, caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	var path string
	known := map[string]func(string) error{
		"path":      readText(&path),
		"referrers": readFlag(&o.choice.Referrers),
		"platform": func(value string) (err error) {
			o.choice.Platforms, err = parsePlatforms(strings.Split(value, ","))
			return err
		},
	}
	maps.Copy(known, more)
	if err := parameters(r, known); err != nil {
		return nil, nil, err
	}
	var err error
	if o.images, err = imagelist.Read("body", http.MaxBytesReader(w, r.Body, imagelist.MaxSize)); err == nil && len(o.images) == 0 {
		err = errors.New("the body names no image")
	}
	if err != nil {
		return nil, nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	return liveSites(path)
}

func (o *imageOperation) readParallel(value string) (err error) {
	if o.parallel, err = strconv.Atoi(value); err != nil || o.parallel < 1 || o.parallel > maxParallel {
		return fmt.Errorf("%q is no number from 1 to %d", value, maxParallel)
	}
	return nil
}

func (o *imageOperation) readRate(value string) (err error) {
	o.rate, err = parseSize(value)
	return err
}

// query returns the parameters that read reads.
func (o *imageOperation) query(path string) url.Values {
	query := make(url.Values)
	if path != "" {
		query.Set("path", path)
	}
	if len(o.choice.Platforms) > 0 {
		names := make([]string, 0, len(o.choice.Platforms))
		for _, p := range o.choice.Platforms {
			names = append(names, p.String())
		}
		query.Set("platform", strings.Join(names, ","))
	}
	if o.choice.Referrers {
		query.Set("referrers", "1")
	}
	return query
}

// list returns the images as read reads them.
func (o *imageOperation) list() string {
	var b strings.Builder
	for _, i := range o.images {
		b.WriteString(i.String() + "\n")
	}
	return b.String()
}

// parsePlatforms parses platforms, each of which is there once in the result.
func parsePlatforms(names []string) (platforms []image.Platform, err error) {
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
