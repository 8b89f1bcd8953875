package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// sharedBy is what content from another gateway says of itself.
const sharedBy = "peer"

// Told is what a member says of a tag.
type Told struct {
	oci.Descriptor

	// Age is how long ago at the most the upstream said so; Dated = it is known.
	Age   time.Duration
	Dated bool
	// Stale says that the upstream could not be asked now.
	Stale bool

	took time.Duration // until the answer was here
}

// Within reports whether the upstream has said so within a time, or since it was asked.
func (t Told) Within(ttl time.Duration) bool {
	return t.Dated && !t.Stale && (t.Age < ttl || t.Age <= 2*t.took)
}

// Resolve asks for type, digest and size of a manifest.
func (p Peer) Resolve(ctx context.Context, repository string, ref oci.Reference) (Told, error) {
	began := time.Now()
	a, err := p.send(ctx, request{method: http.MethodHead, repository: repository, path: "manifests/" + ref.String(), patience: p.group.o.Patience})
	if err != nil {
		return Told{}, err
	}
	defer a.close()
	t := Told{took: time.Since(began), Stale: a.Header.Values(headerStale) != nil}
	if age, err := time.ParseDuration(a.Header.Get(headerAge)); err == nil && age >= 0 {
		t.Age, t.Dated = age+t.took, true
	}
	d, err := oci.ParseDigest(a.Header.Get("Docker-Content-Digest"))
	if err != nil || ref.IsDigest() && d != ref.Digest || a.ContentLength <= 0 {
		return Told{}, fmt.Errorf("ask gateway %s: no descriptor of %s", p.address, ref)
	}
	t.Descriptor = oci.Descriptor{MediaType: a.Header.Get("Content-Type"), Digest: d, Size: a.ContentLength}
	return t, nil
}

// Manifest asks for a manifest. Its bytes match the digest.
func (p Peer) Manifest(ctx context.Context, repository string, d digest.Digest) (oci.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, p.group.o.Patience)
	defer cancel()
	a, err := p.send(ctx, request{method: http.MethodGet, repository: repository, path: "manifests/" + d.String(), patience: p.group.o.Patience})
	if err != nil {
		return oci.Manifest{}, err
	}
	defer a.close()
	raw, err := io.ReadAll(io.LimitReader(a.Body, oci.MaxManifestSize+1))
	p.group.counts.received.Add(int64(len(raw)))
	if err == nil && !oci.Verify(d, raw) {
		err = errors.New("its bytes do not match")
	}
	if err != nil {
		return oci.Manifest{}, fmt.Errorf("get manifest %s of gateway %s: %w", d, p.address, err)
	}
	mediaType, contents, err := oci.DecodeManifest(a.Header.Get("Content-Type"), raw)
	if err != nil {
		return oci.Manifest{}, err
	}
	return oci.Manifest{MediaType: mediaType, Digest: d, Bytes: raw, Contents: &contents, Shared: sharedBy}, nil
}

// HeadBlob asks for the size of a blob.
func (p Peer) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	a, err := p.send(ctx, request{method: http.MethodHead, repository: repository, path: "blobs/" + d.String(), patience: p.group.o.Patience})
	if err != nil {
		return -1, err
	}
	a.close()
	return a.ContentLength, nil
}

// Blob asks for the bytes [offset, offset+length) of a blob, to the end if length is
// negative. The body is not verified. It ends in io.ErrUnexpectedEOF when it was cut, as
// it is once the member is lost. Silence does not end it: the member may be waiting for
// its upstream.
func (p Peer) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	q := request{method: http.MethodGet, repository: repository, path: "blobs/" + d.String(), patience: blobPatience, header: http.Header{}}
	switch {
	case length > 0:
		q.header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	a, err := p.send(ctx, q)
	if err != nil {
		return oci.BlobBody{}, err
	}
	opened := oci.BlobBody{ReadCloser: &body{asked: a, peer: p, caller: ctx}, Size: a.ContentLength, Shared: sharedBy}
	if a.StatusCode == http.StatusPartialContent {
		var last int64
		n, _ := fmt.Sscanf(a.Header.Get("Content-Range"), "bytes %d-%d/%d", &opened.Offset, &last, &opened.Size)
		if n != 3 || opened.Offset != offset || a.ContentLength != last-offset+1 {
			a.close()
			return oci.BlobBody{}, fmt.Errorf("get blob %s of gateway %s: another range than was asked for", d, p.address)
		}
	}
	return opened, nil
}

// body is a blob that is read from a member.
type body struct {
	*asked

	peer   Peer
	caller context.Context
}

// Read implements io.Reader. An end that comes too early is io.ErrUnexpectedEOF, whatever
// the reason: others have the rest.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	b.peer.group.counts.received.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) && b.caller.Err() == nil {
		if b.peer.lost.Err() != nil {
			err = errLost
		}
		err = fmt.Errorf("read from gateway %s: %w", b.peer.address, errors.Join(io.ErrUnexpectedEOF, err))
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.close()
	return nil
}

// close ends an answer.
func (a *asked) close() {
	_ = a.Body.Close()
	a.end()
}
