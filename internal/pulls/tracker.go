package pulls

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

const (
	maxRunning  = 256 // pulls at a time
	maxOfParty  = 8   // of one party
	idleTime    = 15 * time.Second
	sweepPeriod = 5 * time.Second
)

// Options make a Tracker. None is optional.
type Options struct {
	// Running returns the downloads that run, with what they have received.
	Running func() []mirror.FillEvent
	// Ended is called for each pull that has ended. It must be quick.
	Ended func(operate.Pull)
	// Log gets a line for each pull that has ended.
	Log *slog.Logger
	Now func() time.Time
	// AfterFunc is that of package time.
	AfterFunc func(time.Duration, func())
}

// Tracker is what a process knows of pulls. It is safe for concurrent use, and needs no
// end: while no pull runs, nothing of it does.
type Tracker struct {
	o        Options
	contents contents

	mu        sync.Mutex
	running   map[party][]*pull
	count     int
	sweeping  bool // sweep will be called
	downloads map[blobKey]*download
	indexes   indexes
	history   history
	refused   refused
}

// blobKey is what there is one download of at a time.
type blobKey struct {
	upstream string
	digest   digest.Digest
}

// download is one that runs.
type download struct {
	count  int // more than one, where one name has several identities
	asking bool
	pull   *pull // the reason; nil = none that is seen
}

// New returns a Tracker that has seen nothing yet.
func New(o Options) *Tracker {
	return &Tracker{
		o: o, contents: contents{byDigest: map[digest.Digest]*content{}},
		running: map[party][]*pull{}, downloads: map[blobKey]*download{}, history: newHistory(),
	}
}

// pullOf returns the pull that a request belongs to. It begins one with a request for a
// manifest; nil = there is no room, or what is asked for belongs to none.
func (t *Tracker) pullOf(of party, q *oci.Request, now time.Time) *pull {
	ofParty := t.running[of]
	if q.Kind == oci.KindBlob {
		return blobPull(ofParty, q.Reference.Digest)
	}
	for _, p := range slices.Backward(ofParty) {
		if p.leadsTo(q.Reference) {
			if p.polls(q.Reference) {
				p.renew(now)
			}
			return p
		}
	}
	if len(ofParty) >= maxOfParty || !t.makeRoom() {
		return nil
	}
	ofParty = t.running[of]
	p := newPull(of, q, now)
	t.indexes.lead(p)
	t.running[of] = append(ofParty, p)
	t.count++
	if !t.sweeping {
		t.sweeping = true
		t.o.AfterFunc(sweepPeriod, t.sweep)
	}
	return p
}

// makeRoom reports whether there is room for one more pull. The oldest of those that may
// never be one goes.
func (t *Tracker) makeRoom() bool {
	if t.count < maxRunning {
		return true
	}
	var oldest *pull
	for _, ofParty := range t.running {
		for _, p := range ofParty {
			if !p.events.wanted && p.events.active == 0 && (oldest == nil || p.last.Before(oldest.last)) {
				oldest = p
			}
		}
	}
	if oldest == nil {
		return false
	}
	t.end(oldest)
	return true
}

// blobPull returns which of the pulls of a party a blob is of: the newest one that lacks
// it, or has it, or, if none is known to, the newest of all.
func blobPull(pulls []*pull, d digest.Digest) (found *pull) {
	for _, p := range slices.Backward(pulls) {
		l := p.layers[d]
		if l != nil && !l.done {
			return p
		}
		if found == nil || l != nil && found.layers[d] == nil {
			found = p
		}
	}
	return found
}

// end takes a pull out of those that run, and into the history if it is one.
func (t *Tracker) end(p *pull) (ended []operate.Pull) {
	left := slices.DeleteFunc(t.running[p.party], func(other *pull) bool { return other == p })
	t.running[p.party] = left
	if len(left) == 0 {
		delete(t.running, p.party)
	}
	t.count--
	if p.downloads > 0 {
		for _, d := range t.downloads {
			if d.pull == p {
				d.pull = nil
			}
		}
	}
	if !p.happened() {
		return nil
	}
	t.indexes.add(p)
	done := p.ended()
	t.history.add(done)
	return []operate.Pull{done}
}

// sweep ends the pulls whose clients want nothing any more.
func (t *Tracker) sweep() {
	var ended []operate.Pull
	t.mu.Lock()
	now := t.o.Now()
	for _, ofParty := range t.running {
		for _, p := range slices.Clone(ofParty) {
			if p.events.active == 0 && now.Sub(p.last) >= idleTime {
				ended = append(ended, t.end(p)...)
			}
		}
	}
	t.sweeping = t.count > 0
	if t.sweeping {
		t.o.AfterFunc(sweepPeriod, t.sweep)
	}
	t.mu.Unlock()
	slices.SortFunc(ended, func(a, b operate.Pull) int { return a.Ended.Compare(b.Ended) })
	t.tell(ended)
}

// tell tells others of pulls that have ended.
func (t *Tracker) tell(ended []operate.Pull) {
	for _, p := range ended {
		t.o.Ended(p)
		t.log(p)
	}
}

// Pulls returns what is asked for.
func (t *Tracker) Pulls(q operate.PullsRequest) operate.Pulls {
	received := map[blobKey]int64{}
	for _, e := range t.o.Running() {
		received[blobKey{e.Upstream, e.Digest}] = e.Bytes
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.o.Now()
	r := t.history.report(q)
	for _, ofParty := range t.running {
		for _, p := range ofParty {
			if p.course.at(now); (p.events.wanted || p.events.active > 0) && q.Selects(p.image(), p.digest.String()) {
				r.Running = append(r.Running, p.live(received))
			}
		}
	}
	slices.SortFunc(r.Running, func(a, b operate.Pull) int {
		return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(a.Image, b.Image))
	})
	return r
}

// live is report, with what of running downloads has come for clients that read them.
func (p *pull) live(received map[blobKey]int64) operate.Pull {
	r := p.report()
	for d, l := range p.layers {
		if n := received[blobKey{p.party.upstream, d}]; l.readers > 0 && l.filling {
			r.Bytes += max(min(n, l.size)-l.sent, 0)
		}
	}
	return r
}
