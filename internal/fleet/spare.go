package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// metaSize is where a proof tells the size of what it is about, and metaPurge the last
// purge of that which it is newer than.
const (
	metaSize  = "size"
	metaPurge = "purge"
)

// presentProof is how it is remembered that a proof is in the bucket.
func presentProof(key, size, after string) string { return key + " " + size + " " + after }

// sharedTag is what a tag meant, in the bucket.
type sharedTag struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"type"`
	Size      int64         `json:"size"`
	// Checked is when a gateway was told so last before it wrote this, and Changed since
	// when it knew.
	Checked time.Time `json:"checked"`
	Changed time.Time `json:"changed"`
	// Purge is the last purge of the tag that this is newer than.
	Purge string `json:"purge,omitempty"`
}

// since reports whether the record is newer than all purges of the tag that are known.
func (t sharedTag) since(d *depot, scope oci.Scope, tag string) bool {
	return t.Purge >= d.covering(scope, oci.Reference{Tag: tag}) && t.Purge >= d.covering(scope, oci.Reference{Digest: t.Digest})
}

// sharedReferrers are what refers to a digest, in the bucket.
type sharedReferrers struct {
	Descriptors []oci.Descriptor `json:"descriptors"`
	Checked     time.Time        `json:"checked"`
	Purge       string           `json:"purge,omitempty"` // as in sharedTag
}

// maxRecord is more than any record in the bucket has.
const maxRecord = 1 << 20

// readRecord reads a record from an object, and closes it.
func readRecord(o bucket.Object, record any) error {
	defer o.Close()
	raw, err := io.ReadAll(io.LimitReader(o, maxRecord))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, record)
}

// record reads a record, which nobody else has.
func (d *depot) record(ctx context.Context, key string, record any) error {
	o, err := reader{d, true}.get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	return readRecord(o, record)
}

// resolveTag asks the upstream, and the bucket for the manifest. Where the upstream gives no
// answer, what the bucket has of a tag that is not known here goes into the store, as
// something stale.
func (r *remote) resolveTag(ctx context.Context, depot *depot, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(sparePatience, func() {
		defer r.fleet.survive("recall tag")
		if r.recallTag(ctx, depot, repository, ref.Tag) {
			cancel(errSpare)
		}
	})
	var shared *oci.Manifest
	known := func(d digest.Digest) bool {
		if held(d) {
			return true
		}
		if !r.lacking.Has(repository) {
			if found, err := r.sharedManifest(asking, reader{depot: depot}, repository, d); err == nil {
				shared = &found
			}
		}
		return shared != nil
	}
	if held == nil {
		known = nil
	}
	d, mf, err := r.Remote.Resolve(asking, repository, ref, known)
	if err == nil && mf == nil && shared != nil && shared.Digest == d.Digest {
		mf = shared
	}
	if !late.Stop() && errors.Is(context.Cause(asking), errSpare) && err != nil {
		return d, mf, oci.UpstreamError(oci.ClassTimeout, "", "the upstream did not answer in time", err)
	}
	if unanswered(err) {
		r.recallTag(context.WithoutCancel(ctx), depot, repository, ref.Tag)
	}
	return d, mf, err
}

var errSpare = errors.New("there is an old answer")

// recallTag puts what the bucket has of a tag into the store, unless it is known here.
func (r *remote) recallTag(ctx context.Context, depot *depot, repository, tag string) bool {
	records, scope := r.fleet.local.Records, r.scope(repository)
	if _, err := r.fleet.Records().Tag(ctx, scope, tag); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var t sharedTag
	if depot.record(ctx, tagKey(scope, tag), &t) != nil || !t.since(depot, scope, tag) {
		return false
	}
	depot.confirmTag(scope, tag)
	if _, err := oci.ParseDigest(t.Digest.String()); err != nil {
		return false
	}
	return records.PutTag(ctx, scope, tag, storage.Tag{
		Digest: t.Digest, MediaType: t.MediaType, Size: t.Size, Checked: r.stale(t.Checked), Changed: t.Changed,
	}) == nil
}

// Tags implements mirror.Remote. Of an upstream that is not asked, the tags in the bucket
// that are not known here go into the store.
func (r *remote) Tags(ctx context.Context, repository string, at oci.TagsCursor) (oci.TagsPart, error) {
	part, err := r.Remote.Tags(ctx, repository, at)
	if depot := r.fleet.depot.Load(); depot != nil && errors.Is(err, errOffline) && depot.reads.Open() == nil {
		r.recallTags(ctx, depot, repository)
	}
	return part, err
}

func (r *remote) recallTags(ctx context.Context, depot *depot, repository string) {
	ctx, cancel := context.WithTimeout(ctx, max(sparePatience, depot.budget))
	defer cancel()
	var group errgroup.Group
	group.SetLimit(readers)
	within := scopeKey(tagsAt, r.scope(repository))
	depot.counts.reads.Add(1)
	for o, err := range depot.objects.List(ctx, within, "") {
		if err != nil {
			depot.log.Debug("tags are not listed in the bucket", "error", err)
			break
		}
		group.Go(func() error {
			defer r.fleet.survive("recall tag")
			r.recallTag(ctx, depot, repository, strings.TrimPrefix(o.Key, within))
			return nil
		})
	}
	_ = group.Wait() // what is not read is not known
}

// stale returns when something was checked, but not so late that it would count as fresh.
func (r *remote) stale(checked time.Time) time.Time {
	if newest := time.Now().Add(-r.TagTTL); checked.After(newest) {
		return newest
	}
	return checked
}

// Referrers implements mirror.Remote. Where the upstream gives no answer, what the bucket
// has of referrers that are not known here goes into the store, as something stale.
func (r *remote) Referrers(ctx context.Context, repository string, d digest.Digest) ([]oci.Descriptor, error) {
	found, err := r.Remote.Referrers(ctx, repository, d)
	if depot := r.fleet.depot.Load(); depot != nil && unanswered(err) {
		found = r.recallReferrers(context.WithoutCancel(ctx), depot, repository, d)
		if found != nil && errors.Is(err, errOffline) {
			err = nil
		}
	}
	return found, err
}

func (r *remote) recallReferrers(ctx context.Context, depot *depot, repository string, d digest.Digest) []oci.Descriptor {
	records, scope := r.fleet.local.Records, r.scope(repository)
	if _, err := r.fleet.Records().Referrers(ctx, scope, d); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var known sharedReferrers
	if depot.record(ctx, referrersKey(scope, d), &known) != nil || known.Purge < depot.covering(scope, oci.Reference{Digest: d}) {
		return nil
	}
	known.Descriptors = slices.DeleteFunc(known.Descriptors, func(of oci.Descriptor) bool {
		_, err := oci.ParseDigest(of.Digest.String())
		return err != nil || of.Size < 0
	})
	err := records.PutReferrers(ctx, scope, d, storage.Referrers{Descriptors: known.Descriptors, Checked: r.stale(known.Checked)})
	if err != nil {
		r.fleet.log.Debug("referrers of the bucket not stored", "error", err)
	}
	return known.Descriptors
}
