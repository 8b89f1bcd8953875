package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// storeLine is one line of the answer to an operation on stores, which is JSON
// lines: the first has Paths only; then there are, for each of these and in this
// order, any number with Progress and one with Report or Error, or both. An answer
// that ends before is not complete.
type storeLine[T any] struct {
	Paths    []string `json:"paths,omitempty"`
	Path     string   `json:"path,omitempty"`
	Progress *T       `json:"progress,omitempty"`
	Report   *T       `json:"report,omitempty"`
	Error    string   `json:"error,omitempty"`
	// Nothing says that there is nothing of what was named.
	Nothing bool `json:"nothing,omitempty"`
}

// storeResult is what came of one store, and how it is printed as JSON.
type storeResult[T any] struct {
	Path string `json:"path"`
	// Address is that of the server that has it open; empty = the command did it.
	Address string `json:"address,omitempty"`
	Report  *T     `json:"report,omitempty"`
	Error   string `json:"error,omitempty"`
	Nothing bool   `json:"nothing,omitempty"`
}

// onStores does something with one open store after the other, and tells what came
// of each.
func onStores[T any](w http.ResponseWriter, r *http.Request, path string, fn func(ctx context.Context, c *cache, progress func(T)) (T, error)) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	todo, err := cachesAt(path)
	if err != nil {
		return err
	}
	ctx, lines := beginLines(w, r)
	defer lines.end()
	first := storeLine[T]{Paths: []string{}}
	for _, c := range todo {
		first.Paths = append(first.Paths, c.path)
	}
	lines.tell(first)
	for _, c := range todo {
		report, err := fn(ctx, c, func(p T) { lines.progress(storeLine[T]{Path: c.path, Progress: &p}) })
		last := storeLine[T]{Path: c.path, Report: &report}
		if err != nil {
			last.Error, last.Nothing = err.Error(), errors.Is(err, fs.ErrNotExist)
		}
		lines.tell(last)
	}
	return nil
}

// storeCommand is a command on stores, whoever has them open.
type storeCommand[T any] struct {
	path    string // of the admin API
	query   url.Values
	options storage.Options // to open a store that no server has open
	// doing is what is said to be done, such as "Listing %s".
	doing    string
	offline  func(ctx context.Context, s *storage.Store, progress func(T)) (T, error)
	progress func(path string, p T) // nil = nothing is told
}

// run runs the command, and says to side what it does.
func (c storeCommand[T]) run(ctx context.Context, t target, side *fsckOutput) ([]storeResult[T], error) {
	if c.progress == nil {
		c.progress = func(string, T) {}
	}
	if t.address == "" {
		return c.runOffline(ctx, t, side)
	}
	if t.path != "" {
		c.query.Set("path", t.path)
	}
	var todo []string
	var results []storeResult[T]
	err := askLines(ctx, t.address, c.path+"?"+c.query.Encode(), nil, func(line storeLine[T]) (last bool, err error) {
		switch {
		case line.Path == "":
			todo = line.Paths
		case line.Progress != nil:
			c.progress(line.Path, *line.Progress)
			return false, nil
		default:
			results = append(results, storeResult[T]{line.Path, t.address, line.Report, line.Error, line.Nothing})
		}
		if len(results) == len(todo) {
			return true, nil
		}
		side.say(c.doing+", which the server at %s has open.", todo[len(results)], t.address)
		return false, nil
	})
	return results, err
}

// runOffline opens the store that no server has open.
func (c storeCommand[T]) runOffline(ctx context.Context, t target, side *fsckOutput) ([]storeResult[T], error) {
	side.say(c.doing+", as no server has it open (%v).", t.path, t.silence)
	o := c.options
	o.Existing = true
	if t.limits != nil {
		l, err := t.limits.limits()
		if err != nil {
			return nil, err
		}
		o.Limits.Pins = l.Pins
	}
	store, err := t.open(ctx, o, storage.Open)
	if err != nil {
		return nil, err
	}
	report, err := c.offline(ctx, store, func(p T) { c.progress(t.path, p) })
	result := storeResult[T]{Path: t.path, Report: &report, Nothing: errors.Is(err, fs.ErrNotExist)}
	if err := errors.Join(err, store.Close()); err != nil {
		result.Error = err.Error()
	}
	return []storeResult[T]{result}, nil
}

// runOnStores is the course of a command on stores: it finds them, runs c, and prints
// each report, or all as JSON. What is nowhere is a finding.
func runOnStores[T any](cmd *cobra.Command, c storeCommand[T], show func(storeResult[T])) (int, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.query == nil {
		c.query = make(url.Values)
	}
	side := newFsckOutput(cmd.OutOrStdout(), cmd.ErrOrStderr())
	t, err := newTarget(ctx, cmd)
	var results []storeResult[T]
	if err == nil {
		results, err = c.run(ctx, t, side)
	}
	side.endProgress()
	if flags.Bool("json") && results != nil {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(map[string]any{"storage": results}))
	}
	nothing, done := "", false
	for _, r := range results {
		switch {
		case r.Nothing:
			nothing = r.Error
			continue
		case r.Error != "":
			err = errors.Join(err, errors.New(r.Error))
		default:
			done = true
		}
		if !flags.Bool("json") && r.Report != nil {
			show(r)
		}
	}
	switch {
	case ctx.Err() != nil:
		return exitFailure, errors.New("interrupted: it is not complete")
	case err != nil:
		return exitFailure, err
	case nothing != "" && !done:
		return exitFindings, errors.New(nothing)
	}
	return 0, nil
}

// selectionArgs reads the one argument that some commands have.
func selectionArgs(args []string) (sel oci.Selection, err error) {
	if len(args) > 0 {
		sel, err = oci.ParseSelection(args[0])
	}
	return sel, err
}

func readSelection(to *oci.Selection) func(string) error {
	return func(value string) (err error) {
		if value != "" {
			*to, err = oci.ParseSelection(value)
		}
		return err
	}
}
