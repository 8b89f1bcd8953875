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
// What will show, and which tags move, is known from the index of the bundle, and reported
// before anything is read.
//
// Blobs go into the store as they come, each only after it was verified: as a blob
// that no scope has a link to, which nobody can ask for. Manifests wait until the whole
// bundle was read and every image is known to be complete. Only then are they put:
// links of the blobs first, then the manifests, those of platforms before their index,
// and the tag last. So an image shows when all of it is there, and a bundle that
// turns out to be damaged shows nothing. What an import that was interrupted has
// brought in by then is found by the next one.
//
// An import counts as the word of the upstream, for what the bundle holds: links to
// that are proven, and tags were checked at that moment. A digest that a manifest of the
// bundle only names gets no such link. It has to be the scope's already, or the import
// is refused: otherwise a bundle of names would open what other repositories have.
//
// What came from an upstream that does not answer everybody goes nowhere where
// everybody may pull, unless that is allowed.
package carry
