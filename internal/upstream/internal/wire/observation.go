package wire

import (
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// The operations, as Observation.Op names them.
const (
	OpPing         = "ping"
	OpToken        = "token"
	OpHeadManifest = "head_manifest"
	OpGetManifest  = "get_manifest"
	OpHeadBlob     = "head_blob"
	OpGetBlob      = "get_blob"
	OpTags         = "tags"
	OpReferrers    = "referrers"
)

// Observation tells of one HTTP request. Redirects and token requests are
// requests of their own.
type Observation struct {
	// Op is "ping", "token", "head_manifest", "get_manifest", "head_blob",
	// "get_blob", "tags" or "referrers".
	Op string
	// Repository is what it is about; empty = the registry as a whole.
	Repository string
	// Class is ClassNone for a good answer, for a redirect, and for a 401 that is
	// merely the challenge to authenticate.
	Class oci.Class
	// Status is that of the answer; 0 = none came.
	Status int
	// Duration is from the request to the header of the answer.
	Duration time.Duration
}
