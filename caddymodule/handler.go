package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/flood"
	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler is a pull-through mirror of container registries: it answers the pull
// half of the OCI distribution API (everything below /v2, and /proxy-NAME/v2 of
// the upstreams) from the local store, and fills that from the upstreams. It
// refuses what looks like a pull but leads to no upstream, such as /docker.io/v2.
// Requests for anything else go to the next handler.
//
// It relies on handlers before it for authentication: who may pull is decided by
// the user that basic_auth, or another authentication provider, has found
// (`{http.auth.user.id}`). Guards that name no user, such as client certificates
// and forward_auth, go together with public access. Pushing is not possible.
//
// It sets these placeholders, for its own requests, before the header of the
// response is written:
//
// Placeholder | Description
// ------------|------------
// `{http.registry_mirror.upstream}` | The name of the upstream
// `{http.registry_mirror.repository}` | The repository, as the upstream knows it
// `{http.registry_mirror.kind}` | `ping`, `manifest`, `blob`, `tags` or `referrers`
// `{http.registry_mirror.cache}` | `hit`, `prefetched`, `miss`, `joined`, `stale`, or empty
//
// Access logs get the fields `upstream`, `repository`, `digest`, `cache`, `first_byte`,
// which is how long the answer took to begin, and `upstream_time`, which is how long this
// request waited for what the cache did not have, whoever had the upstream asked.
type Handler struct {
	// The registries to mirror. At least one.
	Upstreams []*config.Upstream `json:"upstreams,omitempty"`

	// The upstream for requests that name none, as those of Docker daemons with
	// registry-mirrors. Default: none, they are answered with 404.
	Default string `json:"default,omitempty"`

	run *handlerRun
}

// handlerRun is the run-time state of a Handler.
type handlerRun struct {
	service *service
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry_mirror",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision looks up secrets and files. It opens nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	for i, u := range h.Upstreams {
		if u == nil {
			return fmt.Errorf("upstream %d is null", i)
		}
		if err := u.Provision(); err != nil {
			return err
		}
		if err := u.LoadSources(ctx); err != nil {
			return err
		}
	}
	names, err := h.names()
	if err != nil {
		return err
	}
	value, err := ctx.App("registry_mirror")
	if err != nil {
		return err
	}
	app := value.(*App).run
	app.addServer(serverOf(ctx))
	wire := registry.Options{
		Router:    registry.NewRouter(names, h.Default),
		User:      user,
		Client:    clientOf,
		Guard:     guardOf,
		OnRequest: tracked.Begin,
		OnHeader:  describe,
		OnDone:    answered,
		Logger:    slog.New(flood.New(ctx.Slogger().Handler(), requestLines)),
	}
	h.run = &handlerRun{service: &service{
		app: app, upstreams: h.Upstreams, names: names, wire: wire, log: ctx.Slogger(), server: serverOf(ctx),
		empty: make(chan struct{}), exiting: make(chan struct{}),
	}}
	return app.add(h.run.service, newAddresses(ctx))
}

// Validate checks what goes beyond a single upstream.
func (h *Handler) Validate() error {
	if len(h.Upstreams) == 0 {
		return errors.New("no upstream: name at least one registry to mirror, such as docker.io")
	}
	names, err := h.names()
	if err != nil {
		return err
	}
	if _, ok := names[h.Default]; h.Default != "" && !ok {
		return h.errDefault(names)
	}
	return nil
}

func (h *Handler) errDefault(names map[string]registry.Upstream) error {
	return fmt.Errorf("default %s is not among the upstreams%s: add it, or name one of them",
		h.Default, nearest.Hint(h.Default, slices.Collect(maps.Keys(names))))
}

// names returns the upstreams by their names and aliases.
func (h *Handler) names() (map[string]registry.Upstream, error) {
	names := map[string]registry.Upstream{}
	add := func(u *config.Upstream, name string) error {
		if taken, ok := names[name]; ok {
			return fmt.Errorf("upstream %s: the name %s is already one of upstream %s: two upstreams cannot have one name", u.Name, name, taken.Name)
		}
		names[name] = registry.Upstream{Name: u.Name}
		return nil
	}
	for _, u := range h.Upstreams {
		for _, name := range slices.Concat([]string{u.Name}, u.Alias) {
			if err := add(u, name); err != nil {
				return nil, err
			}
		}
	}
	if hub, ok := names[oci.DockerHub]; ok {
		for _, alias := range oci.DockerHubAliases() {
			if _, taken := names[alias]; !taken {
				names[alias] = hub
			}
		}
	}
	return names, nil
}

