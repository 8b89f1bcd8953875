// Package image knows what an image consists of: an index, the manifests of its
// platforms, and what these point to. On top of that it finds out whether images
// are complete in a store (Verify), and brings them there (Preload).
//
// # What counts
//
// Without a choice of platforms, an image is everything that its index names,
// attestations of its build included. With one, it is the index and what these
// platforms need. An index that lacks a chosen platform is no less complete, as long
// as it has one of them: an image for one architecture has its place in a cluster
// of two. Layers that licences keep out of registries (foreign, nondistributable)
// never count. What an index lists and is no manifest by its type is a blob: so
// BuildKit writes its cache.
//
// With referrers, it is also whatever says of one of these manifests that it refers
// to it, by the referrers API or under a tag of cosign's, and attestations.
//
// # Cached
//
// Complete is what a mirror answers without asking its upstream: the bytes are in
// the store, and the upstream has confirmed that they belong to this very
// repository.
package image
