package image

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Want is an image that is looked for.
type Want struct {
	Image imagelist.Image
	// Scopes are where it may lie; it has to be complete in one of them.
	Scopes []oci.Scope
	// Error says that it is not looked for, and why: nobody has such an upstream.
	Error string
}

// Report is how complete one image is.
type Report struct {
	Image imagelist.Image `json:"image"`
	// Upstream is the identity of the upstream, where it is not its name.
	Upstream string `json:"upstream,omitempty"`
	// Digest is that of the index, or of the manifest if there is none.
	Digest   digest.Digest `json:"digest,omitempty"`
	Complete bool          `json:"complete"`
	Parts    []PartReport  `json:"parts,omitempty"`
	// Stale says why its tag could not be confirmed when the image was pulled.
	Stale string `json:"stale,omitempty"`
	// Error says why it could not be found out, or pulled.
	Error string `json:"error,omitempty"`
}

// PartReport is how complete one manifest of an image is.
type PartReport struct {
	Kind     Kind          `json:"kind"`
	Platform string        `json:"platform,omitempty"`
	Digest   digest.Digest `json:"digest,omitempty"`
	Complete bool          `json:"complete"`
	// Blobs that it names, config and layers, and their size in bytes as it tells.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Missing is what is not there of it.
	Missing []Missing `json:"missing,omitempty"`
}

// Missing is something that is not there.
type Missing struct {
	// Kind is that of a manifest, or config or blob.
	Kind   string        `json:"kind"`
	Digest digest.Digest `json:"digest,omitempty"`
	Reason string        `json:"reason"`
}

// missing returns how many things are.
func (r *Report) missing() (n int) {
	for _, p := range r.Parts {
		n += len(p.Missing)
	}
	return n
}

// conclude makes the report complete if its parts are, and one of them can be run or
// is the whole.
func (r *Report) conclude() {
	found := false
	r.Complete = r.Error == ""
	for _, p := range r.Parts {
		found = found || p.Kind == KindManifest
		r.Complete = r.Complete && (p.Complete || p.Kind == KindPlatform)
	}
	r.Complete = r.Complete && found
}

// Totals sums up what was found, each blob counted once.
type Totals struct {
	Images   int `json:"images"`
	Complete int `json:"complete"`
	// Blobs are those that are cached; Verified were read.
	Blobs    int64 `json:"blobs"`
	Bytes    int64 `json:"bytes"`
	Verified int64 `json:"verified"`
}

// Lacked returns the platforms that were chosen, and that none of the images has
// where others are complete.
func Lacked(reports []Report) (platforms []string) {
	times, complete := map[string]int{}, 0
	for i := range reports {
		for _, p := range reports[i].Parts {
			if p.Kind == KindPlatform {
				times[p.Platform]++
			}
		}
		if reports[i].Complete {
			complete++
		}
	}
	for platform, n := range times {
		if n == len(reports) && complete > 0 {
			platforms = append(platforms, platform)
		}
	}
	slices.Sort(platforms)
	return platforms
}

// blobKind is what a missing blob is called.
func blobKind(d oci.Descriptor) string {
	if configTypes[d.MediaType] {
		return "config"
	}
	return "blob"
}

// identityOf returns what a report says of a scope.
func identityOf(s oci.Scope) string {
	if oci.UpstreamName(s.Upstream) == s.Upstream {
		return ""
	}
	return s.Upstream
}

var _ Source = Stored{(*storage.Store)(nil), oci.Scope{}}
