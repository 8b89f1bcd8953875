package image

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

const (
	// DefaultImages is how many images are pulled at a time.
	DefaultImages = 4
	// blobsPerImage is how many blobs of each of them.
	blobsPerImage = 4
	// progressEvery is how often progress is reported.
	progressEvery = 100 * time.Millisecond
)

// PreloadWant is an image that is to be pulled.
type PreloadWant struct {
	Image imagelist.Image
	// Scope is where it will lie, and Upstream the name by which Puller knows the
	// upstream. It is nil where Error says why the image cannot be pulled.
	Scope    oci.Scope
	Upstream string
	Puller   Puller
	Error    string
}

// PreloadOptions say what is pulled. The zero value is everything but referrers.
type PreloadOptions struct {
	Choice
	// Images are pulled at a time; 0 = DefaultImages.
	Images int
	// Progress, if not nil, is called ten times a second, and Pulled when an image
	// was pulled, or as much of it as could be; both by one goroutine at a time,
	// which waits.
	Progress func(PreloadProgress)
	Pulled   func(Pulled)
}

// PreloadProgress is how far it got. All sizes are in bytes.
type PreloadProgress struct {
	Images int `json:"images"` // that are done
	Failed int `json:"failed"` // of these
	Total  int `json:"total"`
	// Bytes are those of blobs that were not in the store before.
	Bytes int64 `json:"bytes"`
	// Size is that of all blobs of the Known images, whose manifests were read; Present
	// of it is in the store.
	Known   int   `json:"known"`
	Present int64 `json:"present"`
	Size    int64 `json:"size"`
	// Running are the images that are being pulled, in the order of the list.
	Running []Running `json:"running,omitempty"`
}

// Running is an image that is being pulled.
type Running struct {
	Image imagelist.Image `json:"image"`
	// Size is 0 until it is known; Bytes of it are in the store.
	Bytes int64 `json:"bytes"`
	Size  int64 `json:"size"`
}

// Pulled is an image that is done.
type Pulled struct {
	Image imagelist.Image `json:"image"`
	// Blobs and Size are what it consists of; Bytes were not in the store before.
	Blobs int   `json:"blobs"`
	Size  int64 `json:"size"`
	Bytes int64 `json:"bytes"`
	// Stale says why its tag could not be confirmed: what is known of it was taken.
	Stale string `json:"stale,omitempty"`
	// Error is the first one that it met.
	Error string `json:"error,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"duration_seconds"`
}

// Preload pulls images, several at a time, and then finds out, as Verify does,
// whether all of them are complete in the store: blobs that came later may have
// taken the place of others. An image that cannot be pulled keeps no other from it.
// What is there already is not pulled again.
//
// The reports are in the order of the images. The error is that of ctx, or of a
// store that cannot tell; running it again goes on where it ended.
func Preload(ctx context.Context, store *storage.Store, wants []PreloadWant, o PreloadOptions) ([]Report, Totals, error) {
	p := &preload{store: store, o: o, ended: PreloadProgress{Total: len(wants)}, running: map[int]*pull{}}
	done := make(chan struct{})
	var telling sync.WaitGroup
	if o.Progress != nil {
		telling.Go(func() { p.tell(done) })
	}
	pulls := make([]*pull, len(wants))
	var group errgroup.Group
	group.SetLimit(cmp.Or(max(o.Images, 0), DefaultImages))
	for i, w := range wants {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			pulls[i] = p.image(ctx, i, w)
			return nil
		})
	}
	_ = group.Wait()
	close(done)
	telling.Wait()
	if err := ctx.Err(); err != nil {
		return nil, Totals{}, err
	}
	check := make([]Want, len(wants))
	for i, w := range wants {
		check[i] = Want{Image: w.Image, Error: w.Error}
		if w.Puller != nil {
			check[i].Scopes = []oci.Scope{w.Scope}
		}
	}
	reports, totals, err := Verify(ctx, store, check, VerifyOptions{Choice: o.Choice})
	for i := range reports {
		if pulls[i].explain(&reports[i]) {
			totals.Complete--
		}
	}
	return reports, totals, err
}

type preload struct {
	store *storage.Store
	o     PreloadOptions

	telling sync.Mutex // held to call Progress and Pulled

	mu      sync.Mutex
	ended   PreloadProgress // that of the images that are done
	running map[int]*pull
}

// pull is an image that is being pulled.
type pull struct {
	Pulled

	present, added atomic.Int64 // bytes that are there, and those of them that were not before
	size           atomic.Int64
	read           atomic.Bool // its manifests were, so that size is that of all of it

	mu    sync.Mutex
	errs  map[fault]error
	first error
}

// fault is what could not be pulled, as Missing names it.
type fault struct {
	kind   string
	digest digest.Digest
}

func (l *pull) fail(kind string, d digest.Digest, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.errs == nil {
		l.errs = map[fault]error{}
	}
	if e, ok := errors.AsType[*oci.Error](err); ok {
		err = e // around it stands what the report names anyway
	}
	l.errs[fault{kind, d}] = err
	if l.first == nil {
		l.first = err
	}
}

