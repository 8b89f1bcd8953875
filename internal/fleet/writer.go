package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
)

// writer writes to the bucket what the gateway has.
type writer struct {
	depot *depot
	fleet *Fleet
	// asOf is when the log of purges was read last before an upload began; zero = what is
	// written does not rest on that.
	asOf time.Time
}

// do does one upload. What the gateway has not any more, or cannot read, is nothing to
// upload.
func (w writer) do(ctx context.Context, j job) error {
	w.asOf = w.depot.purges.kept.get().Read
	switch j.kind {
	case blob:
		return w.blob(ctx, j.digest)
	case manifest:
		return w.manifest(ctx, j.digest)
	case linked:
		return w.link(ctx, j.scope, j.digest)
	case refuted:
		return w.unlink(ctx, j.scope, j.digest)
	case tagged:
		return w.tag(ctx, j.scope, j.name)
	case forgotten:
		return w.forget(ctx, j.scope, j.name)
	case referred:
		return w.referrers(ctx, j.scope, j.digest)
	default:
		return w.remove(ctx, j.digest, j.name)
	}
}

// blob uploads a blob, unless it is there. A wrong one is replaced.
func (w writer) blob(ctx context.Context, d digest.Digest) error {
	key := blobKey(d)
	if w.depot.present.Has(key) {
		return nil
	}
	served, size, err := w.fleet.local.Blobs.ServeBlob(ctx, d)
	if err != nil {
		return nil // see do
	}
	defer served.Close()
	absent, err := w.lacks(ctx, key, size)
	if err != nil || !absent {
		return err
	}
	return w.put(ctx, d, key, served, size, bucket.PutOptions{})
}

// lacks reports whether an object of such a size is missing. One of another size is wrong.
func (w writer) lacks(ctx context.Context, key string, size int64) (bool, error) {
	if w.depot.wrong.Has(key) {
		return true, nil
	}
	info, err := w.stat(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case info.Size != size:
		w.depot.wrong.Add(key, distrustFor)
		return true, nil
	}
	w.depot.present.Add(key, presentFor)
	return false, nil
}

func (w writer) stat(ctx context.Context, key string) (bucket.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, writeBudget)
	defer cancel()
	return w.depot.objects.Head(ctx, key)
}

// put writes an object that is named by its digest: it makes no difference who is first.
func (w writer) put(ctx context.Context, d digest.Digest, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	replaces := w.depot.wrong.Has(key)
	o.IfAbsent, o.SHA256 = !replaces, sha256Of(d)
	if err := failure(w.depot.put(ctx, key, content, size, o)); err != nil {
		return err
	}
	w.depot.present.Add(key, presentFor)
	if !w.depot.wrong.Drop(key) && replaces { // it was removed meanwhile, perhaps after this
		w.again(d, key)
	}
	return nil
}

// again uploads what may be gone, whether it is a blob or a manifest.
func (w writer) again(d digest.Digest, key string) {
	w.depot.present.Drop(key)
	w.depot.uploads.add(job{kind: blob, digest: d}, job{kind: manifest, digest: d})
}

// sha256Of returns what S3 compares bytes with; empty = the digest is another hash.
func sha256Of(d digest.Digest) string {
	if d.Algorithm() != digest.SHA256 {
		return ""
	}
	return d.Encoded()
}

// manifest uploads a manifest.
func (w writer) manifest(ctx context.Context, d digest.Digest) error {
	key := manifestKey(d)
	if w.depot.present.Has(key) {
		return nil
	}
	mf, err := w.fleet.local.Records.Manifest(ctx, d)
	if err != nil {
		return nil //nolint:nilerr // see do
	}
	return w.put(ctx, d, key, bytes.NewReader(mf.Bytes), int64(len(mf.Bytes)), bucket.PutOptions{ContentType: mf.MediaType})
}

// link uploads the proof that a digest is a scope's.
func (w writer) link(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	after := w.depot.covering(scope, oci.Reference{Digest: d}) // before it is known to be newer
	link, err := w.fleet.Records().Linked(ctx, scope, d)
	if err != nil || !link.Proven {
		return nil //nolint:nilerr // see do
	}
	key, meta := proofKey(scope, d), map[string]string{metaSize: strconv.FormatInt(link.Size, 10)}
	if after != "" {
		meta[metaPurge] = after
	}
	present := presentProof(key, meta[metaSize], after)
	if w.depot.present.Has(present) {
		return nil
	}
	err = w.inTime(key, w.depot.put(ctx, key, bytes.NewReader(nil), 0, bucket.PutOptions{Meta: meta}))
	if err == nil {
		w.depot.present.Add(present, presentFor)
	}
	return err
}

