package registry

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Values of Cache-Control. no-transform keeps compression away from bytes that
// clients verify; Caddy's encode honours it. Content is private, because who
// may see it was decided for one user: a cache in front of the gateway must not
// give it to another one.
const (
	cacheForever = "private, max-age=31536000, immutable, no-transform"
	cacheChecked = "private, no-cache, no-transform"
	cacheNothing = "no-store, no-transform"
)

// noSniffing keeps browsers from taking what others have uploaded for something else
// than it is said to be.
const noSniffing = "X-Content-Type-Options"

// cached notes how the mirror answered and sets the headers that tell of it.
func (x *exchange) cached(status oci.CacheStatus) {
	x.answer.Cache = status
	if !x.asked && status.Result != "" && status.Result != oci.ResultHit {
		x.waited(x.answer.Began)
	}
	x.asked = true
	if s := status.String(); s != "" {
		x.set("Cache-Status", s)
	}
	if status.Fresh != nil {
		x.set("Age", strconv.FormatInt(max(int64(status.Age/time.Second), 0), 10))
	}
	if status.Result == oci.ResultStale {
		x.set("Warning", warning(x.answer.Request.Upstream, status))
	}
}

// warning is what containerd and others show to people who pull.
func warning(upstream string, status oci.CacheStatus) string {
	text := "stale: " + upstream + " gives no fresh answer"
	if status.Detail != "" {
		text += " (" + status.Detail + ")"
	}
	if status.Age > 0 {
		text += fmt.Sprintf(", last confirmed %s ago", status.Age.Round(time.Second))
	}
	return `299 - "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// describe sets the headers of a manifest or a blob, for GET and HEAD alike,
// and returns the entity tag. A manifest has only the useful ones, since writing and
// logging headers is most of what a hit costs: no client asks for a part of a manifest
// because of Accept-Ranges.
func (x *exchange) describe(mediaType string, d digest.Digest) (etag string) {
	x.answer.Digest = d
	etag = `"` + d.String() + `"`
	x.set("Content-Type", mediaType)
	x.set("Docker-Content-Digest", d.String())
	x.set("Etag", etag)
	if x.answer.Request.Kind == oci.KindBlob {
		x.set("Accept-Ranges", "bytes")
	}
	x.set(noSniffing, "nosniff")
	if x.answer.Request.Reference.IsDigest() {
		x.set("Cache-Control", cacheForever)
	} else {
		x.set("Cache-Control", cacheChecked)
	}
	return etag
}

// selectSpan decides which part of the content goes out and sets the headers of
// that; the error is the 416. Of several parts, sendParts sets them.
func (x *exchange) selectSpan(size int64, etag string) (s span, parts []span, status int, err error) {
	s, parts, ok := requestedSpan(x.r, size, etag)
	switch {
	case !ok:
		x.set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		return s, nil, 0, x.errRange(size)
	case parts != nil:
		return s, parts, http.StatusPartialContent, nil
	case s.partial:
		x.set("Content-Range", s.contentRange(size))
		status = http.StatusPartialContent
	default:
		status = http.StatusOK
	}
	x.set("Content-Length", strconv.FormatInt(s.length, 10))
	return s, nil, status, nil
}

// sendHead answers a HEAD for content of a known type and size.
func (x *exchange) sendHead(d oci.Descriptor) error {
	if d.Size < 0 {
		return errNoSize
	}
	x.describe(d.MediaType, d.Digest)
	x.set("Content-Length", strconv.FormatInt(d.Size, 10))
	x.commit(http.StatusOK)
	return nil
}
