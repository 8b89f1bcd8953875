package mirror_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// remote is the thinnest mirror.Remote: no authentication, no retries, so that
// every question of the mirror is one request that the upstream counts.
type remote struct {
	base   string
	client *http.Client
	// queued is what every body says to have in its queue; nil = it is not known.
	queued func() int64
}

func (r *remote) do(ctx context.Context, method, path string, code oci.Code, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+"/v2/"+path, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	res, err := r.client.Do(req)
	if err != nil {
		class := oci.ClassConnect
		if ctx.Err() != nil {
			class = oci.ClassCanceled
		}
		return nil, oci.UpstreamError(class, code, "no answer", err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	_ = res.Body.Close()
	class := oci.ClassStatus
	switch res.StatusCode {
	case http.StatusNotFound:
		class = oci.ClassNotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		class = oci.ClassDenied
	case http.StatusTooManyRequests:
		class = oci.ClassRateLimited
	}
	e := oci.UpstreamError(class, code, "an error from upstream", nil)
	e.UpstreamStatus = res.StatusCode
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return nil, e
}

// Resolve asks with HEAD, and with GET where that tells too little.
func (r *remote) Resolve(ctx context.Context, repository string, ref oci.Reference, _ func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	res, err := r.do(ctx, http.MethodHead, repository+"/manifests/"+ref.String(), oci.CodeManifestUnknown, nil)
	switch {
	case err == nil:
		_ = res.Body.Close()
		if d, err := oci.ParseDigest(res.Header.Get("Docker-Content-Digest")); err == nil && res.ContentLength > 0 {
			return oci.Descriptor{MediaType: res.Header.Get("Content-Type"), Digest: d, Size: res.ContentLength}, nil, nil
		}
	case oci.AsError(err).UpstreamStatus != http.StatusMethodNotAllowed:
		return oci.Descriptor{}, nil, err
	}
	m, err := r.Manifest(ctx, repository, ref)
	return m.Descriptor(), &m, err
}

func (r *remote) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	res, err := r.do(ctx, http.MethodGet, repository+"/manifests/"+ref.String(), oci.CodeManifestUnknown, nil)
	if err != nil {
		return oci.Manifest{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return oci.Manifest{}, oci.UpstreamError(oci.ClassConnect, "", "cut off", err)
	}
	return oci.Manifest{MediaType: res.Header.Get("Content-Type"), Digest: oci.Sum(raw), Bytes: raw}, nil
}

func (r *remote) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	res, err := r.do(ctx, http.MethodHead, repository+"/blobs/"+d.String(), oci.CodeBlobUnknown, nil)
	if err != nil {
		return -1, err
	}
	return res.ContentLength, res.Body.Close()
}

func (r *remote) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	header := http.Header{}
	switch {
	case length >= 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := r.do(ctx, http.MethodGet, repository+"/blobs/"+d.String(), oci.CodeBlobUnknown, header)
	if err != nil {
		return oci.BlobBody{}, err
	}
	if res.StatusCode == http.StatusOK {
		return oci.BlobBody{ReadCloser: res.Body, Size: res.ContentLength, Queued: r.queued}, nil
	}
	body := oci.BlobBody{ReadCloser: res.Body, Size: -1, Queued: r.queued}
	var end int64
	if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &body.Offset, &end, &body.Size); err != nil {
		_ = res.Body.Close()
		return oci.BlobBody{}, err
	}
	return body, nil
}

func (r *remote) Tags(ctx context.Context, repository string, at oci.TagsCursor) (oci.TagsPart, error) {
	res, err := r.do(ctx, http.MethodGet, repository+"/tags/list?"+at.Query, oci.CodeNameUnknown, nil)
	if err != nil {
		return oci.TagsPart{}, err
	}
	defer res.Body.Close()
	var list struct {
		Tags []string `json:"tags"`
	}
	err = json.NewDecoder(res.Body).Decode(&list)
	part := oci.TagsPart{Tags: list.Tags}
	if _, query, found := strings.Cut(res.Header.Get("Link"), "?"); found {
		part.Next.Query, _, _ = strings.Cut(query, ">")
	}
	return part, err
}

func (r *remote) Referrers(ctx context.Context, repository string, d digest.Digest) ([]oci.Descriptor, error) {
	res, err := r.do(ctx, http.MethodGet, repository+"/referrers/"+d.String(), oci.CodeManifestUnknown, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var index ocispec.Index
	err = json.NewDecoder(res.Body).Decode(&index)
	return index.Manifests, err
}