// unlink removes the proof that a digest is a scope's, unless it has been shown again.
func (w writer) unlink(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	link, err := w.fleet.local.Records.Linked(ctx, scope, d)
	if err != nil || link.Proven {
		return nil //nolint:nilerr // see do
	}
	key := proofKey(scope, d)
	w.depot.present.Drop(presentProof(key, strconv.FormatInt(link.Size, 10), w.depot.covering(scope, oci.Reference{Digest: d})))
	return w.drop(ctx, key)
}

// tag uploads what a tag means, after its manifest, unless another gateway was told of it
// later.
func (w writer) tag(ctx context.Context, scope oci.Scope, name string) error {
	after := w.depot.covering(scope, oci.Reference{Tag: name})
	t, err := w.fleet.Records().Tag(ctx, scope, name)
	if err != nil {
		return nil //nolint:nilerr // see do
	}
	if after = max(after, w.depot.covering(scope, oci.Reference{Digest: t.Digest})); w.depot.outdated(scope, name, t) {
		return nil
	}
	if err := w.manifest(ctx, t.Digest); err != nil {
		return err
	}
	key := tagKey(scope, name)
	for range maxTries {
		var old sharedTag
		etag, err := w.read(ctx, key, &old)
		switch {
		case err != nil:
			return err
		case old.Purge >= after && (old.Digest == t.Digest || old.Checked.After(t.Checked)):
			return nil
		}
		record := sharedTag{Digest: t.Digest, MediaType: t.MediaType, Size: t.Size, Checked: t.Checked, Changed: t.Changed, Purge: after}
		err = w.write(ctx, key, record, bucket.PutOptions{IfMatch: etag, IfAbsent: etag == ""})
		if !errors.Is(err, bucket.ErrChanged) {
			return err
		}
	}
	return nil // others are faster
}

// forget removes what a tag meant, unless it means something again.
func (w writer) forget(ctx context.Context, scope oci.Scope, name string) error {
	if _, err := w.fleet.local.Records.Tag(ctx, scope, name); !errors.Is(err, fs.ErrNotExist) {
		return nil // see do
	}
	return w.drop(ctx, tagKey(scope, name))
}

// referrers uploads what refers to a digest.
func (w writer) referrers(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	after := w.depot.covering(scope, oci.Reference{Digest: d})
	r, err := w.fleet.Records().Referrers(ctx, scope, d)
	if err != nil {
		return nil //nolint:nilerr // see do
	}
	return w.write(ctx, referrersKey(scope, d), sharedReferrers{Descriptors: r.Descriptors, Checked: r.Checked, Purge: after}, bucket.PutOptions{})
}

// remove removes an object that is wrong, unless it was replaced.
func (w writer) remove(ctx context.Context, d digest.Digest, key string) error {
	if !w.depot.wrong.Has(key) {
		return nil
	}
	err := w.drop(ctx, key)
	if err == nil && !w.depot.wrong.Drop(key) { // an upload has replaced it meanwhile, perhaps before this
		w.again(d, key)
	}
	return err
}

func (w writer) drop(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, writeBudget)
	defer cancel()
	w.depot.counts.writes.Add(1)
	return w.depot.objects.Delete(ctx, key)
}

// read reads a record that is about to be replaced, and returns its ETag; empty = there is
// none.
func (w writer) read(ctx context.Context, key string, record any) (etag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeBudget)
	defer cancel()
	o, err := w.depot.objects.Get(ctx, key, 0, -1)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	_ = readRecord(o, record) // one that cannot be read is replaced
	return o.ETag, nil
}

func (w writer) write(ctx context.Context, key string, record any, o bucket.PutOptions) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	o.ContentType = "application/json"
	return w.inTime(key, w.depot.put(ctx, key, bytes.NewReader(raw), int64(len(raw)), o))
}

// inTime returns how a record was written, and has it removed if it has come so late, as from
// a process that was paused, that purges may be gone which it is not newer than.
func (w writer) inTime(key string, err error) error {
	if w.asOf.IsZero() || !outlived(w.asOf, time.Now()) {
		return err
	}
	w.depot.uploads.behind.Store(true)
	w.depot.wrong.Add(key, distrustFor)
	w.depot.uploads.add(job{kind: wrong, name: key})
	return bucket.ErrChanged
}
