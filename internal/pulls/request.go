package pulls

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

// request is one of a pull. It is the Note of its answer.
type request struct {
	pull  *pull
	layer *layer // nil = it is for a manifest
	head  bool
	sent  bool // the answer has begun
}

// phase is what the request waits for.
func (x *request) phase() phase {
	switch {
	case x.layer == nil && x.sent:
		return phaseClient
	case x.layer == nil:
		return phaseLookUp
	case x.sent:
		return x.layer.reads()
	}
	return x.layer.waits()
}

// Begin notes that a request has come in.
func (t *Tracker) Begin(r *http.Request, a *registry.Answer) {
	q := &a.Request
	if q.Kind != oci.KindManifest && q.Kind != oci.KindBlob {
		return
	}
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pullOf(party{q.Client, q.Upstream, q.Repository}, q, now)
	if p == nil {
		return
	}
	x := &request{pull: p, head: r.Method == http.MethodHead}
	a.Note = x
	p.course.at(now)
	if q.Kind == oci.KindBlob {
		x.layer = p.layer(q.Reference.Digest, -1)
		d := t.downloads[blobKey{q.Upstream, q.Reference.Digest}]
		x.layer.shift(&p.course, d != nil, d != nil && d.asking)
		x.layer.waiting++
		p.events.wanted = true
	}
	p.course.requests[x.phase()]++
	p.events.active++
}

// Header notes that an answer begins. A hit for what was brought for the same pull is
// called what it is.
func (t *Tracker) Header(_ *http.Request, a *registry.Answer) {
	x, ok := a.Note.(*request)
	if !ok {
		return
	}
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	p := x.pull
	p.course.at(now)
	from := x.phase()
	x.sent = true
	if l := x.layer; l != nil {
		l.waiting--
		l.readers++
		if a.Cache.Result == oci.ResultHit && !x.head && a.Err == nil {
			switch l.brought {
			case broughtAhead:
				a.Cache.Result = oci.ResultPrefetched
			case broughtOnDemand:
				a.Cache.Result = oci.ResultJoined
			}
		}
	}
	p.course.move(1, from, x.phase())
}

// Done notes that an answer is over. It reads the manifest that was answered, unless it
// is known.
func (t *Tracker) Done(_ *http.Request, a *registry.Answer) {
	if a.Request.Kind == oci.KindPing || a.Request.Upstream == "" {
		return
	}
	x, ok := a.Note.(*request)
	var c *content
	if ok && x.layer == nil && !x.head && well(a) {
		c = t.contents.of(a.Manifest)
	}
	now := t.o.Now()
	t.mu.Lock()
	t.history.request(a, now)
	if !ok {
		t.mu.Unlock()
		return
	}
	p := x.pull
	p.leave(x, now)
	p.count(x, a)
	if x.layer == nil {
		p.answerManifest(x, a, c)
	} else {
		p.answerBlob(x, a)
	}
	ended := t.endIfOver(p)
	t.mu.Unlock()
	t.tell(ended)
}

func well(a *registry.Answer) bool {
	return a.Err == nil && !a.Aborted && a.Status < http.StatusBadRequest
}

// leave ends the part that a request has in the course of the pull.
func (p *pull) leave(x *request, now time.Time) {
	p.course.at(now)
	p.course.requests[x.phase()]--
	switch {
	case x.layer == nil:
	case x.sent:
		x.layer.readers--
	default:
		x.layer.waiting--
	}
	p.last = now
	p.events.active--
	p.events.requests++
}

// count adds the bytes of an answer.
func (p *pull) count(x *request, a *registry.Answer) {
	p.Bytes += a.Bytes
	switch a.Cache.Result {
	case oci.ResultHit, oci.ResultStale:
		p.CacheBytes += a.Bytes
	case oci.ResultPrefetched:
		p.PrefetchedBytes += a.Bytes
	case oci.ResultMiss:
		if x.layer == nil {
			p.UpstreamBytes += a.Bytes // which no download tells of
		}
	}
	if well(a) {
		p.events.answered(x.layer != nil, a.Cache.Result)
	}
}

func (p *pull) answerManifest(x *request, a *registry.Answer, c *content) {
	e := &p.events
	switch {
	case !well(a) && probes(a):
	case !well(a):
		e.fault, e.err = faultOf(a), errorText(a)
	default:
		e.fault = faultNone
		if !a.Request.Reference.IsDigest() && p.digest != a.Digest {
			p.lead(a.Digest)
		}
		if !x.head {
			e.got = true
			p.adopt(a.Digest, c)
		}
	}
}

// probes reports whether nothing is amiss if what was asked for is not there: a signature
// of an image, under the tag that it would have.
func probes(a *registry.Answer) bool {
	return a.Status == http.StatusNotFound && strings.HasPrefix(a.Request.Reference.Tag, "sha256-")
}

func (p *pull) answerBlob(x *request, a *registry.Answer) {
	l := x.layer
	switch {
	case x.head:
	case !well(a):
		l.fault, p.events.err = faultOf(a), errorText(a)
	case l.answered(a.Bytes, a.Status == http.StatusOK || a.Redirected > 0) && l.planned:
		p.plan.left--
	}
}

// faultOf tells whether the client or anybody else is to blame.
func faultOf(a *registry.Answer) fault {
	if _, known := errors.AsType[*oci.Error](a.Err); a.Aborted && (!known || oci.ClassOf(a.Err) == oci.ClassCanceled) {
		return faultAborted
	}
	return faultFailed
}

func errorText(a *registry.Answer) string {
	if e, ok := errors.AsType[*oci.Error](a.Err); ok {
		return e.Message
	}
	if faultOf(a) == faultAborted {
		return "the client left"
	}
	return "the gateway could not answer: its log says more"
}
