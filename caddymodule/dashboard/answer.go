package dashboard

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/pullgate/pullgate/internal/operate"
)

// answer is what a path below api/ leads to.
type answer struct {
	// serve answers by itself; else one of the others returns what becomes JSON: show
	// for a GET, and act, which changes something, for a POST.
	serve func(*run, http.ResponseWriter, *http.Request) error
	show  func(*run, *query) (any, error)
	act   func(*run, *query) (any, error)
}

var answers = map[string]answer{
	"events":  {serve: (*run).stream},
	"images":  {show: (*run).showImages},
	"image":   {show: (*run).showImage},
	"options": {show: (*run).showSettings},
	"history": {show: (*run).showHistory},
	"next":    {show: (*run).showNext},
	"pins":    {show: (*run).showPins},
	"setup":   {show: (*run).showSetup},
	"pin":     {act: (*run).pin},
	"unpin":   {act: (*run).unpin},
	"remove":  {act: (*run).remove},
	"refresh": {act: (*run).refresh},
	"probe":   {act: (*run).probe},
}

// query is a request with who asks.
type query struct {
	*http.Request
	url.Values
	audience *audience
}

// refusal is an error that the user is told.
type refusal struct {
	status int
	text   string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

func refuse(status int, text string) error { return &refusal{status, text} }

// serve answers a request for the data of the page.
func (d *run) serve(w http.ResponseWriter, r *http.Request, a answer) error {
	if err := d.answer(w, r, a); err != nil && r.Context().Err() == nil {
		writeError(w, err)
	}
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if refused, ok := errors.AsType[*refusal](err); ok {
		status = refused.status
	} else if refused, ok := errors.AsType[*operate.RefusedError](err); ok {
		status = refused.Status
	} else if errors.Is(err, fs.ErrNotExist) {
		status = http.StatusNotFound
	}
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

func (d *run) answer(w http.ResponseWriter, r *http.Request, a answer) error {
	method, run := http.MethodGet, a.show
	if a.act != nil {
		method, run = http.MethodPost, a.act
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		return refuse(http.StatusMethodNotAllowed, "method not allowed")
	}
	if a.act != nil {
		if err := d.mayAct(r); err != nil {
			return err
		}
	}
	if a.serve != nil {
		return a.serve(d, w, r)
	}
	_, sites := d.gateway.Sites("")
	value, err := run(d, &query{Request: r, Values: r.URL.Query(), audience: d.allowed.audience(sites, d.user(r))})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, value)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// showSettings returns the settings in force by upstream.
func (d *run) showSettings(q *query) (any, error) {
	settings := map[string][]operate.Setting{}
	_, sites := d.gateway.Sites("")
	for _, site := range sites {
		for _, u := range site.Upstreams {
			if q.audience.sees(u.Name) {
				settings[u.Name] = u.Settings
			}
		}
	}
	return settings, nil
}
