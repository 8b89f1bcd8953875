// Package images knows which records belong together: the tree of manifests and blobs
// below a tag or a pin. From that follow what pins keep, what a removal takes along, what
// an inventory counts, and what is forgotten when nobody uses it.
package images
