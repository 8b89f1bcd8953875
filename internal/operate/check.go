package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/storage"
)

// checkPath is where stores are checked.
const checkPath = "/registry_mirror/check"

var errRebuildOpen = errors.New("the index of an open store cannot be rebuilt: stop the server, then run pullgate mirror fsck --rebuild")

// checkLine is one line of the answer to POST /registry_mirror/check, which is
// JSON lines. The first has Paths only; then there are, for each of these and in
// this order, any number with Progress and one with Report or Error, or both. An
// answer that ends before is not complete.
//
// Query parameters: path = the store to check, by default all in turn; verify=1
// reads every blob; repair=1 mends what is found; rate=100MiB is how much to read
// per second at most. While a store is being checked, others are refused: 409. The
// check ends when the client leaves.
type checkLine struct {
	Paths    []string               `json:"paths,omitempty"`
	Path     string                 `json:"path,omitempty"`
	Progress *storage.CheckProgress `json:"progress,omitempty"`
	Report   *storage.CheckReport   `json:"report,omitempty"`
	Error    string                 `json:"error,omitempty"`
}

func (AdminAPI) check(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	var path string
	var options storage.CheckOptions
	err := parameters(r, map[string]func(string) error{
		"path":   readText(&path),
		"verify": readFlag(&options.Verify),
		"repair": readFlag(&options.Repair),
		"rate": func(value string) (err error) {
			options.Rate, err = parseSize(value)
			return err
		},
		"rebuild": func(value string) error {
			var rebuild bool
			if err := readFlag(&rebuild)(value); err != nil || !rebuild {
				return err
			}
			return errRebuildOpen
		},
	})
	if err != nil {
		return err
	}
	todo, err := cachesAt(path)
	if err != nil {
		return err
	}
	for n, c := range todo {
		if !c.checking.TryLock() {
			for _, c := range todo[:n] {
				c.checking.Unlock()
			}
			return caddy.APIError{HTTPStatus: http.StatusConflict, Err: fmt.Errorf("the store at %s is being checked", c.path)}
		}
	}
	streamChecks(w, r, todo, options)
	return nil
}

// streamChecks checks the stores, which are locked for it, one after the other.
func streamChecks(w http.ResponseWriter, r *http.Request, todo []*cache, o storage.CheckOptions) {
	ctx, lines := beginLines(w, r)
	defer lines.end()
	first := checkLine{Paths: []string{}}
	for _, c := range todo {
		first.Paths = append(first.Paths, c.path)
	}
	lines.tell(first)
	for _, c := range todo {
		o.Progress = func(p storage.CheckProgress) { lines.progress(checkLine{Path: c.path, Progress: &p}) }
		report, err := c.store.Check(ctx, o)
		c.checking.Unlock()
		last := checkLine{Path: c.path, Report: &report}
		if err != nil {
			last.Error = err.Error()
		}
		lines.tell(last)
	}
}
