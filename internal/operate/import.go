package operate

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// ImportRequest imports a bundle into one store: without a path, that of the newest
// configuration. Over HTTP, the body is a bundle as a tar that mirror export has
// written, or mirror import makes of others. It is read while the answer is written.
type ImportRequest struct {
	Path string
	// DryRun verifies, and changes nothing. NoMove refuses to move tags. AllowPublic
	// brings isolated images also where everybody may pull.
	DryRun, NoMove, AllowPublic bool
}

// Parameters returns the query.
func (q *ImportRequest) Parameters() Parameters {
	return Parameters{
		"path": text(&q.Path), "dry_run": flag(&q.DryRun), "no_move": flag(&q.NoMove), "allow_public": flag(&q.AllowPublic),
	}
}

// ImportLine is one line about an import: one with Plan, before anything changes, any
// number with Progress, and one with Result.
type ImportLine struct {
	Plan     []carry.ImportedImage `json:"plan,omitempty"`
	Progress *carry.ImportProgress `json:"progress,omitempty"`
	Result   *ImportResult         `json:"result,omitempty"`
}

// IsProgress reports whether others say more than this line.
func (l ImportLine) IsProgress() bool { return l.Progress != nil }

// ImportResult is what came of an import.
type ImportResult struct {
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

// Import implements Gateway.
func (l *Local) Import(ctx context.Context, q ImportRequest, open func() (*bundle.Reader, error), tell func(ImportLine)) error {
	s, sites, err := l.sites(q.Path)
	if err != nil {
		return err
	}
	var result ImportResult
	b, err := open()
	if err == nil {
		result, err = importAll(ctx, s.Store, sites, b, q, tell)
	}
	result.Path = s.Path
	if s.Fleet != nil {
		s.Fleet.CatchUp()
	}
	if err != nil {
		result.Error = err.Error()
		if move, ok := errors.AsType[*carry.MoveError](err); ok {
			result.Moves = move.Images
		}
	}
	tell(ImportLine{Result: &result})
	return nil
}

// OpenBody opens the body of a request for an import.
func OpenBody(r io.Reader) (*bundle.Reader, error) {
	b, err := bundle.NewStream(r)
	if errors.Is(err, bundle.ErrOrder) {
		err = errors.Join(err, errors.New("let pullgate mirror import send it"))
	}
	if err != nil {
		return nil, err
	}
	if err := b.Index().Rename(bundle.Name{}); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// importAll imports what a bundle holds, whose images have names.
func importAll(ctx context.Context, store *storage.Store, known Sites, b *bundle.Reader, q ImportRequest, tell func(ImportLine)) (result ImportResult, err error) {
	result.DryRun = q.DryRun
	for n := range b.Index().Images {
		name := &b.Index().Images[n].Name
		name.Upstream = known.name(name.Upstream)
		if err := known.lookUp(name.Upstream); err != nil {
			return result, err
		}
		if len(known) > 0 && len(known.named(name.Upstream)) == 0 && !slices.Contains(result.Unserved, name.Upstream) {
			result.Unserved = append(result.Unserved, name.Upstream)
		}
	}
	result.Report, err = carry.Import(ctx, store, b, carry.ImportOptions{
		Scopes: func(n bundle.Name) []oci.Scope { return known.scopes(n.Upstream, n.Repository) },
		Public: func(s oci.Scope) bool { return known.public(s.Upstream) },
		NoMove: q.NoMove, DryRun: q.DryRun, AllowPublic: q.AllowPublic,
		Plan:     func(p []carry.ImportedImage) { tell(ImportLine{Plan: p}) },
		Progress: func(p carry.ImportProgress) { tell(ImportLine{Progress: &p}) },
	})
	return result, err
}
