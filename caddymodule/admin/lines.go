package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// linesEvery is how often progress is told at most.
	linesEvery = 250 * time.Millisecond
	// linesStall is how long a client may take to read a line before it is given
	// up.
	linesStall = 30 * time.Second
)

// adminLines is the answer to a long operation of the admin API: JSON lines of
// progress and, in the end, results. Its methods are safe for concurrent use, until
// end.
type adminLines struct {
	cancel  context.CancelFunc
	control *http.ResponseController

	mu      sync.Mutex
	encoder *json.Encoder
	told    time.Time // when progress last was
}

// beginLines begins an answer. What the operation needs of the body of the request
// has been read. The context ends when the client leaves, or stops reading; who
// begins also ends.
func beginLines(w http.ResponseWriter, r *http.Request) (context.Context, *adminLines) {
	ctx, cancel := context.WithCancel(r.Context())
	w.Header().Set("Content-Type", "application/x-ndjson")
	return ctx, &adminLines{cancel: cancel, control: http.NewResponseController(w), encoder: json.NewEncoder(w)}
}

// end ends the answer. The connection may be used again.
func (l *adminLines) end() {
	l.cancel()
	_ = l.control.SetWriteDeadline(time.Time{})
}

// tell writes a line.
func (l *adminLines) tell(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tellLocked(line)
}

func (l *adminLines) tellLocked(line any) {
	_ = l.control.SetWriteDeadline(time.Now().Add(linesStall))
	if err := errors.Join(l.encoder.Encode(line), l.control.Flush()); err != nil {
		l.cancel()
	}
}

// write writes one of many lines, which goes out with those that follow: the last of
// them is told.
func (l *adminLines) write(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.control.SetWriteDeadline(time.Now().Add(linesStall))
	if err := l.encoder.Encode(line); err != nil {
		l.cancel()
	}
}

// progress writes a line, unless it is too early for one more of its kind.
func (l *adminLines) progress(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.told) >= linesEvery {
		l.told = now
		l.tellLocked(line)
	}
}

// askLines asks an admin API for a long operation, and passes on each line of the
// answer, until take says that it was the last one or has an error. An answer that
// ends before is an error. A body is sent as it is.
func askLines[T any](ctx context.Context, address, uri string, body io.Reader, take func(T) (last bool, err error)) error {
	response, err := askAdmin(ctx, address, http.MethodPost, uri, body)
	if err != nil {
		return fmt.Errorf("admin API at %s: %w", address, err)
	}
	defer response.Body.Close()
	for decoder := json.NewDecoder(response.Body); ; {
		var line T
		if err := decoder.Decode(&line); err != nil {
			if ctx.Err() == nil && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("the server at %s ended the answer: %w", address, err)
		}
		if last, err := take(line); last || err != nil {
			return err
		}
	}
}

// parameters reads the query of a request of the admin API, by the functions for
// each. One that is not known may be misspelt, and forbid something.
func parameters(r *http.Request, known map[string]func(value string) error) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		read := known[name]
		if read == nil {
			names := slices.Sorted(maps.Keys(known))
			last := len(names) - 1
			err = fmt.Errorf("not a parameter: want %s or %s", strings.Join(names[:last], ", "), names[last])
		} else {
			err = read(query.Get(name))
		}
		if err != nil {
			return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("%s: %w", name, err)}
		}
	}
	return nil
}

// readFlag makes a parameter one that is 1 or 0.
func readFlag(to *bool) func(string) error {
	return func(value string) (err error) {
		if *to, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%q is neither 1 nor 0", value)
		}
		return err
	}
}

// readText makes a parameter one that is taken as it is.
func readText(to *string) func(string) error {
	return func(value string) error {
		*to = value
		return nil
	}
}

// cachesAt returns the store that is open at a path, or without one all that are
// open. The error is an answer of the admin API.
func cachesAt(path string) ([]*cache, error) {
	open := openCaches()
	if path == "" {
		return open, nil
	}
	canonical := realPath(path)
	open = slices.DeleteFunc(open, func(c *cache) bool { return c.path != canonical })
	if len(open) == 0 {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no store is open at %s", path)}
	}
	return open, nil
}
