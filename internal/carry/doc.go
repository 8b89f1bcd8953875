// Package carry brings images from a store into a bundle, and from a bundle into a
// store: across an air gap, without an upstream.
//
// # Export
//
// An Export is made up first, from names: which manifests and blobs there are, and
// what is missing. Then it is written, in the order of bundles, and each byte is
// compared with its digest once more on the way.
//
// # Import
//
// Blobs go into the store as they come, each only after it was verified: as a blob
// that no scope has a link to, which nobody can ask for. Manifests wait until the whole
// bundle was read and every image is known to be complete. Only then are they put:
// links of the blobs first, then the manifests, those of platforms before their index,
// and the tag last. So an image shows when all of it is there, and a bundle that
// turns out to be damaged shows nothing. What an import that was interrupted has
// brought in by then is found by the next one.
//
// An import counts as the word of the upstream: links are proven, and tags were checked
// at that moment.
package carry
