package peers

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

// The headers between gateways.
const (
	headerInstance = "Pullgate-Instance"
	headerVersion  = "Pullgate-Version"
	headerUpstream = "Pullgate-Upstream"
	headerPurge    = "Pullgate-Purge"
	headerClass    = "Pullgate-Class"
	headerAge      = "Pullgate-Age"
	headerStale    = "Pullgate-Stale"
)

// alive is the path of the question whether an instance lives.
const alive = "/alive"

// Served is an upstream that other gateways may ask this one for.
type Served struct {
	// Name is the configured one, and Handler answers for it: it is made of Wire.
	Name    string
	Handler http.Handler
	// Offline says that the upstream is not asked: what is not here may be elsewhere.
	Offline bool
	// Leave is called once the answer is over.
	Leave func()
}

// answer answers another gateway: TLS has let nobody else in.
func (g *Group) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == alive {
		g.tellAlive(w)
		return
	}
	if r.Header.Get(headerInstance) != g.id {
		http.Error(w, "another instance is meant", http.StatusMisdirectedRequest)
		return
	}
	if !g.current(r) {
		http.Error(w, "a purge is not known here, or too new for what is under way", http.StatusPreconditionFailed)
		return
	}
	served, ok := g.o.Enter(r.Header.Get(headerUpstream))
	if !ok {
		http.Error(w, "no such upstream", http.StatusNotFound)
		return
	}
	defer served.Leave()
	g.counts.answered.Add(1)
	x := &exchange{header: w.Header(), offline: served.Offline}
	defer func() { g.counts.sent.Add(x.sent) }()
	url := *r.URL
	url.Path, url.RawPath = "/proxy-"+served.Name+url.Path, ""
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	r.URL = &url
	served.Handler.ServeHTTP(w, r)
}

// current reports whether an answer would be newer than the purge that the question tells.
func (g *Group) current(r *http.Request) bool {
	purge := r.Header.Get(headerPurge)
	if purge == "" {
		return true
	}
	rest, reference := path.Split(strings.TrimPrefix(r.URL.Path, "/v2/"))
	d, _ := oci.ParseDigest(reference) // of a tag, it is none
	return g.o.Current(r.Context(), oci.Scope{Upstream: r.Header.Get(headerUpstream), Repository: path.Dir(path.Clean(rest))}, d, purge)
}

// tellAlive tells who lives here, and, by the Date that every answer has, what time it is.
func (g *Group) tellAlive(w http.ResponseWriter) {
	w.Header().Set(headerInstance, g.id)
	if g.o.Version != "" {
		w.Header().Set(headerVersion, g.o.Version)
	}
	if g.o.Draining() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// exchange is one request of another gateway.
type exchange struct {
	header  http.Header
	offline bool
	sent    int64
}

type exchangeKey struct{}

// Wire returns what a handler for other gateways is made of. The mirror of it lets
// everybody in.
func Wire(o registry.Options) registry.Options {
	o.OnHeader = func(r *http.Request, a *registry.Answer) {
		if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
			x.describe(a)
		}
	}
	o.OnDone = func(r *http.Request, a *registry.Answer) {
		if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
			x.sent = a.Bytes
		}
	}
	return o
}

// describe sets the headers that tell what the API does not.
func (x *exchange) describe(a *registry.Answer) {
	if class := oci.ClassOf(a.Err); isWord(class) && !x.offline {
		x.header.Set(headerClass, string(class))
	}
	if a.Err == nil && a.Cache.Fresh != nil {
		x.header.Set(headerAge, a.Cache.Age.String())
	}
	if a.Cache.Result == oci.ResultStale {
		x.header.Set(headerStale, fmt.Sprint(a.Cache.Detail))
	}
}

// isWord reports whether an error of a class is the upstream's own word, which another
// gateway would get, too.
func isWord(class oci.Class) bool {
	switch class {
	case oci.ClassNotFound, oci.ClassDenied, oci.ClassRateLimited:
		return true
	}
	return false
}
