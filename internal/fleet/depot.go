package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet/account"
	"github.com/pullgate/pullgate/internal/fleet/caution"
	"github.com/pullgate/pullgate/internal/fleet/janitor"
)

const (
	// headerBudget is how long a read may take until its first byte, and bodySilence how
	// long none may come then: the upstream is asked instead. headerPatience is for where
	// that has given no answer.
	headerBudget   = 300 * time.Millisecond
	headerPatience = 5 * time.Second
	bodySilence    = 2 * time.Second
	// avoidFor is how long an object is not asked for that did not come.
	avoidFor = 10 * time.Second
	// presentFor is how long it is believed that an object is there that was seen there.
	presentFor = 10 * time.Minute
	// writeBudget bounds a write, beside what its bytes take at slowestWrite per second.
	writeBudget  = 30 * time.Second
	slowestWrite = 1 << 20
)

// depot is a bucket as a gateway uses it: what it may cost, and what is known of it.
type depot struct {
	name    string
	objects bucket.Objects
	budget  time.Duration // headerBudget
	log     *slog.Logger
	counts  counts
	uploads *uploads
	purges  *purgeLog
	pins    *pins
	used    *janitor.Uses
	cleaner *janitor.Janitor

	life

	// reads counts what does not begin to come, and bodies what does not go on: a bucket that
	// answers well may send little.
	reads, bodies, writes *caution.Breaker

	noted
}

// noted is what a gateway has seen of a bucket a while ago.
type noted struct {
	// avoided are the keys of what did not come, wrong those of what was not what its name
	// says, present those of what is known to be there, and served those of blobs that are
	// being read, and confirmed what was shown since a purge.
	avoided, wrong, present, served, confirmed caution.Recent

	// begun is what is about to be shown to belong to a scope: a purge may come meanwhile.
	begun caution.Begun[scoped]
}

// counts are what went to the bucket and came from it, and how long that took to begin.
type counts struct {
	reads, writes, failures, received, sent atomic.Int64

	delays account.Delays
}

func newDepot(name string, objects bucket.Objects, f *Fleet) *depot {
	d := &depot{name: name, objects: objects, budget: f.budget, log: f.log.With("bucket", name)}
	d.ctx, d.end = context.WithCancel(context.Background())
	look := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, d.budget)
		defer cancel()
		return d.look(ctx)
	}
	d.reads = &caution.Breaker{Context: d.ctx, Start: d.start, Told: d.tell("reads"), Probe: look}
	d.bodies = &caution.Breaker{Context: d.ctx, Start: d.start, Told: d.tell("bodies"), Probe: look}
	d.writes = &caution.Breaker{Context: d.ctx, Start: d.start, Told: d.tell("writes"), Probe: func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, writeBudget)
		defer cancel()
		return failure(objects.Put(ctx, probeAt, strings.NewReader("probe"), int64(len("probe")), bucket.PutOptions{}))
	}}
	d.uploads = newUploads(d, f)
	d.purges = newPurgeLog(d, f)
	d.pins = &pins{depot: d, fleet: f, turn: make(chan struct{}, 1)}
	d.cleaner, d.used = newJanitor(d, f)
	return d
}

// look reads something, whether or not it is there.
func (d *depot) look(ctx context.Context) error {
	o, err := d.objects.Get(ctx, probeAt, 0, -1)
	if err == nil {
		err = o.Close()
	}
	return failure(err)
}

func (d *depot) tell(what string) func(open bool, err error) {
	return func(open bool, err error) {
		if open {
			d.log.Warn("the bucket fails and is not asked for a while", "operation", what, "error", err)
		} else {
			d.log.Info("the bucket is well again", "operation", what)
		}
	}
}

// failure returns an error that tells of the bucket itself, not of one object.
func failure(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, bucket.ErrChanged) {
		return nil
	}
	return err
}

var (
	// errNotAsked is why nothing is read, and errSilent why a read is given up.
	errNotAsked = errors.New("the bucket is not asked at present")
	errSilent   = caution.ErrSilent
)

// reader reads from a bucket.
type reader struct {
	*depot

	// patient says that nobody else has an answer: what comes late is waited for, and the
	// bucket is asked whatever it did a moment ago.
	patient bool
}

