package registry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Upstream is what the wire has to know of an upstream.
type Upstream struct {
	// Name is the canonical name; it becomes the Upstream of every Request.
	Name string
}

// Options make a Handler. Only Mirror and Router are required.
type Options struct {
	Mirror Mirror
	Router *Router
	// User returns whom the server has authenticated; nil = always nobody.
	User func(*http.Request) string
	// Client returns which client a request of a user comes from, for limits that
	// count for each; nil = no limits.
	Client func(r *http.Request, user string) string
	// OnRequest is called before the Mirror is asked: for a request of the pull API that
	// is well-formed. nil = not called.
	OnRequest func(*http.Request, *Answer)
	// OnHeader is called once per request, right before the header is written,
	// or before the connection is cut without one. It may run on another
	// goroutine than ServeHTTP does, but never beside it. nil = not called.
	OnHeader func(*http.Request, *Answer)
	// OnDone is called once per request when the answer is over, also when the
	// body was cut. nil = not called.
	OnDone func(*http.Request, *Answer)
	// Logger gets the causes of 5xx answers and of cut bodies; nil = discard.
	Logger *slog.Logger
	// Guard returns the server's own guard of a request; nil = there is none.
	Guard func(*http.Request) Guard
	// Until is done when answers that are under way have to end: they are cut off
	// then, whatever their clients do. nil = never.
	Until context.Context

	// stallAfter is how long a client may take no byte of an answer before it is
	// cut off, where there is no Guard; 0 = 60 s.
	stallAfter time.Duration
}

// statusClientGone is the Status of an Answer whose client left before there
// was anything to tell; it never goes over the wire.
const statusClientGone = 499

// Answer is what is known of one answer. It is the handler's: callbacks read it. Nothing
// changes once OnDone has returned.
type Answer struct {
	// Request is the parsed request; its Kind is empty if the path is not one
	// of the pull API or was refused.
	Request oci.Request
	// Digest is that of the manifest or blob that is sent; empty if none is.
	Digest digest.Digest
	// Manifest is that which is sent, or a part of it; zero if none is.
	Manifest oci.Manifest
	// Cache is how the mirror answered; zero if it was not asked. The headers that tell
	// of it are set when OnHeader is called, which may say here what it knows better.
	Cache oci.CacheStatus
	// Began is when the request came in.
	Began time.Time
	// FirstByte is how long the answer took to begin, or to be cut without a header.
	FirstByte time.Duration
	// Waited is how long the request has waited for what the cache did not have, whoever
	// had the upstream asked: for the answer of the mirror, and for bytes under way.
	Waited time.Duration
	// Status is the HTTP status; 499 if the client left before there was anything to
	// tell.
	Status int
	// Err is why the answer is an error, or why the body was cut; nil = neither.
	Err error
	// Bytes counts what was sent of the body.
	Bytes int64
	// Redirected is the size of the blob that the client was sent elsewhere for.
	Redirected int64
	// Aborted says that the connection was cut before the answer was complete,
	// by whichever end.
	Aborted bool
	// Panicked says that it is an error, or was cut, because something panicked.
	Panicked bool
	// Note is what one callback leaves for the next ones.
	Note any
}

// Handler serves the pull API. It is safe for concurrent use.
type Handler struct {
	o         Options
	lifetimes *lifetimes // nil = they have no end
}

// New returns a Handler.
func New(o Options) *Handler {
	if o.Guard == nil {
		o.Guard = func(*http.Request) Guard { return nil }
	}
	o.stallAfter = cmp.Or(o.stallAfter, stallAfter)
	if o.User == nil {
		o.User = func(*http.Request) string { return "" }
	}
	if o.Client == nil {
		o.Client = func(*http.Request, string) string { return "" }
	}
	if o.OnRequest == nil {
		o.OnRequest = func(*http.Request, *Answer) {}
	}
	if o.OnHeader == nil {
		o.OnHeader = func(*http.Request, *Answer) {}
	}
	if o.OnDone == nil {
		o.OnDone = func(*http.Request, *Answer) {}
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return &Handler{o: o, lifetimes: newLifetimes(o.Until)}
}

// ServeHTTP answers one request, also one that a Router leaves to others. It panics as
// Serve does.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := h.o.Router.Route(r.URL)
	if !ok {
		route.Err = h.o.Router.errAstray(r.URL.EscapedPath())
	}
	h.Serve(w, r, route)
}