// image pulls one image.
func (p *preload) image(ctx context.Context, n int, w PreloadWant) *pull {
	l := &pull{Pulled: Pulled{Image: w.Image}}
	began := time.Now()
	p.mu.Lock()
	p.running[n] = l
	p.mu.Unlock()
	if w.Error != "" {
		l.fail("", "", errors.New(w.Error))
	} else {
		p.pull(ctx, l, &pulled{puller: w.Puller, upstream: w.Upstream, repository: w.Scope.Repository, stored: Stored{p.store, w.Scope}})
	}
	l.Size, l.Bytes, l.Seconds = l.size.Load(), l.added.Load(), time.Since(began).Seconds()
	if l.first != nil {
		l.Error = l.first.Error()
	}
	p.mu.Lock()
	delete(p.running, n)
	p.ended.Images++
	p.ended.add(l)
	if l.first != nil {
		p.ended.Failed++
	}
	p.mu.Unlock()
	if p.o.Pulled != nil && ctx.Err() == nil {
		p.telling.Lock()
		defer p.telling.Unlock()
		p.o.Pulled(l.Pulled)
	}
	return l
}

// pull pulls the manifests, which tell how much there is, and then the blobs.
func (p *preload) pull(ctx context.Context, l *pull, src *pulled) {
	var blobs []oci.Descriptor
	known := map[digest.Digest]bool{}
	err := Walk(ctx, src, l.Image.Reference(), p.o.Choice, func(part Part) error {
		switch {
		case part.Kind == KindPlatform:
			return nil
		case part.Err != nil:
			l.fail(string(part.Kind), part.Manifest.Digest, part.Err)
		}
		for _, d := range part.Blobs {
			if !known[d.Digest] {
				known[d.Digest] = true
				blobs = append(blobs, d)
				l.size.Add(max(d.Size, 0))
			}
		}
		return nil
	})
	l.Stale = src.stale
	if err != nil {
		l.fail("", "", err)
		return
	}
	l.Blobs = len(blobs)
	l.read.Store(true)
	var group errgroup.Group
	group.SetLimit(blobsPerImage)
	for _, d := range blobs {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			p.blob(ctx, l, src, d)
			return nil
		})
	}
	_ = group.Wait()
}

// blob pulls one blob.
func (p *preload) blob(ctx context.Context, l *pull, src *pulled, d oci.Descriptor) {
	var counted int64
	added := false // it is not there, and comes
	tell := func(covered int64) {
		l.present.Add(covered - counted)
		if added {
			l.added.Add(covered - counted)
		}
		counted = covered
	}
	got, _, err := src.puller.Pull(ctx, src.request(oci.KindBlob, oci.Reference{Digest: d.Digest}), func(covered, _ int64) {
		added = true
		tell(covered)
	})
	if err != nil {
		l.fail(blobKind(d), d.Digest, err)
		return
	}
	tell(got.Size)
}

// explain says in the report of an image why things are missing. It reports whether
// it has made a complete image one that is not.
func (l *pull) explain(r *Report) bool {
	r.Stale = l.Stale
	explained := 0
	for i := range r.Parts {
		for j := range r.Parts[i].Missing {
			m := &r.Parts[i].Missing[j]
			if err := l.errs[fault{m.Kind, m.Digest}]; err != nil {
				m.Reason = err.Error()
				explained++
			} else if l.first == nil && m.Kind != string(KindPlatform) {
				m.Reason = "was pulled, but is not kept: the storage is too small for all of it, or cannot be written"
			}
		}
	}
	if explained == 0 && r.Error == "" && l.first != nil && !r.Complete {
		r.Error = l.first.Error()
	}
	if !r.Complete {
		return false
	}
	// What nobody knows of is not missed.
	for at, err := range l.errs {
		if at.kind == string(KindReferrer) || at.kind == "" {
			r.Error, r.Complete = err.Error(), false
			return true
		}
	}
	return false
}

// tell tells the progress until it is done.
func (p *preload) tell(done <-chan struct{}) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for ended := false; !ended; {
		select {
		case <-ticker.C:
		case <-done:
			ended = true
		}
		p.telling.Lock()
		p.o.Progress(p.progress())
		p.telling.Unlock()
	}
}

func (p *preload) progress() PreloadProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.ended
	for _, n := range slices.Sorted(maps.Keys(p.running)) {
		l := p.running[n]
		now.add(l)
		now.Running = append(now.Running, Running{Image: l.Image, Bytes: l.present.Load(), Size: l.size.Load()})
	}
	return now
}

// add adds what is known of an image.
func (n *PreloadProgress) add(l *pull) {
	n.Bytes += l.added.Load()
	if l.read.Load() {
		n.Known++
		n.Present += l.present.Load()
		n.Size += l.size.Load()
	}
}
