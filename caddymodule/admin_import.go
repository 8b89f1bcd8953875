package caddymodule

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

const importPath = "/registry_mirror/import"

// importLine is one line of the answer to POST /registry_mirror/import, which is JSON
// lines: one with Plan, before anything changes, any number with Progress, and one with
// Result. The body of the request is a bundle as a tar that mirror export has written, or
// mirror import makes of others. It is read while the answer is written.
//
// Query parameters: path = the store, by default that of the newest configuration;
// dry_run=1 verifies, and changes nothing; no_move=1 refuses to move tags; allow_public=1
// brings isolated images also where everybody may pull.
type importLine struct {
	Plan     []carry.ImportedImage `json:"plan,omitempty"`
	Progress *carry.ImportProgress `json:"progress,omitempty"`
	Result   *importResult         `json:"result,omitempty"`
}

// importResult is what came of an import, and how it is printed as JSON.
type importResult struct {
	Path string `json:"path,omitempty"`
	// Address is that of the server that imported; empty = the command did.
	Address string             `json:"address,omitempty"`
	Report  carry.ImportReport `json:"report"`
	// Unserved are the upstreams of these images that no site is configured for.
	Unserved []string `json:"unserved,omitempty"`
	// DryRun says that nothing was changed.
	DryRun bool   `json:"dry_run,omitempty"`
	Error  string `json:"error,omitempty"`
	// Moves are the tags that would move, if it is refused for that.
	Moves []carry.ImportedImage `json:"moves,omitempty"`
}

// importRequest says how a bundle is imported.
type importRequest struct{ dryRun, noMove, allowPublic bool }

// query returns the parameters of the admin API.
func (q importRequest) query(path string) url.Values {
	query := url.Values{}
	if path != "" {
		query.Set("path", path)
	}
	for name, set := range map[string]bool{"dry_run": q.dryRun, "no_move": q.noMove, "allow_public": q.allowPublic} {
		if set {
			query.Set(name, "1")
		}
	}
	return query
}

// importEvents are told while a bundle is imported.
type importEvents struct {
	plan     func([]carry.ImportedImage)
	progress func(carry.ImportProgress)
}

func (AdminAPI) importBundle(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	var path string
	var request importRequest
	if err := parameters(r, map[string]func(string) error{
		"path": readText(&path), "dry_run": readFlag(&request.dryRun), "no_move": readFlag(&request.noMove),
		"allow_public": readFlag(&request.allowPublic),
	}); err != nil {
		return err
	}
	c, live, err := liveSites(path)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	}
	ctx, lines := beginLines(w, r)
	defer lines.end()
	body := &steady{r.Body, control}
	result, err := importFrom(ctx, c.store, live.identities(), body, request, importEvents{
		plan:     func(p []carry.ImportedImage) { lines.tell(importLine{Plan: p}) },
		progress: func(p carry.ImportProgress) { lines.progress(importLine{Progress: &p}) },
	})
	result.Path = c.path
	if err != nil {
		result.Error = err.Error()
		if e, ok := errors.AsType[*carry.MoveError](err); ok {
			result.Moves = e.Images
		}
	}
	lines.tell(importLine{Result: &result})
	if err != nil {
		// Who still sends could not read why it is in vain.
		_ = control.SetReadDeadline(time.Now().Add(linesStall))
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return nil
}

// steady reads from who may pause, but not for ever.
type steady struct {
	r       io.Reader
	control *http.ResponseController
}

// Read implements io.Reader.
func (s *steady) Read(b []byte) (int, error) {
	_ = s.control.SetReadDeadline(time.Now().Add(bundleStall))
	return s.r.Read(b)
}

// importFrom imports a bundle that comes as a tar.
func importFrom(ctx context.Context, store *storage.Store, known *identities, r io.Reader, request importRequest, events importEvents) (importResult, error) {
	b, err := bundle.NewStream(r)
	if errors.Is(err, bundle.ErrOrder) {
		err = errors.Join(err, errors.New("let pullgate mirror import send it"))
	}
	if err != nil {
		return importResult{}, err
	}
	defer b.Close()
	if err := b.Index().Rename(bundle.Name{}); err != nil {
		return importResult{}, err
	}
	return importAll(ctx, store, known, b, request, events)
}

// importAll imports what a bundle holds, whose images have names.
func importAll(ctx context.Context, store *storage.Store, known *identities, b *bundle.Reader, request importRequest, events importEvents) (result importResult, err error) {
	result.DryRun = request.dryRun
	for n := range b.Index().Images {
		name := &b.Index().Images[n].Name
		name.Upstream = known.name(name.Upstream)
		if err := known.provision(name.Upstream); err != nil {
			return result, err
		}
		if len(known.names) > 0 && !known.knows(name.Upstream) && !slices.Contains(result.Unserved, name.Upstream) {
			result.Unserved = append(result.Unserved, name.Upstream)
		}
	}
	result.Report, err = carry.Import(ctx, store, b, carry.ImportOptions{
		Scopes: func(n bundle.Name) []oci.Scope { return known.scopes(n.Upstream, n.Repository) },
		Public: func(s oci.Scope) bool { return known.public(s.Upstream) },
		NoMove: request.noMove, DryRun: request.dryRun, AllowPublic: request.allowPublic,
		Plan: events.plan, Progress: events.progress,
	})
	return result, err
}
