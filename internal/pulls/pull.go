package pulls

import (
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// party is who pulls from where.
type party struct{ client, upstream, repository string }

// pull is a pull that runs. Until a blob was asked for it is none, perhaps: who asks for a
// manifest may want no more.
type pull struct {
	operate.PullBytes

	party  party
	user   string
	tag    string
	digest digest.Digest // of what the tag leads to, or what was asked for without one
	plan   plan
	layers map[digest.Digest]*layer

	began, last time.Time // the last answer; before the first, the first request
	course      course
	events      events
	downloads   int // for it, that run
}

// plan is what the manifests of a pull say is to come.
type plan struct {
	manifests []digest.Digest          // that were answered
	platforms map[digest.Digest]string // of the children of an index
	chosen    []string                 // of these
	known     bool                     // all layers are
	left      int                      // layers that were not answered yet
}

// events count what has happened to a pull.
type events struct {
	active   int  // requests under way
	got      bool // a manifest
	wanted   bool // a blob was asked for
	requests int
	asked    []operate.PullQuestion
	results  [ranks]bool // of answers about blobs
	looked   [ranks]bool // of answers about manifests
	fault    fault       // of the manifest
	err      string
}

// The results of answers, from the best to the worst.
var ranked = []oci.Result{oci.ResultHit, oci.ResultPrefetched, oci.ResultStale, oci.ResultJoined, oci.ResultMiss}

const (
	ranks     = 5
	rankStale = 2
)

func newPull(of party, q *oci.Request, now time.Time) *pull {
	p := &pull{party: of, user: q.User, tag: q.Reference.Tag, digest: q.Reference.Digest, began: now, last: now}
	p.course.since = now
	return p
}

// image is the name of what is pulled.
func (p *pull) image() string {
	reference := ":" + p.tag
	if p.tag == "" {
		reference = "@" + p.digest.String()
	}
	return p.party.upstream + "/" + p.party.repository + reference
}

// leadsTo reports whether a request for a manifest belongs to the pull.
func (p *pull) leadsTo(ref oci.Reference) bool {
	if !ref.IsDigest() {
		return ref.Tag == p.tag && !p.events.wanted
	}
	_, child := p.plan.platforms[ref.Digest]
	return child || ref.Digest == p.digest
}

// polls reports whether a request that belongs to the pull is one of those that ask for a
// manifest again and again, and want no blobs.
func (p *pull) polls(ref oci.Reference) bool {
	e := &p.events
	return e.got && !e.wanted && e.active == 0 && e.fault == faultNone && (!ref.IsDigest() || ref.Digest == p.digest)
}

// renew begins the pull anew with a request that polls.
func (p *pull) renew(now time.Time) {
	if len(p.plan.manifests) > 1 {
		p.lead(p.digest)
	}
	p.began, p.last, p.course, p.events = now, now, course{since: now}, events{}
	p.PullBytes = operate.PullBytes{TotalBytes: p.TotalBytes}
}

// lead notes what the tag leads to, now.
func (p *pull) lead(d digest.Digest) {
	p.digest, p.plan, p.layers, p.TotalBytes = d, plan{}, nil, 0
}

// happened reports whether it was a pull.
func (p *pull) happened() bool { return p.events.wanted && p.events.got || p.events.fault != faultNone }

// layer returns a blob of the pull. What there is no room for is nobody's.
func (p *pull) layer(d digest.Digest, size int64) *layer {
	l := p.layers[d]
	if l != nil {
		if l.size < 0 {
			l.size = size
		}
		return l
	}
	l = &layer{size: size}
	if len(p.layers) < maxBlobs {
		if p.layers == nil {
			p.layers = make(map[digest.Digest]*layer)
		}
		p.layers[d] = l
	}
	return l
}

// adopt notes what a manifest that was answered points to; nil = that is not known.
func (p *pull) adopt(d digest.Digest, c *content) {
	plan := &p.plan
	if c == nil || slices.Contains(plan.manifests, d) {
		return
	}
	plan.manifests = append(plan.manifests, d)
	if platform := plan.platforms[d]; platform != "" && !slices.Contains(plan.chosen, platform) {
		plan.chosen = append(plan.chosen, platform)
	}
	if c.children != nil {
		plan.platforms = c.children
	}
	p.TotalBytes += c.total
	plan.known = c.whole && len(p.layers)+len(c.blobs) <= maxBlobs
	for _, b := range c.blobs {
		if l := p.layer(b.digest, b.size); !l.planned {
			l.planned = true
			if !l.done {
				plan.left++
			}
		}
	}
}

// complete reports whether all was asked for and answered, and failed whether there will
// be nothing to wait for.
func (p *pull) complete() bool {
	return p.events.active == 0 && p.downloads == 0 && p.plan.known && p.plan.left == 0
}

func (p *pull) failed() bool {
	return p.events.active == 0 && !p.events.got && p.events.fault != faultNone
}

// answered notes an answer to a request that has just ended.
func (e *events) answered(blob bool, result oci.Result) {
	if rank := slices.Index(ranked, result); rank >= 0 {
		if blob {
			e.results[rank] = true
		} else {
			e.looked[rank] = true
		}
	}
}

// question returns what counts the requests of an operation.
func (e *events) question(op string) *operate.PullQuestion {
	at := slices.IndexFunc(e.asked, func(q operate.PullQuestion) bool { return q.Op == op })
	if at < 0 {
		at = len(e.asked)
		e.asked = append(e.asked, operate.PullQuestion{Op: op})
	}
	return &e.asked[at]
}

// cache is the worst answer.
func (e *events) cache() string {
	of := e.results
	if of == [ranks]bool{} {
		of = e.looked
	}
	of[rankStale] = of[rankStale] || e.looked[rankStale]
	for rank := ranks - 1; rank >= 0; rank-- {
		if of[rank] {
			return string(ranked[rank])
		}
	}
	return ""
}

// result tells how the pull has ended.
func (p *pull) result() string {
	worst := p.events.fault
	for _, l := range p.layers {
		worst = max(worst, l.fault)
	}
	return [...]string{operate.PullOK, operate.PullAborted, operate.PullFailed}[worst]
}

// report tells of the pull as it is now.
func (p *pull) report() operate.Pull {
	e := &p.events
	r := operate.Pull{
		PullSubject: operate.PullSubject{
			Image: p.image(), Digest: p.digest.String(), Platform: strings.Join(p.plan.chosen, ", "), Upstream: p.party.upstream,
			Client: strings.TrimPrefix(p.party.client, p.user+"@"), User: p.user,
		},
		Began: p.began, Result: operate.PullRunning, Cache: e.cache(), Error: e.err, Phase: phaseNames[p.course.phase()],
		PullBytes: p.PullBytes, Requests: e.requests, Asked: slices.Clone(e.asked), Seconds: p.course.seconds(),
	}
	for _, q := range e.asked {
		r.UpstreamRequests += q.Requests
	}
	return r
}

// ended tells of the pull once it is over.
func (p *pull) ended() operate.Pull {
	p.course.until(p.last.Sub(p.began))
	r := p.report()
	r.Ended, r.Result, r.Phase = p.last, p.result(), ""
	if r.Result == operate.PullOK {
		r.Error = ""
	}
	return r
}
