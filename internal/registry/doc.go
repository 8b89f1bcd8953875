// Package registry is the wire: an http.Handler for the pull half of the OCI
// distribution API. It parses requests, asks a Mirror, and writes the answers
// that clients of this field rely on. It knows no cache and no Caddy.
//
// Invariants:
//
//   - A path is parsed in one place, on its escaped form, and never answered with
//     a redirect. Nothing is cleaned but slashes before the repository, which an
//     endpoint may end in. What comes out of the parser satisfies the grammar of
//     package oci.
//   - Response headers are built here, never copied from an upstream.
//   - A clean end of a body means that all of it was sent. A body that cannot
//     be completed ends in an aborted connection (http.ErrAbortHandler).
//   - A clean end of a whole blob, or of a range up to its end, means that the bytes
//     are right. So it does of every other range, unless Cache-Status says
//     detail=unverified: then the blob was not verified when the answer began.
//   - Access is the Mirror's business, and every answer but the ping comes from
//     it: no path leads around it.
//
// The handler owns the Content of a Blob from the moment the Mirror returns it
// and closes it before ServeHTTP returns. It keeps no state between requests.
package registry
