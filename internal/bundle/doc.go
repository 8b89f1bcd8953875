// Package bundle reads and writes images as files: OCI image layouts as a folder,
// a tar or a compressed tar, and, to read only, what docker save writes. It knows
// no store and no Caddy.
//
// # A bundle
//
// A bundle is an image layout of the image spec (image-layout.md) that this package
// has written. Beyond what the spec asks for,
//
//   - the descriptors in index.json carry the whole name of their image,
//     "docker.io/library/alpine:3.20", in org.opencontainers.image.ref.name and
//     io.containerd.image.name, and, where the image is an index, the digests of
//     those of its manifests that are in the bundle;
//   - in a tar, index.json comes first, and each manifest before what it points to.
//     So a bundle can be read in one pass, with everything known of a blob
//     before its first byte;
//   - the same content makes the same bytes: no times, no users, names in order;
//   - an image of an upstream that need not answer everybody says so, and the file
//     is for its owner only;
//   - one that continues others has the digests of their index.json, and leaves
//     out the blobs that they have for the same repository. It has all its manifests.
//
// # Trust
//
// Nothing that is read is trusted. A Reader hands out manifests that were verified,
// and blobs whose io.EOF means that size and digest are right. Names that lead
// out of the bundle, entries that come twice, links, sparse files, sizes that
// contradict each other, and ends that come too early are errors that name the
// entry, all of them *DamageError. What no image needs is not read. Lists have
// limits, so that a small file does not become much memory.
//
// This is why the readers are our own: go-containerregistry's layout and tarball
// read documents of any size, verify no content, and need a folder, or a tar that is
// not compressed and is searched from its start for each entry. See
// docs/decisions/0009-own-readers-of-layouts.md.
package bundle
