package fleet_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

const imageType = "application/vnd.oci.image.manifest.v1+json"

// How an upstream of the model behaves.
type mood int

const (
	honest mood = iota
	down
	lying   // says that it has what it has not, and sends zeros
	corrupt // sends a wrong byte
	cutting // ends too early
	moods
)

// origin is an upstream of the model, and the mirror.Remote of that.
type origin struct {
	name     string
	isolated bool
	contents map[digest.Digest]oci.Manifest // of blobs, too

	mu   sync.Mutex
	rand *rand.Rand
	mood mood
	has  map[string]bool          // by repository and digest
	tags map[string]digest.Digest // by repository
	// words are what it said that it has, and truths what it had then.
	words, truths map[string]bool
}

func key(repository string, d digest.Digest) string { return repository + "@" + d.String() }

func (o *origin) reset() {
	o.has, o.tags, o.words, o.truths = map[string]bool{}, map[string]digest.Digest{}, map[string]bool{}, map[string]bool{}
}

// said returns whether it has ever said that it has something, and whether it had it then.
func (o *origin) said(repository string, d digest.Digest) (word, truth bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.words[key(repository, d)], o.truths[key(repository, d)]
}

// take has it have said truly that it has something.
func (o *origin) take(repository string, d digest.Digest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.words[key(repository, d)], o.truths[key(repository, d)] = true, true
}

// look returns what it has, and how it is at the moment.
func (o *origin) look(repository string, ref oci.Reference) (content oci.Manifest, has bool, now mood, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := ref.Digest
	if ref.Tag == "t" {
		d = o.tags[repository]
	}
	content, has = o.contents[d], o.has[key(repository, d)]
	switch {
	case o.mood == down:
		err = oci.UpstreamError(oci.ClassConnect, "", "down", nil)
	case !has && o.mood != lying:
		err = oci.UpstreamError(oci.ClassNotFound, oci.CodeBlobUnknown, "unknown", nil)
	default:
		o.words[key(repository, d)], o.truths[key(repository, d)] = true, has || o.truths[key(repository, d)]
	}
	content.Digest = d
	return content, has, o.mood, err
}

func (o *origin) Resolve(_ context.Context, repository string, ref oci.Reference, _ func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	content, _, _, err := o.look(repository, ref)
	return content.Descriptor(), nil, err
}

func (o *origin) Manifest(_ context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	content, has, now, err := o.look(repository, ref)
	if err != nil {
		return oci.Manifest{}, err
	}
	if !has || now == corrupt || now == cutting {
		content.Bytes = append(bytes.Clone(content.Bytes), ' ')
	}
	return content, nil
}

func (o *origin) HeadBlob(_ context.Context, repository string, d digest.Digest) (int64, error) {
	content, _, _, err := o.look(repository, oci.Reference{Digest: d})
	return int64(len(content.Bytes)), err
}

func (o *origin) Blob(_ context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	content, has, now, err := o.look(repository, oci.Reference{Digest: d})
	if err != nil {
		return oci.BlobBody{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	raw := content.Bytes
	switch {
	case !has:
		raw = make([]byte, len(raw))
	case now == corrupt:
		raw = bytes.Clone(raw)
		raw[o.rand.IntN(len(raw))] ^= 1
	}
	size := int64(len(raw))
	if length < 0 {
		length = size - offset
	}
	raw = raw[min(offset, size):min(offset+length, size)]
	body := io.Reader(bytes.NewReader(raw))
	if now == cutting {
		body = io.MultiReader(bytes.NewReader(raw[:o.rand.IntN(len(raw)+1)]), failing{io.ErrUnexpectedEOF})
	}
	return oci.BlobBody{ReadCloser: io.NopCloser(body), Offset: offset, Size: size}, nil
}

func (o *origin) Tags(context.Context, string, oci.TagsCursor) (oci.TagsPart, error) {
	return oci.TagsPart{}, nil
}

func (o *origin) Referrers(context.Context, string, digest.Digest) ([]oci.Descriptor, error) {
	return nil, nil
}

// send sends a request to a gateway, and returns what came.
func send(g *gateway, r oci.Request) (d digest.Digest, raw []byte, status oci.CacheStatus, err error) {
	d = r.Reference.Digest
	if r.Kind == oci.KindManifest {
		mf, status, err := g.mirror.Manifest(g.t.Context(), r)
		if err != nil {
			return d, nil, status, err
		}
		return mf.Digest, mf.Bytes, status, nil
	}
	b, status, err := g.mirror.Blob(g.t.Context(), r)
	if err != nil {
		return d, nil, status, err
	}
	defer b.Content.Close()
	raw, err = io.ReadAll(b.Content)
	return d, raw, status, err
}