// Serve answers one request, whose route is that of its URL. It panics with
// http.ErrAbortHandler if the body cannot be completed, which makes a server cut the
// connection.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, route Route) {
	x := &exchange{
		response: response{w: w, r: r, onHeader: h.o.OnHeader, until: h.o.Until}, h: h, ctx: r.Context(), route: route,
	}
	x.answer.Began = time.Now()
	x.stall, x.guard = h.watch(w, r)
	if h.lifetimes != nil {
		x.lifetime = lifetime{request: x.ctx, all: h.lifetimes, w: w, guard: x.guard}
		x.ctx = &x.lifetime
		h.lifetimes.begin(&x.lifetime)
		defer x.lifetime.end()
	}
	returned := false
	defer func() {
		// A writer may panic with http.ErrAbortHandler itself.
		x.answer.Aborted = x.answer.Aborted || !returned
		h.o.OnDone(r, &x.answer)
	}()
	x.prepare()
	if err := x.survive(); err != nil {
		x.fail(err)
	}
	if x.stall != nil && x.answer.Bytes > pieceSize && !x.answer.Aborted {
		// The server would send what it has buffered later, with nobody watching.
		x.flush()
		x.answer.Aborted = x.stall.cut
	}
	returned = true
	if x.answer.Aborted {
		panic(http.ErrAbortHandler)
	}
}

// exchange is one request and its answer.
type exchange struct {
	response

	h        *Handler
	ctx      context.Context
	lifetime lifetime
	route    Route
	asked    bool // the mirror has answered
}

// prepare sees to it that an unread body is not taken for the next request, nor
// waited for: the server would, for one in chunks, once the answer is sent. HTTP/2
// has a stream per request and would shut the whole connection down.
func (x *exchange) prepare() {
	if x.r.ContentLength != 0 && x.r.ProtoMajor == 1 {
		x.set("Connection", "close")
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now())
	}
}

// survive serves, and makes an error of a panic: it costs this client an answer,
// and nobody else anything.
func (x *exchange) survive() (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			x.answer.Panicked = true
			x.log(slog.LevelError, "request panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = &oci.Error{
				Code: oci.CodeUnavailable, Status: http.StatusInternalServerError,
				Message: x.named("a fault of the gateway: its log says more"), Err: fmt.Errorf("panic: %v", p),
			}
		}
	}()
	return x.serve()
}

func (x *exchange) serve() error {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		x.set("Allow", "GET, HEAD")
		return x.route.errReadOnly()
	}
	if len(x.r.Header["Authorization"]) > 1 {
		// One may be what a guard before us has checked, another what it has not.
		return &oci.Error{
			Code: oci.CodeUnsupported, Status: http.StatusBadRequest,
			Message: "the request has more than one Authorization header: send one",
		}
	}
	if x.route.Err != nil {
		return x.route.Err
	}
	request := x.route.Request
	request.User = x.h.o.User(x.r)
	request.Client = x.h.o.Client(x.r, request.User)
	x.answer.Request = request
	x.h.o.OnRequest(x.r, &x.answer)
	if x.route.Namespace != "" {
		x.set("Oci-Namespace", x.route.Namespace)
	}
	switch x.answer.Request.Kind {
	case oci.KindPing:
		return x.servePing()
	case oci.KindManifest:
		return x.serveManifest()
	case oci.KindBlob:
		return x.serveBlob()
	case oci.KindTags:
		return x.serveTags()
	default:
		return x.serveReferrers()
	}
}

func (x *exchange) servePing() error {
	x.set("Content-Type", "application/json")
	x.set("Cache-Control", cacheNothing)
	return x.sendBytes(http.StatusOK, []byte("{}"))
}
