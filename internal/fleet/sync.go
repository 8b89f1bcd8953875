package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// catchUpAfter is how long after the start, and after an upload was given up, all is
// compared.
const catchUpAfter = time.Minute

// maxCatchUp is how long is waited at the most after one that has failed: each lists the
// whole bucket.
const maxCatchUp = 15 * time.Minute

// Synced is what was compared with the bucket, and brought there.
type Synced struct {
	Blobs int64 `json:"blobs"`
	Links int64 `json:"links"`
	Tags  int64 `json:"tags"`
	// Uploaded are the objects that were missing, and Bytes what they have.
	Uploaded int64 `json:"uploaded"`
	Bytes    int64 `json:"bytes"`
	// Failed are those that could not be uploaded.
	Failed int64 `json:"failed"`
}

// ErrNoBucket means that there is no bucket to bring anything to.
var ErrNoBucket = errors.New("no fleet is configured: there is no bucket")

// Sync brings to the bucket what the gateway has, and the bucket has not: blobs, then
// manifests and proofs, then tags. It may be ended and begun again at any time. progress,
// unless nil, is told how far it is, now and then.
func (f *Fleet) Sync(ctx context.Context, progress func(Synced)) (Synced, error) {
	d := f.depot.Load()
	if d == nil {
		return Synced{}, ErrNoBucket
	}
	d.uploads.behind.Store(false)
	s := &syncing{depot: d, news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	defer s.telling(progress)()
	if err := s.run(ctx, f.local.Catalog); err != nil {
		d.uploads.behind.Store(true)
		return s.synced(), fmt.Errorf("sync with the bucket: %w", err)
	}
	return s.synced(), nil
}

// CatchUp has all compared with the bucket, in a while: something came into the store on
// another way than by pulls.
func (f *Fleet) CatchUp() {
	if d := f.depot.Load(); d != nil {
		d.uploads.behind.Store(true)
	}
}

// catchUp compares all with the bucket, after the start and whenever something was not
// uploaded.
func (f *Fleet) catchUp(d *depot) {
	tick := time.NewTicker(catchUpAfter)
	defer tick.Stop()
	for pause := catchUpAfter; ; {
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			return
		}
		if waiting, _ := d.uploads.queue.Backlog(); !d.uploads.behind.Load() || waiting > 0 || d.writes.Open() != nil {
			continue
		}
		if pause = min(2*pause, maxCatchUp); f.caughtUp(d) {
			pause = catchUpAfter
		}
		tick.Reset(pause)
	}
}

// caughtUp compares all with the bucket, and reports whether all is there then.
func (f *Fleet) caughtUp(d *depot) bool {
	defer f.survive("catch up")
	synced, err := f.Sync(d.ctx, nil)
	switch {
	case d.ctx.Err() != nil:
	case err != nil:
		d.log.Warn("not all is in the bucket", "error", err)
	case synced.Uploaded > 0:
		d.log.Info("caught up with the bucket", "objects", synced.Uploaded, "bytes", synced.Bytes)
	}
	return err == nil
}

// syncing is one comparison.
type syncing struct {
	depot *depot
	news  chan struct{} // holds one if there is more to tell

	blobs, links, tags, uploaded, bytes, failed atomic.Int64
}

func (s *syncing) synced() Synced {
	return Synced{
		Blobs: s.blobs.Load(), Links: s.links.Load(), Tags: s.tags.Load(),
		Uploaded: s.uploaded.Load(), Bytes: s.bytes.Load(), Failed: s.failed.Load(),
	}
}

func (s *syncing) run(ctx context.Context, open func(context.Context) (*storage.Catalog, error)) error {
	for _, phase := range []func(context.Context, *errgroup.Group, *storage.Catalog) error{s.compareBlobs, s.compareLinks, s.compareTags} {
		catalog, err := open(ctx)
		if err != nil {
			return err
		}
		group, within := errgroup.WithContext(ctx)
		group.SetLimit(uploaders)
		err = errors.Join(phase(within, group, catalog), group.Wait())
		catalog.Close()
		if err != nil {
			return err
		}
	}
	if n := s.failed.Load(); n > 0 {
		return fmt.Errorf("%d objects could not be uploaded", n)
	}
	return ctx.Err()
}

// upload does uploads one after the other, while others are done beside.
func (s *syncing) upload(ctx context.Context, group *errgroup.Group, size int64, jobs ...job) {
	group.Go(func() (err error) {
		u := s.depot.uploads
		for _, j := range jobs {
			if err := u.try(ctx, j); err != nil {
				s.failed.Add(1)
				return ctx.Err()
			}
		}
		s.uploaded.Add(1)
		s.bytes.Add(size)
		s.tell()
		return nil
	})
}

// telling has progress told until the end.
func (s *syncing) telling(progress func(Synced)) (end func()) {
	if progress == nil {
		return func() {}
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-s.news:
				progress(s.synced())
			case <-over:
				progress(s.synced())
				return
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

func (s *syncing) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// compareBlobs walks through the blobs and the bucket side by side: both are sorted.
func (s *syncing) compareBlobs(ctx context.Context, group *errgroup.Group, catalog *storage.Catalog) error {
	next, stop := iter.Pull2(s.depot.objects.List(ctx, blobsAt, ""))
	defer stop()
	there, err, more := next()
	for b, broken := range catalog.Blobs(ctx) {
		if broken != nil {
			return broken
		}
		key := blobKey(b.Digest)
		for more && err == nil && there.Key < key {
			there, err, more = next()
		}
		if err != nil {
			return err
		}
		if s.blobs.Add(1)%100 == 0 {
			s.tell()
		}
		if !more || there.Key != key || there.Size != b.Size {
			s.upload(ctx, group, b.Size, job{kind: blob, digest: b.Digest})
		}
	}
	return nil
}

// compareLinks looks, scope by scope, for proofs that are missing. Where one is there, so
// is the manifest that it may be of.
func (s *syncing) compareLinks(ctx context.Context, group *errgroup.Group, catalog *storage.Catalog) error {
	for scope, err := range catalog.Scopes(ctx, "") {
		if err != nil {
			return err
		}
		there, err := s.keys(ctx, scopeKey(proofsAt, scope))
		if err != nil {
			return err
		}
		for link, err := range catalog.Links(ctx, scope) {
			if err != nil {
				return err
			}
			s.links.Add(1)
			if _, ok := there[proofKey(scope, link.Digest)]; !ok {
				s.upload(ctx, group, 0, job{kind: manifest, digest: link.Digest}, job{kind: linked, scope: scope, digest: link.Digest})
			}
		}
		s.tell()
	}
	return nil
}

// compareTags looks for tags that are missing, or have moved since they were uploaded.
func (s *syncing) compareTags(ctx context.Context, group *errgroup.Group, catalog *storage.Catalog) error {
	var scope oci.Scope
	var there map[string]bucket.Info
	for t, err := range catalog.Tags(ctx, "", "") {
		if err != nil {
			return err
		}
		if there == nil || t.Scope != scope {
			if there, err = s.keys(ctx, scopeKey(tagsAt, t.Scope)); err != nil {
				return err
			}
			scope = t.Scope
		}
		s.tags.Add(1)
		if known, ok := there[tagKey(scope, t.Name)]; !ok || t.Changed.After(known.Modified) {
			s.upload(ctx, group, 0, job{kind: tagged, scope: scope, name: t.Name})
		}
	}
	return nil
}

func (s *syncing) keys(ctx context.Context, prefix string) (map[string]bucket.Info, error) {
	keys := map[string]bucket.Info{}
	for o, err := range s.depot.objects.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		keys[o.Key] = o
	}
	return keys, nil
}
