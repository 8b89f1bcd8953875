package image

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// VerifyOptions say what is looked for. The zero value is everything but referrers.
type VerifyOptions struct {
	Choice
	// Deep reads every blob and compares it with its digest. One that does not
	// match goes to quarantine. Otherwise only blobs are read that the store has
	// its doubts about.
	Deep bool
	// Rate is the most bytes of blobs to read per second; 0 = no limit.
	Rate int64
	// Progress, if not nil, is called after each image and each piece of a blob that
	// was read, by one goroutine at a time, which waits for it.
	Progress func(VerifyProgress)
}

// VerifyProgress is how far it got.
type VerifyProgress struct {
	Images int `json:"images"`
	Total  int `json:"total"`
	// Bytes were read, of TotalBytes, which is 0 where not all is read.
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"total_bytes,omitempty"`
}

// Verify finds out whether images are complete in a store; no upstream is asked.
// The reports are in the order of the images. The error is that of ctx, or of a
// store that cannot tell; the reports are not complete then.
func Verify(ctx context.Context, store *storage.Store, wants []Want, o VerifyOptions) ([]Report, Totals, error) {
	v := verifier{
		store: store, o: o, pace: storage.NewPace(o.Rate), blobs: map[digest.Digest]*verified{},
		progress: VerifyProgress{Total: len(wants)},
	}
	if o.Deep && o.Progress != nil {
		// How much there is to read takes little beside reading it.
		_, t, err := Verify(ctx, store, wants, VerifyOptions{Choice: o.Choice, Rate: o.Rate})
		if err != nil {
			return nil, Totals{}, err
		}
		v.progress.TotalBytes = t.Bytes
	}
	reports := make([]Report, len(wants))
	group, ending := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, w := range wants {
		if ending.Err() != nil {
			break
		}
		group.Go(func() (err error) {
			if reports[i], err = v.image(ending, w); err == nil {
				v.tell(1, 0)
			}
			return err
		})
	}
	err := group.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	t := v.totals
	t.Images = len(wants)
	for i := range reports {
		if reports[i].Complete {
			t.Complete++
		}
	}
	return reports, t, err
}

type verifier struct {
	store *storage.Store
	o     VerifyOptions
	pace  *storage.Pace

	mu       sync.Mutex
	blobs    map[digest.Digest]*verified
	totals   Totals
	progress VerifyProgress
}

// verified is what is known of a blob, whichever image needs it.
type verified struct {
	once sync.Once
	err  error // fs.ErrNotExist if it is not there
}

func (v *verifier) tell(images int, bytes int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.progress.Images += images
	v.progress.Bytes += bytes
	if v.o.Progress != nil {
		v.o.Progress(v.progress)
	}
}

// image returns the best report that there is of an image.
func (v *verifier) image(ctx context.Context, w Want) (best Report, err error) {
	best = Report{Image: w.Image, Error: w.Error}
	for i, scope := range w.Scopes {
		r := Report{Image: w.Image, Upstream: identityOf(scope)}
		src := Stored{v.store, scope}
		err := Walk(ctx, src, w.Image.Reference(), v.o.Choice, func(p Part) error {
			part, err := v.part(ctx, src, p)
			r.Parts = append(r.Parts, part)
			r.Digest = cmp.Or(r.Digest, part.Digest)
			return err
		})
		if err != nil {
			return Report{}, err
		}
		r.conclude()
		if i == 0 || r.Complete || len(r.Parts) > len(best.Parts) ||
			len(r.Parts) == len(best.Parts) && r.missing() < best.missing() {
			best = r
		}
		if best.Complete {
			break
		}
	}
	return best, nil
}

// part looks for what one manifest points to. The error is one that says nothing
// about the image.
func (v *verifier) part(ctx context.Context, src Stored, p Part) (PartReport, error) {
	r := PartReport{Kind: p.Kind, Platform: p.Platform, Digest: p.Manifest.Digest, Blobs: len(p.Blobs)}
	if p.Kind == KindPlatform {
		r.Missing = []Missing{{Kind: string(p.Kind), Reason: noPlatform(p)}}
		return r, nil
	}
	if p.Err != nil {
		r.Missing = []Missing{{Kind: string(p.Kind), Digest: p.Manifest.Digest, Reason: p.Err.Error()}}
		return r, unless(p.Err)
	}
	for _, d := range p.Blobs {
		r.Bytes += max(d.Size, 0)
		err := v.blob(ctx, d)
		if err == nil {
			err = src.proven(ctx, d.Digest)
		}
		if err == nil {
			continue
		}
		if err := unless(err); err != nil {
			return r, err
		}
		r.Missing = append(r.Missing, Missing{Kind: blobKind(d), Digest: d.Digest, Reason: err.Error()})
	}
	r.Complete = len(r.Missing) == 0
	return r, nil
}

// noPlatform says what an image has in place of a platform.
func noPlatform(p Part) string {
	reason := "the image has none for " + p.Platform + nearest.Hint(p.Platform, p.Others)
	if len(p.Others) > 0 {
		reason += ": it has " + strings.Join(p.Others, ", ")
	}
	return reason
}

// unless returns an error that does not come from the image.
func unless(err error) error {
	if errors.Is(err, fs.ErrNotExist) || !broken(err) {
		return nil
	}
	return err
}

// broken reports whether the store or the caller has given up.
func broken(err error) bool {
	for _, one := range []error{storage.ErrClosed, storage.ErrNoIndex, storage.ErrGone, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// blob finds out about a blob, once.
func (v *verifier) blob(ctx context.Context, d oci.Descriptor) error {
	v.mu.Lock()
	b := v.blobs[d.Digest]
	if b == nil {
		b = new(verified)
		v.blobs[d.Digest] = b
	}
	v.mu.Unlock()
	b.once.Do(func() {
		trusted, err := v.store.HasBlob(ctx, d.Digest)
		read := err == nil && (v.o.Deep || !trusted)
		if read {
			err = v.store.VerifyBlobAt(ctx, d.Digest, v.pace, func(bytes int64) { v.tell(0, bytes) })
			if errors.Is(err, fs.ErrNotExist) {
				err = errDamaged
			}
		}
		b.err = plain(err)
		v.mu.Lock()
		if err == nil {
			v.totals.Blobs++
			v.totals.Bytes += max(d.Size, 0)
			if read {
				v.totals.Verified++
			}
		}
		v.mu.Unlock()
	})
	return b.err
}
