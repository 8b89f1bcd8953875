package oci

import (
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kind is what a request asks for. It is a metric label.
type Kind string

// The kinds.
const (
	KindPing      Kind = "ping"
	KindManifest  Kind = "manifest"
	KindBlob      Kind = "blob"
	KindTags      Kind = "tags"
	KindReferrers Kind = "referrers"
)

// Request is one parsed request of the pull API. The wire makes it; nothing
// else ever parses a path.
type Request struct {
	Kind Kind
	// Upstream is the configured name, aliases resolved; empty for a bare ping.
	Upstream string
	// Repository is the canonical name at the upstream, "library/" included.
	Repository string
	// Name is the repository as the client spelled it, prefix included; it goes
	// back to the client in tag lists.
	Name string
	// Reference is set for manifests, its Digest for blobs and referrers.
	Reference Reference
	// Ranged says that the client asks for a range of a blob.
	Ranged bool
	// User is whom Caddy authenticated; empty = nobody.
	User string
	// Client is whom limits count for: the user, and the network that the request
	// came from. Empty = no limits.
	Client string
}

// Descriptor is the descriptor of the image spec.
type Descriptor = ocispec.Descriptor

// Spool is content that is written to a file as it comes, for the kernel to send
// what is there.
type Spool interface {
	// Next waits as a Read does until there are bytes at the position, and returns
	// the file, positioned at them, and how many they are. The receiver may read them
	// from it, and nothing after them, and seeks past what it has got. A nil file
	// means that a Read goes on from here. The file is the receiver's alone, but
	// closed with the content.
	Next() (file *os.File, n int64, err error)
}

// Blob is the open content of one blob of known size.
//
// Content reads and seeks like a file of Size bytes. If the blob lies finished in
// the store, File is the bare file below it, for the kernel to send: the position
// is the same, and closing is left to Content. Otherwise File is nil, a Read waits
// for bytes that are still under way, and the last byte and io.EOF come only after
// the whole blob was verified: any other error means that the body cannot be
// completed, and the connection must be aborted; Content may be a Spool then. Who
// reads less than the whole of it asks the Filling, which Content is then unless all
// bytes of it are verified. Not safe for concurrent use. The receiver closes Content.
//
// A blob with a Location has neither: the client gets it there.
type Blob struct {
	Digest   digest.Digest
	Size     int64
	Content  io.ReadSeekCloser
	File     *os.File
	Location string
}

// BlobBody is one upstream answer to a GET of a blob.
type BlobBody struct {
	io.ReadCloser
	// Offset is where the body begins. It is less than the offset that was
	// asked for, namely 0, if the upstream ignores ranges.
	Offset int64
	// Size is that of the whole blob; -1 if the upstream does not say.
	Size int64
	// Shared says who has sent it in place of the upstream, such as "bucket"; empty = the
	// upstream itself has.
	Shared string
	// Queued returns how many bytes have come in that were not read yet, as far as
	// that is known; nil = it is not. It is for the reader: after the end it may tell
	// of another body on the same connection.
	Queued func() int64
}

// TagsPage selects a page of a tag list, as a client asks for it.
type TagsPage struct {
	// N is the greatest number of tags wanted; -1 = the client did not say.
	N int
	// Last is the tag after which the page begins; empty = at the start.
	Last string
}

// TagList is one page of a tag list, as a client gets it.
type TagList struct {
	Tags []string
	// More says that others may follow: after the last of Tags, which are not empty
	// then.
	More bool
}

// TagsCursor leads to one page of an upstream's tag list. The upstream's client
// makes it from what the page before says, and alone understands it; it never goes
// to a client. The zero value leads to the first page.
type TagsCursor struct{ Endpoint, Query string }

// TagsPart is one page of an upstream's tag list.
type TagsPart struct {
	Tags []string
	// Next leads to the page after it; the zero value = this is the last one.
	Next TagsCursor
}