// requestLines are the lines of each kind of trouble that requests tell of: the first ones
// with their images, and from then on how many there were each minute.
var requestLines = flood.Rate{Burst: 10, Every: time.Minute}

// ServeHTTP answers requests of the pull API and leaves all others to next. It
// passes w on as it is, so that blobs can go from file to socket.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	route, ok := h.run.service.wire.Router.Route(r.URL)
	if !ok {
		return h.leaveTo(next, w, r)
	}
	handler, err := h.run.service.enter()
	if err != nil {
		h.run.service.unavailable(w, err)
		return nil
	}
	defer h.run.service.leave()
	handler.Serve(w, r, route)
	return nil
}

// Cleanup gives back store and clients after the last request. Until then the
// handler goes on working.
func (h *Handler) Cleanup() error {
	if h.run != nil {
		h.run.service.retire()
	}
	return nil
}

// user returns whom Caddy's authentication found; empty = nobody.
func user(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	id, _ := repl.GetString("http.auth.user.id")
	return id
}

// clientOf returns whom limits count for: a user at an address, so that neither
// all nodes that share a password nor all users behind one address have to share.
// IPv6 counts by /64, since that is what one machine gets.
func clientOf(r *http.Request, user string) string {
	// Caddy's own is the one that a trusted proxy tells of.
	host, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if !ok {
		host, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().Is6() {
		if prefix, err := addr.WithZone("").Prefix(64); err == nil {
			host = prefix.String()
		}
	}
	return user + "@" + host
}

// idleGuard is Caddy's guard against clients that take no bytes.
type idleGuard caddyhttp.IdleTimeoutWriter

// guardOf returns the guard of a request; nil = write_idle is turned off.
func guardOf(r *http.Request) registry.Guard {
	if _, w := caddyhttp.IdleTimeoutsFromContext(r.Context()); w != nil {
		return (*idleGuard)(w)
	}
	return nil
}

// noTimeout is longer than any answer takes.
const noTimeout = 365 * 24 * time.Hour

// Lift implements registry.Guard. A guard that wants a rate of bytes
// (write_min_rate) counts each piece, and is left alone.
func (g *idleGuard) Lift() (after time.Duration, restore func()) {
	w := (*caddyhttp.IdleTimeoutWriter)(g)
	if after = w.Deadline.Timeout; w.Deadline.MinRate > 0 {
		return after, nil
	}
	return after, w.Override(noTimeout, 0, math.MaxInt)
}

// Limit implements registry.Guard.
func (g *idleGuard) Limit(w http.ResponseWriter, n int64) bool {
	for {
		if idle, ok := w.(*caddyhttp.IdleTimeoutWriter); ok && idle == (*caddyhttp.IdleTimeoutWriter)(g) {
			idle.MaxChunk = int(min(n, math.MaxInt))
			return true
		}
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapped.Unwrap()
	}
}

// SetWriteDeadline implements registry.Guard.
func (g *idleGuard) SetWriteDeadline(deadline time.Time) error {
	return g.Ctrl.SetWriteDeadline(deadline)
}

// answered counts an answer.
func answered(r *http.Request, a *registry.Answer) {
	counted.Answer(r, a)
	tracked.Done(r, a)
}

// describe tells Caddy about an answer: in placeholders and in the access log.
func describe(r *http.Request, a *registry.Answer) {
	tracked.Header(r, a)
	d := (*description)(a)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(d.placeholder)
	}
	fields, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if ok && a.Request.Kind != oci.KindPing {
		fields.Add(zap.Inline(d))
	}
}

// description is what Caddy is told about an answer. It goes on until the log is written.
type description registry.Answer

// placeholder returns the value of a placeholder.
func (d *description) placeholder(name string) (value any, known bool) {
	switch name {
	case "http.registry_mirror.upstream":
		return d.Request.Upstream, true
	case "http.registry_mirror.repository":
		return d.Request.Repository, true
	case "http.registry_mirror.kind":
		return string(d.Request.Kind), true
	case "http.registry_mirror.cache":
		return string(d.Cache.Result), true
	}
	return nil, false
}

// MarshalLogObject implements zapcore.ObjectMarshaler: the fields of access logs.
func (d *description) MarshalLogObject(log zapcore.ObjectEncoder) error {
	log.AddString("upstream", d.Request.Upstream)
	log.AddString("repository", d.Request.Repository)
	if d.Digest != "" {
		log.AddString("digest", d.Digest.String())
	}
	log.AddString("cache", string(d.Cache.Result))
	log.AddDuration("first_byte", d.FirstByte)
	log.AddDuration("upstream_time", d.Waited)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
