// Package pace decides over how many connections blobs are pulled, and whose turn it is:
// measurements go in, advice comes out. It does no I/O, and knows neither upstreams nor
// stores, only the names by which they are told apart.
package pace
