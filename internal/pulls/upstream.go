package pulls

import (
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/upstream"
)

// Fill notes how a download of a blob fares.
func (t *Tracker) Fill(e mirror.FillEvent) {
	now := t.o.Now()
	t.mu.Lock()
	k := blobKey{e.Upstream, e.Digest}
	d := t.downloads[k]
	if d == nil {
		d = new(download)
		t.downloads[k] = d
	}
	switch {
	case e.Asking:
		d.asking = true
	case e.Finished:
		d.count--
	default:
		d.count++
		if d.pull = blobPull(t.running[party{e.Client, e.Upstream, e.Repository}], e.Digest); d.pull != nil {
			d.pull.download(e)
		}
	}
	if d.count <= 0 {
		delete(t.downloads, k)
	}
	for of, pulls := range t.running {
		for _, p := range pulls {
			if l := p.layers[e.Digest]; l != nil && of.upstream == e.Upstream {
				p.course.at(now)
				l.shift(&p.course, d.count > 0, d.asking)
			}
		}
	}
	var ended []operate.Pull
	if p := d.pull; p != nil && e.Finished {
		p.downloads--
		p.UpstreamBytes += e.Bytes
		ended = t.endIfOver(p)
	}
	t.mu.Unlock()
	t.tell(ended)
}

// download notes that something is downloaded for the pull.
func (p *pull) download(e mirror.FillEvent) {
	p.downloads++
	l := p.layer(e.Digest, -1)
	if l.brought = broughtOnDemand; e.Ahead {
		l.brought = broughtAhead
	}
}

// endIfOver ends a pull if there is nothing to wait for.
func (t *Tracker) endIfOver(p *pull) []operate.Pull {
	if p.complete() || p.failed() {
		return t.end(p)
	}
	return nil
}

// Asked returns what notes that an upstream has answered. It is the pull's that waits, of
// several the one that has for the longest.
func (t *Tracker) Asked(name string) func(upstream.Observation) {
	return func(o upstream.Observation) {
		if o.Repository == "" {
			return
		}
		now := t.o.Now()
		t.mu.Lock()
		defer t.mu.Unlock()
		p := t.asker(name, o.Repository)
		if p == nil {
			return
		}
		p.course.at(now)
		if o.Op == opToken {
			p.course.askedToken(o.Duration)
		}
		q := p.events.question(o.Op)
		q.Requests++
		q.Seconds += o.Duration.Seconds()
		if o.Class != oci.ClassNone {
			q.Failed++
			q.Class = string(o.Class)
		}
	}
}

const opToken = "token" // see upstream.Observation

func (t *Tracker) asker(name, repository string) (asker *pull) {
	waits := func(p *pull) int {
		switch {
		case p.course.phase() > phaseClient:
			return 2
		case p.downloads > 0:
			return 1
		}
		return 0
	}
	for of, pulls := range t.running {
		if of.upstream != name || of.repository != repository {
			continue
		}
		for _, p := range pulls {
			if w := waits(p); w > 0 && (asker == nil || w > waits(asker) || w == waits(asker) && p.began.Before(asker.began)) {
				asker = p
			}
		}
	}
	return asker
}