// may reports whether an object may be asked for, and how long it may take to begin.
func (d reader) may(key string) (budget time.Duration, ok bool) {
	if d.patient {
		return max(d.budget, headerPatience), !d.wrong.Has(key)
	}
	return d.budget, d.reads.Open() == nil && d.bodies.Open() == nil && !d.avoided.Has(key) && !d.wrong.Has(key)
}

// settle notes how a read has begun, or ended, unless the caller has given it up.
func (d *depot) settle(caller context.Context, of *caution.Breaker, key string, err error) error {
	if caller.Err() != nil {
		return caller.Err()
	}
	failed := failure(err)
	of.Note(failed)
	if failed != nil {
		d.counts.failures.Add(1)
		d.avoided.Add(key, avoidFor)
		d.log.Debug("not read from the bucket", "error", err)
	}
	return err
}

// head is bucket.Objects.Head within its budget.
func (d reader) head(ctx context.Context, key string) (bucket.Info, error) {
	budget, ok := d.may(key)
	if !ok {
		return bucket.Info{}, errNotAsked
	}
	reading, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	d.counts.reads.Add(1)
	info, err := d.objects.Head(reading, key)
	if err != nil && reading.Err() != nil {
		err = errSilent
	}
	return info, d.settle(ctx, d.reads, key, err)
}

// get is bucket.Objects.Get within its budget. The body ends when no byte comes for too long.
func (d reader) get(ctx context.Context, key string, offset, length int64) (bucket.Object, error) {
	budget, ok := d.may(key)
	if !ok {
		return bucket.Object{}, errNotAsked
	}
	reading, cancel := context.WithCancel(ctx)
	late, began := time.AfterFunc(budget, cancel), time.Now()
	d.counts.reads.Add(1)
	o, err := d.objects.Get(reading, key, offset, length)
	d.counts.delays.Add(time.Since(began))
	if !late.Stop() {
		if err == nil {
			_ = o.Close()
		}
		err = errSilent
	}
	if err = d.settle(ctx, d.reads, key, err); err != nil {
		cancel()
		return bucket.Object{}, fmt.Errorf("read from the bucket: %w", err)
	}
	o.ReadCloser = &body{ReadCloser: o.ReadCloser, depot: d.depot, key: key, caller: ctx, reading: reading, cancel: cancel}
	return o, nil
}

// body is an object that is read.
type body struct {
	io.ReadCloser

	depot           *depot
	key             string
	caller, reading context.Context
	cancel          context.CancelFunc
	silent          *time.Timer
}

// Read implements io.Reader. An end that comes too early is io.ErrUnexpectedEOF, whatever
// the reason: the upstream has the rest.
func (b *body) Read(p []byte) (int, error) {
	if b.silent == nil {
		b.silent = time.AfterFunc(bodySilence, b.cancel)
	} else {
		b.silent.Reset(bodySilence)
	}
	n, err := b.ReadCloser.Read(p)
	b.silent.Stop()
	b.depot.counts.received.Add(int64(n))
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.depot.bodies.Note(nil)
		return n, err
	}
	if b.reading.Err() != nil { // which is heeded only where the caller has not left
		err = errSilent
	}
	if err = b.depot.settle(b.caller, b.depot.bodies, b.key, err); b.caller.Err() == nil {
		err = fmt.Errorf("read from the bucket: %w", errors.Join(io.ErrUnexpectedEOF, err))
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.silent != nil {
		b.silent.Stop()
	}
	b.cancel()
	return b.ReadCloser.Close()
}

// put is bucket.Objects.Put within its budget.
func (d *depot) put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	ctx, cancel := context.WithTimeout(ctx, writeBudget+time.Duration(size/slowestWrite)*time.Second)
	defer cancel()
	d.counts.writes.Add(1)
	err := d.objects.Put(ctx, key, content, size, o)
	if err == nil {
		d.counts.sent.Add(size)
	}
	return err
}

// distrustFor is how long a wrong object is not read that could neither be replaced nor
// removed.
const distrustFor = 24 * time.Hour

// distrust is for an object that is not what its name says: it is not read any more, and
// goes, unless it is replaced before.
func (d *depot) distrust(of job) {
	d.wrong.Add(of.name, distrustFor)
	d.present.Drop(of.name)
	d.log.Error("wrong object in the bucket", "key", of.name)
	d.uploads.add(of)
}
