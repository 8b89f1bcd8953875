package fleet

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

const layout = "v1/"

// The folders of the bucket.
const (
	blobsAt    = layout + "b/"
	manifestAt = layout + "m/"
	proofsAt   = layout + "l/"
	tagsAt     = layout + "t/"
	referrerAt = layout + "r/"
	probeAt    = layout + "probe"
	purgesAt   = layout + "x/"
	pinsAt     = layout + "p/"
	usesAt     = layout + "u/"
	reportAt   = layout + "report"
	markerAt   = layout + "news" // changes with each purge and pin
)

func blobKey(d digest.Digest) string { return blobsAt + contentName(d) }

func manifestKey(d digest.Digest) string { return manifestAt + contentName(d) }

func contentName(d digest.Digest) string { return d.Algorithm().String() + "/" + d.Encoded() }

func proofKey(s oci.Scope, d digest.Digest) string { return scopeKey(proofsAt, s) + digestName(d) }

func tagKey(s oci.Scope, tag string) string { return scopeKey(tagsAt, s) + tag }

func referrersKey(s oci.Scope, d digest.Digest) string {
	return scopeKey(referrerAt, s) + digestName(d)
}

func digestName(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

// scopeKey is what the keys of a scope in a folder begin with. No component of a
// repository's name is an underscore, so that no key lies below another one, which servers
// on a file system could not have.
func scopeKey(folder string, s oci.Scope) string {
	return folder + strings.ReplaceAll(s.Upstream, "#", "~") + "/" + s.Repository + "/_/"
}
