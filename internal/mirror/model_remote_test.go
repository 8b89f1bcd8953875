package mirror_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// How an upstream of the model behaves.
type mood int

const (
	honest   mood = iota
	stalling      // honest, but stops within a blob until everybody else was answered
	down
	lying   // says that it has what it has not, and sends zeros, or nothing
	corrupt // sends a wrong byte
	cutting // sends zeros, and ends too early
	moods
)

// origin is an upstream of the model. It is the mirror.Remote of that, too.
type origin struct {
	name     string
	isolated bool
	users    []string

	mu       sync.Mutex
	rand     *rand.Rand
	mood     mood
	has      map[oci.Scope]map[digest.Digest]bool
	tags     map[oci.Scope]digest.Digest
	contents map[digest.Digest]oci.Manifest // of blobs, too
	open     chan struct{}
	sampled  map[digest.Digest]bool
	told     map[string]bool // what it said that it has, also to who asked behind a stale answer
}

func toldKey(s oci.Scope, d digest.Digest) string { return s.String() + "@" + d.String() }

func (o *origin) scope(repository string) oci.Scope {
	return oci.Scope{Upstream: o.name, Repository: repository}
}

func (o *origin) coin(n int) bool { return o.rand.IntN(n) == 0 }

// look returns what it says about something, and how it is at the moment.
func (o *origin) look(repository string, d digest.Digest) (content oci.Manifest, has bool, now mood, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	content, has = o.contents[d], o.has[o.scope(repository)][d]
	switch {
	case o.mood == down:
		err = oci.UpstreamError(oci.ClassConnect, "", "down", nil)
	case !has && o.mood != lying:
		err = oci.UpstreamError(oci.ClassNotFound, oci.CodeBlobUnknown, "unknown", nil)
	default:
		o.told[toldKey(o.scope(repository), d)] = has || o.told[toldKey(o.scope(repository), d)]
		o.told["word "+toldKey(o.scope(repository), d)] = true
	}
	return content, has, o.mood, err
}

func (o *origin) Resolve(_ context.Context, repository string, ref oci.Reference, _ func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	d := ref.Digest
	if ref.Tag != "" {
		d = o.tag(repository)
	}
	content, _, _, err := o.look(repository, d)
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	content.Digest = d
	return content.Descriptor(), nil, nil
}

// gave reports whether it has answered for something truly, or by a word that is enough
// where it has shown to have it.
func (o *origin) gave(s oci.Scope, d digest.Digest, shown bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.told[toldKey(s, d)] || shown && o.told["word "+toldKey(s, d)]
}

// tag returns what the tag means; a liar names anything.
func (o *origin) tag(repository string) digest.Digest {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mood == lying {
		for d, content := range o.contents {
			if content.MediaType != "" {
				return d
			}
		}
	}
	return o.tags[o.scope(repository)]
}

func (o *origin) Manifest(_ context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	d := ref.Digest
	if ref.Tag != "" {
		d = o.tag(repository)
	}
	content, has, now, err := o.look(repository, d)
	if err != nil {
		return oci.Manifest{}, err
	}
	content.Digest = d
	if !has || now == corrupt || now == cutting {
		content.Bytes = append(bytes.Clone(content.Bytes), ' ')
	}
	return content, nil
}

func (o *origin) HeadBlob(_ context.Context, repository string, d digest.Digest) (int64, error) {
	content, _, _, err := o.look(repository, d)
	return int64(len(content.Bytes)), err
}

func (o *origin) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	content, has, now, err := o.look(repository, d)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		return oci.BlobBody{}, err
	case !has && o.coin(3):
		return oci.BlobBody{}, oci.UpstreamError(oci.ClassNotFound, oci.CodeBlobUnknown, "unknown", nil)
	case length == 64<<10:
		o.sampled[d] = true
	}
	raw := content.Bytes
	switch {
	case !has:
		raw = make([]byte, len(raw))
	case now == corrupt:
		raw = bytes.Clone(raw)
		raw[o.rand.IntN(len(raw))] ^= 1
	case now == cutting && o.coin(2):
		raw = make([]byte, len(raw))
	}
	size := int64(len(raw))
	if length < 0 {
		length = size - offset
	}
	raw = raw[min(offset, size):min(offset+length, size)]
	body := &modelBody{ctx: ctx, raw: raw, stop: len(raw) + 1, end: io.EOF}
	switch now {
	case cutting:
		body.raw, body.end = raw[:o.rand.IntN(len(raw)+1)], io.ErrUnexpectedEOF
	case stalling:
		body.stop, body.open = o.rand.IntN(len(raw)+1), o.open
	}
	return oci.BlobBody{ReadCloser: body, Offset: offset, Size: size}, nil
}

func (o *origin) Tags(context.Context, string, oci.TagsCursor) (oci.TagsPart, error) {
	return oci.TagsPart{}, nil
}

func (o *origin) Referrers(context.Context, string, digest.Digest) ([]oci.Descriptor, error) {
	return nil, nil
}

// modelBody stops at a byte until it is opened.
type modelBody struct {
	ctx  context.Context
	raw  []byte
	at   int
	stop int
	open <-chan struct{}
	end  error
}

func (b *modelBody) Read(p []byte) (int, error) {
	if b.at >= b.stop && b.open != nil {
		select {
		case <-b.open:
			b.open = nil
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	if b.at == len(b.raw) {
		return 0, b.end
	}
	upTo := len(b.raw)
	if b.open != nil {
		upTo = min(upTo, b.stop)
	}
	n := copy(p, b.raw[b.at:upTo])
	b.at += n
	return n, nil
}

func (b *modelBody) Close() error { return nil }
