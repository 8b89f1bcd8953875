// Package admin is the admin API: the verbs of a gateway over HTTP.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/operate"
)

// API serves the verbs at /registry_mirror/ of the admin API: a GET there answers with
// an operate.Status, one of history with an operate.History, and a POST below runs one of
// the other verbs. The parameters of the
// request are in its query, and the answer is JSON lines, as package operate has both;
// except that an export is answered with a bundle, as a tar. An answer without its last
// line is not complete. A verb ends when its client leaves.
type API struct{ gateway operate.Gateway }

// New returns the API of a gateway.
func New(g operate.Gateway) API { return API{g} }

// CaddyModule returns the Caddy module information.
func (a API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.registry_mirror",
		New: func() caddy.Module { return &API{a.gateway} },
	}
}

// Routes returns the routes of the admin API.
func (a API) Routes() (routes []caddy.AdminRoute) {
	g := a.gateway
	for path, handler := range map[string]func(http.ResponseWriter, *http.Request) error{
		operate.StatusPath:    a.status,
		operate.PullsPath:     document[operate.PullsRequest](g.Pulls),
		operate.HistoryPath:   document[operate.HistoryRequest](g.History),
		operate.ProbePath:     verb[operate.ProbeRequest](a.probe),
		operate.InventoryPath: verb[operate.InventoryRequest](g.Inventory),
		operate.RemovePath:    verb[operate.RemoveRequest](g.Remove),
		operate.PinsPath:      verb[operate.PinRequest](g.Pins),
		operate.PinPath:       verb[operate.PinRequest](g.Pin),
		operate.UnpinPath:     verb[operate.PinRequest](g.Unpin),
		operate.CheckPath:     verb[operate.CheckRequest](g.Check),
		operate.VerifyPath:    verb[operate.VerifyRequest](g.Verify),
		operate.SyncPath:      verb[operate.SyncRequest](g.Sync),
		operate.PreloadPath:   verb[operate.PreloadRequest](g.Preload),
		operate.ExportPath:    a.export,
		operate.ImportPath:    a.importBundle,
	} {
		routes = append(routes, caddy.AdminRoute{Pattern: path, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			err := handler(w, r)
			if refusal, ok := errors.AsType[*operate.RefusedError](err); ok {
				return caddy.APIError{HTTPStatus: refusal.Status, Err: refusal.Err}
			}
			return err
		})})
	}
	return routes
}

func (a API) status(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != operate.StatusPath {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("nothing here, see /registry_mirror/")}
	}
	if r.Method != http.MethodGet {
		return errMethod
	}
	status, err := a.gateway.Status(r.Context(), "")
	return answer(w, status, err)
}

// answer writes a document, unless there is an error.
func answer(w http.ResponseWriter, document any, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(document)
}

// document answers a GET with what is known at once.
func document[Q any, P request[Q], D any](of func(context.Context, Q) (D, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			return errMethod
		}
		var q Q
		if err := P(&q).Parameters().Decode(r.URL.RawQuery); err != nil {
			return err
		}
		d, err := of(r.Context(), q)
		return answer(w, d, err)
	}
}

// probe ends with a line that says that it was the last one.
func (a API) probe(ctx context.Context, q operate.ProbeRequest, tell func(operate.ProbeLine)) error {
	err := a.gateway.Probe(ctx, q, tell)
	if err == nil {
		tell(operate.ProbeLine{Done: true})
	}
	return err
}

var errMethod = caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}

// request is a pointer to a request of package operate.
type request[Q any] interface {
	*Q
	Parameters() operate.Parameters
}

// read reads a request: its query, and its body if it has one.
func read[Q any, P request[Q]](w http.ResponseWriter, r *http.Request, q P) error {
	if r.Method != http.MethodPost {
		return errMethod
	}
	if err := q.Parameters().Decode(r.URL.RawQuery); err != nil {
		return err
	}
	if body, ok := any(q).(interface {
		ReadBody(w http.ResponseWriter, r *http.Request) error
	}); ok {
		return body.ReadBody(w, r)
	}
	return nil
}

// verb answers a request with the lines of a verb.
func verb[Q any, P request[Q], L line](run func(context.Context, Q, func(L)) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var q Q
		if err := read(w, r, P(&q)); err != nil {
			return err
		}
		lines := newLines[L](w, r)
		defer lines.end()
		return run(lines.ctx, q, lines.tell)
	}
}

func (a API) importBundle(w http.ResponseWriter, r *http.Request) error {
	var q operate.ImportRequest
	if err := read(w, r, &q); err != nil {
		return err
	}
	lines := newLines[operate.ImportLine](w, r)
	defer lines.end()
	failed := false
	// A stream need not be closed.
	err := a.gateway.Import(lines.ctx, q, func() (*bundle.Reader, error) {
		if err := lines.control.EnableFullDuplex(); err != nil {
			return nil, err
		}
		return operate.OpenBody(&steady{r.Body, lines.control})
	}, func(l operate.ImportLine) {
		failed = l.Result != nil && l.Result.Error != ""
		lines.tell(l)
	})
	if failed {
		// Who still sends could not read why it is in vain.
		_ = lines.control.SetReadDeadline(time.Now().Add(linesStall))
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return err
}

func (a API) export(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(linesStall))
	var q operate.ExportRequest
	if err := read(w, r, &q); err != nil {
		return err
	}
	b, err := a.gateway.Export(r.Context(), q)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }() // what is wrong with it, reading it has said
	if len(b.Report.Images) == 0 && !q.Report {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: operate.ErrNoImages}
	}
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	to := &patient{w, control}
	w.Header().Set("Content-Type", "application/x-tar")
	if q.Report {
		w.Header().Set("Content-Type", "application/octet-stream")
		err = json.NewEncoder(to).Encode(b.Report)
	}
	if err == nil && len(b.Report.Images) > 0 {
		err = b.Write(bundle.NewWriter(to), nil)
	}
	if err != nil {
		if r.Context().Err() == nil {
			caddy.Log().Named("registry_mirror").Error("export ended: " + err.Error())
		}
		panic(http.ErrAbortHandler) // what was sent so far is no bundle
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = API{}
)
