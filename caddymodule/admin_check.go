package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/storage"
)

const (
	// checkPath is where stores are checked.
	checkPath = "/registry_mirror/check"
	// checkEvery is how often progress is told at most.
	checkEvery = 250 * time.Millisecond
	// checkStall is how long a client may take to read a line before it is given
	// up.
	checkStall = 30 * time.Second
)

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
	query, err := url.ParseQuery(r.URL.RawQuery)
	var options storage.CheckOptions
	if err == nil {
		options, err = checkOptions(query)
	}
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	todo := openCaches()
	if path := query.Get("path"); path != "" {
		todo = nil
		for _, c := range openCaches() {
			if c.path == realPath(path) {
				todo = append(todo, c)
			}
		}
		if todo == nil {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no store is open at %s", path)}
		}
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

// checkOptions reads the query. A parameter that is not known may be one that is
// misspelt, and forbid something.
func checkOptions(query url.Values) (o storage.CheckOptions, err error) {
	for name := range query {
		value := query.Get(name)
		switch name {
		case "path":
		case "verify":
			o.Verify, err = parseFlag(value)
		case "repair":
			o.Repair, err = parseFlag(value)
		case "rate":
			o.Rate, err = parseSize(value)
		case "rebuild":
			var rebuild bool
			if rebuild, err = parseFlag(value); rebuild {
				err = errRebuildOpen
			}
		default:
			err = errors.New("not a parameter: want path, verify, repair or rate")
		}
		if err != nil {
			return o, fmt.Errorf("%s: %w", name, err)
		}
	}
	return o, nil
}

func parseFlag(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither 1 nor 0", s)
	}
	return b, nil
}

// streamChecks checks the stores, which are locked for it, one after the other.
func streamChecks(w http.ResponseWriter, r *http.Request, todo []*cache, o storage.CheckOptions) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	control := http.NewResponseController(w)
	// The connection may be used again.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	tell := func(line checkLine) {
		_ = control.SetWriteDeadline(time.Now().Add(checkStall))
		if err := errors.Join(encoder.Encode(line), control.Flush()); err != nil {
			cancel()
		}
	}
	first := checkLine{Paths: []string{}}
	for _, c := range todo {
		first.Paths = append(first.Paths, c.path)
	}
	tell(first)
	for _, c := range todo {
		var told time.Time
		o.Progress = func(p storage.CheckProgress) {
			if now := time.Now(); now.Sub(told) >= checkEvery {
				told = now
				tell(checkLine{Path: c.path, Progress: &p})
			}
		}
		report, err := c.store.Check(ctx, o)
		c.checking.Unlock()
		last := checkLine{Path: c.path, Report: &report}
		if err != nil {
			last.Error = err.Error()
		}
		tell(last)
	}
}
